"""Interface of a study: an analysis of a run's records and the section of the report that shows it.

A shipped study is a folder `joulebench/studies/<name>/`: `analysis.py` computes, `section.py` has the `Study` class
and writes the section. A user's own study is any subclass of `Study` that a task names as `package.module:Class`,
or an entry point in the group `joulebench.studies`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from joulebench.errors import InputError, described
from joulebench.spec.parameters import Params
from joulebench.spec.registry import STUDIES, is_own
from joulebench.spec.task import FRONTIER, Task

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run

R = TypeVar("R")

NEEDS_ENERGY = "needs an energy objective of a phase other than train"


class Study(ABC, Generic[R]):
    """Analysis of a run; `R` is the type of its result."""

    #: Id of the heading and stem of the section's files: lower-case letters, digits and `_`.
    name: ClassVar[str]

    def needs(self, task: Task) -> str | None:
        """Say what the study requires that the task lacks ("needs …"); None if nothing. Default: None."""
        return None

    def fits(self, run: Run) -> bool:
        """Whether a report shows the study of its own accord, where it does so at all (`FITTING`). Default: yes."""
        return True

    @abstractmethod
    def analyse(self, run: Run) -> R | None:
        """Compute the result from the records; None if they do not suffice."""

    def confirms(self, result: R, run: Run) -> Sequence[Params]:
        """Configurations that the conclusion rests on, a few: they are measured again with new seeds, at the end of
        the run (`[confirm]` of the task). Not those of the frontier, which are in any case. Default: none.
        """
        return ()

    @abstractmethod
    def section(self, result: R, run: Run) -> Section:
        """Write the section of the report that shows `result`."""


_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: Stems of a run's other files.
_TAKEN = frozenset({"frontier", "wall", "report", "manifest", "overlay", "comparison"})


def load_study(name: str) -> Study[Any]:
    """Load a study by its shipped name, entry point, or `package.module:Class`.

    Raises:
        InputError: unknown study, module or class, not a `Study`, or its `name` is invalid or taken.
    """
    if name == FRONTIER:
        raise InputError(f"study: '{name}' is part of every report; it is only named in a task's analyses")
    study_class = STUDIES.load(name, base=Study)
    try:
        study: Study[Any] = study_class()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a method is missing, or it takes arguments
        raise InputError(f"study: '{name}' cannot be created: {described(error)}") from None
    stem = getattr(study_class, "name", None)
    if not isinstance(stem, str) or not _NAME.fullmatch(stem):
        raise InputError(f"study: '{name}': name must be lower-case letters, digits and _ (got {stem!r})")
    if stem in _TAKEN or stem.startswith("study_"):
        raise InputError(f"study: '{name}': name '{stem}' is reserved by the report; choose another")
    if stem in STUDIES.shipped and study_class.__module__ != f"joulebench.studies.{stem}.section":
        raise InputError(f"study: '{name}': name '{stem}' is that of a study shipped with joulebench")
    return study


def needs(name: str, task: Task) -> str | None:
    """Say what a study requires that the task lacks; None if nothing.

    Raises:
        InputError: as `load_study`, or `needs()` of the study fails.
    """
    study = load_study(name)
    try:
        why = study.needs(task)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"study: '{name}' needs() failed: {described(error)}") from None
    if not (why is None or isinstance(why, str)):
        raise InputError(f"study: '{name}': needs() must return text or None (got {type(why).__name__})")
    return why


def confirmed_by_studies(run: Run, say: Callable[[str], None]) -> list[Params]:
    """Configurations that the studies of a run's task want confirmed, each once, in the order of `analyses`.

    Args:
        say: called with the reason where a study failed; the others' configurations are confirmed all the same.
    """
    chosen: list[Params] = []
    for name in run.task.analyses:
        if name == FRONTIER:
            continue
        try:
            study = load_study(name)
            if type(study).confirms is Study.confirms or (result := study.analyse(run)) is None:
                continue
            for params in study.confirms(result, run):
                complete = run.task.resolve(params)
                chosen += [] if complete in chosen else [complete]
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's own code
            say(f"study '{name}': what it would confirm is not known: {described(error)}")
    return chosen


def check_studies(task: Task, origin: str, own: bool = True) -> None:
    """Check that a task has what its studies require.

    Args:
        origin: the task's file or name, for messages.
        own: import and check the user's own studies, too.

    Raises:
        InputError: as `load_study`, or a study requires what the task lacks.
    """
    for name in task.analyses:
        if name != FRONTIER and (own or not is_own(name)):
            why = needs(name, task)
            if why is not None:
                raise InputError(f"{origin}: analyses: '{name}' {why}")
