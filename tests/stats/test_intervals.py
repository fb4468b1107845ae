"""Sums, differences and ratios of estimates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from joulebench.stats.estimate import (
    Estimate,
    Part,
    Spread,
    estimate,
    mean_of_runs,
    of_parts,
    point,
    pooled_spread,
    reciprocal,
    t_quantile,
)
from joulebench.stats.intervals import difference, plus, ratio, ratio_of_means, scaled

A = Estimate(10.0, 5, 1.0, 7.0, 14.0, "", math.inf)
B = Estimate(6.0, 9, 0.5, 5.0, 8.0, "", math.inf)


def test_a_sum_and_a_difference_take_the_distances_that_pull_their_way():
    total = plus(A, B)
    assert (total.mean, total.n, total.sem) == (16.0, 5, math.hypot(1.0, 0.5))
    assert (total.low, total.high) == (16 - math.hypot(3, 1), 16 + math.hypot(4, 2))
    less = difference(A, B)
    assert (less.mean, less.low, less.high) == (4.0, 4 - math.hypot(3, 2), 4 + math.hypot(4, 1))


@pytest.mark.parametrize(("m", "n"), [(3, 3), (5, 12), (20, 4)])
def test_the_interval_of_a_difference_is_welchs(m, n):
    rng = np.random.default_rng(m)
    a, b = rng.normal(10, 1, m).tolist(), rng.normal(6, 3, n).tolist()
    found = difference(estimate(a, independent=True), estimate(b, independent=True))
    wanted = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_a_ratio_is_a_difference_of_logarithms():
    found = ratio(A, B)
    assert found is not None
    below = math.hypot(math.log(10 / 7), math.log(8 / 6))
    assert found.mean == pytest.approx(10 / 6)
    assert found.low == pytest.approx(10 / 6 * math.exp(-below))
    assert found.high == pytest.approx(10 / 6 * math.exp(math.hypot(math.log(14 / 10), math.log(6 / 5))))
    assert found.sem == pytest.approx(10 / 6 * math.hypot(0.1, 0.5 / 6))


def test_without_an_interval_there_is_none_and_a_ratio_needs_positive_means():
    assert (difference(A, point(1.0)).low, plus(point(1.0), B).high) == (None, None)
    bare = ratio(A, point(2.0))
    assert bare is not None
    assert (bare.mean, bare.low, bare.high) == (5.0, None, None)
    assert ratio(A, Estimate(1.0, 2, None, -0.5, 2.5, "")).low is None
    assert ratio(A, point(0.0)) is None
    assert ratio(point(-1.0), B) is None


def test_a_negative_factor_turns_an_interval_round():
    found = scaled(A, -2.0)
    assert (found.mean, found.low, found.high, found.sem) == (-20.0, -28.0, -14.0, 2.0)


def test_a_ratio_covers_the_true_one_19_times_in_20():
    rng = np.random.default_rng(1)
    trials, covered = 2000, 0
    for _ in range(trials):
        a, b = (
            estimate([float(v) for v in rng.normal(mean, 0.03 * mean, 6)], independent=True) for mean in (30.0, 2.0)
        )
        found = ratio(a, b)
        covered += found.low <= 15.0 <= found.high
    assert 0.94 <= covered / trials <= 0.98


def test_a_spread_pooled_over_both_has_its_degrees_of_freedom_once():
    """As the two-sample t test with pooled variance: n + m - 2 degrees of freedom."""
    first, second = [10.0, 12.0, 11.0], [7.0, 8.5]
    spread = pooled_spread([first, second])
    a, b = (mean_of_runs([point(v) for v in values], spread, 1.0) for values in (first, second))
    wanted = stats.ttest_ind(first, second).confidence_interval(0.95)
    found = difference(a, b)
    assert found.freedom == pytest.approx(3)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    # also of what was made of them, and with a third that has the same spread
    assert difference(scaled(a, 2.0), scaled(b, 3.0)).freedom == pytest.approx(3)
    assert difference(found, b).freedom == pytest.approx(3)
    assert ratio(a, b).freedom == pytest.approx(3)
    assert ratio(reciprocal(a), reciprocal(b)).freedom == pytest.approx(3)


def test_only_the_shares_of_a_common_spread_have_it_once():
    """v = 4 and w = 9 of one spread with 2 degrees of freedom, beside 1 (5 of them) and 3 (6): by hand."""
    spread = Spread(1.0, 2)
    a = of_parts(10.0, 3, [Part(4.0, 2, spread), Part(1.0, 5)], "")
    b = of_parts(50.0, 3, [Part(9.0, 2, spread), Part(3.0, 6)], "")
    found = difference(a, b)
    freedom = (4 + 9 + 1 + 3) ** 2 / ((4 + 9) ** 2 / 2 + 1 / 5 + 9 / 6)
    assert found.freedom == pytest.approx(freedom)
    assert found.high - found.mean == pytest.approx(t_quantile(freedom) * math.sqrt(17))
    apart = of_parts(50.0, 3, [Part(9.0, 2, Spread(1.1, 2)), Part(3.0, 6)], "")
    assert difference(a, apart).freedom == pytest.approx(17**2 / (16 / 2 + 81 / 2 + 1 / 5 + 9 / 6))


def test_intervals_of_two_configurations_with_a_pooled_spread_hold_95_percent():
    """Two values each: with the degrees of freedom counted twice it was 89 %."""
    rng = np.random.default_rng(2)
    held = []
    for _ in range(4000):
        first, second = ([float(v) for v in rng.normal(mean, 0.03 * mean, 2)] for mean in (30.0, 2.0))
        spread = pooled_spread([[v / np.mean(values) for v in values] for values in (first, second)])
        a, b = (mean_of_runs([point(v) for v in values], spread) for values in (first, second))
        held.append(
            (ratio(a, b).low <= 15.0 <= ratio(a, b).high, difference(a, b).low <= 28 <= difference(a, b).high)
        )
    assert np.mean(held, axis=0) == pytest.approx([0.95, 0.95], abs=0.01)


def test_a_ratio_of_means_is_of_logarithms_with_the_freedom_of_the_spread():
    """Two runs against one, of a spread of 10 % with 3 degrees of freedom: by hand."""
    spread = Spread(0.1, 3)
    single = of_parts(6.0, 5, [Part(0.09, 4)], "windows within a run")
    found = ratio_of_means([point(9.0), point(11.0)], [single], spread)
    sem = math.sqrt(0.1**2 / 2 + 0.1**2 + 0.09 / 6**2)
    assert (found.mean, found.freedom) == (pytest.approx(10 / 6), 3)
    assert found.low == pytest.approx(10 / 6 * math.exp(-t_quantile(3) * sem))
    assert found.high == pytest.approx(10 / 6 * math.exp(t_quantile(3) * sem))
    assert ratio_of_means([single], [single], None).low is None
    assert ratio_of_means([single], [point(-1.0)], spread) is None
