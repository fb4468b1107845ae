"""What a run reports while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """What a run reports while it works."""

    kind: str  # note, data, trial, epoch, result, score
    text: str
    done: int = 0
    total: int = 0


Observer = Callable[[Event], None]


def silent(_: Event) -> None:
    """Nobody watches."""
