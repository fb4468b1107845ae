"""Confirmation of what a search found: what to run again, and what new runs found against what was promised. Pure.

What is chosen for its measured value was, on average, measured better than it is (the winner's curse); new runs are
not chosen, and show by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TypeVar

from joulebench.records.model import TrialRecord, Window
from joulebench.results.frontier import frontier
from joulebench.results.outcome import Configuration, Outcome, trial_outcomes
from joulebench.spec.task import CONFIRM, Task
from joulebench.stats.estimate import Estimate, estimate, point

T = TypeVar("T")
CONFIGURATIONS = "confirmed configurations"


@dataclass(frozen=True)
class Confirmed:
    """A confirmed configuration, with the values that its choice was made by.

    Attributes:
        promised: mean of its runs before confirmation, by objective.
        differences: of its final value from the promised one, by objective: of energy and latency relative to what
            was promised, else absolute.
        on_frontier: of the confirmed configurations.
        was_on_frontier: of the search, before confirmation.
    """

    configuration: Configuration
    promised: Mapping[str, float]
    differences: Mapping[str, float]
    on_frontier: bool
    was_on_frontier: bool


@dataclass(frozen=True)
class Confirmation:
    """All confirmed configurations of a run, in the order of the frontier, those off it after.

    Attributes:
        searched: every configuration with the values that the search saw, without those of confirming runs.
        members: how many of them were on the search's frontier.
        without_value: configurations whose confirming runs gave no value.
    """

    configurations: tuple[Confirmed, ...]
    searched: tuple[Configuration, ...]
    members: int
    without_value: int

    @cached_property
    def differences(self) -> Mapping[str, Estimate]:
        """Mean difference from what was promised, over the configurations that were chosen: not the default."""
        chosen = [c.differences for c in self.configurations if not c.configuration.default]
        names = dict.fromkeys(name for differences in chosen for name in differences)
        values = {name: [d[name] for d in chosen if name in d] for name in names}
        return {name: estimate(v, CONFIGURATIONS, independent=True) for name, v in values.items()}

    @property
    def dropped(self) -> int:
        """Members of the search's frontier that were confirmed, and are not on the confirmed one."""
        return sum(c.was_on_frontier and not c.on_frontier for c in self.configurations)

    @property
    def not_confirmed(self) -> int:
        """Members of the search's frontier that were not confirmed."""
        return self.members - sum(c.was_on_frontier for c in self.configurations)


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


def optimum(
    every: Sequence[T],
    *,
    confirmed: Callable[[T], bool],
    before: Callable[[T], float],
    now: Callable[[T], float],
    differ: Callable[[T, T], bool],
) -> T | None:
    """Choose the least of confirmed candidates, or of all where none is confirmed; None of none.

    The search's own choice, unless another is significantly better: to choose anew by the confirming runs would
    make their number the winner's again.

    Args:
        before: what the search chose by; of equal ones the first is taken.
        now: the value that is stated.
        differ: whether the stated values of two differ significantly.
    """
    among = [c for c in every if confirmed(c)] or list(every)
    if not among:
        return None
    chosen = min(among, key=before)
    better = [c for c in among if now(c) < now(chosen) and differ(c, chosen)]
    return min(better, key=now, default=chosen)


def searching(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that did not confirm anything."""
    return [t for t in trials if t.stage != CONFIRM]


def confirmation(task: Task, every: Sequence[Configuration], idle: Sequence[Window]) -> Confirmation | None:
    """Confirmation of a run's configurations; None where none was confirmed."""
    confirmed = [c for c in every if c.confirmed and c.complete]
    if not confirmed:
        return None
    searched = [_as_searched(task, c, idle) if c.confirmed else c for c in every]
    before = {c.key: c for c in searched}
    now, then = ([c.key for c in frontier(task, of)] for of in (every, searched))
    ordered = sorted(confirmed, key=lambda c: now.index(c.key) if c.key in now else len(now))
    return Confirmation(
        tuple(_confirmed(task, c, before[c.key], c.key in now, c.key in then) for c in ordered),
        tuple(searched),
        len(then),
        sum(any(t.stage == CONFIRM for t in c.trials) and not (c.confirmed and c.complete) for c in every),
    )


def _as_searched(task: Task, configuration: Configuration, idle: Sequence[Window]) -> Configuration:
    """A confirmed configuration as it was before, with its mean values and no intervals."""
    trials = tuple(searching(configuration.trials))
    known = [o for t in trials if (o := trial_outcomes(task, t, idle))]
    means = {n: Outcome(point(fmean(o[n].value.mean for o in known))) for n in task.objectives} if known else {}
    return replace(configuration, trials=trials, outcomes=means, confirmed=False)


def _confirmed(task: Task, after: Configuration, before: Configuration, is_on: bool, was_on: bool) -> Confirmed:
    promised = {name: outcome.value.mean for name, outcome in before.outcomes.items()}
    differences = {}
    for name, value in promised.items():
        difference = after.outcomes[name].value.mean - value
        if not task.objectives[name].is_relative:
            differences[name] = difference
        elif value:
            differences[name] = difference / abs(value)
    return Confirmed(after, promised, differences, is_on, was_on)
