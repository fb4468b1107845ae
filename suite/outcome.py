"""From records to the numbers a task asks for: objective values per trial and per configuration. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from suite.energy import Energy, Estimate, estimate, phase_energy, training_energy, trial_windows
from suite.record import Kind, TrialRecord, Window
from suite.task import Objective, Params, Task, energy_unit


@dataclass(frozen=True)
class Outcome:
    """One objective's value: its estimate, and for energy how the joules were obtained."""

    value: Estimate
    kind: Kind | None = None
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """One point of the parameter space with all its finished trials and its objective values."""

    key: str
    params: Params
    trials: tuple[TrialRecord, ...]
    outcomes: dict[str, Outcome]

    @property
    def complete(self) -> bool:
        return bool(self.outcomes)


def configuration_key(task: Task, params: Params) -> str:
    """Canonical JSON of the parameters that belong to the configuration, not to the device."""
    own = {n: v for n, v in params.items() if task.parameters[n].scope == "task"}
    return json.dumps(own, sort_keys=True)


def point(value: float) -> Estimate:
    """A single value: no interval."""
    return Estimate(value, 1, None, None, None, "single run")


def trial_energy(task: Task, trial: TrialRecord, objective: Objective, idle: Sequence[Window]) -> Energy | None:
    """Energy of the phase an objective names, in one trial."""
    if objective.phase is None or objective.domains is None:
        return None
    baseline = idle if objective.basis == "net" else None
    return phase_energy(trial.windows, objective.phase, objective.domains, task.protocol, baseline)


def trial_outcomes(task: Task, trial: TrialRecord, idle: Sequence[Window] = ()) -> dict[str, Outcome]:
    """Every objective of a finished trial, or an empty dict if any of them is missing.

    `idle` are the run's idle windows, for objectives on a net basis.
    """
    if trial.status != "ok":
        return {}
    outcomes: dict[str, Outcome] = {}
    for name, objective in task.objectives.items():
        outcome = (
            _energy_outcome(task, trial, name, objective, idle)
            if objective.is_energy
            else (_metric_outcome(trial, name))
        )
        if outcome is None:
            return {}
        outcomes[name] = outcome
    return outcomes


def _metric_outcome(trial: TrialRecord, name: str) -> Outcome | None:
    value = trial.metrics.get(name)
    return Outcome(point(value)) if value is not None and math.isfinite(value) else None


def _energy_outcome(
    task: Task, trial: TrialRecord, name: str, objective: Objective, idle: Sequence[Window]
) -> Outcome | None:
    if objective.phase == "train":
        return _training_outcome(trial, name, objective)
    energy = trial_energy(task, trial, objective, idle)
    if energy is None or energy.j_per_unit.n < task.protocol.repeats:
        return None  # fewer valid windows than the protocol asks for are no measurement
    _, per_joule = energy_unit(name)
    value = reciprocal(energy.j_per_unit) if per_joule else energy.j_per_unit
    return Outcome(value, energy.kind, energy.domains) if value is not None else None


def _training_outcome(trial: TrialRecord, name: str, objective: Objective) -> Outcome | None:
    """Training is measured once, over all its epochs: a value without interval."""
    found = training_energy(trial.windows, objective.domains or ())
    if found is None:
        return None
    _, per_joule = energy_unit(name)
    return Outcome(point(1 / found.j_per_unit if per_joule else found.j_per_unit), found.kind, found.domains)


def reciprocal(value: Estimate) -> Estimate | None:
    """1/x of a positive estimate; its standard error by the delta method, its interval by inverting the ends.

    None if the value is not positive; without an upper end if the interval reaches zero.
    """
    if value.mean <= 0:
        return None
    sem = None if value.sem is None else value.sem / value.mean**2
    low = None if value.high is None else 1 / value.high
    high = None if value.low is None or value.low <= 0 else 1 / value.low
    return Estimate(1 / value.mean, value.n, sem, low if high is not None else None, high, value.varied)


def idle_windows(trials: Iterable[TrialRecord]) -> list[Window]:
    """The run's idle baseline."""
    return [w for w in trial_windows(trials) if w.phase == "idle"]


def configurations(task: Task, trials: Sequence[TrialRecord]) -> list[Configuration]:
    """Trials grouped by configuration, in order of first appearance.

    A configuration run more than once has means and intervals between its runs; one run once keeps its
    within-run interval.
    """
    idle = idle_windows(trials)
    groups: dict[str, list[tuple[TrialRecord, dict[str, Outcome]]]] = {}
    for trial in trials:
        key = configuration_key(task, trial.params)
        groups.setdefault(key, []).append((trial, trial_outcomes(task, trial, idle)))
    found = []
    for key, members in groups.items():
        done = [outcomes for _, outcomes in members if outcomes]
        merged = {name: _between_runs([o[name] for o in done]) for name in task.objectives} if done else {}
        found.append(Configuration(key, members[0][0].params, tuple(t for t, _ in members), merged))
    return found


def _between_runs(outcomes: Sequence[Outcome]) -> Outcome:
    if len(outcomes) == 1:
        return outcomes[0]
    value = estimate([o.value.mean for o in outcomes], "runs of the configuration")
    kinds = {o.kind for o in outcomes}
    kind: Kind | None = None if kinds == {None} else "measured" if kinds == {"measured"} else "estimated"
    return Outcome(value, kind, outcomes[0].domains)


def run_to_run_rsd(task: Task, trials: Sequence[TrialRecord]) -> dict[str, float]:
    """Relative standard deviation between runs of one configuration, per energy objective, pooled.

    What a search is told as noise beside each trial's own standard error. Objectives without replicates
    are absent.
    """
    pooled: dict[str, list[tuple[float, int]]] = {}
    idle = idle_windows(trials)
    for configuration in configurations(task, trials):
        done = [o for t in configuration.trials if (o := trial_outcomes(task, t, idle))]
        for name, objective in task.objectives.items():
            values = [o[name].value.mean for o in done]
            if objective.is_energy and len(values) >= 2 and fmean(values) != 0:
                rsd = stdev(values) / abs(fmean(values))
                pooled.setdefault(name, []).append((rsd**2, len(values) - 1))
    return {
        name: math.sqrt(sum(v * dof for v, dof in parts) / sum(dof for _, dof in parts))
        for name, parts in pooled.items()
    }
