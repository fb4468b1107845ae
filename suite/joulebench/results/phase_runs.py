"""Joules, seconds and steps of a phase, or of training, over all runs of one configuration. Pure.

A configuration run once has the intervals of its windows and steps; one run more than once those between its runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from joulebench.records.model import Costs, Kind, TrialRecord, Window
from joulebench.results.conditions import Device, mean_conditions
from joulebench.results.energy import (
    Energy,
    over_runs,
    phase_energy,
    seconds_per_unit,
    shared_idle,
    training_energy,
)
from joulebench.results.idle import as_idle
from joulebench.results.latency import STEPS
from joulebench.results.validity import valid_windows
from joulebench.spec.parameters import Params
from joulebench.spec.task import Protocol, Task
from joulebench.stats.estimate import (
    Estimate,
    Spread,
    estimate,
    mean_of_runs,
    point,
    pooled_spread,
    reciprocal,
)
from joulebench.stats.intervals import scaled
from joulebench.stats.quantiles import quantile_of

EVERY_FAMILY = ("gpu", "cpu", "ram")


class Repeated:
    """The configurations of a run that were run more than once: how much runs of one configuration differ.

    Args:
        groups: of each, the values of its runs by quantity, each relative to the quantity's scale.
    """

    def __init__(self, groups: Sequence[Callable[[str], Sequence[float]]] = ()) -> None:
        self._groups = groups
        self._known: dict[str, Spread | None] = {}

    def spread(self, quantity: str) -> Spread | None:
        """Pooled spread of a quantity between runs; None where nothing was repeated."""
        if quantity not in self._known:
            self._known[quantity] = pooled_spread([group(quantity) for group in self._groups])
        return self._known[quantity]


NOT_REPEATED = Repeated()


class _Runs(ABC):
    """Joules of one configuration's runs, gross and net, and how much the runs differ."""

    trials: tuple[TrialRecord, ...]
    idle: Sequence[Window]
    repeated: Repeated

    @abstractmethod
    def _energy(self, trial: TrialRecord, idle: Sequence[Window] | None = None) -> Energy | None:
        """Joules of a run, net of idle power if idle windows are given; None where they are not known."""

    @abstractmethod
    def _counted(self, trial: TrialRecord) -> list[Window]:
        """The windows of a run that count."""

    @property
    @abstractmethod
    def power_w(self) -> float:
        """Mean power in watts, gross."""

    @abstractmethod
    def _idle_of(self, trial: TrialRecord) -> tuple[Window, float]:
        """The window that idle power is taken near to, and the seconds per unit of work that it is taken for."""

    @abstractmethod
    def _values(self, quantity: str) -> Sequence[Estimate]: ...

    def relative(self, quantity: str) -> list[float]:
        """The runs' values of a quantity, relative to their mean; net joules to that of the gross ones: they may be
        near 0. Empty where it is unknown of a run.
        """
        values = (self._nets or ()) if quantity == "net" else self._values(quantity)
        scale = fmean(v.mean for v in (self.runs if quantity == "net" else values)) if values else 0.0
        return [v.mean / scale for v in values] if scale else []

    @cached_property
    def _gross(self) -> list[tuple[TrialRecord, Energy]]:
        return [(t, e) for t in self.trials if (e := self._energy(t)) is not None]

    @cached_property
    def measured(self) -> list[TrialRecord]:
        """The runs whose joules are known."""
        return [trial for trial, _ in self._gross]

    @cached_property
    def runs(self) -> list[Energy]:
        """Gross joules of each of them; of a phase per unit of work."""
        return [energy for _, energy in self._gross]

    @cached_property
    def gross(self) -> Energy:
        """Gross joules; of a phase per unit of work."""
        return over_runs(self.runs, self.repeated.spread("gross"))

    @cached_property
    def conditions(self) -> Mapping[str, float]:
        """Means of the hardware's conditions over the windows that count (`mean_conditions`)."""
        return mean_conditions(w for t in self.measured for w in self._counted(t))

    def utilisation(self, device: Device) -> float | None:
        """Mean share of time that the GPU, or all CPUs, were at work; None where it was not recorded."""
        return self.conditions.get(f"{device}_utilisation")

    def utilisation_per_w(self, device: Device) -> float | None:
        """Utilisation over mean power, 1/W: the utilisation-based efficiency of arXiv 2406.14328."""
        share = self.utilisation(device)
        return None if share is None or self.power_w <= 0 else share / self.power_w

    @cached_property
    def _nets(self) -> list[Energy] | None:
        """Net joules of each run; None where idle power is unknown for one."""
        known = [e for t in self.measured if (e := self._energy(t, self.idle)) is not None] if self.idle else []
        return known if known and len(known) == len(self.runs) else None

    @cached_property
    def net(self) -> Energy | None:
        """The same less idle power; None where that is unknown for a run."""
        if self._nets is None:
            return None
        net = over_runs(self._nets, self.repeated.spread("net"), fmean(e.mean for e in self.runs))
        if len(self._nets) == 1:
            return net
        idle, baselines = as_idle(self.idle), []
        for trial, energy in zip(self.measured, self._nets, strict=True):
            window, seconds = self._idle_of(trial)
            if (baseline := idle.baseline(window, energy.domains)) is not None:
                baselines.append((baseline, seconds))
        return shared_idle(net, baselines)


@dataclass(frozen=True)
class PhaseRuns(_Runs):
    """One measured phase over the usable trials of one configuration; `phase_runs` makes it where there are any.

    `units_per_j` and `units_per_s` are each run's own, as objectives are: over several runs their mean is not the
    reciprocal of the other mean.
    """

    protocol: Protocol
    trials: tuple[TrialRecord, ...]
    phase: str
    families: tuple[str, ...]
    idle: Sequence[Window]
    repeated: Repeated = NOT_REPEATED

    def _values(self, quantity: str) -> Sequence[Estimate]:
        match quantity:
            case "gross":
                return self.runs
            case "unit_s":
                return self._unit_s
        rates = (reciprocal(v) for v in (self.runs if quantity == "units_per_j" else self._unit_s))
        return [rate for rate in rates if rate is not None]

    @cached_property
    def unit(self) -> str:
        """Unit of the phase's work: sample, token, …"""
        return next((t.unit[self.phase] for t in self.trials if self.phase in t.unit), "unit")

    def _energy(self, trial: TrialRecord, idle: Sequence[Window] | None = None) -> Energy | None:
        return phase_energy(trial.windows, self.phase, self.families, self.protocol, idle, self.unit)

    def _idle_of(self, trial: TrialRecord) -> tuple[Window, float]:
        windows = self._counted(trial)
        return windows[0], seconds_per_unit(windows).mean

    def _counted(self, trial: TrialRecord) -> list[Window]:
        return valid_windows(trial.windows, self.phase, self.protocol)

    @property
    def power_w(self) -> float:
        return self.gross.mean / self.unit_s.mean

    @property
    def domains(self) -> tuple[str, ...]:
        return self.gross.domains

    @property
    def kind(self) -> Kind:
        return self.gross.kind

    @cached_property
    def _unit_s(self) -> list[Estimate]:
        """Of each run whose joules are known."""
        return [seconds_per_unit(self._counted(t)) for t in self.measured]

    @cached_property
    def unit_s(self) -> Estimate:
        """Seconds per unit."""
        return mean_of_runs(self._unit_s, self.repeated.spread("unit_s"))

    @cached_property
    def units_per_j(self) -> Estimate | None:
        """None where a run's joules are not positive."""
        return _rate(self.runs, self.repeated.spread("units_per_j"))

    @cached_property
    def units_per_s(self) -> Estimate | None:
        return _rate(self._unit_s, self.repeated.spread("units_per_s"))

    @cached_property
    def step_units(self) -> float | None:
        """Units that one step does; None where steps were not counted."""
        sized = [w.units / w.steps for t in self.trials for w in t.windows if w.phase == self.phase and w.steps]
        return fmean(sized) if sized else None

    @cached_property
    def step_mean(self) -> Estimate | None:
        """Mean seconds of a step; None where no valid window kept its steps' times."""
        return self._over_steps(lambda seconds: estimate(seconds, STEPS))

    def step_quantile(self, quantile: float) -> Estimate | None:
        """A quantile of the seconds that a step took; None as `step_mean`."""
        return self._over_steps(lambda seconds: quantile_of(seconds, quantile, STEPS))

    @cached_property
    def flops_per_unit(self) -> float | None:
        return counted(self.trials, lambda costs: flops_per_unit(costs, self.phase, self.unit))

    @property
    def flops_per_j(self) -> Estimate | None:
        """None where FLOPs are not counted, or a run's joules are not positive."""
        per_j, flops = self.units_per_j, self.flops_per_unit
        return scaled(per_j, flops) if per_j is not None and flops else None

    def _over_steps(self, summarise: Callable[[list[float]], Estimate]) -> Estimate | None:
        runs = [seconds for t in self.trials if (seconds := [s for w in self._counted(t) for s in w.step_s])]
        return mean_of_runs([summarise(seconds) for seconds in runs]) if runs else None


def phase_runs(
    protocol: Protocol,
    trials: Sequence[TrialRecord],
    phase: str,
    families: Sequence[str],
    idle: Sequence[Window] = (),
    repeated: Repeated = NOT_REPEATED,
) -> PhaseRuns | None:
    """A phase over the usable trials of one configuration; None where none of them has joules of it."""
    runs = PhaseRuns(protocol, tuple(trials), phase, tuple(families), idle, repeated)
    return runs if runs.runs else None


def _rate(values: Sequence[Estimate], spread: Spread | None) -> Estimate | None:
    rates = [rate for v in values if (rate := reciprocal(v)) is not None]
    return mean_of_runs(rates, spread) if len(rates) == len(values) else None


@dataclass(frozen=True)
class TrainingRuns(_Runs):
    """The trainings of one configuration, validation left out; `training_runs` makes it where there are any.

    Each ran once, over all its epochs, so a single one's gross joules have the interval of the run-to-run spread
    alone, and none where nothing was repeated.
    """

    protocol: Protocol
    trials: tuple[TrialRecord, ...]  # those whose joules are known
    families: tuple[str, ...]
    idle: Sequence[Window]
    repeated: Repeated = NOT_REPEATED

    def _energy(self, trial: TrialRecord, idle: Sequence[Window] | None = None) -> Energy | None:
        return training_energy(self.protocol, trial.windows, self.families, idle)

    def _idle_of(self, trial: TrialRecord) -> tuple[Window, float]:
        epochs = _epochs(trial)
        return epochs[len(epochs) // 2], sum(w.duration_s for w in epochs)

    def _counted(self, trial: TrialRecord) -> list[Window]:
        return _epochs(trial)

    def _values(self, quantity: str) -> Sequence[Estimate]:
        return self.runs if quantity == "gross" else self.each_s

    @property
    def power_w(self) -> float:
        return self.gross.mean / self.seconds.mean

    @cached_property
    def seconds(self) -> Estimate:
        """Seconds of a training's epochs."""
        return mean_of_runs(self.each_s, self.repeated.spread("seconds"))

    @cached_property
    def each_s(self) -> list[Estimate]:
        """Seconds of each training's epochs."""
        return [point(sum(w.duration_s for w in _epochs(t))) for t in self.trials]

    @cached_property
    def units(self) -> tuple[int, ...]:
        """Units of work of each training."""
        return tuple(sum(w.units for w in _epochs(t)) for t in self.trials)

    @cached_property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each training."""
        return tuple(len(_epochs(t)) for t in self.trials)

    def per(self, units: Sequence[float], unit: str) -> Energy | None:
        """Gross joules per unit of work, given how many units each training did; None where one did none."""
        if not all(units):
            return None
        each = [e.each(n, unit) for e, n in zip(self.runs, units, strict=True)]
        return over_runs(each, self.repeated.spread("gross"))

    def seconds_per(self, units: Sequence[float]) -> Estimate | None:
        """Seconds per unit of work, as `per`."""
        if not all(units):
            return None
        each = [scaled(s, 1 / n) for s, n in zip(self.each_s, units, strict=True)]
        return mean_of_runs(each, self.repeated.spread("seconds"))

    @property
    def cut_short(self) -> bool:
        """Whether one of the trainings reached its time limit before the last epoch."""
        return any(t.stopped_by == "time" for t in self.trials)


def training_runs(
    protocol: Protocol,
    trials: Sequence[TrialRecord],
    families: Sequence[str],
    idle: Sequence[Window] = (),
    repeated: Repeated = NOT_REPEATED,
) -> TrainingRuns | None:
    """The trainings of one configuration whose joules are known; None where there are none."""
    known = tuple(t for t in trials if training_energy(protocol, t.windows, families) is not None)
    return TrainingRuns(protocol, known, tuple(families), idle, repeated) if known else None


def _epochs(trial: TrialRecord) -> list[Window]:
    return [w for w in trial.windows if w.phase == "train"]


def flops_per_unit(costs: Costs, phase: str, unit: str) -> float | None:
    """FLOPs of one unit of a phase: as counted for it, else a forward pass where the unit is a sample."""
    if phase in costs.phase_flops:
        return costs.phase_flops[phase]
    return float(costs.flops) if unit == "sample" and phase != "train" and costs.flops is not None else None


def counted(trials: Sequence[TrialRecord], read: Callable[[Costs], float | None]) -> float | None:
    """A static cost of one configuration, from the first trial that has it."""
    return next((v for t in trials if (v := read(t.costs)) is not None), None)


def families(task: Task) -> tuple[str, ...]:
    """The domains that the task's energy objectives name, taken together; every one where they name none."""
    named = dict.fromkeys(d for o in task.objectives.values() for d in o.domains or ())
    return tuple(d for d in EVERY_FAMILY if d in named) or EVERY_FAMILY


def varied(task: Task, configurations: Sequence[Params]) -> list[str]:
    """The parameters that differ between configurations, in the task's order."""
    names = [n for n, p in task.parameters.items() if p.scope == "task"]
    return [n for n in names if len({(type(c.get(n)), c.get(n)) for c in configurations}) > 1]
