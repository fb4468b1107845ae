"""Phases of each machine: power law of joules over FLOPs, and fraction of the peak FLOP/s. Pure."""

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

#: A line through fewer distinct FLOPs has no residual.
MIN_SIZES = 3


@dataclass(frozen=True)
class PhaseConfiguration:
    """A configuration in one phase, and its efficiency where the peak is known."""

    key: str
    work: PhaseRuns
    efficiency: Efficiency | None


@dataclass(frozen=True)
class MachinePhase:
    """A phase on a machine, with joules over the domains compared."""

    machine: Machine
    phase: str
    domains: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.machine.label

    @cached_property
    def configurations(self) -> tuple[PhaseConfiguration, ...]:
        """Configurations with joules of the phase."""
        machine = self.machine
        works = (
            (c, machine.run.phase(c.usable, self.phase, self.domains)) for c in machine.configurations.values()
        )
        return tuple(
            PhaseConfiguration(
                c.key, work, efficiency(work.flops_per_unit, work.unit_s, work.gross, self._peak(c.params))
            )
            for c, work in works
            if work is not None
        )

    @cached_property
    def points(self) -> tuple[tuple[float, Energy], ...]:
        """FLOPs and gross joules per unit, of each configuration whose FLOPs are known."""
        return tuple((flops, c.work.gross) for c in self.configurations if (flops := c.work.flops_per_unit))

    @cached_property
    def line(self) -> Line | None:
        """Least squares of log10(J/unit) = a + b · log10(FLOPs/unit); None with fewer than `MIN_SIZES` sizes."""
        points = [(flops, energy.mean) for flops, energy in self.points if energy.mean > 0]
        if len({x for x, _ in points}) < MIN_SIZES:
            return None
        return fit_line([math.log10(x) for x, _ in points], [math.log10(y) for _, y in points])

    @property
    def kind(self) -> Kind:
        return combined(c.work.kind for c in self.configurations)

    @property
    def best(self) -> Efficiency | None:
        """Efficiency of the configuration with the highest fraction of peak; None where no peak is known."""
        known = [c.efficiency for c in self.configurations if c.efficiency is not None]
        return max(known, key=lambda e: e.fraction.mean, default=None)

    def _peak(self, params: Params) -> Peak | None:
        if self._profile is None:
            return None
        dtype = run_dtype(params, self.machine.run.manifest.environment, self._profile)
        return peak_of(self._profile, dtype)

    @cached_property
    def _profile(self) -> HardwareProfile | None:
        """The hardware profile; None if the manifest holds one of another format."""
        try:
            return HardwareProfile.model_validate(self.machine.run.manifest.hardware)
        except ValidationError:
            return None


def machine_phases(joined: Joined) -> tuple[MachinePhase, ...]:
    """Return the phases of energy objectives, on every machine; not training, whose FLOPs are not counted."""
    wanted: dict[str, tuple[str, ...]] = {}
    for name, objective in joined.task.objectives.items():
        if objective.is_energy and objective.phase and objective.phase != "train" and joined.domains[name]:
            wanted.setdefault(objective.phase, joined.domains[name])
    return tuple(MachinePhase(m, phase, domains) for phase, domains in wanted.items() for m in joined.machines)
