"""Whether a search's promises were kept, as a report says it: sums by hand."""

from __future__ import annotations

import pytest

from joulebench.reporting.search_findings import MIN_PROPOSALS, search_findings
from joulebench.reporting.summary import Summary
from joulebench.results.findings import Code
from joulebench.results.promises import GAIN, RECENTLY_KEPT
from joulebench.search.bayes import PATIENCE
from tests.run_factory import RunBuilder, make_task

METRICS = {name: {"goal": "maximize", "reference": 0.0} for name in ("a", "b")}


def texts(promised: float, explored: int = 0, proposals: int = MIN_PROPOSALS) -> list[str]:
    """A run whose proposals each gain 1 of hypervolume and promised `promised`."""
    run = RunBuilder(make_task(METRICS))
    run.add({"width": 1}, 800, {"a": 1.0, "b": 1.0})
    for n in range(proposals):
        run.add(
            {"width": 2 + n}, 800, {"a": 2.0 + n, "b": 1.0}, "search", origin="qnehvi", expected={GAIN: promised}
        )
    for n in range(explored):
        run.add(
            {"width": 100 + n}, 800, {"a": 0.5, "b": 0.5}, "search", origin="sobol", expected={RECENTLY_KEPT: 0.0}
        )
    return [f.text for f in search_findings(Summary(run.read())) if f.code is Code.PROMISES_BROKEN]


def test_broken_promises_are_told_with_both_sums():
    (text,) = texts(4.0)
    assert "40" in text
    assert "10" in text
    assert "25 %" in text


@pytest.mark.parametrize(("promised", "proposals"), [(1.5, MIN_PROPOSALS), (4.0, MIN_PROPOSALS - 1)])
def test_kept_or_few_promises_are_not_told(promised, proposals):
    assert texts(promised, proposals=proposals) == []


def test_trials_that_turned_to_something_else_are_told_whatever_was_kept():
    for proposals in (MIN_PROPOSALS, PATIENCE):
        (text,) = texts(1.5, explored=2, proposals=proposals)
        assert "2 trials" in text
