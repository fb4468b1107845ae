"""Phrases that recur in reports."""

from __future__ import annotations

from joulebench.presentation.wide import is_wide
from joulebench.presentation.words import plus_minus
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate, estimate, point


def test_an_interval_as_a_share_of_the_mean():
    assert plus_minus(estimate([0.9, 1.1])) == "1 ± 127 %"  # 12.7, Student's t of two values, × 0.1
    assert plus_minus(estimate([99.9995, 100.0005])) == "100 ± 0.0064 %"
    assert plus_minus(point(1.5)) == "1.5"


def test_an_interval_without_width_is_not_wide():
    assert not is_wide(Estimate(0.0, 6, None, 0.0, 0.0, ""), Protocol())
    assert is_wide(Estimate(0.0, 6, None, -1.0, 1.0, ""), Protocol())
    assert is_wide(Estimate(1.0, 6, None, 0.9, 1.1, ""), Protocol())
    assert not is_wide(Estimate(1.0, 6, None, 0.999, 1.001, ""), Protocol())
