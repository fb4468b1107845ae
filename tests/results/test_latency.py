"""Quantiles of step times."""

from __future__ import annotations

from joulebench.records.model import Reading, Window
from joulebench.results.latency import latency
from joulebench.spec.task import Protocol


def window(step_s, seconds=2.0, phase="request"):
    reading = Reading(domain="cpu", energy_j=10.0, source="replay", kind="measured")
    return Window(phase=phase, start_utc="", start_s=0.0, end_s=seconds, units=4, steps=len(step_s),
                  step_s=tuple(step_s), readings=(reading,))  # fmt: skip


def test_only_valid_windows_of_the_phase_count():
    windows = [window([1.0, 2.0]), window([9.0], phase="decode"), window([50.0], seconds=0.5), window([3.0])]
    found = latency(windows, "request", 0.5, Protocol(window_s=1.0))
    assert (found.mean, found.n) == (2.0, 3)
    stopped = [
        window([0.1] * 10),
        window([0.1] * 9 + [9.0], seconds=9.9),
    ]  # judged beside its phase's other windows
    assert latency(stopped, "request", 0.99, Protocol(window_s=1.0)).n == 10
    assert latency(windows, "prefill", 0.5, Protocol(window_s=1.0)) is None
