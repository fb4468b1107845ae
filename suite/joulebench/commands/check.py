"""Command `joulebench check`: validate task and hardware profile files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.commands.printing import say
from joulebench.errors import InputError

if TYPE_CHECKING:
    from joulebench.spec.task import Task


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Task or profile files; default: all of the catalogue."),
    ] = None,
) -> None:
    """Check task and hardware profile files.

    Exit code 2 if one of them is invalid. Of a FILE that is a task the workload is asked, too, what it refuses of
    options and parameters. Code that a task names as package.module:Class is not checked.
    """
    from joulebench.search.space import too_wide
    from joulebench.spec.catalog import load_file, profile_files, task_files
    from joulebench.spec.registry import is_own
    from joulebench.spec.task import Task
    from joulebench.studies.base import check_studies

    exit_code = 0
    for path in paths or [*task_files().values(), *profile_files().values()]:
        try:
            content = load_file(path)  # runs no code that the file names
            if isinstance(content, Task):
                check_studies(content, str(path), own=False)
                if paths and not is_own(content.workload):  # loads torch, for which the catalogue does not wait
                    _check_workload(content, path)
            say(f"{path}: ok ({content.title})")
            if isinstance(content, Task) and (warning := too_wide(content)):
                print(f"{path}: {warning}")
        except InputError as error:
            exit_code = error.exit_code
            print(f"joulebench: {error}", file=sys.stderr)
    if exit_code:
        raise typer.Exit(exit_code)


def _check_workload(task: Task, path: Path) -> None:
    """Have the workload check a task, with each of its budgets.

    Raises:
        InputError: what it refuses.
    """
    from joulebench.workloads.base import workload_class

    try:
        for budget in (None, *task.budgets):
            workload_class(task.workload).check_task(task.with_budget(budget))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
