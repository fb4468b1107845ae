"""Copies of a user's own modules and tables, which Ray ships to every node (its runtime environment)."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from joulebench.runner.own_code import own_names
from joulebench.runner.program_code import refuse_elsewhere
from joulebench.spec.registry import import_object
from joulebench.spec.task import Task
from joulebench.workloads.base import workload_class
from joulebench.workloads.rows import SHIPPED_TABLES, find_table

_PACKAGE = Path(__file__).parents[1]


@contextlib.contextmanager
def shipped_code(task: Task, meters: Sequence[str], folders: Sequence[Path]) -> Iterator[Path | None]:
    """Copy what the task needs beside joulebench into a temporary folder; None if it needs nothing.

    That is: modules and whole packages from the current folder and from `folders`, as far as what the task and
    `meters` name has imported them by now, and the table it reads.

    Raises:
        InputError: one of the names cannot be imported.
    """
    sources = {**_modules(task, meters, folders), **_table(task)}
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


def _modules(task: Task, meters: Sequence[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Files and package folders of the user's own imported modules, by name."""
    refuse_elsewhere(own_names(task, meters), "--ray")
    workload_class(task.workload)
    for name, registry in own_names(task, meters).items():
        import_object(name, "options") if registry is None else registry.load(name)
    roots = {folder.resolve() for folder in (Path.cwd(), *folders)}
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
