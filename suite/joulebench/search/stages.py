"""Dispatch of a stage to its search method, and the number of trials of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.errors import InputError, did_you_mean
from joulebench.records.model import TrialRecord
from joulebench.search import bayes, doubling, evolution, samplers
from joulebench.search.samplers import Proposal
from joulebench.search.space import Space
from joulebench.spec.parameters import Params
from joulebench.spec.stage import Stage
from joulebench.spec.task import Task


def propose(
    task: Task, stage: str, trials: Sequence[TrialRecord], seed: int, pending: Sequence[Params] = ()
) -> Proposal | None:
    """The next configuration of a stage; None when its trials are done or its space is exhausted.

    Pure: the same task, records, pending configurations and seed give the same answer, in another process too.
    That is what makes a resumed search go on as the uninterrupted one would have. Every trial of the stage
    takes one of its slots, also where it failed.

    Args:
        pending: configurations of this stage whose trials are not recorded yet.

    Raises:
        InputError: no such stage, or one that cannot be carried out (a grid over floats without levels; a model of
            a logarithm where a value is not positive).
        RuntimeError: the model of a qnehvi stage could not be fitted or evaluated.
    """
    if stage not in task.stages:
        hint = did_you_mean(stage, task.stages)
        raise InputError(f"task '{task.name}' has no stage '{stage}'{hint} (allowed: {', '.join(task.stages)})")
    plan = task.stages[stage]
    own = [trial for trial in trials if trial.stage == stage]
    done = len(own) + len(pending)
    match plan.method:
        case "default":
            return samplers.default(task, plan, done)
        case "points":
            return samplers.points(task, plan, stage, done, seed)
        case "grid":
            return samplers.grid(task, plan, stage, done, seed)
        case "doubling":
            return doubling.doubling(task, plan, own, pending)
    if done >= (plan.trials or 0):
        return None
    space = Space.of(task, plan)
    tried = [*(trial.params for trial in trials), *pending]
    match plan.method:
        case "random":
            return samplers.random(space, stage, done, tried, seed)
        case "sobol":
            return samplers.sobol(space, stage, tried, seed)
        case "nsga2":
            return evolution.nsga2(space, stage, plan, trials, pending, seed)
    # The proposals of one batch rest on what was known when it began, whatever has become known since: so it
    # does not matter whether its trials run one after the other or at once.
    unused = own[done - done % (plan.batch or 1) :]
    known = [trial for trial in trials if all(trial is not other for other in unused)]
    waiting = [*(trial.params for trial in unused), *pending]
    return bayes.qnehvi(space, stage, known, waiting, len(trials) + len(pending), seed)


def known_and_pending(
    task: Task, stage: str, trials: Sequence[TrialRecord], pending: Mapping[int, Params]
) -> tuple[Sequence[TrialRecord], list[Params]] | None:
    """Trials and pending configurations that the next proposal may use; None if it has to wait for more.

    So that a search proposes the same on one machine and on many, where its method fixes what it uses: the
    proposals of a batch (qnehvi with `batch`) and of a generation (nsga2) rest on all trials before it and on none
    in it, and a doubling on every trial before. qnehvi without `batch` proposes from whatever is known by now.

    Args:
        trials: those recorded, in the order of their numbers.
        pending: configurations of this stage under evaluation, by the number of their trial.
    """
    plan = task.stages[stage]
    if not pending or plan.method in ("default", "points", "grid", "random", "sobol"):
        return trials, list(pending.values())
    if plan.method == "doubling":
        return None
    done = {trial.trial: trial.params for trial in trials if trial.stage == stage}
    slots = sorted([*done, *pending])
    size = evolution.population(plan) if plan.method == "nsga2" else plan.batch or 1
    current = slots[len(slots) - len(slots) % size :]
    if plan.batch is None and plan.method == "qnehvi":
        return trials, [pending[n] for n in slots if n in pending]
    if any(number not in current for number in pending):
        return None
    if plan.method == "nsga2":
        return trials, list(pending.values())
    before = [trial for trial in trials if trial.trial not in current]
    return before, [pending[n] if n in pending else done[n] for n in current]


def prepare(task: Task) -> dict[str, Any]:
    """Import what the task's stages need, so that the first proposal is not charged for it.

    Returns versions and settings of the search for the run's manifest; empty where no stage has a model.
    """
    settings: dict[str, Any] = {}
    methods = {stage.method for stage in task.stages.values()}
    if "nsga2" in methods:
        settings |= evolution.prepare()
    if "qnehvi" in methods:
        settings |= bayes.prepare(task)
    return settings


def planned_trials(task: Task) -> int:
    """Trials of all stages together; fewer are run where a search exhausts its space or a doubling fails.

    Raises:
        InputError: a stage that cannot be carried out, as a grid over a float parameter without levels.
    """
    return sum(_planned(task, stage) for stage in task.stages.values())


def _planned(task: Task, stage: Stage) -> int:
    match stage.method:
        case "default":
            return stage.repeats or 1
        case "points":
            return len(stage.points or ()) * (stage.repeats or 1)
        case "grid":
            return samplers.grid_size(task, stage)
        case "doubling":
            return doubling.planned(task, stage)
    size = Space.of(task, stage).size
    return (stage.trials or 0) if size is None else min(stage.trials or 0, size)
