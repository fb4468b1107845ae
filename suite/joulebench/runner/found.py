"""The frontier of a search, added to a task that compares known models (`joulebench run --found`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.records.model import Found
from joulebench.results.run import Run
from joulebench.runner.own_code import Sources, find_recorded_code
from joulebench.spec.parameters import ChoiceParameter, Value
from joulebench.spec.task import FOUND, MODEL, Task
from joulebench.spec.toml import validate

#: Parameters of training: all models are trained alike, as the comparing task says, whatever the search did.
TRAINING = frozenset(
    {
        "batch_size", "epochs", "optimizer", "learning_rate", "weight_decay", "momentum", "schedule",
        "schedule_epochs",
    }
)  # fmt: skip


def lacks_found(task: Task) -> bool:
    """Whether a task is to compare found models and has none."""
    points = [point for stage in task.stages.values() for point in stage.points or ()]
    return _stage(task) is not None and not any(point.get(MODEL) == FOUND for point in points)


def _stage(task: Task) -> str | None:
    """The stage whose points found models join; None where the task compares none."""
    model = task.parameters.get(MODEL)
    if not (isinstance(model, ChoiceParameter) and FOUND in model.values):
        return None
    return next((name for name, stage in task.stages.items() if stage.method == "points"), None)


def with_found(
    task: Task, path: Path, sources: Sources, say: Callable[[str], None] | None = None
) -> tuple[Task, Found]:
    """Add the frontier of a recorded search to the points of a task, with the parameters that describe it.

    The search's workload makes the found models; how they are trained is the task's own.

    Args:
        sources: where code of the user's own that the search's records name may be taken from.
        say: called with a line on each name of such code, and on what was taken.

    Raises:
        InputError: no run, no search, one without a frontier or on other data, or a task that compares no models.
    """
    if (stage := _stage(task)) is None:
        raise InputError(
            f"--found: task '{task.name}' compares no found models: that takes a parameter '{MODEL}' with the "
            f"value '{FOUND}' and a stage of points, as in known_models"
        )
    folder = RunFolder.open(path)
    search = folder.task()
    _check(task, search, path)
    for line, _ in find_recorded_code(folder, sources):
        if say is not None:
            say(line)
    run = Run.of(folder)
    if not run.frontier:
        raise InputError(f"--found: {path}: the frontier of that run is empty")
    names = [n for n, p in search.parameters.items() if p.scope == "task" and n not in TRAINING]
    data = task.model_dump(mode="json")
    for name in names:
        described = search.parameters[name].model_dump(mode="json")
        data["parameters"][name] = described | {"only_if": f"{MODEL} == '{FOUND}'"}
    by_point: dict[tuple[tuple[str, Value], ...], list[int]] = {}
    for member in run.frontier:  # two that differ in their training alone are one model here
        point = tuple((name, member.params[name]) for name in names)
        by_point.setdefault(point, []).extend(t.trial for t in member.usable)
    points = [{MODEL: FOUND, **dict(point)} for point in by_point]
    data["stages"][stage]["points"] = [*data["stages"][stage]["points"], *points]
    data["options"] |= {"found": search.workload, "found_options": search.options}
    manifest = run.manifest
    found = Found(
        path=str(path),
        task=f"{search.name}, {manifest.budget or 'no budget'}",
        digest=manifest.run_digest,
        confirmed=run.confirmation is not None,
        search_split=search.dataset.search_split if search.dataset else "none",
        trials=tuple(tuple(trials) for trials in by_point.values()),
    )
    if say is not None:
        what = "confirmed frontier" if found.confirmed else "frontier, of which nothing is confirmed,"
        say(f"found models: {len(points)} of the {what} of {found.task} ({path})")
    return validate(Task, data, "--found"), found


def _check(task: Task, search: Task, path: Path) -> None:
    """Refuse a run that is no search of image classifiers, or on other data."""
    if not search.has_frontier:
        raise InputError(f"--found: {path}: task '{search.name}' is no search: its analyses name no frontier")
    if taken := [n for n in search.parameters if n in task.parameters and n not in TRAINING]:
        raise InputError(f"--found: {path}: that search varies '{taken[0]}', which task '{task.name}' has too")
    for field in ("name", "shape", "n", "classes"):
        theirs, ours = (getattr(t.dataset, field, None) for t in (search, task))
        if theirs != ours:
            what = "data set" if field == "name" else f"dataset.{field}"
            raise InputError(f"--found: {path}: that run's {what} is {theirs or 'none'}, this task's {ours}")
