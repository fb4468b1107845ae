"""Scaling laws: power-law fits of joules per unit of work against model size, by phase and sweep. Pure.

Least squares through log10(J/unit) = a + b · log10(x), where x is the number of parameters or the FLOPs of a unit
and b the exponent (1 is proportional). Energy is gross, over the domains that the task's energy objectives name.
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
from joulebench.studies.generation.analysis import REQUEST

#: Fewer different sizes than this leave no residual, so the fit has no error.
MIN_SIZES = 3
Measure = Literal["parameters", "flops"]
MEASURES: tuple[Measure, ...] = ("parameters", "flops")


@dataclass(frozen=True, eq=False)
class Model(Configured):
    """Configuration with its size and the energy of each phase."""

    @cached_property
    def costs(self) -> Mapping[str, PhaseRuns]:
        """Energy by phase, without training."""
        usable = self.configuration.usable
        phases = dict.fromkeys(phase for t in usable for phase in t.unit if phase != "train")
        return {p: runs for p in phases if (runs := self.run.phase(usable, p)) is not None}

    @cached_property
    def flops(self) -> Mapping[str, float]:
        """FLOPs of one unit, by phase."""
        return {p: flops for p, runs in self.costs.items() if (flops := runs.flops_per_unit) is not None}

    @cached_property
    def stages(self) -> frozenset[str]:
        return frozenset(t.stage for t in self.configuration.usable)

    def x(self, measure: Measure, phase: str) -> float | None:
        """Read the size in this measure; None if it is unknown or 0."""
        size = self.parameters if measure == "parameters" else self.flops.get(phase)
        return None if not size or size <= 0 else float(size)


@dataclass(frozen=True)
class Fit:
    """Fitted line of one phase; `line` is None with fewer than `MIN_SIZES` different x.

    `stage` is None for the fit over all sweeps of model size. `varies` are the parameters that the stage varies;
    its fit uses every configuration that differs from the stage's own in no other parameter.
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
        """Residual standard deviation as a factor above or below the line."""
        if self.line is None or self.line.residual_sd is None:
            return None
        return float(10**self.line.residual_sd)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Configurations of a run that have a size and a measured phase, with their fits."""

    run: Run
    models: tuple[Model, ...]  # smallest first

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameters that differ between the models."""
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
        """Models by stage, for stages that have several."""
        stages = {s: [m for m in self.models if s in m.stages] for s in self.run.task.stages}
        return {s: models for s, models in stages.items() if len(models) > 1}

    @property
    def left_out(self) -> tuple[str, ...]:
        """Stages that do not change the number of parameters (batch size, prompt length); they would only add
        scatter to the fit over all sweeps."""
        return tuple(s for s, models in self._stages.items() if len({m.parameters for m in models}) == 1)

    @property
    def sized(self) -> tuple[Model, ...]:
        """Models of the fit over all sweeps."""
        return tuple(m for m in self.models if not m.stages <= set(self.left_out))

    @cached_property
    def fits(self) -> tuple[Fit, ...]:
        """Fits over all sweeps of model size and, where there are several, for each."""
        sweeps = [self._sweep(s, models) for s, models in self._stages.items()] if len(self._stages) > 1 else []
        fits = (
            _fit(sweep, phase, unit, measure)
            for sweep in (_Sweep(None, (), self.sized), *sweeps)
            for phase, unit in self.phases.items()
            for measure in MEASURES
        )
        return tuple(filter(None, fits))

    def overall(self, measure: Measure, phase: str) -> Fit | None:
        """Find the fit over all sweeps of model size."""
        fits = (f for f in self.fits if f.stage is None and f.measure == measure and f.phase == phase)
        return next(fits, None)

    @property
    def main_phase(self) -> str:
        """Phase of the answer: whole requests where they are measured."""
        return REQUEST if REQUEST in self.phases else next(iter(self.phases))

    @property
    def main(self) -> Fit | None:
        """Fit of the main phase with a line: in parameters, or in FLOPs where parameters do not differ."""
        fits = (self.overall(m, self.main_phase) for m in MEASURES)
        return next((f for f in fits if f is not None and f.line is not None), None)

    def _sweep(self, stage: str, models: Sequence[Model]) -> _Sweep:
        """Add the models of other stages that lie on the sweep: its base is often measured elsewhere."""
        names = varied(self.run.task, [m.params for m in models])
        base = {n: v for n, v in models[0].params.items() if n not in names}
        on = [m for m in self.models if all(m.params[n] == v for n, v in base.items())]
        return _Sweep(stage, tuple(names), on)


def scaling(run: Run) -> Scaling | None:
    """Fit the scaling of a run; None if no configuration has both a size and a measured phase."""
    models = [m for c in run.configurations if (m := Model(run, c)).costs and (m.parameters or m.flops)]
    ordered = sorted(models, key=lambda m: (m.parameters or 0, *m.flops.values()))
    return Scaling(run, tuple(ordered)) if ordered else None


@dataclass(frozen=True)
class _Sweep:
    stage: str | None
    varies: tuple[str, ...]
    models: Sequence[Model]


def _fit(sweep: _Sweep, phase: str, unit: str, measure: Measure) -> Fit | None:
    """Fit one phase of a sweep; None if no model has both numbers, or a stage does not vary x."""
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
