"""Whether two sets of replicates may be compared: the same machine, driver, software and protocol. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.errors import InputError
from joulebench.gate.model import Measurement, Replicate

#: Field of the environment → its name. They change energy or time with no change of the code.
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
    """What differs so that the two do not compare, each as `name: then, now`; empty if nothing does."""
    found = [] if before.hardware == now.hardware else [f"hardware profile: {before.hardware}, now {now.hardware}"]
    for path, name in STRICT.items():
        then, here = _at(before.environment, path), _at(now.environment, path)
        if path == ("python",):
            then, here = (".".join(str(v).split(".")[:2]) for v in (then, here))
        if then != here:
            found.append(f"{name}: {_said(then)}, now {_said(here)}")
    sources = [{(m["domain"], m["source"]) for m in r.meters if m.get("role") != "check"} for r in (before, now)]
    for domain, source in sorted(sources[0] - sources[1]):
        here = ", ".join(sorted(s for d, s in sources[1] if d == domain)) or "nothing"
        found.append(f"meter of {domain}: {source}, now {here}")
    return found


def _at(table: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = table
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _said(value: Any) -> str:
    if value in (None, [], {}):
        return "none"
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def check(baseline: Sequence[Replicate], current: Sequence[Replicate]) -> None:
    """Refuse what does not compare; the meters may differ, which the benchmarks' own verdicts tell.

    Raises:
        InputError: it names every difference.
    """
    replicates = [*baseline, *current]
    found: dict[str, None] = {}
    for other in replicates[1:]:
        found |= dict.fromkeys(d for d in differences(replicates[0], other) if not d.startswith("meter of "))
    if found:
        raise InputError(
            f"not comparable: {'; '.join(found)}. Measure the baseline anew here (--update-baseline), or compare "
            "two commits in one session (--against REF)"
        )


def benchmark_difference(baseline: Sequence[Measurement], current: Sequence[Measurement]) -> str | None:
    """How a benchmark was measured differently; None if it was not."""
    first = baseline[0]
    for other in [*baseline[1:], *current]:
        if first.unit != other.unit:
            return f"unit: {first.unit}, now {other.unit}"
        for what in ("configuration", "protocol"):
            then, now = (_table(getattr(m, what)) for m in (first, other))
            changed = [k for k in {**then, **now} if then.get(k) != now.get(k)]
            if changed:
                key = changed[0]
                return f"{what}.{key}: {_said(then.get(key))}, now {_said(now.get(key))}"
    return None


def _table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else value.model_dump(mode="json")
