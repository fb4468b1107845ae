"""Training data of the model: one observation a configuration, with its noise. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from joulebench.errors import InputError
from joulebench.records.model import TrialRecord, Window
from joulebench.results.outcome import (
    Configuration,
    Outcome,
    idle_windows,
    run_to_run,
    trial_constraints,
    trial_outcomes,
)
from joulebench.results.outcome import configurations as grouped
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate

#: What became of a trial says whether its configuration works at all; an invalid measurement says nothing.
REFUSED = ("oom", "failed", "infeasible")


@dataclass(frozen=True)
class Value:
    """A mean and its variance; None: the model is to infer the noise."""

    mean: float
    variance: float | None


@dataclass(frozen=True)
class Observation:
    """One configuration: what was measured of it, or that it does not run."""

    params: Params
    objectives: tuple[Value, ...]  # in the task's order; empty where no trial of the configuration has them
    constraints: tuple[Value | None, ...]  # what the task bounds, in its order; None: not known
    memory_bytes: float | None  # the peak, where memory is modelled; of what ran out of it a lower bound
    refused: bool  # does not run, for another reason than memory where that is modelled
    feasible: bool  # has values and breaks no bound

    @property
    def means(self) -> tuple[float, ...]:
        return tuple(value.mean for value in self.objectives)


@dataclass(frozen=True)
class Observations:
    """All that is known, in order of first appearance; `memory_limit_bytes` where memory is modelled."""

    seen: tuple[Observation, ...]
    memory_limit_bytes: float | None

    @property
    def usable(self) -> list[Observation]:
        """Those with objective values."""
        return [o for o in self.seen if o.objectives]

    @property
    def feasible(self) -> list[Observation]:
        """Those that may be on the frontier; if there are none yet, all with objective values."""
        return [o for o in self.seen if o.feasible] or self.usable


def observations(task: Task, trials: Sequence[TrialRecord]) -> Observations:
    """Observations of the configurations that have objective values or failed.

    Replicates are merged: their mean, and the variance

        Σ (sem_i² + (rsd · mean_i)²) / k²

    over the k runs, where sem_i is a run's own standard error and rsd, for energy objectives and rates, the
    relative standard deviation between runs of one configuration (`run_to_run`). Where a run has neither, as an
    accuracy without one, the variance is None.

    Memory is modelled once a trial ran out of it, where the limit is known (the smallest that any trial
    recorded, or the largest peak of one that ran) and the peak of at least two that did not. What ran out counts
    with the larger of its own figure (held and asked for) and the limit: a lower bound of what it needs. Where
    memory is not modelled, running out of it is a refusal like any other.

    By the task's rule `on_oom = "zero"`, a configuration that ran out of memory has the value 0, exactly, in
    every objective instead.

    Raises:
        InputError: a value that is not positive, of an objective on a log scale.
    """
    idle, groups = idle_windows(trials, task.protocol), grouped(task, trials)
    spreads = run_to_run(task, trials, groups)
    varying = {name for name, o in task.objectives.items() if o.is_energy or o.is_rate}
    rsd = {name: spread.sd for name, spread in spreads.items() if name in varying}
    limit = _memory_limit(task, trials)
    merged = [_observation(task, group, idle, rsd, limit) for group in groups]
    _check_logarithms(task, merged)
    return Observations(tuple(o for o in merged if o.objectives or o.refused or o.memory_bytes), limit)


def _check_logarithms(task: Task, every: Sequence[Observation]) -> None:
    for position, (name, objective) in enumerate(task.objectives.items()):
        low = [o for o in every if o.objectives and o.means[position] <= 0]
        if low and objective.scale == "log":
            raise InputError(
                f"task '{task.name}': objectives.{name}.scale: 'log' needs values above 0, but {low[0].params} has "
                f"{low[0].means[position]:g}; take scale = 'linear' (finished trials are kept)"
            )


def _observation(
    task: Task, group: Configuration, idle: Sequence[Window], rsd: Mapping[str, float], limit: float | None
) -> Observation:
    runs = [o for t in group.trials if (o := trial_outcomes(task, t, idle))]
    bounded = [trial_constraints(task, t, idle) for t in group.trials]
    statuses = {t.status for t in group.trials}
    objectives = tuple(_merge([run[n] for run in runs], rsd.get(n)) for n in task.objectives) if runs else ()
    constraints = tuple(
        _merge(values, rsd.get(n)) if (values := [b[n] for b in bounded if n in b]) else None
        for n in task.outcome_constraints
    )
    ran_out = not runs and "oom" in statuses
    if ran_out and task.on_oom == "zero":
        zeros = tuple(Value(0.0, 0.0) for _ in task.objectives)
        return Observation(group.params, zeros, constraints, None, refused=False, feasible=False)
    memory = _memory(group, limit, ran_out)
    others = statuses & set(REFUSED) - ({"oom"} if memory is not None else set())
    return Observation(
        group.params, objectives, constraints, memory, not runs and bool(others), bool(runs) and group.feasible
    )


def _memory_limit(task: Task, trials: Sequence[TrialRecord]) -> float | None:
    """The smallest limit on record, where there is reason and are data to model memory; else None."""
    if task.on_oom == "zero" or not any(t.status == "oom" for t in trials):
        return None
    known = [t for t in trials if t.status == "ok" and t.costs.peak_memory_bytes]
    limits = [t.costs.memory_limit_bytes for t in trials if t.costs.memory_limit_bytes]
    if not limits or len(known) < 2:
        return None
    return float(max(min(limits), *(t.costs.peak_memory_bytes or 0 for t in known)))  # what ran, fits


def _memory(group: Configuration, limit: float | None, ran_out: bool) -> float | None:
    if limit is None:
        return None
    status = "oom" if ran_out else "ok"
    peaks = [t.costs.peak_memory_bytes for t in group.trials if t.status == status and t.costs.peak_memory_bytes]
    if ran_out:
        return max([limit, *map(float, peaks)])
    return float(max(peaks)) if peaks else None


def _merge(runs: Sequence[Outcome], rsd: float | None) -> Value:
    values = [run.value for run in runs]
    parts = [_variance(v, rsd) for v in values]
    mean = fmean(v.mean for v in values)
    if any(part is None for part in parts):
        return Value(mean, None)
    return Value(mean, math.fsum(part or 0.0 for part in parts) / len(parts) ** 2)


def _variance(value: Estimate, rsd: float | None) -> float | None:
    if value.sem is None and rsd is None:
        return None
    return (value.sem or 0.0) ** 2 + ((rsd or 0.0) * value.mean) ** 2
