"""Units and prefixes of objectives, constraints and energies, for tables and axes. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import binary_prefix, interval, number, prefix
from joulebench.spec.objectives import Constraint, Quantity, energy_form, work_unit
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate


def objective_unit(name: str, quantity: Quantity) -> str:
    """`samples/J`, `J/token`, `J·s/token`, `samples/s`, `s`, `B`; empty for a metric, whose unit the task does
    not state."""
    if quantity.is_latency:
        return "s"
    if quantity.is_rate:
        return f"{plain(work_unit(name))}s/s"
    if not quantity.is_energy:
        return "B" if name.endswith("_bytes") else ""
    form = energy_form(name)
    unit = plain(form.unit)
    return f"{unit}s/{form.measure}" if form.inverse else f"{form.measure}/{unit}"


def scaled(name: str, size: float, quantity: Quantity) -> tuple[float, str]:
    """Factor and unit to print values of about `size` in: joules, seconds and bytes get a prefix, counts per
    joule or second do not."""
    unit = objective_unit(name, quantity)
    if unit == "B":
        return binary_prefix(size)
    if unit == "s":
        factor, letter = prefix(min(abs(size), 1.0))  # no kiloseconds
        return factor, f"{letter}s"
    if not unit.startswith("J"):
        return 1.0, unit
    factor, letter = prefix(size)
    return factor, f"{letter}{unit}"


def quantile_name(quantile: float) -> str:
    """`p95`, `p99.9`."""
    return f"p{100 * quantile:g}"


def bound(name: str, constraint: Constraint) -> str:
    """`≤ 500 ms`."""
    factor, unit = scaled(name, constraint.bound, constraint)
    sign = "≤" if constraint.at_most is not None else "≥"
    return f"{sign} {number(constraint.bound / factor)} {unit}".rstrip()


def in_words(value: Estimate, unit: str, prefixed: bool = True) -> str:
    """`12.5 mJ/token [12.4, 12.6]`; without a prefix: `80 tokens/J [79.2, 80.8]`."""
    factor, letter = prefix(value.mean) if prefixed else (1.0, "")
    ends = interval(value, factor)
    return f"{number(value.mean / factor)} {letter}{unit}{f' {ends}' if ends else ''}"


def hypervolume_scale(task: Task) -> str | None:
    """Sentence on the scale of the task's hypervolumes; None where every objective's is linear."""
    if not task.log_scaled:
        return None
    parts = [f"{n} in nats from its reference of {number(o.reference)}" for n, o in task.log_scaled.items()]
    return f"Hypervolume is on a log scale: {', '.join(parts)}. It does not compare with one on another scale."


def plain(unit: str) -> str:
    """`prompt token` of `prompt_token`."""
    return unit.replace("_", " ")
