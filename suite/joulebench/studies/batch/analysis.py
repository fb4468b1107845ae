"""Energy efficiency against one parameter, mostly the batch size: the optimum, its neighbours, the wall. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from joulebench.records.model import Kind, TrialRecord, Window, combined
from joulebench.results.outcome import Configuration, configurations, idle_windows, run_to_run_rsd
from joulebench.results.phase_cost import PhaseCost, counted, phase_cost, step_quantile
from joulebench.spec.objectives import Objective, energy_unit
from joulebench.spec.parameters import ChoiceParameter, Params, is_number
from joulebench.spec.task import Task
from joulebench.stats.estimate import NORMAL_975, Estimate, reciprocal
from joulebench.stats.intervals import ratio

BATCH = "batch_size"
#: The smallest size within this share of the best is called the knee.
KNEE = 0.05
#: How efficiency goes at the ends of what was measured.
Shape = Literal["one size", "interior", "rising", "falling", "flat"]


@dataclass(frozen=True)
class Size:
    """One size with everything measured of it; `efficiency` is work per joule, in the objective's basis."""

    size: float
    params: Params
    trials: tuple[int, ...]
    efficiency: Estimate
    kind: Kind | None
    cost: PhaseCost | None  # gross and net joules of the same phase
    p95_s: Estimate | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    feasible: bool

    @property
    def memory_share(self) -> float | None:
        if self.memory_bytes is None or not self.memory_limit_bytes:
            return None
        return self.memory_bytes / self.memory_limit_bytes


@dataclass(frozen=True)
class Wall:
    """Where memory ends: `need_bytes` is what the smallest size that ran out needs at least."""

    largest_ok: float | None
    smallest_oom: float
    need_bytes: int | None
    limit_bytes: int | None


@dataclass(frozen=True)
class Batch:
    """A sweep of one parameter, all others at their default.

    `best` keeps the task's constraints, and `ties` are those among the others that do and cannot be told apart from
    it; `peak` is the most efficient of all. `shape` is the peak's place among the sizes measured: `interior` only
    where both ends are told apart from it, `flat` where one is not.
    """

    parameter: str
    highest: float  # that the task allows
    objective: str
    unit: str
    phase: str
    basis: Literal["gross", "net"]
    kind: Kind | None
    domains: tuple[str, ...]
    sizes: tuple[Size, ...]
    best: Size | None
    peak: Size | None
    ties: tuple[Size, ...]
    shape: Shape
    gain: Estimate | None  # best over smallest
    knee: Size | None
    default: Size | None
    wall: Wall | None
    rsd: float | None  # between runs of one configuration
    lost: int  # trials of the sweep without a value, other than out of memory

    @property
    def smallest(self) -> Size | None:
        return self.sizes[0] if self.sizes else None


def batch(task: Task, trials: Sequence[TrialRecord]) -> Batch | None:
    """Of a run's records; None where the task varies no number or has no energy objective."""
    name, objective = swept(task), task.measured
    if name is None or objective is None:
        return None
    label = next(n for n, o in task.objectives.items() if o is objective)
    idle = idle_windows(trials)
    own = [c for c in configurations(task, trials) if _on_sweep(task, name, c.params)]
    measured = [s for c in own if (s := _size(task, name, label, objective, c, idle)) is not None]
    sizes = tuple(sorted(measured, key=lambda s: s.size))
    rsd = run_to_run_rsd(task, trials).get(label)
    feasible = [s for s in sizes if s.feasible]
    best = max(feasible, key=lambda s: s.efficiency.mean, default=None)
    peak = max(sizes, key=lambda s: s.efficiency.mean, default=None)
    smallest = sizes[0] if sizes else None
    near = [s for s in feasible if best and s.efficiency.mean >= (1 - KNEE) * best.efficiency.mean]
    kinds = {s.kind for s in sizes}
    return Batch(
        parameter=name,
        highest=_highest(task, name),
        objective=label,
        unit=energy_unit(label)[0],
        phase=objective.phase or "",
        basis=objective.basis or "gross",
        kind=combined(kinds) if kinds else None,
        domains=tuple(sorted({d for s in sizes if s.cost for d in s.cost.domains})),
        sizes=sizes,
        best=best,
        peak=peak,
        ties=_ties(best, feasible, rsd),
        shape=_shape(sizes, peak, _ties(peak, sizes, rsd)),
        gain=ratio(best.efficiency, smallest.efficiency) if best and smallest and best is not smallest else None,
        knee=near[0] if near else None,
        default=next((s for s in sizes if s.size == task.defaults[name]), None),
        wall=_wall(name, own, sizes),
        rsd=rsd,
        lost=sum(t.status not in ("ok", "oom") for c in own for t in c.trials),
    )


def swept(task: Task) -> str | None:
    """The parameter whose sweep this is: `batch_size` where the task varies it, else the only number it varies."""
    numbers = [
        n
        for n, p in task.free.items()
        if p.scope == "task" and (not isinstance(p, ChoiceParameter) or all(is_number(v) for v in p.values))
    ]
    return BATCH if BATCH in numbers else numbers[0] if len(numbers) == 1 else None


def _highest(task: Task, name: str) -> float:
    parameter = task.free[name]
    values = parameter.values if isinstance(parameter, ChoiceParameter) else (parameter.high,)
    return max(float(v) for v in values)


def _on_sweep(task: Task, name: str, params: Params) -> bool:
    others = (n for n, p in task.free.items() if n != name and p.scope == "task")
    return is_number(params.get(name)) and all(params.get(n) == task.defaults[n] for n in others)


def _size(
    task: Task, name: str, label: str, objective: Objective, found: Configuration, idle: Sequence[Window]
) -> Size | None:
    """None where the configuration has no value, or none that can be turned into work per joule."""
    outcome = found.outcomes.get(label)
    per_joule = energy_unit(label)[1]
    value = None if outcome is None else outcome.value if per_joule else reciprocal(outcome.value)
    if outcome is None or value is None or value.mean <= 0:
        return None
    usable = [t for t in found.trials if t.status == "ok"]
    phase, families = objective.phase or "", objective.domains or ()
    peaks = [t.costs.peak_memory_bytes for t in usable if t.costs.peak_memory_bytes is not None]
    limit = counted(usable, lambda c: c.memory_limit_bytes)
    size = found.params[name]
    assert is_number(size)
    return Size(
        size=size,
        params=found.params,
        trials=tuple(t.trial for t in usable),
        efficiency=value,
        kind=outcome.kind,
        cost=phase_cost(task.protocol, usable, phase, families, idle),
        p95_s=step_quantile(task.protocol, usable, phase, 0.95),
        memory_bytes=max(peaks, default=None),
        memory_limit_bytes=None if limit is None else int(limit),
        feasible=found.feasible,
    )


def told_apart(a: Size, b: Size, rsd: float | None) -> bool:
    """Whether two sizes differ by more than chance.

    The 95 % interval of their ratio must leave out 1, and, where the relative standard deviation between runs of
    one configuration is known, the ratio must lie outside what two results of equal configurations differ by with
    95 % probability (the repeatability limit of ISO 5725-6; of means, with each one's number of runs).
    """
    found = ratio(a.efficiency, b.efficiency)
    if found is None or found.low is None or found.high is None or found.low <= 1 <= found.high:
        return False
    limit = NORMAL_975 * (rsd or 0.0) * math.sqrt(1 / len(a.trials) + 1 / len(b.trials))
    return abs(math.log(found.mean)) > limit


def _ties(of: Size | None, among: Sequence[Size], rsd: float | None) -> tuple[Size, ...]:
    return () if of is None else tuple(s for s in among if s is not of and not told_apart(of, s, rsd))


def _shape(sizes: Sequence[Size], peak: Size | None, ties: Sequence[Size]) -> Shape:
    if peak is None or len(sizes) < 2:
        return "one size"
    if peak is sizes[-1]:
        return "flat" if sizes[-2] in ties else "rising"
    if peak is sizes[0]:
        return "flat" if sizes[1] in ties else "falling"
    return "flat" if sizes[0] in ties or sizes[-1] in ties else "interior"


def _wall(name: str, own: Sequence[Configuration], sizes: Sequence[Size]) -> Wall | None:
    out = [(c.params[name], t) for c in own for t in c.trials if t.status == "oom"]
    if not out:
        return None
    smallest = min(float(size) for size, _ in out if is_number(size))
    at_wall = [t for size, t in out if size == smallest]
    needs = [t.costs.peak_memory_bytes for t in at_wall if t.costs.peak_memory_bytes is not None]
    limit = counted(at_wall, lambda c: c.memory_limit_bytes)
    return Wall(
        largest_ok=sizes[-1].size if sizes else None,
        smallest_oom=smallest,
        need_bytes=max(needs, default=None),
        limit_bytes=None if limit is None else int(limit),
    )
