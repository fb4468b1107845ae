"""Units and titles of objectives, for tables and axes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from suite.energy import Estimate
from suite.reporting.quantities import number, prefix
from suite.task import Task, energy_unit


def objective_unit(name: str, is_energy: bool) -> str:
    """`samples/J`, `J/token`; empty for a metric, whose unit the task does not state."""
    if not is_energy:
        return ""
    unit, per_joule = energy_unit(name)
    return f"{unit}s/J" if per_joule else f"J/{unit}"


def scaled(name: str, size: float, is_energy: bool) -> tuple[float, str]:
    """Factor and unit to print values of about `size` in: joules get an SI prefix, counts per joule do not."""
    unit = objective_unit(name, is_energy)
    if not unit.startswith("J/"):
        return 1.0, unit
    factor, letter = prefix(size)
    return factor, f"{letter}{unit}"


def axis_title(task: Task, name: str, unit: str, families: Sequence[str]) -> str:
    """What an axis shows, its `unit`, the domains counted, and which way is better."""
    objective = task.objectives[name]
    better = "higher is better" if objective.goal == "maximize" else "lower is better"
    if not objective.is_energy:
        return f"{name} ({better})"
    domains = " + ".join(families)
    return f"{objective.phase} energy, {unit} ({objective.basis}, {domains}; {better})"


def interval(value: Estimate, factor: float = 1.0) -> str | None:
    """`[0.9702, 0.9741]`; None for a single run, which has none."""
    if value.n < 2:
        return None
    if value.low is None and value.high is None:
        return "[no end]"
    low = "−∞" if value.low is None else number(value.low / factor)
    high = "∞" if value.high is None else number(value.high / factor)
    return f"[{low}, {high}]"


def sample_size(value: Estimate) -> str:
    """`n = 5 windows within a run`; `single run`."""
    return value.varied if value.n < 2 else f"n = {value.n} {value.varied}"
