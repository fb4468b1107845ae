"""How joules per unit of work grow with the model: lines through logarithms, for each phase and sweep. Pure.

log10(J/unit) = a + b · log10(x), x the parameters or the FLOPs of a unit; b is the power: 1 is proportional. Energy
is gross, over the domains that the task's energy objectives name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from joulebench.records.model import Kind, combined
from joulebench.results.phase_runs import PhaseRuns, varied
from joulebench.results.run import Run
from joulebench.stats.regression import Line, fit_line
from joulebench.studies.configured import Configured

#: A line through fewer sizes than this has no residual, so nothing says how well it fits.
MIN_SIZES = 3
Measure = Literal["parameters", "flops"]
MEASURES: tuple[Measure, ...] = ("parameters", "flops")


@dataclass(frozen=True, eq=False)
class Model(Configured):
    """One configuration: its size, and what each phase takes."""

    @cached_property
    def costs(self) -> Mapping[str, PhaseRuns]:
        """By phase, training apart."""
        usable = self.configuration.usable
        phases = dict.fromkeys(phase for t in usable for phase in t.unit if phase != "train")
        return {p: runs for p in phases if (runs := self.run.phase(usable, p)) is not None}

    @cached_property
    def flops(self) -> Mapping[str, float]:
        """Of one unit, by phase."""
        return {p: flops for p, runs in self.costs.items() if (flops := runs.flops_per_unit) is not None}

    @cached_property
    def stages(self) -> frozenset[str]:
        return frozenset(t.stage for t in self.configuration.usable)

    def x(self, measure: Measure, phase: str) -> float | None:
        size = self.parameters if measure == "parameters" else self.flops.get(phase)
        return None if not size or size <= 0 else float(size)


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


@dataclass(frozen=True, eq=False)
class Scaling:
    """Every configuration of a run with a size and a phase, and the lines through them."""

    run: Run
    models: tuple[Model, ...]  # smallest first

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters that differ between them."""
        return tuple(varied(self.run.task, [m.params for m in self.models]))

    @property
    def _costs(self) -> list[PhaseRuns]:
        return [runs for m in self.models for runs in m.costs.values()]

    @cached_property
    def phases(self) -> Mapping[str, str]:
        """Units by phase."""
        return {runs.phase: runs.unit for runs in self._costs}

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({d for runs in self._costs for d in runs.domains}))

    @property
    def kind(self) -> Kind:
        return combined(runs.kind for runs in self._costs)

    @cached_property
    def _stages(self) -> dict[str, list[Model]]:
        """The models of each stage that has several."""
        stages = {s: [m for m in self.models if s in m.stages] for s in self.run.task.stages}
        return {s: models for s, models in stages.items() if len(models) > 1}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Stages that vary something without changing the number of parameters (a batch size, a prompt's length):
        their joules would be scatter in the common lines."""
        return tuple(s for s, models in self._stages.items() if len({m.parameters for m in models}) == 1)

    @property
    def sized(self) -> tuple[Model, ...]:
        """The models that the common lines go through."""
        return tuple(m for m in self.models if not m.stages <= set(self.left_out))

    @cached_property
    def fits(self) -> tuple[Fit, ...]:
        """Lines over all sweeps of model size and, where there are several, for each."""
        sweeps = [self._sweep(s, own) for s, own in self._stages.items()] if len(self._stages) > 1 else []
        made = (
            _fit(sweep, phase, unit, measure)
            for sweep in (_Sweep(None, (), self.sized), *sweeps)
            for phase, unit in self.phases.items()
            for measure in MEASURES
        )
        return tuple(f for f in made if f is not None)

    def overall(self, measure: Measure, phase: str) -> Fit | None:
        fits = (f for f in self.fits if f.stage is None and f.measure == measure and f.phase == phase)
        return next(fits, None)

    def _sweep(self, stage: str, own: Sequence[Model]) -> _Sweep:
        """A stage with the models of others that lie on it: its base is often measured elsewhere."""
        names = varied(self.run.task, [m.params for m in own])
        base = {n: v for n, v in own[0].params.items() if n not in names}
        on = [m for m in self.models if all(m.params[n] == v for n, v in base.items())]
        return _Sweep(stage, tuple(names), on)


def scaling(run: Run) -> Scaling | None:
    """The scaling of a run; None where no configuration has both a size and a measured phase."""
    models = [m for c in run.configurations if (m := Model(run, c)).costs and (m.parameters or m.flops)]
    ordered = sorted(models, key=lambda m: (m.parameters or 0, *m.flops.values()))
    return Scaling(run, tuple(ordered)) if ordered else None


@dataclass(frozen=True)
class _Sweep:
    stage: str | None
    varies: tuple[str, ...]
    models: Sequence[Model]


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
