"""What the report says of one configuration: objectives, joules per unit of work, costs and scores. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joulebench.records.model import Costs, Kind, ScoreRecord, TrialRecord, Window, combined
from joulebench.results.energy import training_energy
from joulebench.results.outcome import Configuration, Outcome
from joulebench.results.phase_cost import EVERY_FAMILY, PhaseCost, over_runs, phase_cost
from joulebench.spec.objectives import energy_unit
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, point


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
    constraints: Mapping[str, Outcome] = field(default_factory=dict)  # values of what the task bounds

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
        constraints=configuration.constraints,
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
    cost = phase_cost(task.protocol, trials, target.phase, target.families, idle)
    return None if cost is None else unit_energy_of(cost, target)


def unit_energy_of(cost: PhaseCost, target: Target) -> UnitEnergy:
    """A phase's cost as energy of a target."""
    return UnitEnergy(
        target, cost.gross, cost.net, cost.domains, cost.kind, cost.measured_share, cost.unit_s
    )  # fmt: skip


def _training_energy(trials: Sequence[TrialRecord], target: Target) -> UnitEnergy | None:
    """Training is one measurement a trial, over all its epochs: no interval within a run, and no net."""
    found = [e for t in trials if (e := training_energy(t.windows, target.families)) is not None]
    if not found:
        return None
    kind = combined(e.kind for e in found)
    share = sum(e.measured_share for e in found) / len(found)
    values = [point(e.j_per_unit) for e in found]
    return UnitEnergy(target, over_runs(values), None, found[0].domains, kind, share)


def _costs(trials: Sequence[TrialRecord]) -> Costs:
    """What was counted, from the first trial that has it; memory at its highest."""

    def first(name: str) -> int | None:
        return next((v for t in trials if (v := getattr(t.costs, name)) is not None), None)

    def table(name: str) -> dict[str, Any]:
        return next((v for t in trials if (v := getattr(t.costs, name))), {})

    peaks = [t.costs.peak_memory_bytes for t in trials if t.costs.peak_memory_bytes is not None]
    return Costs(
        parameters=first("parameters"),
        macs=first("macs"),
        flops=first("flops"),
        phase_flops=table("phase_flops"),
        peak_memory_bytes=max(peaks, default=None),
        memory_limit_bytes=first("memory_limit_bytes"),
        unsupported_ops=table("unsupported_ops"),
    )


def _scores(trials: Sequence[TrialRecord], scores: Mapping[int, Mapping[str, float]]) -> dict[str, Estimate]:
    values: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in scores.get(trial.trial, {}).items():
            values.setdefault(name, []).append(value)
    return {n: over_runs([point(score) for score in v]) for n, v in sorted(values.items())}
