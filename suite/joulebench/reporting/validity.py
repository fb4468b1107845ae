"""How many windows of each measured phase count, judged anew from their raw times and readings. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from joulebench.records.model import TrialRecord
from joulebench.results.energy import invalidity
from joulebench.spec.task import Protocol


@dataclass(frozen=True)
class WindowCount:
    """Windows of one phase over all trials; `first_reason` is why the first that does not count does not."""

    measured: int
    valid: int
    first_reason: str | None


def window_counts(protocol: Protocol, trials: Iterable[TrialRecord]) -> dict[str, WindowCount]:
    """By phase, in order of first appearance, of the phases that workloads measured."""
    reasons: dict[str, list[str | None]] = {}
    for trial in trials:
        for window in trial.windows:
            if window.phase in trial.unit:
                reasons.setdefault(window.phase, []).append(invalidity(window, protocol))
    return {
        phase: WindowCount(len(found), found.count(None), next((r for r in found if r is not None), None))
        for phase, found in reasons.items()
    }
