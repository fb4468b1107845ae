"""Configurations to confirm: what a search found, or an analysis rests on, is to be measured again. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.records.model import TrialRecord
from joulebench.results.frontier import frontier
from joulebench.results.outcome import Configuration
from joulebench.spec.task import CONFIRM, Task


def to_confirm(task: Task, every: Sequence[Configuration]) -> list[Configuration]:
    """Members of the frontier, at most `confirm.members`, and the default configuration if it has a value.

    Of more members: the best in the first objective, the last, and those spread evenly between them by rank. Not
    those that add most to the hypervolume: they would be those whose noise was most in their favour. Empty where
    the task has no frontier, or does not confirm.

    Args:
        every: configurations of the trials before confirmation.
    """
    if not task.has_frontier or task.confirm.repeats == 0:
        return []
    members = frontier(task, every)
    if not members:
        return []
    chosen = [members[i] for i in _spread(len(members), task.confirm.members)]
    return chosen + [c for c in every if c.default and c.complete and c not in chosen]


def _spread(count: int, most: int) -> list[int]:
    """Indices below `count`, at most `most` of them, evenly from the first to the last."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / max(1, most - 1)) for i in range(most)]


def before_confirming(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials of the task's stages."""
    return [t for t in trials if t.stage != CONFIRM]
