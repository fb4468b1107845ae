"""Each machine by itself: how joules grow with FLOPs there, and how near to its peak it runs. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from joulebench.comparison.join import Joined, Machine
from joulebench.records.model import Kind, combined
from joulebench.results.efficiency import Efficiency, Peak, efficiency, peak_of, run_dtype
from joulebench.results.energy import Energy
from joulebench.results.phase_runs import PhaseRuns
from joulebench.spec.hardware import HardwareProfile
from joulebench.spec.parameters import Params
from joulebench.stats.regression import Line, fit_line

#: A line through fewer sizes than this has no residual.
MIN_SIZES = 3


@dataclass(frozen=True)
class Sized:
    """A configuration in one phase, and its rate against the machine's peak."""

    key: str
    work: PhaseRuns
    limit: Efficiency | None


@dataclass(frozen=True)
class PhaseOn:
    """One phase on one machine, over the domains compared."""

    machine: Machine
    phase: str
    domains: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.machine.label

    @cached_property
    def configurations(self) -> tuple[Sized, ...]:
        """Those that have joules of the phase."""
        machine = self.machine
        works = (
            (c, machine.run.phase(c.trials, self.phase, self.domains)) for c in machine.configurations.values()
        )
        return tuple(
            Sized(c.key, work, efficiency(work.flops_per_unit, work.unit_s, work.gross, self._peak(c.params)))
            for c, work in works
            if work is not None
        )

    @cached_property
    def points(self) -> tuple[tuple[float, Energy], ...]:
        """FLOPs and gross joules of a unit of work, of each configuration whose FLOPs are known."""
        return tuple((flops, c.work.gross) for c in self.configurations if (flops := c.work.flops_per_unit))

    @cached_property
    def line(self) -> Line | None:
        """log10(J/unit) = a + b · log10(FLOPs/unit); None with too few sizes."""
        points = [(flops, energy.mean) for flops, energy in self.points if energy.mean > 0]
        if len({x for x, _ in points}) < MIN_SIZES:
            return None
        return fit_line([math.log10(x) for x, _ in points], [math.log10(y) for _, y in points])

    @property
    def kind(self) -> Kind:
        return combined(c.work.kind for c in self.configurations)

    @property
    def best(self) -> Efficiency | None:
        """The highest fraction of the peak that any configuration reaches."""
        known = [c.limit for c in self.configurations if c.limit is not None]
        return max(known, key=lambda e: e.fraction.mean, default=None)

    def _peak(self, params: Params) -> Peak | None:
        if self._profile is None:
            return None
        dtype = run_dtype(params, self.machine.run.manifest.environment, self._profile)
        return peak_of(self._profile, dtype)

    @cached_property
    def _profile(self) -> HardwareProfile | None:
        """None if the manifest's is of another format."""
        try:
            return HardwareProfile.model_validate(self.machine.run.manifest.hardware)
        except ValidationError:
            return None


def phases_on(joined: Joined) -> tuple[PhaseOn, ...]:
    """Every phase that an energy objective names, on every machine; but training, whose FLOPs are not counted."""
    wanted: dict[str, tuple[str, ...]] = {}
    for name, objective in joined.task.objectives.items():
        if objective.is_energy and objective.phase and objective.phase != "train" and joined.domains[name]:
            wanted.setdefault(objective.phase, joined.domains[name])
    return tuple(PhaseOn(m, phase, domains) for phase, domains in wanted.items() for m in joined.machines)
