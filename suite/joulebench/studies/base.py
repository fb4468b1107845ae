"""The contract of a study: one question, asked of a run's records, and the section of the report that answers it.

A study that ships is a folder `joulebench/studies/<name>/`: what is computed in `analysis.py`, its class and what
is shown in `section.py`. A user's own is any subclass of `Study` that a task names as `package.module:Class`, or an
entry point in the group `joulebench.studies`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from joulebench.errors import InputError, described
from joulebench.spec.registry import STUDIES, is_own
from joulebench.spec.task import FRONTIER, Task

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run

R = TypeVar("R")

NEEDS_ENERGY = "needs an energy objective of a phase other than train"


class Study(ABC, Generic[R]):
    """One question about a run; `R` is what `analyse` computes and `section` shows."""

    #: The heading's id and the stem of the section's files: lower-case letters, digits and `_`.
    name: ClassVar[str]

    def needs(self, task: Task) -> str | None:
        """Why the study can say nothing of a task ("needs …"), or None if it can. Default: None."""
        return None

    @abstractmethod
    def analyse(self, run: Run) -> R | None:
        """Compute the result from the records; None if they allow none."""

    @abstractmethod
    def section(self, result: R, run: Run) -> Section:
        """Write the section of the report that shows `result`."""


_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


#: Stems of files that a run's folder has already.
_TAKEN = frozenset({"frontier", "wall", "report", "manifest", "overlay", "comparison"})


def load_study(name: str) -> Study[Any]:
    """The study behind a name that ships, an entry point, or a user's own `package.module:Class`.

    Raises:
        InputError: no such study, module or class, it is not a `Study`, or its own name cannot be a file's.
    """
    study = _made(name)
    own = getattr(type(study), "name", None)
    if not isinstance(own, str) or not _NAME.fullmatch(own):
        raise InputError(f"study: '{name}': its name has to be lower-case letters, digits and _ (got {own!r})")
    if own in _TAKEN or own.startswith("study_"):
        raise InputError(f"study: '{name}': its name '{own}' is taken by the report itself; choose another")
    if own in STUDIES.shipped and type(study).__module__ != f"joulebench.studies.{own}.section":
        raise InputError(f"study: '{name}': its name '{own}' is that of a study which ships with joulebench")
    return study


def _made(name: str) -> Study[Any]:
    if name == FRONTIER:
        raise InputError(f"study: '{name}' is the report's own part; it is named in a task's analyses alone")
    kind = STUDIES.load(name, base=Study)
    try:
        study: Study[Any] = kind()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a method is missing, or it asks for arguments
        raise InputError(f"study: '{name}' cannot be made: {described(error)}") from None
    return study


def needs(name: str, task: Task) -> str | None:
    """Why a study can say nothing of a task, or None.

    Raises:
        InputError: as `load_study`, or the study cannot say.
    """
    study = load_study(name)
    try:
        why = study.needs(task)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"study: '{name}' cannot say what it needs: {described(error)}") from None
    if not (why is None or isinstance(why, str)):
        raise InputError(f"study: '{name}': needs() has to return text or None (got {type(why).__name__})")
    return why


def check_studies(task: Task, origin: str, own: bool = True) -> None:
    """Refuse a task that names a study which could say nothing of it; the user's own are imported if `own`.

    Args:
        origin: the task's file or name, for messages.

    Raises:
        InputError: as `load_study`, or what a study needs and the task has not.
    """
    for name in task.analyses:
        if name != FRONTIER and (own or not is_own(name)):
            why = needs(name, task)
            if why is not None:
                raise InputError(f"{origin}: analyses: '{name}' {why}")
