"""Comparability of two sets of replicates: same machine, driver, software and protocol. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.errors import InputError
from joulebench.gate.model import Measurement, Replicate

#: Field of the environment → its name. Each affects energy or time without a change of the code.
STRICT = {
    ("host", "cpu"): "CPU",
    ("host", "logical_cpus"): "logical CPUs",
    ("host", "accelerators"): "accelerators",
    ("device",): "device",
    ("torch", "gpu"): "GPU",
    ("torch", "driver"): "driver",
    ("torch", "cuda"): "CUDA",
    ("torch", "cudnn"): "cuDNN",
    ("torch", "threads"): "torch threads",
    ("torch", "tf32_matmul"): "TF32 in matmul",
    ("torch", "tf32_conv"): "TF32 in convolutions",
    ("python",): "Python",
    ("packages", "torch"): "torch",
    ("packages", "torchvision"): "torchvision",
    ("packages", "transformers"): "transformers",
    ("packages", "codecarbon"): "codecarbon",
    ("variables",): "environment variables",
}


def differences(before: Replicate, now: Replicate) -> list[str]:
    """List the differences that forbid a comparison, each as `name: then, now`."""
    changes = (
        [] if before.hardware == now.hardware else [f"hardware profile: {before.hardware}, now {now.hardware}"]
    )
    for path, name in STRICT.items():
        then, here = _at(before.environment, path), _at(now.environment, path)
        if path == ("python",):
            then, here = (".".join(str(v).split(".")[:2]) for v in (then, here))
        if then != here:
            changes.append(f"{name}: {_shown(then)}, now {_shown(here)}")
    sources = [{(m["domain"], m["source"]) for m in r.meters if m.get("role") != "check"} for r in (before, now)]
    for domain, source in sorted(sources[0] - sources[1]):
        here = ", ".join(sorted(s for d, s in sources[1] if d == domain)) or "nothing"
        changes.append(f"meter of {domain}: {source}, now {here}")
    return changes


def _at(table: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = table
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> str:
    if value in (None, [], {}):
        return "none"
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def check(baseline: Sequence[Replicate], current: Sequence[Replicate]) -> None:
    """Check that all replicates compare; differing meters are left to each benchmark's verdict.

    Raises:
        InputError: they do not; it names every difference.
    """
    first, *others = [*baseline, *current]
    changes = dict.fromkeys(d for r in others for d in differences(first, r) if not d.startswith("meter of "))
    if changes:
        raise InputError(
            f"not comparable: {'; '.join(changes)}. Measure a new baseline here (--update-baseline), or compare "
            "two commits in one session (--against REF)"
        )


def benchmark_difference(baseline: Sequence[Measurement], current: Sequence[Measurement]) -> str | None:
    """Return the first difference in how a benchmark was measured; None if there is none."""
    first = baseline[0]
    for other in [*baseline[1:], *current]:
        if first.unit != other.unit:
            return f"unit: {first.unit}, now {other.unit}"
        for what in ("configuration", "protocol"):
            then, now = (_table(getattr(m, what)) for m in (first, other))
            changed = [k for k in {**then, **now} if then.get(k) != now.get(k)]
            if changed:
                key = changed[0]
                return f"{what}.{key}: {_shown(then.get(key))}, now {_shown(now.get(key))}"
    return None


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else value.model_dump(mode="json")
