"""Progress events of a run, and the observers that receive them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from joulebench.records.folder import RunFolder


@dataclass(frozen=True)
class Event:
    """A progress message; `done` of `total` trials or items, 0 where unknown."""

    kind: str  # note, data, trial, epoch, result, score
    text: str
    done: int = 0
    total: int = 0
    folder: RunFolder | None = None  # of a result: the run's, where its record is


Observer = Callable[[Event], None]


def silent(_: Event) -> None:
    """Ignore the event."""
