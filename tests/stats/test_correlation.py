"""Coefficients against numbers computed by hand, and intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from joulebench.stats.correlation import METHODS, RESAMPLES, SEED, correlation

X = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
Y = (2.0, 1.0, 4.0, 3.0, 7.0, 30.0)


def test_the_coefficients():
    # by hand: Σ(x − 3.5)(y − 47/6) = 78.5, Σ(x − 3.5)² = 17.5, Σ(y − 47/6)² = 610.8333
    assert correlation(X, Y, "pearson").value == pytest.approx(78.5 / (17.5 * 610.8333333) ** 0.5)
    # ranks of y: 2 1 4 3 5 6, so Σd² = 4: 1 − 6 · 4 / (6 · 35)
    assert correlation(X, Y, "spearman").value == pytest.approx(1 - 24 / 210)
    expected = stats.pearsonr(np.log10(X), np.log10(Y)).statistic
    assert correlation(X, Y, "pearson_log").value == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=3, max_size=40))
def test_the_coefficients_are_scipys_ties_too(pairs):
    x, y = zip(*pairs, strict=True)
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    expected = {
        "pearson": stats.pearsonr(x, y),
        "pearson_log": stats.pearsonr(np.log10(x), np.log10(y)),
        "spearman": stats.spearmanr(x, y),
    }
    for method in METHODS:
        assert correlation(x, y, method).value == pytest.approx(expected[method].statistic, abs=1e-12)


@pytest.mark.parametrize("n", [12, 40])
def test_the_interval_is_that_of_scipys_bootstrap_of_pairs(n):
    """Drawn alike: with the same seed SciPy draws the same pairs."""
    rng = np.random.default_rng(n)
    x = rng.lognormal(size=n)
    y = x * rng.lognormal(size=n)
    drawn = stats.bootstrap(
        (x, y),
        lambda a, b, axis: stats.pearsonr(a, b, axis=axis).statistic,
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng([SEED, n]),
    )
    found = correlation(list(x), list(y), "pearson")
    assert (found.low, found.high) == pytest.approx(tuple(drawn.confidence_interval), abs=1e-12)


def test_a_power_law_is_a_line_through_logarithms():
    y = [3 * x**2.5 for x in X]
    assert correlation(X, y, "pearson").value < 0.99
    found = correlation(X, y, "pearson_log")
    assert (found.value, found.low, found.high, found.n) == (pytest.approx(1), None, None, 6)
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
