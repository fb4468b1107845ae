"""Probabilities of being on the frontier, and the hypervolume's interval."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from joulebench.results.frontier import frontier
from joulebench.results.membership import CERTAIN, membership
from joulebench.results.outcome import Configuration, Outcome
from joulebench.spec.task import CONFIRM
from joulebench.stats.estimate import Part, of_parts, point
from tests.run_factory import ENERGY, OBJECTIVES, RunBuilder, make_task

TASK = make_task()
RUN = RunBuilder(TASK)


LOG = make_task(OBJECTIVES | {"samples_per_j": {**OBJECTIVES["samples_per_j"], "reference": 1.0, "scale": "log"}})


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


def test_on_a_log_scale_the_volume_is_of_ratios_and_the_chances_are_the_same():
    close = [configuration("a", 0.9, 10.0, 0.02), configuration("b", 0.8, 10.1, 0.02), configuration("c", 0.7, 9.0)]
    assert membership(LOG, close).probability == membership(TASK, close).probability
    known = membership(LOG, [configuration("a", 0.9, 10.0, 0.02), configuration("b", 0.8, 20.0, 0.02)]).hypervolume
    assert known.mean == pytest.approx(0.1 * math.log(10) + 0.7 * math.log(20))
    # a relative deviation is one of the logarithm: t(8) × 0.02 × √(0.1² + 0.7²)
    assert (known.high - known.low) / 2 == pytest.approx(2.306 * 0.02 * math.hypot(0.1, 0.7), rel=0.15)
    wide = membership(LOG, [configuration("a", 0.9, 10.0, 2.0)]).hypervolume
    assert wide.low is not None  # draws below 0 add nothing


def test_an_interval_that_reaches_what_has_no_logarithm_is_not_stated():
    cost = {"goal": "minimize", "reference": 1.0, "scale": "log", **ENERGY}
    task = make_task({"val_accuracy": OBJECTIVES["val_accuracy"], "j_per_sample": cost})
    a = configuration("a", 0.9, 0.1, 1.0)
    a = replace(a, outcomes={"val_accuracy": Outcome(point(0.9)), "j_per_sample": a.outcomes["samples_per_j"]})
    known = membership(task, [a])
    assert known.hypervolume.mean == pytest.approx(0.8 * math.log(10))
    assert (known.hypervolume.low, known.hypervolume.high) == (None, None)
