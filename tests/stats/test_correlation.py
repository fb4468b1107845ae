"""Coefficients against numbers computed by hand, and intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from joulebench.stats.correlation import METHODS, correlation

X = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
Y = (2.0, 1.0, 4.0, 3.0, 7.0, 30.0)


def test_the_coefficients():
    # by hand: Σ(x − 3.5)(y − 47/6) = 78.5, Σ(x − 3.5)² = 17.5, Σ(y − 47/6)² = 610.8333
    assert correlation(X, Y, "pearson").value == pytest.approx(78.5 / (17.5 * 610.8333333) ** 0.5)
    # ranks of y: 2 1 4 3 5 6, so Σd² = 4: 1 − 6 · 4 / (6 · 35)
    assert correlation(X, Y, "spearman").value == pytest.approx(1 - 24 / 210)
    expected = stats.pearsonr(np.log10(X), np.log10(Y)).statistic
    assert correlation(X, Y, "pearson_log").value == pytest.approx(expected)


def test_a_power_law_is_a_line_through_logarithms():
    y = [3 * x**2.5 for x in X]
    assert correlation(X, y, "pearson").value < 0.99
    found = correlation(X, y, "pearson_log")
    assert (found.value, found.low, found.high, found.n) == (
        pytest.approx(1),
        pytest.approx(1),
        pytest.approx(1),
        6,
    )
    assert correlation(X, y, "spearman").value == 1


def test_intervals_are_seeded_and_hold_the_truth():
    """0.6 lies within the interval of about 19 in 20 samples of 40."""
    assert correlation(X, Y, "pearson") == correlation(X, Y, "pearson")
    rng, held = np.random.default_rng(1), 0
    for _ in range(60):
        a = rng.normal(size=40)
        b = 0.6 * a + 0.8 * rng.normal(size=40)
        found = correlation(list(a), list(b), "pearson")
        held += found.low <= 0.6 <= found.high
    assert 52 <= held <= 60


@pytest.mark.parametrize("method", METHODS)
def test_what_has_no_coefficient(method):
    assert correlation((1, 2), (1, 2), method) is None
    assert correlation((1, 1, 1, 1), (1, 2, 3, 4), method) is None
    assert correlation((0.1,) * 6, X, method) is None
    few = correlation((1, 2, 3, 4), (1, 3, 2, 4), method)
    assert (few.low, few.high, few.n) == (None, None, 4)
    with pytest.raises(ValueError, match="2 x but 3 y"):
        correlation((1, 2), (1, 2, 3), method)


def test_logarithms_need_positive_values():
    assert correlation((0, 1, 2), (1, 2, 4), "pearson_log") is None
    assert correlation((0, 1, 2), (1, 2, 4), "pearson") is not None
