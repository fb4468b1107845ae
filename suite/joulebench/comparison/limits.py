"""Each machine by itself: how joules grow with FLOPs there, and how near to its peak it runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from joulebench.comparison.join import Joined, Machine
from joulebench.records.model import TrialRecord
from joulebench.results.efficiency import Efficiency, efficiency, peak_of, run_dtype
from joulebench.results.outcome import Configuration
from joulebench.results.phase_cost import PhaseCost, counted, flops_per_unit, phase_cost
from joulebench.spec.hardware import HardwareProfile
from joulebench.stats.regression import Line, fit_line

#: A line through fewer sizes than this has no residual.
MIN_SIZES = 3


@dataclass(frozen=True)
class Sized:
    """A configuration's cost in one phase, the FLOPs of a unit of its work, and its rate against the peak."""

    key: str
    flops: float | None
    cost: PhaseCost
    limit: Efficiency | None


@dataclass(frozen=True)
class PhaseOn:
    """One phase on one machine; `line` is log10(J/unit) = a + b · log10(FLOPs/unit), None with too few sizes."""

    label: str
    phase: str
    domains: tuple[str, ...]  # compared
    configurations: tuple[Sized, ...]
    line: Line | None

    @property
    def best(self) -> Efficiency | None:
        """The highest fraction of the peak that any configuration reaches."""
        known = [c.limit for c in self.configurations if c.limit is not None]
        return max(known, key=lambda e: e.fraction.mean, default=None)


def phases_on(joined: Joined) -> tuple[PhaseOn, ...]:
    """Every phase that an energy objective names, on every machine; but training, whose FLOPs are not counted."""
    wanted: dict[str, tuple[str, ...]] = {}
    for name, objective in joined.task.objectives.items():
        if objective.is_energy and objective.phase and objective.phase != "train" and joined.domains[name]:
            wanted.setdefault(objective.phase, joined.domains[name])
    return tuple(_phase_on(m, phase, domains) for phase, domains in wanted.items() for m in joined.machines)


def _phase_on(machine: Machine, phase: str, domains: Sequence[str]) -> PhaseOn:
    sized = tuple(_sized(machine, phase, domains))
    points = [(c.flops, c.cost.gross.mean) for c in sized if c.flops and c.cost.gross.mean > 0]
    line = None
    if len({x for x, _ in points}) >= MIN_SIZES:
        line = fit_line([math.log10(x) for x, _ in points], [math.log10(y) for _, y in points])
    return PhaseOn(machine.label, phase, tuple(domains), sized, line)


def _sized(machine: Machine, phase: str, domains: Sequence[str]) -> Iterator[Sized]:
    profile = _profile(machine.run.manifest.hardware)
    for key, configuration in machine.found.items():
        usable = [t for t in configuration.trials if t.status == "ok"]
        cost = phase_cost(machine.task.protocol, usable, phase, domains, machine.idle)
        if cost is not None:
            flops = _flops(usable, phase, cost.unit)
            yield Sized(key, flops, cost, _limit(machine, configuration, profile, flops, cost))


def _flops(trials: Sequence[TrialRecord], phase: str, unit: str) -> float | None:
    return counted(trials, lambda costs: flops_per_unit(costs, phase, unit))


def _limit(
    machine: Machine,
    configuration: Configuration,
    profile: HardwareProfile | None,
    flops: float | None,
    cost: PhaseCost,
) -> Efficiency | None:
    if profile is None:
        return None
    dtype = run_dtype(configuration.params, machine.run.manifest.environment, profile)
    return efficiency(flops, cost.unit_s, cost.gross, peak_of(profile, dtype))


def _profile(hardware: Mapping[str, object]) -> HardwareProfile | None:
    try:
        return HardwareProfile.model_validate(hardware)
    except ValidationError:
        return None
