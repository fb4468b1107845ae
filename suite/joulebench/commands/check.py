"""Command `joulebench check`: validate task and hardware profile files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from joulebench.errors import InputError


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Task or profile files; default: all of the catalogue."),
    ] = None,
) -> None:
    """Check task and hardware profile files.

    Exit code 2 if one of them is invalid. Code that a task names as package.module:Class is not checked.
    """
    from joulebench.spec.catalog import load_file, profile_files, task_files
    from joulebench.spec.task import Task
    from joulebench.studies.base import check_studies

    exit_code = 0
    for path in paths or [*task_files().values(), *profile_files().values()]:
        try:
            content = load_file(path)  # runs no code that the file names
            if isinstance(content, Task):
                check_studies(content, str(path), own=False)
            print(f"{path}: ok ({content.title})")
        except InputError as error:
            exit_code = error.exit_code
            print(f"joulebench: {error}", file=sys.stderr)
    if exit_code:
        raise typer.Exit(exit_code)
