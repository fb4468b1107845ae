"""Proposals by the model, and when it is not asked."""

from __future__ import annotations

import pytest

from joulebench.results.promises import GAIN, MODEL_GAIN, RECENTLY_KEPT
from joulebench.search import propose
from joulebench.search.bayes import PATIENCE
from tests.factories import make_task, make_trial

TASK = make_task(
    {"x": {"type": "int", "low": 0, "high": 200, "default": 0}},
    {"search": {"method": "qnehvi", "trials": 100}},
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


def test_where_promises_are_broken_the_next_proposal_is_another_methods_once():
    broken = trials(0.0)
    proposal = propose(TASK, "search", broken, 0)
    assert proposal.origin == "sobol"
    assert proposal.expected == {RECENTLY_KEPT: 0.0}
    assert str(PATIENCE) in proposal.fallback
    explored = make_trial(
        TASK, proposal.params, {"a": 0.5, "b": 0.5}, trial=99, stage="search", expected=proposal.expected
    )
    assert propose(TASK, "search", [*broken, explored], 0).origin == "qnehvi"


@pytest.mark.parametrize("gain", [0.03, 1.0])
def test_kept_promises_leave_the_model_in_charge(gain):
    assert propose(TASK, "search", trials(gain), 0).origin == "qnehvi"


def test_the_next_promise_is_cut_by_what_was_kept():
    proposal = propose(TASK, "search", trials(0.25), 0)
    share = proposal.expected[GAIN] / proposal.expected[MODEL_GAIN]
    assert share == pytest.approx((PATIENCE * 0.25 + 1) / (PATIENCE + 1))
