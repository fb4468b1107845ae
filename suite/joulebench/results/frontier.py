"""Pareto frontier of any number of objectives, and its hypervolume. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from joulebench.records.model import TrialRecord
from joulebench.results.outcome import Configuration, configurations
from joulebench.spec.task import Task

Goal = Literal["maximize", "minimize"]
Array = NDArray[np.float64]

#: Exact hypervolume costs n^(d-2); beyond this many objectives a run's worth of them would take hours.
MAX_HYPERVOLUME_OBJECTIVES = 5


def non_dominated(points: ArrayLike, goals: Sequence[Goal]) -> NDArray[np.bool_]:
    """Mask of the rows of `points` (n × objectives) that no other row dominates; equal rows share their value.

    Row a dominates row b if it is at least as good in every objective and better in one.

    Raises:
        ValueError: `points` is not n × len(goals), or holds a NaN, which has no order.
    """
    costs = _as_costs(points, goals)
    if costs.shape[1] == 1:  # moocore counts from two objectives on
        mask: NDArray[np.bool_] = costs[:, 0] == costs[:, 0].min(initial=np.inf)
        return mask
    if len(costs) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(costs, keep_weakly=True), dtype=bool)


def hypervolume(points: ArrayLike, reference: ArrayLike, goals: Sequence[Goal]) -> float:
    """Volume dominated by `points` and bounded by `reference`, in the product of the columns' units.

    A point that is not better than the reference in every objective adds nothing. Of a task's own values, on the
    scales that it states: `task_hypervolume`.

    Raises:
        ValueError: shapes do not fit, or a NaN.
    """
    costs = _as_costs(points, goals)
    bound = _as_costs(np.atleast_2d(np.asarray(reference, dtype=float)), goals)[0]
    better = costs[(costs < bound).all(axis=1)]
    if len(better) == 0:
        return 0.0
    if costs.shape[1] == 1:
        return float(bound[0] - better[:, 0].min())
    return float(moocore.hypervolume(better, ref=bound))


def coordinates(task: Task, values: ArrayLike) -> Array:
    """Objective values (n × objectives) as the hypervolume counts them. Scales are applied here and nowhere else.

    A value counts as it is or, with `scale = "log"`, as its natural logarithm: from a reference r, a value v then
    spans ln(v / r) where more is better and ln(r / v) where less is. That is a ratio, in nats: no unit changes it,
    and doubling the efficiency of what is thrifty already adds no more than doubling that of anything else. A value
    that is not positive is -inf.
    """
    counted = np.array(values, dtype=float).reshape(-1, len(task.objectives))
    for column, objective in enumerate(task.objectives.values()):
        if objective.scale == "log":
            with np.errstate(divide="ignore"):
                counted[:, column] = np.log(np.maximum(counted[:, column], 0.0))
    return counted


def reference_point(task: Task) -> Array | None:
    """The references as `coordinates`; None where an objective has none, or there are more than
    `MAX_HYPERVOLUME_OBJECTIVES` of them."""
    stated = [o.reference for o in task.objectives.values() if o.reference is not None]
    if len(stated) < len(task.objectives) or len(stated) > MAX_HYPERVOLUME_OBJECTIVES:
        return None
    point: Array = coordinates(task, stated)[0]
    return point


def task_hypervolume(task: Task, values: ArrayLike) -> float | None:
    """Hypervolume of objective values (n × objectives) from the task's references, each objective on its scale.

    Two of them compare only where goals, references and scales are the same. None without a `reference_point`, or
    with a value to be minimised that a log scale does not reach, as it is not positive. (One to be maximised is
    merely no better than the reference.)
    """
    bound, goals, points = reference_point(task), objective_goals(task), coordinates(task, values)
    if bound is None or np.isneginf(points[:, [goal == "minimize" for goal in goals]]).any():
        return None
    return hypervolume(points, bound, goals)


def frontier(task: Task, every: Sequence[Configuration]) -> list[Configuration]:
    """Non-dominated complete configurations, best in the first objective first.

    Without those that break a constraint or are not better than every reference: a model that guesses is no
    trade-off, however little it takes. Once there are confirmed configurations, of those alone: the others' values
    have been chosen for being good. Ties go by the further objectives, then by the
    configuration's key, so the order does not depend on the order of trials. With one objective: the best.
    """
    complete = candidates(task, every)
    if not complete:
        return []
    goals, points = objective_goals(task), objective_values(task, complete)
    costs = _as_costs(points, goals)
    kept = np.flatnonzero(non_dominated(points, goals))
    order = sorted(kept, key=lambda i: (*costs[i], complete[i].key))
    return [complete[i] for i in order]


def candidates(task: Task, every: Sequence[Configuration]) -> list[Configuration]:
    """Configurations that may be on the frontier: complete, feasible, better than every reference, and confirmed
    where any is."""
    complete = [c for c in every if c.complete and c.feasible and beats_reference(task, c)]
    return [c for c in complete if c.confirmed] if any(c.confirmed for c in every) else complete


def beats_reference(task: Task, configuration: Configuration) -> bool:
    """Whether a complete configuration is better than the reference in every objective that has one."""
    for name, objective in task.objectives.items():
        if objective.reference is None:
            continue
        gain = configuration.outcomes[name].value.mean - objective.reference
        if (gain if objective.goal == "maximize" else -gain) <= 0:
            return False
    return True


def hypervolume_by_trial(
    task: Task, trials: Sequence[TrialRecord], every: Sequence[Configuration] | None = None
) -> list[float | None]:
    """Hypervolume after each trial, in the order given; it never falls.

    A configuration counts with its final value (the mean of its runs) from its first trial on, so the last
    number is the frontier's. All None where `task_hypervolume` is. `every` are the trials' configurations, if
    known.
    """
    unknown: list[float | None] = [None] * len(trials)
    if reference_point(task) is None:
        return unknown
    goals = objective_goals(task)
    every = configurations(task, trials) if every is None else every
    key_of = {id(trial): c.key for c in every for trial in c.trials}
    confirmed = any(c.confirmed for c in every)
    pending = {c.key: c for c in every if c.complete and c.feasible and (c.confirmed or not confirmed)}
    front, volume, volumes = np.empty((0, len(goals))), 0.0, list[float | None]()
    for trial in trials:
        new = pending.pop(key_of[id(trial)], None)
        if new is not None:
            grown = np.vstack([front, objective_values(task, [new])])
            mask = non_dominated(grown, goals)
            if mask[-1]:  # a dominated newcomer changes nothing
                front = grown[mask]
                reached = task_hypervolume(task, front)
                if reached is None:
                    return unknown
                volume = max(volume, reached)
        volumes.append(volume)
    return volumes


def objective_goals(task: Task) -> list[Goal]:
    """The objectives' goals, in the task's order."""
    return [o.goal for o in task.objectives.values()]


def objective_values(task: Task, complete: Sequence[Configuration]) -> Array:
    """Mean objective values, one row a configuration, columns in the task's order."""
    rows = [[c.outcomes[name].value.mean for name in task.objectives] for c in complete]
    return np.asarray(rows, dtype=float).reshape(len(complete), len(task.objectives))


def _as_costs(points: ArrayLike, goals: Sequence[Goal]) -> Array:
    """`points` with the sign of maximised columns changed, so that less is better."""
    values = np.asarray(points, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(goals) or not goals:
        raise ValueError(f"points must be n × {len(goals)}, one column a goal (got shape {values.shape})")
    if np.isnan(values).any():
        raise ValueError(f"row {int(np.isnan(values).any(axis=1).argmax())} of points holds a NaN")
    signs = np.array([-1.0 if goal == "maximize" else 1.0 for goal in goals])
    costs: Array = values * signs
    return costs
