"""Promises of proposals and what they gained, by hand."""

from __future__ import annotations

import pytest

from joulebench.results.promises import MODEL_GAIN, Promise, each_promise, median_of, promises, trust
from tests.factories import make_task, make_trial

OBJECTIVES = {"a": {"goal": "maximize", "reference": 0.0}, "b": {"goal": "maximize", "reference": 0.0}}


PARAMETERS = {"x": {"type": "int", "low": 0, "high": 9, "default": 0}}
STAGES = {"search": {"method": "qnehvi", "trials": 9}}


@pytest.fixture
def task():
    return make_task(PARAMETERS, STAGES, OBJECTIVES)


def record(task, number, a, b, promised=None):
    expected = {} if promised is None else {"hypervolume_gain": promised, MODEL_GAIN: 2 * promised}
    return make_trial(task, {"x": number}, {"a": a, "b": b}, trial=number, expected=expected)


def test_a_gain_is_what_the_hypervolume_grows_by(task):
    # areas: 2, then 2 x 2 = 4 (gains 2), then nothing new, then 3 x 3 = 9 (gains 5)
    trials = [
        record(task, 0, 1, 2),
        record(task, 1, 2, 2, 3.0),
        record(task, 2, 1, 1, 1.0),
        record(task, 3, 3, 3, 4.0),
    ]
    made = promises(task, trials)
    assert (made.proposals, made.promised, made.gained) == (3, 8.0, 7.0)
    assert made.kept == pytest.approx(7 / 8)
    last = promises(task, trials, last=2)
    assert (last.proposals, last.promised, last.gained) == (2, 5.0, 5.0)


def test_a_promise_is_of_an_outcome_where_that_was_recorded(task):
    known = record(task, 1, 2, 2, 3.0)
    outcome = {median_of("a"): 5.0, median_of("b"): 0.5}
    trials = [record(task, 0, 1, 2), known.model_copy(update={"expected": {**known.expected, **outcome}})]
    trials.append(record(task, 2, 3, 2, 1.0))
    assert each_promise(task, trials) == [Promise((5.0, 0.5), 3.0, 2.0), Promise(None, 1.0, 2.0)]
    assert [p.promised for p in each_promise(task, trials, MODEL_GAIN)] == [6.0, 2.0]


def test_trust_is_the_share_kept_with_one_more_promise_of_mean_size(task):
    trials = [record(task, 0, 1, 2)]
    assert trust(task, trials) == 1.0
    trials += [record(task, 1, 2, 2, 3.0), record(task, 2, 1, 1, 1.0)]  # the model promised 6 and 2, and 2 came
    assert trust(task, trials) == pytest.approx((2 + 4) / (8 + 4))


def test_without_a_reference_nothing_is_counted():
    task = make_task(PARAMETERS, STAGES, {"a": {"goal": "maximize"}})
    trials = [make_trial(task, {"x": 1}, {"a": 1.0}, expected={"hypervolume_gain": 1.0, MODEL_GAIN: 1.0})]
    assert promises(task, trials).proposals == 0
    assert trust(task, trials) == 1.0
