"""`joulebench check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from joulebench.errors import InputError


def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Task or profile files; all when absent.")
    ] = None,
) -> None:
    """Check task and hardware profile files.

    Exit code 2 if one of them is broken. Code that a task names as package.module:Class is not looked at.
    """
    from joulebench.spec.catalog import profile_files, task_files

    broken = 0
    for path in paths or [*task_files().values(), *profile_files().values()]:
        try:
            print(f"{path}: ok ({_title(path)})")
        except InputError as error:
            broken = error.exit_code
            print(f"joulebench: {error}", file=sys.stderr)
    if broken:
        raise typer.Exit(broken)


def _title(path: Path) -> str:
    """Title of what a file defines; no code that it names is run.

    Raises:
        InputError: the file is broken.
    """
    from joulebench.spec.catalog import load_file
    from joulebench.spec.task import Task
    from joulebench.studies.base import check_studies

    found = load_file(path)
    if isinstance(found, Task):
        check_studies(found, str(path), own=False)
    return found.title
