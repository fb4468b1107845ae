"""What reading a meter costs: both edges of a window together."""

from __future__ import annotations

from suite.clock import RealClock
from suite.measure import Timeline
from suite.meters.codecarbon import CodeCarbonMeter


def test_both_edges_of_a_window(benchmark):
    """≤ 20 ms a window."""
    timeline = Timeline(CodeCarbonMeter(), RealClock())
    timeline.start()

    def edges():
        timeline.cut("one")
        timeline.cut("two")
        timeline.take()

    try:
        benchmark.pedantic(edges, rounds=200, warmup_rounds=5, iterations=1)
    finally:
        timeline.stop()
    assert benchmark.stats.stats.median <= 0.020
