"""What the report says of one configuration: objectives, joules per unit of work, costs and scores. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from suite.energy import Energy, Estimate, estimate, phase_energy, training_energy
from suite.outcome import Configuration, Outcome, point
from suite.record import Costs, Kind, ScoreRecord, TrialRecord, Window
from suite.task import Params, Task, energy_unit

EVERY_FAMILY = ("gpu", "cpu", "ram")
BETWEEN_RUNS = "runs of the configuration"


@dataclass(frozen=True)
class Target:
    """Work that joules are stated for: a phase and the domains counted, in the objective's own unit."""

    objective: str | None  # the energy objective it belongs to, if any
    phase: str
    unit: str
    families: tuple[str, ...]


@dataclass(frozen=True)
class UnitEnergy:
    """Joules per unit of a phase; `net` is None where idle power is unknown."""

    target: Target
    gross: Estimate
    net: Estimate | None
    domains: tuple[str, ...]
    kind: Kind
    measured_share: float
    unit_s: Estimate | None = None  # seconds per unit; None for training


@dataclass(frozen=True)
class Member:
    """One configuration with everything measured of it. Missing energies, costs and scores are absent."""

    trials: tuple[int, ...]  # the usable ones
    params: Params
    outcomes: Mapping[str, Outcome]
    energies: tuple[UnitEnergy, ...]
    costs: Costs
    scores: Mapping[str, Estimate]  # test_accuracy, …

    @property
    def label(self) -> str:
        noun = "trial" if len(self.trials) == 1 else "trials"
        return f"{noun} {', '.join(map(str, self.trials))}"

    def energy_of(self, target: Target) -> UnitEnergy | None:
        return next((e for e in self.energies if e.target == target), None)


def targets(task: Task, trials: Sequence[TrialRecord]) -> list[Target]:
    """The phases of the energy objectives; without any, every phase the workload measured."""
    found: dict[tuple[str, tuple[str, ...]], Target] = {}
    for name, objective in task.objectives.items():
        if objective.phase is not None and objective.domains is not None:
            key = (objective.phase, objective.domains)
            found.setdefault(key, Target(name, objective.phase, energy_unit(name)[0], objective.domains))
    if found:
        return list(found.values())
    units = {phase: unit for trial in trials for phase, unit in trial.unit.items()}
    return [Target(None, phase, unit, EVERY_FAMILY) for phase, unit in units.items()]


def member(
    task: Task,
    configuration: Configuration,
    wanted: Sequence[Target],
    idle: Sequence[Window],
    scores: Mapping[int, Mapping[str, float]],
) -> Member:
    """A complete configuration's numbers, over its usable trials."""
    usable = [t for t in configuration.trials if t.status == "ok"]
    energies = (unit_energy(task, usable, target, idle) for target in wanted)
    return Member(
        trials=tuple(t.trial for t in usable),
        params=configuration.params,
        outcomes=configuration.outcomes,
        energies=tuple(e for e in energies if e is not None),
        costs=_costs(usable),
        scores=_scores(usable, scores),
    )


def scores_by_trial(records: Sequence[ScoreRecord]) -> dict[int, dict[str, float]]:
    """`{trial: {"test_accuracy": …}}`; a trial scored again (after a resume) has its last scores."""
    found: dict[int, dict[str, float]] = {}
    for record in records:
        prefix = f"{record.split}_"
        named = {prefix + name.removeprefix(prefix): value for name, value in record.metrics.items()}
        found.setdefault(record.trial, {}).update(named)
    return found


def unit_energy(
    task: Task, trials: Sequence[TrialRecord], target: Target, idle: Sequence[Window]
) -> UnitEnergy | None:
    """Joules per unit over trials of one configuration; with several trials their spread is between runs."""
    if target.phase == "train":
        return _training_energy(trials, target)
    gross = [e for t in trials if (e := _phase(task, t, target, None)) is not None]
    if not gross:
        return None
    net = [e for t in trials if (e := _phase(task, t, target, idle)) is not None]
    return UnitEnergy(
        target=target,
        gross=_between([e.j_per_unit for e in gross]),
        net=_between([e.j_per_unit for e in net]) if len(net) == len(gross) else None,
        domains=gross[0].domains,
        kind="measured" if {e.kind for e in gross} == {"measured"} else "estimated",
        measured_share=sum(e.measured_share for e in gross) / len(gross),
        unit_s=_between([e.unit_s for e in gross]),
    )


def _phase(task: Task, trial: TrialRecord, target: Target, idle: Sequence[Window] | None) -> Energy | None:
    return phase_energy(trial.windows, target.phase, target.families, task.protocol, idle)


def _training_energy(trials: Sequence[TrialRecord], target: Target) -> UnitEnergy | None:
    """Training is one measurement a trial, over all its epochs: no interval within a run, and no net."""
    found = [e for t in trials if (e := training_energy(t.windows, target.families)) is not None]
    if not found:
        return None
    kind: Kind = "measured" if all(e.kind == "measured" for e in found) else "estimated"
    share = sum(e.measured_share for e in found) / len(found)
    values = [point(e.j_per_unit) for e in found]
    return UnitEnergy(target, _between(values), None, found[0].domains, kind, share)


def _between(values: Sequence[Estimate]) -> Estimate:
    return values[0] if len(values) == 1 else estimate([v.mean for v in values], BETWEEN_RUNS)


def _costs(trials: Sequence[TrialRecord]) -> Costs:
    """What was counted, from the first trial that has it; memory at its highest."""

    def first(name: str) -> int | None:
        return next((v for t in trials if (v := getattr(t.costs, name)) is not None), None)

    peaks = [t.costs.peak_memory_bytes for t in trials if t.costs.peak_memory_bytes is not None]
    return Costs(
        parameters=first("parameters"),
        macs=first("macs"),
        flops=first("flops"),
        peak_memory_bytes=max(peaks, default=None),
        unsupported_ops=next((t.costs.unsupported_ops for t in trials if t.costs.unsupported_ops), {}),
    )


def _scores(trials: Sequence[TrialRecord], scores: Mapping[int, Mapping[str, float]]) -> dict[str, Estimate]:
    values: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in scores.get(trial.trial, {}).items():
            values.setdefault(name, []).append(value)
    return {n: point(v[0]) if len(v) == 1 else estimate(v, BETWEEN_RUNS) for n, v in sorted(values.items())}
