"""Copies of a user's own modules and tables, which Ray ships to every node (its runtime environment)."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from joulebench.spec.registry import add_import_folders, import_object
from joulebench.spec.task import Task
from joulebench.workloads.base import workload_class
from joulebench.workloads.rows import SHIPPED_TABLES, find_table

_PACKAGE = Path(__file__).parents[1]


@contextlib.contextmanager
def shipped_code(task: Task, task_file: str | None) -> Iterator[Path | None]:
    """Copy what the task's workload needs beside joulebench into a temporary folder; None if it needs nothing.

    That is: modules and whole packages from the current folder and from beside the task's file, as far as the
    workload has imported them by now, and the table it reads.

    Raises:
        InputError: the workload cannot be imported.
    """
    sources = {**_modules(task, task_file), **_table(task)}
    if not sources:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="joulebench-") as folder:
        for name, source in sources.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        yield Path(folder)


def _modules(task: Task, task_file: str | None) -> dict[str, Path]:
    """Files and package folders of the user's own imported modules, by name."""
    add_import_folders(task_file)
    workload_class(task.workload)
    named = [value for value in task.options.values() if isinstance(value, str)]
    for text in named:
        if ":" in text and text.replace(":", ".").replace(".", "_").isidentifier():  # package.module:name
            import_object(text, "options")
    roots = {Path.cwd().resolve(), *([Path(task_file).resolve().parent] if task_file else [])}
    modules: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or "." in name or name == "__main__":
            continue
        path = Path(file).resolve()
        part = path.parent if path.name == "__init__.py" else path
        if part.parent in roots and part != _PACKAGE:
            modules[part.name] = part
    return modules


def _table(task: Task) -> dict[str, Path]:
    name = task.options.get("csv")
    if not isinstance(name, str) or Path(name).is_absolute():
        return {}
    path = find_table(name)
    return {} if path.is_relative_to(SHIPPED_TABLES.resolve()) else {name: path}
