"""Progress events of a run, and the observers that receive them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """A progress message; `done` of `total` trials or items, 0 where unknown."""

    kind: str  # note, data, trial, epoch, result, score
    text: str
    done: int = 0
    total: int = 0


Observer = Callable[[Event], None]


def silent(_: Event) -> None:
    """Ignore the event."""
