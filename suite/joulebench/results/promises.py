"""What a model's proposals promised, and what their trials brought, in hypervolume. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from joulebench.records.model import TrialRecord
from joulebench.results.confirmation import searching
from joulebench.results.frontier import hypervolume_by_trial
from joulebench.spec.task import Task

#: Expectations of a trial: what the search expects it to gain, and what its model does (`trust` is their ratio).
GAIN, MODEL_GAIN = "hypervolume_gain", "model_gain"
#: What a proposal has in their place that was made because the last promises were broken: the share that was kept.
RECENTLY_KEPT = "recently_kept"


def median_of(objective: str) -> str:
    """Name of the expectation that is the model's median of an objective."""
    return f"median_{objective}"


@dataclass(frozen=True)
class Promise:
    """A gain of hypervolume that a model expected of one proposal, and the gain that came of it.

    Attributes:
        outcome: medians of the objectives as the model expected them, in the task's order; None if not recorded.
    """

    outcome: tuple[float, ...] | None
    promised: float
    gained: float


@dataclass(frozen=True)
class Promises:
    """Sums over some proposals of a model, in the units of the hypervolume."""

    proposals: int
    promised: float
    gained: float

    @property
    def kept(self) -> float | None:
        """Share of what was promised that was gained; None where nothing was promised."""
        return self.gained / self.promised if self.promised > 0 else None


def each_promise(task: Task, trials: Sequence[TrialRecord], of: str = GAIN) -> list[Promise]:
    """What was promised of each proposal of a model, and what it gained, in order.

    A proposal gains what the hypervolume of all that the search knew grows by with its configuration: confirming
    runs aside, beside which nothing unconfirmed would count. None are counted where the task gives no reference for
    an objective; nor is one whose measurement was invalid, which neither keeps a promise nor breaks it, or that is
    not a finite number.

    Nor is one as long as nothing is better than every reference: the model's gains are then from a reference that
    stands in (`search.acquisition.scale`), from which the hypervolume does not count.
    """
    trials = searching(trials)
    volumes, made = [0.0, *hypervolume_by_trial(task, trials)], []
    names = [median_of(name) for name in task.objectives]
    for trial, (before, after) in zip(trials, pairwise(volumes), strict=True):
        expected = trial.expected
        if before is None or not after or trial.status == "invalid":
            continue
        if math.isfinite(expected.get(of, math.nan)):
            known = all(math.isfinite(expected.get(name, math.nan)) for name in names)
            outcome = tuple(expected[name] for name in names) if known else None
            made.append(Promise(outcome, expected[of], after - before))
    return made


def promises(task: Task, trials: Sequence[TrialRecord], last: int | None = None, of: str = GAIN) -> Promises:
    """Sums of what was promised of a model's proposals (the `last` ones, or all), and of what they gained."""
    made = each_promise(task, trials, of)
    counted = made if last is None else made[-last:]
    return Promises(len(counted), sum(p.promised for p in counted), sum(p.gained for p in counted))


def trust(task: Task, trials: Sequence[TrialRecord]) -> float:
    """Share of the model's promises that its proposals have kept, of all so far and one more of mean size.

    The one more counts as kept, so that a search begins with 1 and single trials do not decide.
    """
    made = promises(task, trials, of=MODEL_GAIN)
    if not made.promised > 0:
        return 1.0
    mean = made.promised / made.proposals
    return (made.gained + mean) / (made.promised + mean)
