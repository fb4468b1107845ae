"""Straight lines against a textbook, and against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from joulebench.stats.regression import fit_line

NUMBERS = st.integers(-1000, 1000)


def test_a_line_against_a_textbook_example():
    """Anscombe's first set: y = 3.00 + 0.500 x, R² 0.667, standard errors 1.125 and 0.118."""
    x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    line = fit_line(x, y)
    assert line.intercept.mean == pytest.approx(3.0001, abs=1e-3)
    assert line.slope.mean == pytest.approx(0.5001, abs=1e-3)
    assert line.r2 == pytest.approx(0.6665, abs=1e-3)
    assert line.intercept.sem == pytest.approx(1.1247, abs=1e-3)
    assert line.slope.sem == pytest.approx(0.1179, abs=1e-3)
    assert line.slope.high - line.slope.mean == pytest.approx(2.2622 * 0.1179, abs=1e-3)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=30))
def test_a_line_against_exact_arithmetic(points):
    """s² = Σ residual² / (n − 2), se(slope) = s / √Sxx, se(intercept) = s √(1/n + x̄²/Sxx), in fractions.

    SciPy has s from 1 − r², which cancels as r² nears 1: off by 1e-16 of Σ(y − ȳ)² at most, some 1e-8 in s.
    """
    x, y = zip(*points, strict=True)
    assume(len(set(x)) > 1)
    n, mean_x, mean_y = len(x), Fraction(sum(x), len(x)), Fraction(sum(y), len(y))
    sxx, syy = (sum((v - m) ** 2 for v in side) for side, m in ((x, mean_x), (y, mean_y)))
    slope = sum((a - mean_x) * (b - mean_y) for a, b in points) / sxx
    intercept = mean_y - slope * mean_x
    squares = sum((b - intercept - slope * a) ** 2 for a, b in points)
    sd = math.sqrt(squares / (n - 2))
    errors = sd * math.sqrt(Fraction(1, n) + mean_x**2 / sxx), sd / math.sqrt(sxx)
    line = fit_line(x, y)
    lost = math.sqrt(1e-14 * syy / (n - 2))
    assert line.residual_sd == pytest.approx(sd, rel=1e-9, abs=lost)
    assert line.r2 == (pytest.approx(float(1 - squares / syy), abs=1e-12) if syy else None)
    t = stats.t.ppf(0.975, n - 2)
    means, units = (intercept, slope), (1000, 1)
    for found, mean, sem, unit in zip((line.intercept, line.slope), means, errors, units, strict=True):
        assert found.mean == pytest.approx(float(mean), rel=1e-9, abs=1e-9 * unit)
        assert found.sem == pytest.approx(sem, rel=1e-9, abs=lost * unit / math.sqrt(sxx) * 2)
        ends = found.mean - t * found.sem, found.mean + t * found.sem
        assert (found.low, found.high) == pytest.approx(ends, rel=1e-9)


@given(
    st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.lists(st.integers(-50, 50), min_size=3, max_size=20, unique=True)
)
def test_an_exact_line_is_found(a, b, x):
    line = fit_line([float(v) for v in x], [a + b * v for v in x])
    assert line.slope.mean == pytest.approx(b, abs=1e-6)
    assert line.intercept.mean == pytest.approx(a, abs=1e-4)
    assert line.slope.high - line.slope.low < 1e-5 * max(1.0, abs(b))


def test_no_line_through_one_place():
    assert fit_line([1.0], [1.0]) is None
    assert fit_line([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) is None
    with pytest.raises(ValueError, match="2 x but 1 y"):
        fit_line([1.0, 2.0], [1.0])


def test_two_points_have_no_interval_and_level_ones_no_explained_share():
    two = fit_line([1.0, 2.0], [1.0, 3.0])
    assert (two.intercept.mean, two.slope.mean, two.r2) == (-1.0, 2.0, 1.0)
    assert (two.slope.low, two.residual_sd) == (None, None)
    for n in (2, 3, 5):
        assert fit_line(range(n), [5.0] * n).r2 is None
    level = fit_line([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    assert (level.slope.mean, level.slope.sem, level.slope.low, level.slope.high) == (0.0, 0.0, 0.0, 0.0)
    assert (level.intercept.low, level.intercept.high, level.residual_sd) == (5.0, 5.0, 0.0)
