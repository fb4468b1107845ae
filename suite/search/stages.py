"""Which method proposes for which stage, and how many trials a task has."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from suite.errors import InputError, did_you_mean
from suite.record import TrialRecord
from suite.search import bayes, samplers
from suite.search.samplers import Proposal
from suite.search.space import Space
from suite.task import Stage, Task


def propose(task: Task, stage: str, trials: Sequence[TrialRecord], seed: int) -> Proposal | None:
    """The next configuration of a stage; None when its trials are done or its space is exhausted.

    Pure: the same task, records and seed give the same answer, in another process too. That is what makes a
    resumed search go on as the uninterrupted one would have. Every trial of the stage takes one of its
    slots, whatever became of it.

    Raises:
        InputError: no such stage, or one that cannot be carried out (a grid over floats without levels).
        RuntimeError: the model of a qnehvi stage could not be fitted or evaluated.
    """
    if stage not in task.stages:
        hint = did_you_mean(stage, task.stages)
        raise InputError(f"task '{task.name}' has no stage '{stage}'{hint} (allowed: {', '.join(task.stages)})")
    plan = task.stages[stage]
    done = sum(1 for trial in trials if trial.stage == stage)
    if plan.method == "default":
        return samplers.default(task, plan, done)
    if plan.method == "points":
        return samplers.points(task, plan, done)
    if plan.method == "grid":
        return samplers.grid(task, plan, done)
    return _search(task, stage, plan, trials, done, seed)


def _search(
    task: Task, name: str, plan: Stage, trials: Sequence[TrialRecord], done: int, seed: int
) -> Proposal | None:
    if done >= (plan.trials or 0):
        return None
    space = Space.of(task, plan)
    tried = [trial.params for trial in trials]
    if plan.method == "random":
        return samplers.random(space, name, done, tried, seed)
    if plan.method == "sobol":
        return samplers.sobol(space, name, tried, seed)
    return bayes.qnehvi(space, name, trials, seed)


def prepare(task: Task) -> dict[str, Any]:
    """Import what the task's stages need, so that the first proposal is not charged for it.

    Returns versions and settings of the search for the run's manifest; empty where no stage has a model.
    """
    if any(stage.method == "qnehvi" for stage in task.stages.values()):
        return bayes.prepare(task)
    return {}


def planned_trials(task: Task) -> int:
    """Trials of all stages together; fewer are run where a search exhausts its space.

    Raises:
        InputError: a grid over a float parameter without levels.
    """
    return sum(_planned(task, stage) for stage in task.stages.values())


def _planned(task: Task, stage: Stage) -> int:
    if stage.method == "default":
        return stage.repeats or 1
    if stage.method == "points":
        return len(stage.points or ()) * (stage.repeats or 1)
    if stage.method == "grid":
        return prod(map(len, samplers.grid_axes(task, stage).values()))
    size = Space.of(task, stage).size
    return (stage.trials or 0) if size is None else min(stage.trials or 0, size)
