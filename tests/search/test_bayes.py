"""Proposals by the model, and when it is not asked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from joulebench.errors import InputError
from joulebench.results.outcome import configurations
from joulebench.results.promises import GAIN, MODEL_GAIN, RECENTLY_KEPT, median_of, promises, trust
from joulebench.search import bayes, propose
from joulebench.search.bayes import PATIENCE
from joulebench.search.observations import observations
from joulebench.search.space import Space
from tests.factories import make_task, make_trial

STAGES = {"search": {"method": "qnehvi", "trials": 100}}
TASK = make_task(
    {"x": {"type": "int", "low": 0, "high": 200, "default": 0}},
    STAGES,
    {name: {"goal": "maximize", "reference": 0.0} for name in ("a", "b")},
)
PROMISED = {GAIN: 1.0, MODEL_GAIN: 1.0}


def trials(gain: float):
    """Two that the model knows, then `PATIENCE` proposals that promised 1 each and gained `gain` each."""
    found = [make_trial(TASK, {"x": x}, {"a": 1.0, "b": 1.0}, trial=x, stage="search") for x in (0, 1)]
    for n in range(2, 2 + PATIENCE):
        best = 1.0 + gain * (n - 1)  # b fixed at 1: the hypervolume is the best a
        found.append(
            make_trial(TASK, {"x": n}, {"a": best, "b": 1.0}, trial=n, stage="search", expected=dict(PROMISED))
        )
    return found


def test_where_promises_are_broken_every_other_proposal_is_another_methods():
    broken = trials(0.0)
    proposal = propose(TASK, "search", broken, 0)
    assert proposal.origin == "sobol"
    assert proposal.expected == {RECENTLY_KEPT: 0.0}
    assert str(PATIENCE) in proposal.fallback
    worse = {"a": 0.5, "b": 0.5}
    broken.append(make_trial(TASK, proposal.params, worse, trial=10, expected=proposal.expected))
    assert propose(TASK, "search", broken, 0).origin == "qnehvi"
    broken.append(make_trial(TASK, {"x": 50}, worse, trial=11, expected=dict(PROMISED)))
    assert propose(TASK, "search", broken, 0).origin == "sobol"
    broken[-1] = make_trial(TASK, {"x": 50}, {"a": 2.0, "b": 1.0}, trial=11, expected=dict(PROMISED))
    assert propose(TASK, "search", broken, 0).origin == "qnehvi"


@pytest.mark.parametrize("gain", [0.03, 1.0])
def test_kept_promises_leave_the_model_in_charge(gain):
    assert propose(TASK, "search", trials(gain), 0).origin == "qnehvi"


def test_the_next_promise_is_cut_by_what_was_kept():
    proposal = propose(TASK, "search", trials(0.25), 0)
    share = proposal.expected[GAIN] / proposal.expected[MODEL_GAIN]
    assert share == pytest.approx((PATIENCE * 0.25 + 1) / (PATIENCE + 1))


def promised(x: int, gain: float, expected: float, best: float):
    """A proposal at `x` of which the model expected the outcome (`expected`, 1) and to gain `gain`."""
    outcome = {median_of("a"): expected, median_of("b"): 1.0}
    values = {"a": best, "b": 1.0}
    return make_trial(TASK, {"x": x}, values, trial=x, expected={GAIN: gain, MODEL_GAIN: gain, **outcome})


def test_what_broke_a_promise_is_trusted_less_than_what_is_unlike_it():
    known = [make_trial(TASK, {"x": x}, {"a": 1.0, "b": 1.0}, trial=x) for x in (0, 1)]
    made = [promised(100, 2.0, 3.0, 1.0), promised(150, 1.0, 1.0, 2.0)]  # nothing came of 2; 1 came, as promised
    trials, space = [*known, *made], Space.of(TASK, TASK.stages["search"])
    rows = space.encoding.encode([{"x": x} for x in (0, 60, 100, 150, 200)])
    with bayes._model().fitted(TASK, space.encoding, observations(TASK, trials), [], 0, trials) as scorer:
        medians, found = scorer.medians(rows), scorer.trust(rows)
    # in units of the best known value of each, from the reference 0: a / 2 and b / 1
    mean, shares = 1.5, []
    for a, b in medians:
        squares = [((a - e) / 2) ** 2 + (b - 1) ** 2 for e in (3.0, 1.0)]
        broken, kept = (math.exp(-s / 2 / 0.2**2) for s in squares)
        shares.append(min(1.0, (kept * 1.0 + mean) / (broken * 2.0 + kept * 1.0 + mean)))
    assert found == pytest.approx(shares)


def test_without_promises_everything_is_trusted():
    known = [make_trial(TASK, {"x": x}, {"a": 1.0 + x, "b": 1.0}, trial=x) for x in (0, 1)]
    space = Space.of(TASK, TASK.stages["search"])
    with bayes._model().fitted(TASK, space.encoding, observations(TASK, known), [], 0, known) as scorer:
        assert scorer.trust(space.encoding.encode([{"x": 5}])).tolist() == [1.0]


def test_the_choice_and_its_shortlist_heed_what_is_trusted():
    known = [make_trial(TASK, {"x": x}, {"a": 1.0 + x, "b": 1.0 - x / 20}, trial=x) for x in (0, 1, 7)]
    space = Space.of(TASK, TASK.stages["search"])
    seen = observations(TASK, known)
    with bayes._model().fitted(TASK, space.encoding, seen, [], 0, known) as scorer:
        best = bayes._best(space, seen, set(), 0, scorer)
        (unit,) = space.encoding.encode([best])
        assert best in bayes._listed(space, set(), scorer)
        scorer.trust = lambda rows: np.where((rows == unit).all(axis=1), 1e-9, 1.0)
        assert bayes._best(space, seen, set(), 0, scorer) != best
        assert best not in bayes._listed(space, set(), scorer)


def test_invalid_measurements_and_confirming_runs_break_no_promise():
    invalid = trials(0.0)[:2]
    for n in range(2, 2 + PATIENCE):
        record = make_trial(TASK, {"x": n}, status="invalid", trial=n, stage="search", expected=dict(PROMISED))
        invalid.append(record)
    assert promises(TASK, invalid).proposals == 0
    assert trust(TASK, invalid) == 1.0
    assert propose(TASK, "search", invalid, 0).origin == "qnehvi"
    kept = trials(1.0)
    runs = [make_trial(TASK, {"x": 0}, {"a": 1.0, "b": 1.0}, trial=n, stage="confirm") for n in (10, 11)]
    confirmed = [*kept[:2], *runs, *kept[2:]]
    assert any(c.confirmed for c in configurations(TASK, confirmed))
    assert promises(TASK, confirmed) == promises(TASK, kept)
    assert propose(TASK, "search", confirmed, 0).origin == "qnehvi"


def test_a_promise_without_end_is_none():
    endless = trials(0.0)
    endless[-1] = endless[-1].model_copy(update={"expected": {GAIN: math.inf, MODEL_GAIN: math.inf}})
    assert promises(TASK, endless).promised == PATIENCE - 1
    assert trust(TASK, endless) == pytest.approx(1 / PATIENCE)


def test_from_an_unreached_reference_no_promise_is_broken():
    far = {name: {"goal": "maximize", "reference": 100.0} for name in ("a", "b")}
    task = make_task({"x": {"type": "int", "low": 0, "high": 200, "default": 0}}, STAGES, far)
    made = [make_trial(task, {"x": x}, {"a": 1.0 + x, "b": 9.0 - x}, trial=x, stage="search") for x in (0, 1)]
    for n in range(2, 2 + PATIENCE):
        values = {"a": 1.0 + n, "b": 9.0 + n}
        made.append(make_trial(task, {"x": n}, values, trial=n, stage="search", expected=dict(PROMISED)))
    assert promises(task, made).proposals == 0
    assert propose(task, "search", made, 0).origin == "qnehvi"


@pytest.mark.parametrize("found", [None, InputError("no new configuration among 4096 points")])
def test_where_no_point_is_left_to_explore_the_model_goes_on(found, monkeypatch):
    def sobol(*_):
        if found is not None:
            raise found

    monkeypatch.setattr(bayes.samplers, "sobol", sobol)
    assert propose(TASK, "search", trials(0.0), 0).origin == "qnehvi"
