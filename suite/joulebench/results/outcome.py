"""Objective and constraint values of trials and of configurations, from records. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from joulebench.records.model import Costs, Kind, TrialRecord, Window, combined
from joulebench.results.energy import (
    MAX_VALUE,
    Energy,
    mean_delay,
    phase_energy,
    seconds_per_unit,
    shared_idle_parts,
    with_parts,
)
from joulebench.results.idle import IdleWindows
from joulebench.results.latency import latency
from joulebench.results.phase_runs import training_runs
from joulebench.results.validity import idle_fault, training_fault, valid_windows
from joulebench.spec.objectives import COSTS, Form, Quantity
from joulebench.spec.parameters import Params
from joulebench.spec.task import CONFIRM, Protocol, Task
from joulebench.stats.estimate import (
    NORMAL_975,
    Estimate,
    Part,
    Spread,
    mean_of_runs,
    point,
    pooled_spread,
    reciprocal,
)
from joulebench.stats.intervals import scaled


@dataclass(frozen=True)
class Outcome:
    """Estimate of one objective; for energy with the kind of the joules and their domains."""

    value: Estimate
    kind: Kind | None = None
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """Point of the parameter space with its trials and its objective values."""

    key: str
    params: Params
    trials: tuple[TrialRecord, ...]
    outcomes: dict[str, Outcome]
    constraints: dict[str, Outcome] = field(default_factory=dict)  # values of what the task bounds
    feasible: bool = True  # no known value breaks its bound
    default: bool = False  # the task's default configuration
    confirmed: bool = False  # confirming runs gave it its values, in a confirmation of which a round is complete

    @cached_property
    def confirmations(self) -> tuple[TrialRecord, ...]:
        """Its valid trials that were run to confirm what the search found."""
        return tuple(t for t in self.trials if t.status == "ok" and t.stage == CONFIRM)

    @cached_property
    def usable(self) -> tuple[TrialRecord, ...]:
        """Its valid trials that its values rest on: where it was confirmed, those alone.

        The run that had it chosen may have been lucky. The default was chosen before any run, so all of its count.
        """
        valid = tuple(t for t in self.trials if t.status == "ok")
        return self.confirmations if self.confirmed and not self.default else valid

    @cached_property
    def costs(self) -> Costs:
        """Static costs and memory, over its usable trials."""
        return merged_costs(self.usable)

    @property
    def complete(self) -> bool:
        return bool(self.outcomes)


def merged_costs(trials: Sequence[TrialRecord]) -> Costs:
    """Static costs of one configuration, from the first trial that has them; the highest peak memory."""

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
        uncounted=next((t.costs.uncounted for t in trials if t.costs.uncounted), None),
        train_unsupported_ops=table("train_unsupported_ops"),
        train_uncounted=next((t.costs.train_uncounted for t in trials if t.costs.train_uncounted), None),
    )


def configuration_key(task: Task, params: Params) -> str:
    """Canonical JSON of the parameters that belong to the configuration, not to the device."""
    return json.dumps({n: v for n, v in params.items() if task.parameters[n].scope == "task"}, sort_keys=True)


def trial_energy(
    task: Task, trial: TrialRecord, objective: Quantity, idle: Sequence[Window], delays: int = 0
) -> Energy | None:
    """Energy of the phase a quantity names, in one trial; with `delays`, times delay (`phase_energy`)."""
    if objective.phase is None or objective.domains is None:
        return None
    baseline = idle if objective.basis == "net" else None
    unit = trial.unit.get(objective.phase, "unit")
    return phase_energy(trial.windows, objective.phase, objective.domains, task.protocol, baseline, unit, delays)


def trial_outcomes(task: Task, trial: TrialRecord, idle: Sequence[Window] = ()) -> dict[str, Outcome]:
    """Every objective of a finished trial, or an empty dict if any of them is missing.

    Or if a phase that an objective or a bound names has too few valid windows: whether it keeps the bound is then
    not known.

    `idle` are the run's idle windows, for objectives on a net basis.
    """
    if trial.status != "ok" or any(_lacks_windows(task, trial, phase) for phase in measured_phases(task)):
        return {}
    outcomes: dict[str, Outcome] = {}
    for name, objective in task.objectives.items():
        outcome = _outcome(task, trial, name, objective, idle)
        if outcome is None:
            return {}
        outcomes[name] = outcome
    return outcomes


def measured_phases(task: Task) -> list[str]:
    """The phases, other than training, that the task's objectives and bounds name."""
    quantities = (*task.objectives.values(), *task.outcome_constraints.values())
    return list(dict.fromkeys(q.phase for q in quantities if q.phase and q.phase != "train"))


def needed_windows(task: Task, trial: TrialRecord) -> int:
    """Valid windows that a trial's phase must have."""
    return task.protocol.min_windows if trial.raced else task.protocol.repeats


def _lacks_windows(task: Task, trial: TrialRecord, phase: str) -> bool:
    return len(valid_windows(trial.windows, phase, task.protocol)) < needed_windows(task, trial)


def trial_constraints(task: Task, trial: TrialRecord, idle: Sequence[Window] = ()) -> dict[str, Outcome]:
    """Constrained quantities of a finished trial; one that it does not have is absent."""
    if trial.status != "ok":
        return {}
    outcomes = ((n, _outcome(task, trial, n, c, idle)) for n, c in task.outcome_constraints.items())
    return {name: outcome for name, outcome in outcomes if outcome is not None}


def _outcome(
    task: Task, trial: TrialRecord, name: str, quantity: Quantity, idle: Sequence[Window]
) -> Outcome | None:
    if quantity.is_energy:
        outcome = _energy_outcome(task, trial, name, quantity, idle)
    elif quantity.phase is not None and quantity.quantile is not None:
        value = latency(trial.windows, quantity.phase, quantity.quantile, task.protocol)
        outcome = None if value is None else Outcome(value)
    elif quantity.phase is not None:
        rate = _seconds_per_unit(task, trial, quantity.phase)
        value = None if rate is None else reciprocal(rate)
        outcome = None if value is None else Outcome(value)
    else:
        outcome = plain_outcome(trial, name)
    return outcome if outcome is not None and abs(outcome.value.mean) <= MAX_VALUE else None


def plain_outcome(trial: TrialRecord, name: str) -> Outcome | None:
    """A metric, with its standard error where the workload gave one, or a static cost."""
    value = trial.metrics.get(name)
    if value is None and name in COSTS:
        value = getattr(trial.costs, name)
    if value is None or not abs(value) <= MAX_VALUE:
        return None
    sem = trial.sems.get(name)
    if sem is None:
        return Outcome(point(value))
    half = NORMAL_975 * sem
    stated = "as its source states"
    return Outcome(Estimate(value, 1, sem, value - half, value + half, stated, freedom=math.inf))


def _energy_outcome(
    task: Task, trial: TrialRecord, name: str, objective: Quantity, idle: Sequence[Window]
) -> Outcome | None:
    form = task.energy_form(name)
    if objective.phase == "train":
        return _training_outcome(task, trial, form, objective)
    energy = trial_energy(task, trial, objective, idle, form.delays)
    if energy is None or energy.n < needed_windows(task, trial):
        return None  # fewer valid windows than the protocol asks for are no measurement
    if reaches_zero(energy):
        return None  # not distinguishable from idle: one joule more or less would make it the best of all
    value = _in_form(form, energy)
    if value is not None and objective.share is not None:
        counts = _share(trial, objective.share)
        value = None if counts is None else scaled(value, counts if form.inverse else 1 / counts)
    return Outcome(value, energy.kind, energy.domains) if value is not None else None


def _share(trial: TrialRecord, metric: str) -> float | None:
    """A metric that says which share of a phase's units counts; None where nothing counts."""
    share = trial.metrics.get(metric)
    return share if share is not None and 0 < share <= 1 else None


def reaches_zero(energy: Energy) -> bool:
    """Whether net joules reach 0 within their interval; of a single window, which has none, by themselves."""
    low = energy.mean if energy.n == 1 and energy.low is None else energy.low
    return energy.basis == "net" and (low is None or low <= 0)


def _in_form(form: Form, energy: Estimate) -> Estimate | None:
    """An energy (times delays, where the form has them) as its objective states it."""
    if not form.inverse:
        return energy
    per_j = reciprocal(energy)
    return None if per_j is None or form.scale is None else scaled(per_j, form.scale)


def _training_outcome(task: Task, trial: TrialRecord, form: Form, objective: Quantity) -> Outcome | None:
    """Training is measured once, over all its epochs: a value without interval."""
    trained = training_runs(task.protocol, [trial], objective.domains or ())
    each = None if trained is None else trained.per(trained.units, form.unit)
    if trained is None or each is None:
        return None
    delay_s = trained.seconds.mean / trained.units[0]
    value = _in_form(form, point(each.mean * delay_s**form.delays))
    return None if value is None else Outcome(value, each.kind, each.domains)


def _seconds_per_unit(task: Task, trial: TrialRecord, phase: str) -> Estimate | None:
    """Seconds per unit of a phase's work, or of training: one value, over all epochs."""
    if phase != "train":
        valid = valid_windows(trial.windows, phase, task.protocol)
        return seconds_per_unit(valid) if valid else None
    epochs = [w for w in trial.windows if w.phase == phase]
    units = sum(w.units for w in epochs)
    if not units or any(training_fault(w, task.protocol) for w in epochs):
        return None
    return point(sum(w.duration_s for w in epochs) / units)


def idle_windows(trials: Iterable[TrialRecord], protocol: Protocol) -> IdleWindows:
    """The run's idle windows; those that are no baseline have the fault that says why."""
    return judged_idle((w for trial in trials for w in trial.windows), protocol)


def judged_idle(windows: Iterable[Window], protocol: Protocol) -> IdleWindows:
    """The idle ones among windows; those that are no baseline have the fault that says why."""
    idle = (w for w in windows if w.phase == "idle")
    return IdleWindows(w.model_copy(update={"fault": idle_fault(w, protocol)}) for w in idle)


def configurations(task: Task, trials: Sequence[TrialRecord]) -> list[Configuration]:
    """Trials grouped by configuration, in order of first appearance.

    Values and intervals are those of `mean_of_runs` over the usable trials, with the spread between runs pooled
    over all configurations that were run more than once (`run_to_run`).
    """
    idle = idle_windows(trials, task.protocol)
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(configuration_key(task, trial.params), []).append(trial)
    default = configuration_key(task, task.defaults)
    measured = {id(t): trial_outcomes(task, t, idle) for t in trials}
    rounds = max(sum(t.stage == CONFIRM for t in members) for members in groups.values()) if groups else 0
    # in the midst of the first round, the configuration that happened to come first would be the whole frontier
    counts = rounds >= min(task.confirm.repeats, 2)
    plain = [
        Configuration(
            key,
            members[0].params,
            tuple(members),
            {},
            default=key == default,
            confirmed=counts and any(t.stage == CONFIRM and measured[id(t)] for t in members),
        )
        for key, members in groups.items()
    ]
    spreads = _spreads(task, [[o for t in alike if (o := measured[id(t)])] for alike in replicates(plain)])
    return [_with_values(task, c, [o for t in c.usable if (o := measured[id(t)])], spreads, idle) for c in plain]


def _with_values(
    task: Task,
    plain: Configuration,
    done: Sequence[Mapping[str, Outcome]],
    spreads: Mapping[str, Spread],
    idle: IdleWindows,
) -> Configuration:
    merged = {
        name: _over_runs([o[name] for o in done], spreads.get(name), objective.is_relative)
        for name, objective in task.objectives.items()
        if done
    }
    for name, objective in task.objectives.items():
        if objective.is_energy and objective.basis == "net" and len(done) > 1:
            value = _with_shared_idle(task, plain, name, merged[name].value, idle)
            merged[name] = replace(merged[name], value=value)
    for name, objective in task.objectives.items():
        if objective.share is not None and name in merged:
            merged[name] = replace(
                merged[name], value=_with_share_error(plain, objective.share, merged[name].value)
            )
    bounded = [trial_constraints(task, t, idle) for t in plain.usable]
    known = {
        name: _over_runs(values, None, relative=False)
        for name in task.outcome_constraints
        if (values := [c[name] for c in bounded if name in c])
    }
    feasible = all(task.outcome_constraints[n].met_by(o.value.mean) for n, o in known.items())
    return replace(plain, outcomes=merged, constraints=known, feasible=feasible)


def _with_share_error(plain: Configuration, metric: str, value: Estimate) -> Estimate:
    """A value over a share, with the standard error of the share, once: all runs answer the same questions.

    By the delta method, relative standard errors of a quotient add in squares.
    """
    known = [(t.sems[metric], share) for t in plain.usable if metric in t.sems and (share := _share(t, metric))]
    if not known:
        return value
    relative = fmean(sem / share for sem, share in known)
    return with_parts(value, [Part((relative * value.mean) ** 2, math.inf)], "questions")


def _with_shared_idle(task: Task, plain: Configuration, name: str, value: Estimate, idle: IdleWindows) -> Estimate:
    """A net objective's mean over runs, with the error of the idle power that they share."""
    baselines, form = [], task.energy_form(name)
    for trial in plain.usable:
        if not trial_outcomes(task, trial, idle):
            continue
        energy = trial_energy(task, trial, objective := task.objectives[name], idle)
        windows = valid_windows(trial.windows, objective.phase or "", task.protocol)
        if energy is None or (baseline := idle.baseline(windows[0], energy.domains)) is None:
            continue
        slope = (form.scale or 0.0) * energy.mean**-2 if form.inverse else 1.0  # of 1/E by the delta method
        baselines.append((baseline, slope * mean_delay(windows, form.delays + 1)))
    return with_parts(value, [part for _, part in shared_idle_parts(baselines)], "idle")


def _over_runs(outcomes: Sequence[Outcome], spread: Spread | None, relative: bool) -> Outcome:
    kinds = {o.kind for o in outcomes}
    kind: Kind | None = None if kinds == {None} else combined(kinds)
    value = mean_of_runs([o.value for o in outcomes], spread, None if relative else 1.0)
    return Outcome(value, kind, outcomes[0].domains)


def _spreads(task: Task, measured: Sequence[Sequence[Mapping[str, Outcome]]]) -> dict[str, Spread]:
    """Spread between runs of one configuration, by objective: relative (`is_relative`), else absolute."""
    spreads: dict[str, Spread] = {}
    repeated = [done for done in measured if len(done) >= 2]
    for name, objective in task.objectives.items():
        groups = [[o[name].value.mean for o in done] for done in repeated]
        if objective.is_relative:
            groups = [[v / mean for v in values] for values in groups if (mean := abs(fmean(values)))]
        if (spread := pooled_spread(groups)) is not None:
            spreads[name] = spread
    return spreads


def run_to_run(
    task: Task, trials: Sequence[TrialRecord], every: Sequence[Configuration] | None = None
) -> dict[str, Spread]:
    """Spread between runs of one configuration, by objective, pooled over those run more than once.

    Of energy and latency it is relative to the mean, of others absolute. Objectives without replicates are absent.
    `every` are the trials' configurations, if known.
    """
    idle = idle_windows(trials, task.protocol)
    repeated = replicates(configurations(task, trials) if every is None else every)
    return _spreads(task, [[o for t in alike if (o := trial_outcomes(task, t, idle))] for alike in repeated])


def replicates(every: Sequence[Configuration]) -> list[list[TrialRecord]]:
    """Usable trials that are alike in all parameters, those of the device too, where there are two or more."""
    groups: dict[str, list[TrialRecord]] = {}
    for configuration in every:
        for trial in configuration.usable:
            groups.setdefault(json.dumps(trial.params, sort_keys=True), []).append(trial)
    return [alike for alike in groups.values() if len(alike) >= 2]
