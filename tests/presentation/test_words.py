"""Phrases that recur in reports."""

from __future__ import annotations

from joulebench.presentation.words import plus_minus
from joulebench.stats.estimate import estimate, point


def test_an_interval_as_a_share_of_the_mean():
    assert plus_minus(estimate([0.9, 1.1])) == "1 ± 127 %"  # 12.7, Student's t of two values, × 0.1
    assert plus_minus(estimate([99.9995, 100.0005])) == "100 ± 0.0064 %"
    assert plus_minus(point(1.5)) == "1.5"
