"""Latency of a step: quantiles over the steps of a phase's valid windows, with intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from joulebench.records.model import Window
from joulebench.results.validity import valid_windows
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate
from joulebench.stats.quantiles import quantile_of

STEPS = "steps within a run"


def latency(windows: Iterable[Window], phase: str, quantile: float, protocol: Protocol) -> Estimate | None:
    """A quantile of the seconds that a step of `phase` took; None where no valid window kept its steps' times."""
    seconds = [s for w in valid_windows(windows, phase, protocol) for s in w.step_s]
    return quantile_of(seconds, quantile, STEPS) if seconds else None
