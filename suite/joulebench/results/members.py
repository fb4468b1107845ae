"""Results of one configuration: objectives, joules per unit of work, costs and scores. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from joulebench.records.model import Costs, TrialRecord
from joulebench.results.energy import Energy
from joulebench.results.outcome import Configuration, Outcome
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.results.run import Run
from joulebench.results.training_flops import TrainingFlops, training_flops
from joulebench.spec.objectives import work_unit
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, mean_of_runs, point, pooled_spread


@dataclass(frozen=True)
class Target:
    """Phase, domains and unit of work that joules are stated for."""

    objective: str | None  # the energy objective it belongs to, if any
    phase: str
    unit: str
    families: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """Configuration with its measurements. Missing energies, costs and scores are absent."""

    trials: tuple[int, ...]  # the usable ones
    params: Params
    outcomes: Mapping[str, Outcome]
    gross: Mapping[Target, Energy]  # joules per unit of work
    net: Mapping[Target, Energy]  # absent where idle power is unknown
    unit_s: Mapping[Target, Estimate]  # seconds per unit of work; none of training
    costs: Costs
    scores: Mapping[str, Estimate]  # test_accuracy, …; without those of one class
    constraints: Mapping[str, Outcome] = field(default_factory=dict)  # values of what the task bounds
    within_run: Mapping[Target, float] = field(default_factory=dict)  # relative 95 % half-width of a run's windows
    key: str = ""  # of the configuration
    confirmed: bool = False
    training: TrainingFlops | None = None
    class_scores: Mapping[str, Mapping[str, Estimate]] = field(
        default_factory=dict
    )  # class -> precision, recall, f1

    @property
    def label(self) -> str:
        return label(self.trials)


def label(trials: Sequence[int]) -> str:
    """`trials 3, 8`: a configuration by its trials."""
    return f"{'trial' if len(trials) == 1 else 'trials'} {', '.join(map(str, trials))}"


def targets(task: Task, trials: Sequence[TrialRecord]) -> list[Target]:
    """The phases of the energy objectives; without any, every phase the workload measured."""
    known: dict[tuple[str, tuple[str, ...]], Target] = {}
    for name, objective in task.objectives.items():
        if objective.phase is not None and objective.domains is not None:
            key = (objective.phase, objective.domains)
            known.setdefault(key, Target(name, objective.phase, work_unit(name), objective.domains))
    if known:
        return list(known.values())
    units = {phase: unit for trial in trials for phase, unit in trial.unit.items()}
    return [Target(None, phase, unit, EVERY_FAMILY) for phase, unit in units.items()]


def member(run: Run, configuration: Configuration) -> Member:
    """A complete configuration's numbers, over its usable trials."""
    usable = configuration.usable
    gross: dict[Target, Energy] = {}
    net: dict[Target, Energy] = {}
    unit_s: dict[Target, Estimate] = {}
    within: dict[Target, float] = {}
    for target in targets(run.task, run.trials):
        if target.phase == "train":
            trained = run.training(usable, target.families)
            each = None if trained is None else trained.per(trained.units, target.unit)
            if each is not None:
                gross[target] = each
        elif (phase := run.phase(usable, target.phase, target.families)) is not None:
            gross[target], unit_s[target] = phase.gross, phase.unit_s
            if widths := [w for e in phase.runs if (w := e.within_run) is not None]:
                within[target] = fmean(widths)
            if phase.net is not None:
                net[target] = phase.net
    every = scores(run, usable)
    return Member(
        trials=tuple(t.trial for t in usable),
        params=configuration.params,
        outcomes=configuration.outcomes,
        gross=gross,
        net=net,
        unit_s=unit_s,
        costs=configuration.costs,
        scores={name: score for name, score in every.items() if not _CLASS_SCORE.fullmatch(name)},
        constraints=configuration.constraints,
        within_run=within,
        key=configuration.key,
        confirmed=configuration.confirmed,
        training=training_flops(usable),
        class_scores=_by_class(every),
    )


_CLASS_SCORE = re.compile(r"test_(precision|recall|f1)\.(.+)")  # as `Workload.final_scores` names them


def _by_class(scores: Mapping[str, Estimate]) -> dict[str, dict[str, Estimate]]:
    classes: dict[str, dict[str, Estimate]] = {}
    for name, score in scores.items():
        if found := _CLASS_SCORE.fullmatch(name):
            classes.setdefault(found[2], {})[found[1]] = score
    return classes


def scores(run: Run, trials: Sequence[TrialRecord]) -> dict[str, Estimate]:
    """Means of test scores, with the spread between runs pooled over all configurations scored more than once."""
    values = _scored(run, trials)
    if not values:
        return {}
    every = [_scored(run, c.usable) for c in run.configurations]
    spreads = {name: pooled_spread([v.get(name, ()) for v in every]) for name in values}
    return {n: mean_of_runs([point(score) for score in v], spreads[n], 1.0) for n, v in sorted(values.items())}


def _scored(run: Run, trials: Sequence[TrialRecord]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in run.scores_by_trial.get(trial.trial, {}).items():
            values.setdefault(name, []).append(value)
    return values
