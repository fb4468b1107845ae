"""Lookup of tasks and hardware profiles by name, in this checkout or the installed package."""

from __future__ import annotations

from pathlib import Path

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.hardware import HardwareProfile, load_profile
from joulebench.spec.task import Task, load_task
from joulebench.spec.toml import read_toml

_PACKAGE = Path(__file__).parents[1]


def _folder(name: str) -> Path:
    """`tasks/` beside `suite/` in a checkout, `joulebench/_tasks/` in an installed wheel."""
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / name


def task_files(folder: Path | None = None) -> dict[str, Path]:
    """The task files of the catalogue, by task name."""
    return {path.stem: path for path in sorted((folder or _folder("tasks")).glob("*.toml"))}


def profile_files(folder: Path | None = None) -> dict[str, Path]:
    """The hardware profile files of the catalogue, by name."""
    return {path.stem: path for path in sorted((folder or _folder("hardware_profiles")).glob("*.toml"))}


def find_task(name: str) -> Task:
    """A task by its name in the catalogue, or by the path of its TOML file.

    Raises:
        InputError: no such task (with the nearest name), or its file is broken.
    """
    return load_task(_find(name, task_files(), "task"))


def find_profile(name: str) -> HardwareProfile:
    """A hardware profile by its name in the catalogue, or by the path of its TOML file.

    Raises:
        InputError: no such profile (with the nearest name), or its file is broken.
    """
    return load_profile(_find(name, profile_files(), "hardware profile"))


def all_profiles() -> list[HardwareProfile]:
    """Every profile of the catalogue."""
    return [load_profile(path) for path in profile_files().values()]


def is_path(name: str) -> bool:
    """Whether a task or profile is given as a file rather than by its name in the catalogue."""
    return name.endswith(".toml") or "/" in name


def load_file(path: Path) -> Task | HardwareProfile:
    """Load a task or a hardware profile: a file is a profile if it has `match` or is in the profiles' folder.

    Raises:
        InputError: the file is broken.
    """
    data = read_toml(path)
    among_profiles = path.resolve().parent == _folder("hardware_profiles").resolve()
    if "workload" not in data and ("match" in data or among_profiles):
        return load_profile(path)
    return load_task(path)


def _find(name: str, files: dict[str, Path], what: str) -> Path:
    if is_path(name):
        return Path(name)
    if name not in files:
        allowed = ", ".join(files)
        raise InputError(
            f"no {what} '{name}'{did_you_mean(name, files)} (there are: {allowed}; or give a .toml file)"
        )
    return files[name]
