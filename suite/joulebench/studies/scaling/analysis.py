"""How joules per unit of work grow with the model: lines through logarithms, for each phase and sweep. Pure.

log10(J/unit) = a + b · log10(x), x the parameters or the FLOPs of a unit; b is the power: 1 is proportional. Energy
is gross, over the domains that the task's energy objectives name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from joulebench.records.model import Costs, Kind, TrialRecord, combined
from joulebench.results.outcome import Configuration, configurations
from joulebench.results.phase_cost import PhaseCost, counted, families, flops_per_unit, phase_cost, varied
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.stats.regression import Line, fit_line

#: A line through fewer sizes than this has no residual, so nothing says how well it fits.
MIN_SIZES = 3
Measure = Literal["parameters", "flops"]
MEASURES: tuple[Measure, ...] = ("parameters", "flops")


@dataclass(frozen=True)
class Model:
    """One configuration: its size, and what each phase costs it."""

    params: Params
    trials: tuple[int, ...]
    stages: frozenset[str]
    parameters: int | None
    flops: Mapping[str, float]  # of one unit, by phase
    costs: Mapping[str, PhaseCost]

    def x(self, measure: Measure, phase: str) -> float | None:
        found = self.parameters if measure == "parameters" else self.flops.get(phase)
        return None if not found or found <= 0 else float(found)


@dataclass(frozen=True)
class Fit:
    """One line; None with fewer than `MIN_SIZES` different x. `stage` is None over all sweeps of model size.

    `varies` are the parameters that the stage varies; its line goes through every configuration that differs from
    its own in no other.
    """

    stage: str | None
    varies: tuple[str, ...]
    phase: str
    unit: str
    measure: Measure
    line: Line | None
    sizes: int  # different x
    models: int
    low: float  # smallest and largest x
    high: float

    @property
    def scatter(self) -> float | None:
        """Factor by which joules lie above or below the line: one residual standard deviation."""
        if self.line is None or self.line.residual_sd is None:
            return None
        return float(10**self.line.residual_sd)


@dataclass(frozen=True)
class Scaling:
    """Every configuration with a size and a phase, and the lines through them.

    `left_out` are stages that vary something without changing the number of parameters (a batch size, a prompt's
    length): their joules would be scatter in the common lines.
    """

    names: tuple[str, ...]
    models: tuple[Model, ...]
    phases: Mapping[str, str]  # phase -> unit
    fits: tuple[Fit, ...]
    left_out: tuple[str, ...]
    domains: tuple[str, ...]
    kind: Kind | None

    @property
    def sized(self) -> tuple[Model, ...]:
        """The models that the common lines go through."""
        return tuple(m for m in self.models if not m.stages <= set(self.left_out))

    def overall(self, measure: Measure, phase: str) -> Fit | None:
        found = (f for f in self.fits if f.stage is None and f.measure == measure and f.phase == phase)
        return next(found, None)


def scaling(task: Task, trials: Sequence[TrialRecord]) -> Scaling | None:
    """Of a run's records; None where no configuration has both a size and a measured phase."""
    every = [_model(task, c) for c in configurations(task, trials)]
    models = [m for m in every if m.costs and (m.parameters or m.flops)]
    if not models:
        return None
    costs = [cost for m in models for cost in m.costs.values()]
    phases = {cost.phase: cost.unit for cost in costs}
    stages = [s for s in task.stages if len(_own(models, s)) > 1]
    left_out = tuple(s for s in stages if _same_size(_own(models, s)))
    sized = [m for m in models if not m.stages <= set(left_out)]
    sweeps = [_sweep(task, models, s) for s in stages]
    return Scaling(
        names=tuple(varied(task, [m.params for m in models])),
        models=tuple(sorted(models, key=lambda m: (m.parameters or 0, *m.flops.values()))),
        phases=phases,
        fits=tuple(_fits(phases, [_Sweep(None, (), sized), *(sweeps if len(sweeps) > 1 else ())])),
        left_out=left_out,
        domains=tuple(sorted({d for c in costs for d in c.domains})),
        kind=combined(c.kind for c in costs),
    )


def _model(task: Task, found: Configuration) -> Model:
    usable = [t for t in found.trials if t.status == "ok"]
    phases = dict.fromkeys(phase for t in usable for phase in t.unit if phase != "train")
    costs = {p: c for p in phases if (c := phase_cost(task.protocol, usable, p, families(task), ())) is not None}
    parameters = counted(usable, lambda c: c.parameters)
    return Model(
        params=found.params,
        trials=tuple(t.trial for t in usable),
        stages=frozenset(t.stage for t in usable),
        parameters=None if parameters is None else int(parameters),
        flops={p: f for p, c in costs.items() if (f := _flops(usable, p, c.unit)) is not None},
        costs=costs,
    )


def _flops(trials: Sequence[TrialRecord], phase: str, unit: str) -> float | None:
    def read(costs: Costs) -> float | None:
        return flops_per_unit(costs, phase, unit)

    return counted(trials, read)


@dataclass(frozen=True)
class _Sweep:
    stage: str | None
    varies: tuple[str, ...]
    models: Sequence[Model]


def _own(models: Sequence[Model], stage: str) -> list[Model]:
    return [m for m in models if stage in m.stages]


def _sweep(task: Task, models: Sequence[Model], stage: str) -> _Sweep:
    """A stage with the models of others that lie on it: its base is often measured elsewhere."""
    own = _own(models, stage)
    names = varied(task, [m.params for m in own])
    on = [m for m in models if all(m.params[n] == v for n, v in own[0].params.items() if n not in names)]
    return _Sweep(stage, tuple(names), on)


def _same_size(models: Sequence[Model]) -> bool:
    return len({m.parameters for m in models}) == 1


def _fits(phases: Mapping[str, str], sweeps: Sequence[_Sweep]) -> Iterator[Fit]:
    for sweep in sweeps:
        for phase, unit in phases.items():
            for measure in MEASURES:
                found = _fit(sweep, phase, unit, measure)
                if found is not None:
                    yield found


def _fit(sweep: _Sweep, phase: str, unit: str, measure: Measure) -> Fit | None:
    """None where no model has both numbers, or a stage does not vary x."""
    pairs = [
        (x, m.costs[phase].gross.mean)
        for m in sweep.models
        if phase in m.costs and (x := m.x(measure, phase)) is not None and m.costs[phase].gross.mean > 0
    ]
    xs = [x for x, _ in pairs]
    if not xs or (sweep.stage is not None and len(set(xs)) == 1):
        return None
    line = None
    if len(set(xs)) >= MIN_SIZES:
        line = fit_line([math.log10(x) for x in xs], [math.log10(j) for _, j in pairs])
    return Fit(sweep.stage, sweep.varies, phase, unit, measure, line, len(set(xs)), len(pairs), min(xs), max(xs))
