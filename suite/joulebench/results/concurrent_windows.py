"""Windows that overlap on one node of a cluster, by their recorded times. Pure.

Times are those of the node's own monotonic clock; only windows of one node (and one boot of it) are compared, so
clock differences between nodes do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from joulebench.records.model import Fault, FaultKind, LedgerEntry, TrialRecord, Window

#: Phases outside trials that no node may run while it measures.
_EXCLUSIVE = ("propose", "precheck")


@dataclass(frozen=True)
class _Span:
    start_s: float
    end_s: float
    owner: str
    trial: int | None
    window: int


def marked(trials: Iterable[TrialRecord], entries: Sequence[LedgerEntry]) -> list[TrialRecord]:
    """Mark windows that overlap another trial, a proposal or a meter check on their node as faulty; all trials.

    A faulty window counts in no mean (`joulebench.results.validity.invalidity`).
    """
    every = list(trials)
    if all(trial.node is None for trial in every):
        return every
    faults: dict[tuple[int, int], Fault] = {}
    for spans in _by_node(every, entries).values():
        for span, other in _overlapping(sorted(spans, key=lambda s: (s.start_s, s.end_s))):
            if span.trial is not None:
                text = f"overlaps {other.owner} on the same node"
                faults.setdefault((span.trial, span.window), Fault(kind=FaultKind.OVERLAP, text=text))
    numbers = {number for number, _ in faults}
    return [_faulted(trial, faults) if trial.trial in numbers else trial for trial in every]


def _by_node(trials: Iterable[TrialRecord], entries: Iterable[LedgerEntry]) -> dict[str, list[_Span]]:
    spans: dict[str, list[_Span]] = {}
    for trial in trials:
        for index, window in enumerate(trial.windows):
            _add(spans, window, f"trial {trial.trial}", trial.trial, index)
    for number, entry in enumerate(entries):
        for index, window in enumerate(entry.windows):
            if window.phase in _EXCLUSIVE:
                what = "the choice of a configuration" if window.phase == "propose" else f"meter check {number}"
                _add(spans, window, what, None, index)
    return spans


def _add(spans: dict[str, list[_Span]], window: Window, owner: str, trial: int | None, index: int) -> None:
    if window.node is not None and window.end_s > window.start_s:
        span = _Span(window.start_s, window.end_s, owner, trial, index)
        spans.setdefault(window.node, []).append(span)


def _overlapping(spans: Sequence[_Span]) -> Iterable[tuple[_Span, _Span]]:
    """Pairs of spans that overlap and differ in owner, in both orders; `spans` are sorted by start."""
    open_: list[_Span] = []
    for span in spans:
        open_ = [other for other in open_ if other.end_s > span.start_s]
        for other in open_:
            if other.owner != span.owner:
                yield span, other
                yield other, span
        open_.append(span)


def _faulted(trial: TrialRecord, faults: dict[tuple[int, int], Fault]) -> TrialRecord:
    windows = tuple(
        window.model_copy(update={"fault": window.fault or faults.get((trial.trial, index))})
        for index, window in enumerate(trial.windows)
    )
    return trial.model_copy(update={"windows": windows})
