"""Findings on a run's search: what it reached, and whether its model's promises were kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from joulebench.presentation.numbers import number, percent
from joulebench.presentation.words import plural
from joulebench.reporting.summary import Summary
from joulebench.results.confirmation import searching
from joulebench.results.findings import Code, Finding
from joulebench.results.promises import RECENTLY_KEPT, promises

#: A hypervolume that has not changed over this share of the trials is called flat …
FLAT_SHARE = 1 / 3
#: … if there were at least this many trials.
FLAT_MIN_TRIALS = 12
#: Promises are judged from this many proposals on, or once the search did: a single gain is mostly zero or large.
MIN_PROPOSALS = 10


def search_findings(summary: Summary) -> Iterator[Finding]:
    """The hypervolume's course, and the gains that the model expected beside those that came."""
    yield from _hypervolume(summary)
    yield from _promises(summary)


def _hypervolume(summary: Summary) -> Iterator[Finding]:
    values = [v for _, v in summary.searched_hypervolume]
    if not values or not summary.feasible or not summary.task.has_frontier:
        return
    if values[-1] == 0:
        text = (
            "No configuration is better than the reference in every objective: the references are out of reach of "
            "this space, or the trials are too few."
        )
        yield Finding("warning", Code.HYPERVOLUME_ZERO, "Hypervolume is zero", text)
        return
    same = sum(v == values[-1] for v in values) - 1
    if len(values) >= FLAT_MIN_TRIALS and same >= FLAT_SHARE * len(values):
        text = (
            f"The last {same} of {len(values)} trials did not change the frontier. The search has converged, or is "
            "stuck in a narrow space: more trials of the same kind are unlikely to help."
        )
        yield Finding("note", Code.HYPERVOLUME_FLAT, "Hypervolume is flat", text)


def _promises(summary: Summary) -> Iterator[Finding]:
    trials = searching(summary.run.trials)
    made = promises(summary.task, trials)
    unlike = sum(RECENTLY_KEPT in t.expected for t in trials)
    if made.kept is None or (not unlike and (made.proposals < MIN_PROPOSALS or made.kept >= 0.5)):
        return
    text = (
        f"The model expected its {plural(made.proposals, 'proposal')} to add {number(made.promised)} to the "
        f"hypervolume in all; they added {number(made.gained)}, which is {percent(made.kept)}."
    )
    if unlike:
        text += (
            f" Where the last few had added next to nothing, the search tried a configuration unlike them instead: "
            f"{plural(unlike, 'trial')}."
        )
    yield Finding("note", Code.PROMISES_BROKEN, "What the search promised, and what it found", text)
