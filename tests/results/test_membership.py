"""Probabilities of being on the frontier, and the hypervolume's interval."""

from __future__ import annotations

from dataclasses import replace

import pytest

from joulebench.results.frontier import frontier
from joulebench.results.membership import CERTAIN, membership
from joulebench.results.outcome import Configuration, Outcome
from joulebench.spec.task import CONFIRM
from joulebench.stats.estimate import Part, of_parts, point
from tests.run_factory import RunBuilder, make_task

TASK = make_task()
RUN = RunBuilder(TASK)


def configuration(key: str, accuracy: float, rate: float, sd: float = 0.0, confirmed: bool = True) -> Configuration:
    trial = RUN.add({}, 100, {}, CONFIRM if confirmed else "init")
    value = of_parts(rate, 2, [Part((sd * rate) ** 2, 8)], "runs") if sd else point(rate)
    outcomes = {"val_accuracy": Outcome(point(accuracy)), "samples_per_j": Outcome(value)}
    return Configuration(key, {}, (trial,), outcomes, confirmed=confirmed)


def test_exact_values_are_members_or_not():
    known = membership(
        TASK, [configuration("a", 0.9, 10.0), configuration("b", 0.8, 20.0), configuration("c", 0.8, 5.0)]
    )
    assert known.probability == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert known.settled
    assert known.hypervolume.mean == pytest.approx(0.8 * 10 + 0.7 * 10)
    assert (known.hypervolume.low, known.hypervolume.high) == pytest.approx((15.0, 15.0))


def test_two_that_cannot_be_told_apart_share_their_chances():
    known = membership(TASK, [configuration("a", 0.9, 10.0, 0.05), configuration("b", 0.9, 10.0, 0.05)])
    assert known.probability["a"] == pytest.approx(0.5, abs=0.05)
    assert known.probability["a"] + known.probability["b"] == pytest.approx(1.0)
    assert not known.settled


def test_the_unconfirmed_take_part_and_are_counted():
    every = [configuration("a", 0.9, 10.0, 0.02), configuration("b", 0.9, 10.0, 0.3, confirmed=False)]
    known = membership(TASK, every)
    assert set(known.probability) == {"a"}
    assert known.probability["a"] < CERTAIN
    assert known.unconfirmed == 1
    alone = membership(TASK, every[:1])
    assert alone.probability == {"a": 1.0}


def test_the_frontier_is_of_confirmed_configurations_once_there_are_any():
    lucky = configuration("lucky", 0.95, 30.0, confirmed=False)
    plain = configuration("plain", 0.9, 10.0)
    assert [c.key for c in frontier(TASK, [lucky, plain])] == ["plain"]
    assert [c.key for c in frontier(TASK, [lucky, replace(plain, confirmed=False)])] == ["lucky"]


def test_the_same_seed_gives_the_same():
    every = [configuration("a", 0.9, 10.0, 0.05), configuration("b", 0.85, 10.2, 0.05)]
    assert membership(TASK, every, 3) == membership(TASK, every, 3)


def test_nothing_usable_has_no_membership():
    assert membership(TASK, [configuration("a", 0.05, 10.0)]) is None  # worse than the reference
