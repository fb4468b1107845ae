"""Spread, drift and straight lines, against numbers worked out by hand or by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.stats.dispersion import distribution, drift, relative_sd
from joulebench.stats.regression import fit_line


def test_relative_sd_and_its_interval():
    found = relative_sd([98.0, 99.0, 100.0, 101.0, 102.0])
    assert found.value == pytest.approx(np.sqrt(2.5) / 100)
    # χ² with 4 degrees of freedom: 0.4844 and 11.143
    assert found.low == pytest.approx(found.value * np.sqrt(4 / 11.143), rel=1e-3)
    assert found.high == pytest.approx(found.value * np.sqrt(4 / 0.4844), rel=1e-3)


@pytest.mark.parametrize("values", [[], [1.0], [-1.0, 1.0]])
def test_no_spread_of_too_few_or_around_zero(values):
    assert relative_sd(values) is None


def test_the_interval_covers_the_truth_19_times_in_20():
    rng = np.random.default_rng(0)
    found = [relative_sd((100 + 2 * rng.standard_normal(10)).tolist()) for _ in range(2000)]
    assert np.mean([f.low <= 0.02 <= f.high for f in found]) == pytest.approx(0.95, abs=0.02)


def test_a_distribution_says_its_ends_and_quantiles():
    found = distribution([float(v) for v in range(101)])
    assert (found.minimum, found.maximum, found.mean) == (0.0, 100.0, 50.0)
    assert found.quantiles == pytest.approx({0.05: 5.0, 0.25: 25.0, 0.5: 50.0, 0.75: 75.0, 0.95: 95.0})
    assert distribution([]) is None


def test_drift_is_the_change_over_the_series_relative_to_its_mean():
    at = [0.0, 1.0, 2.0, 3.0, 4.0]
    found = drift(at, [98.0, 99.0, 100.0, 101.0, 102.0])
    assert found.relative == pytest.approx(0.04)
    assert found.shows
    assert not drift(at, [100.0, 101.0, 99.0, 101.0, 100.0]).shows
    assert drift(at[:2], [1.0, 2.0]) is None


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


@given(
    st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.lists(st.integers(-50, 50), min_size=3, max_size=20, unique=True)
)
def test_an_exact_line_is_found(a, b, x):
    line = fit_line([float(v) for v in x], [a + b * v for v in x])
    assert line.slope.mean == pytest.approx(b, abs=1e-6)
    assert line.intercept.mean == pytest.approx(a, abs=1e-4)


def test_no_line_through_one_place():
    assert fit_line([1.0], [1.0]) is None
    assert fit_line([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]) is None
    assert fit_line([1.0, 2.0], [1.0, 3.0]).slope.low is None
    assert fit_line([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]).r2 is None
    with pytest.raises(ValueError, match="2 x but 1 y"):
        fit_line([1.0, 2.0], [1.0])
