"""A run before it starts: names resolved, budget merged, values fixed; nothing is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite import catalog
from suite.errors import InputError
from suite.hardware import HardwareProfile, Host, check_profile, choose_profile, detect_host
from suite.outcome import configurations
from suite.record import RunFolder
from suite.task import Stage, Task, Value

QUICK, STANDARD = "quick", "standard"


@dataclass(frozen=True)
class Plan:
    """A run before it starts: everything that is chosen, nothing that is measured."""

    task: Task
    budget: str | None
    profile: HardwareProfile
    host: Host
    seed: int
    data_path: Path | None = None
    replay: str | None = None
    trials_from: str | None = None


def choose_budget(task: Task, budget: str | None, host: Host) -> str | None:
    """The budget asked for; else standard with an accelerator and quick without; None if the task has none."""
    if budget is not None or not task.budgets:
        return budget
    preferred = STANDARD if host.has_accelerator else QUICK
    return preferred if preferred in task.budgets else None


def plan(
    task: str | Task,
    *,
    budget: str | None = None,
    hardware: str | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    overrides: dict[str, Value] | None = None,
    replay: str | None = None,
    trials_from: str | Path | None = None,
) -> Plan:
    """Resolve names and merge the budget.

    Raises:
        InputError: an unknown task, budget, profile or parameter, or a profile that is not this host's.
    """
    host = detect_host()
    if hardware is None:
        profile = choose_profile(catalog.all_profiles(), host)
    else:
        profile = catalog.find_profile(hardware)
        check_profile(profile, host)
    found = catalog.find_task(task) if isinstance(task, str) else task
    chosen = choose_budget(found, budget, host)
    merged = _with_values(found.with_budget(chosen), overrides or {})
    if trials_from is not None:
        merged = _with_trials_of(merged, RunFolder.open(Path(trials_from)))
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed: must lie within 0 … {2**31 - 1} (got {seed})")
    return Plan(
        merged,
        chosen,
        profile,
        host,
        seed,
        Path(data) if data is not None else None,
        replay,
        str(trials_from) if trials_from is not None else None,
    )


def _with_values(task: Task, values: dict[str, Value]) -> Task:
    """The task with parameters fixed to the values given by hand."""
    task.resolve(values)
    fixed = {n: {"type": "fixed", "value": v, "scope": task.parameters[n].scope} for n, v in values.items()}
    data = task.model_dump(mode="json")
    data["parameters"] |= fixed
    for stage in data["stages"].values():
        if stage["vary"] is not None:
            stage["vary"] = [name for name in stage["vary"] if name not in fixed]
    return Task.model_validate(data)


def _with_trials_of(task: Task, other: RunFolder) -> Task:
    """The task with one stage: the configurations another run measured, so that two machines compare."""
    theirs = other.task()
    if theirs.workload != task.workload:
        raise InputError(f"--trials-from: {other.path} ran workload '{theirs.workload}', not '{task.workload}'")
    points = []
    for configuration in configurations(theirs, other.trials()):
        if configuration.complete:
            own = {n: v for n, v in configuration.params.items() if theirs.parameters[n].scope == "task"}
            points.append(task.resolve(own))
    if not points:
        raise InputError(f"--trials-from: {other.path} has no finished trial")
    return task.model_copy(update={"stages": {"given": Stage(method="points", points=tuple(points))}})
