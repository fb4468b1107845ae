"""Energy efficiency as a function of one parameter, usually the batch size: optimum, ties, memory limit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from joulebench.presentation.numbers import number
from joulebench.records.model import Kind, combined
from joulebench.results.confirmation import optimum
from joulebench.results.cost import BreakEven, Candidate, break_even, stated_volume
from joulebench.results.energy import Basis
from joulebench.results.outcome import Configuration, merged_costs
from joulebench.results.phase_runs import PhaseRuns
from joulebench.results.run import Run
from joulebench.spec.objectives import Objective, work_unit
from joulebench.spec.parameters import ChoiceParameter, Params, is_number
from joulebench.spec.task import CONFIRM, Task
from joulebench.stats.estimate import Estimate, reciprocal
from joulebench.stats.intervals import differ as estimates_differ
from joulebench.stats.intervals import ratio, scaled
from joulebench.studies.configured import Configured

BATCH = "batch_size"
#: The knee is the smallest size whose efficiency is within this share of the best.
KNEE = 0.05
#: Course of efficiency over the sizes measured.
Shape = Literal["one size", "interior", "rising", "falling", "flat"]


@dataclass(frozen=True, eq=False)
class Size(Configured):
    """A size with its measurements; `efficiency` is units of work per joule, in the objective's basis."""

    size: float
    efficiency: Estimate
    kind: Kind | None
    cost: PhaseRuns  # gross and net joules of the same phase
    efficiency_before: float  # by the runs before confirmation, or all of them where it was not confirmed

    @cached_property
    def p95_s(self) -> Estimate | None:
        """95 % quantile of a step's seconds."""
        return self.cost.step_quantile(0.95)

    @property
    def feasible(self) -> bool:
        return self.configuration.feasible


@dataclass(frozen=True)
class MemoryLimit:
    """Sizes on both sides of the memory limit; `required_bytes` is a lower bound for the smallest that ran out."""

    largest_completed: float | None
    smallest_oom: float
    required_bytes: int | None
    limit_bytes: int | None


@dataclass(frozen=True, eq=False)
class BatchSweep:
    """Sweep of one parameter, all others at their default, judged by one energy objective.

    Where the task also varies a choice of names, such as that of a model, a sweep is of one of them: `model`.
    """

    run: Run
    parameter: str
    objective: str
    model: Params = field(default_factory=dict)  # the choice and its value; empty where the task has none

    @property
    def goal(self) -> Objective:
        return self.run.task.objectives[self.objective]

    @property
    def unit(self) -> str:
        return work_unit(self.objective)

    @property
    def phase(self) -> str:
        return self.goal.phase or ""

    @property
    def basis(self) -> Basis:
        return self.goal.basis or "gross"

    @property
    def highest(self) -> float:
        """Largest size that the task allows."""
        parameter = self.run.task.free[self.parameter]
        values = parameter.values if isinstance(parameter, ChoiceParameter) else (parameter.high,)
        return max(float(v) for v in values)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Configurations on the sweep, with a value or without."""
        at = self.run.task.defaults | self.model
        return [c for c in self.run.configurations if _on_sweep(self.run.task, self.parameter, at, c.params)]

    @cached_property
    def models(self) -> tuple[BatchSweep, ...]:
        """A sweep for each model with a size of a value, in the task's order; empty where there is only one."""
        parameter = model_parameter(self.run.task, self.parameter)
        choice = self.run.task.free[parameter] if parameter else None
        values = choice.values if isinstance(choice, ChoiceParameter) else ()
        every = (replace(self, model={parameter or "": value}) for value in values)
        sweeps = tuple(self if s.model == self.model else s for s in every if s.sizes)
        return sweeps if len(sweeps) > 1 else ()

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """Sizes that have a value, ascending."""
        measured = (_size(self, c) for c in self.configurations)
        return tuple(sorted(filter(None, measured), key=lambda s: s.size))

    @property
    def kind(self) -> Kind | None:
        return combined(s.kind for s in self.sizes) if self.sizes else None

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({d for s in self.sizes for d in s.cost.domains}))

    @property
    def smallest(self) -> Size | None:
        return self.sizes[0] if self.sizes else None

    @property
    def default(self) -> Size | None:
        return next((s for s in self.sizes if s.size == self.run.task.defaults[self.parameter]), None)

    @property
    def _feasible(self) -> list[Size]:
        return [s for s in self.sizes if s.feasible]

    @property
    def peak(self) -> Size | None:
        """Most efficient size, constraints aside."""
        return _optimum(self.sizes)

    @property
    def best(self) -> Size | None:
        """Most efficient size that meets the task's constraints; of confirmed sizes, where there are any."""
        return _optimum(self._feasible)

    @property
    def knee(self) -> Size | None:
        """Smallest size that meets the constraints and is within `KNEE` of the best."""
        best = self.best
        near = (s for s in self._feasible if best and s.efficiency.mean >= (1 - KNEE) * best.efficiency.mean)
        return next(near, None)

    @cached_property
    def ties(self) -> tuple[Size, ...]:
        """Sizes that meet the constraints and do not differ significantly from the best."""
        return self._ties(self.best, self._feasible)

    @cached_property
    def gain(self) -> Estimate | None:
        """Efficiency of the best size over that of the smallest."""
        best, smallest = self.best, self.smallest
        return ratio(best.efficiency, smallest.efficiency) if best and smallest and best is not smallest else None

    @cached_property
    def shape(self) -> Shape:
        """Place of the peak: `interior` if both ends differ significantly from it, `flat` if one of them (or, for a
        peak at an end, its neighbour) does not."""
        sizes, peak = self.sizes, self.peak
        if peak is None or len(sizes) < 2:
            return "one size"
        ties = self._ties(peak, sizes)
        if peak is sizes[-1]:
            return "flat" if sizes[-2] in ties else "rising"
        if peak is sizes[0]:
            return "flat" if sizes[1] in ties else "falling"
        return "flat" if sizes[0] in ties or sizes[-1] in ties else "interior"

    @cached_property
    def memory_limit(self) -> MemoryLimit | None:
        """Limit that trials ran into; None if none ran out of memory."""
        out = [(c.params[self.parameter], t) for c in self.configurations for t in c.trials if t.status == "oom"]
        if not out:
            return None
        smallest = min(float(size) for size, _ in out if is_number(size))
        costs = merged_costs([t for size, t in out if size == smallest])
        largest = self.sizes[-1].size if self.sizes else None
        return MemoryLimit(largest, smallest, costs.peak_memory_bytes, costs.memory_limit_bytes)

    @property
    def rsd(self) -> float | None:
        """Relative standard deviation between runs of one configuration."""
        known = self.run.rsd.get(self.objective)
        return None if known is None else known.sd

    @cached_property
    def against_default(self) -> BreakEven | None:
        """Break-even of the run's energy, the best size replacing the default; None if either is unknown."""
        return self._break_even(self.default)

    @cached_property
    def against_smallest(self) -> BreakEven | None:
        """As `against_default`, with the smallest size replaced, where that is not the default."""
        return None if self.smallest is self.default else self._break_even(self.smallest)

    def label(self, size: Size) -> str:
        """`batch_size 8`."""
        return f"{self.parameter} {number(size.size)}"

    def _break_even(self, base: Size | None) -> BreakEven | None:
        if base is None or self.best is None:
            return None
        old, new = (Candidate(self.label(s), {}, s.cost.gross) for s in (base, self.best))
        spent = [e for name, e in self.run.ledger.by_family.items() if name in (self.goal.domains or ())]
        volume = stated_volume(self.run.task, self.objective)
        total = sum(spent) if spent else None
        return break_even(self.objective, self.unit, old.energy.domains, total, old, [new], {}, volume)

    def _ties(self, of: Size | None, among: Sequence[Size]) -> tuple[Size, ...]:
        return () if of is None else tuple(s for s in among if s is not of and not differ(of, s))


def batch_sweep(run: Run) -> BatchSweep | None:
    """Find the sweep of a run; None where the task varies no number or has no energy objective."""
    name, measured = swept(run.task), run.task.measured
    if name is None or measured is None:
        return None
    objective = next(n for n, o in run.task.objectives.items() if o is measured)
    parameter = model_parameter(run.task, name)
    return BatchSweep(run, name, objective, {parameter: run.task.defaults[parameter]} if parameter else {})


def swept(task: Task) -> str | None:
    """Name the swept parameter: `batch_size` if the task varies it, else the only number it varies, else None."""
    numbers = [
        n
        for n, p in task.free.items()
        if p.scope == "task" and (not isinstance(p, ChoiceParameter) or all(is_number(v) for v in p.values))
    ]
    return BATCH if BATCH in numbers else numbers[0] if len(numbers) == 1 else None


def model_parameter(task: Task, name: str) -> str | None:
    """Name the choice whose values are each a model with a sweep of its own: the only one among names."""
    texts = [
        n
        for n, p in task.free.items()
        if n != name and p.scope == "task" and isinstance(p, ChoiceParameter) and p.kinds == {"text"}
    ]
    return texts[0] if len(texts) == 1 else None


def _on_sweep(task: Task, name: str, at: Params, params: Params) -> bool:
    others = (n for n, p in task.free.items() if n != name and p.scope == "task")
    return is_number(params.get(name)) and all(params.get(n) == at[n] for n in others)


def _size(sweep: BatchSweep, configuration: Configuration) -> Size | None:
    """Read a size; None if the configuration has no value that can be turned into work per joule."""
    outcome = configuration.outcomes.get(sweep.objective)
    if outcome is None:
        return None
    cost = sweep.run.phase(configuration.usable, sweep.phase, sweep.goal.domains)
    if cost is None:
        return None
    form = sweep.run.task.energy_form(sweep.objective)
    if form.delays or form.scale is None:  # joules do not follow from the objective
        net = sweep.basis == "net"
        value = cost.units_per_j if not net else None if cost.net is None else reciprocal(cost.net)
    else:
        value = scaled(outcome.value, 1 / form.scale) if form.inverse else reciprocal(outcome.value)
    if value is None or value.mean <= 0:
        return None
    chosen_by = [t for t in configuration.trials if t.stage != CONFIRM]
    first = sweep.run.phase(chosen_by, sweep.phase, sweep.goal.domains) if configuration.confirmed else None
    rate = None if first is None else first.units_per_j
    size = configuration.params[sweep.parameter]
    assert is_number(size)
    return Size(
        sweep.run, configuration, size, value, outcome.kind, cost, value.mean if rate is None else rate.mean
    )


def _optimum(sizes: Sequence[Size]) -> Size | None:
    """The most efficient size."""
    return optimum(
        sizes,
        confirmed=lambda s: s.configuration.confirmed,
        before=lambda s: -s.efficiency_before,
        now=lambda s: -s.efficiency.mean,
        differ=differ,
    )


def differ(a: Size, b: Size) -> bool:
    """Test whether two sizes differ significantly in efficiency."""
    return estimates_differ(a.efficiency, b.efficiency)
