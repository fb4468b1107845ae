"""Sweep that doubles one parameter until a trial fails, then bisects between the values tried. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from joulebench.errors import InputError
from joulebench.records.model import TrialRecord
from joulebench.search.samplers import Proposal
from joulebench.spec.parameters import ChoiceParameter, IntParameter, Params, Value
from joulebench.spec.stage import Stage
from joulebench.spec.task import Task

#: A trial that ended so ends the doubling: larger values need more still.
STOPS = ("oom", "failed", "infeasible")

Number = int | float


def doubling(task: Task, stage: Stage, trials: Sequence[TrialRecord], pending: Sequence[Params]) -> Proposal | None:
    """The next value of the parameter that the stage varies; all others stay at their default.

    First the ladder: the lowest value, then its doubles (of choices, the next that is at least the double), up to
    the highest, or to the first value whose trial runs out of memory or fails. With `between`, then the geometric
    means of neighbours on the ladder so far, in ascending order: √(a·b), rounded, or the choice nearest to it. The
    last lies between the largest value that ran and the one that did not.

    Args:
        trials: those of this stage.
        pending: configurations whose trials are not recorded yet; assumed to succeed.

    Raises:
        InputError: the parameter is no whole number from 1 on, and no choice of ordered numbers above 0.
    """
    name, steps = _name(stage), ladder(task, stage)
    tried = {_number(params[name]) for params in [*(trial.params for trial in trials), *pending]}
    refused = {_number(trial.params[name]) for trial in trials if trial.status in STOPS}
    climbed = [value for value in steps if value in tried]
    ahead = [value for value in steps if value not in tried] if refused.isdisjoint(climbed) else []
    if not ahead and stage.between:
        ahead = [value for value in _between(task, stage, climbed) if value not in tried]
    return Proposal(task.resolve({name: ahead[0]}), "doubling") if ahead else None


def planned(task: Task, stage: Stage) -> int:
    """Number of trials if none fails.

    Raises:
        InputError: as `doubling`.
    """
    steps = ladder(task, stage)
    return len(steps) + (len(_between(task, stage, steps)) if stage.between else 0)


def ladder(task: Task, stage: Stage) -> list[Number]:
    """The values to try, ascending; those that the task does not allow are left out.

    Raises:
        InputError: as `doubling`.
    """
    parameter, steps = task.parameters[_name(stage)], list[Number]()
    match parameter:
        case IntParameter(low=low, high=high) if low >= 1:
            while low <= high:
                steps.append(low)
                low *= 2
        case ChoiceParameter(ordered=True, values=values) if min(map(_number, values)) > 0:
            for value in sorted(map(_number, values)):
                if not steps or value >= 2 * steps[-1]:
                    steps.append(value)
        case _:
            raise InputError(
                f"task '{task.name}': 'doubling' varies a whole number from 1 on or ordered choices above 0,"
                f" which '{_name(stage)}' is not"
            )
    return [value for value in steps if _allowed(task, stage, value)]


def _between(task: Task, stage: Stage, steps: Sequence[Number]) -> list[Number]:
    parameter, middles = task.parameters[_name(stage)], list[Number]()
    for low, high in pairwise(steps):
        halfway = math.sqrt(low * high)
        if isinstance(parameter, ChoiceParameter):
            inside = [v for v in sorted(map(_number, parameter.values)) if low < v < high]
            middles += sorted(inside, key=lambda v: abs(math.log(v / halfway)))[:1]
        elif low < (whole := math.floor(halfway + 0.5)) < high:
            middles.append(whole)
    return [value for value in middles if _allowed(task, stage, value)]


def _allowed(task: Task, stage: Stage, value: Number) -> bool:
    """Whether the task allows this value, and it matters there."""
    params = task.resolve({_name(stage): value})
    return params[_name(stage)] == value and task.allows(params)


def _name(stage: Stage) -> str:
    (name,) = stage.vary or ()
    return name


def _number(value: Value) -> Number:
    assert isinstance(value, int | float)  # whole numbers and ordered choices are
    return value
