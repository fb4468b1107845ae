"""Quantiles and their distribution-free intervals, against known ranks, SciPy, and the binomial distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from joulebench.stats.quantiles import quantile_of

SHARES = st.sampled_from([0.05, 0.5, 0.9, 0.95, 0.99])


def of(values, share=0.5):
    return quantile_of(list(values), share, "values")


def brute_coverage(n, low_rank):
    """How often the true median lies between the order statistics: by the binomial distribution."""
    return 1 - 2 * sum(math.comb(n, k) for k in range(low_rank)) / 2**n


def test_the_known_ranks_of_a_median_and_a_p95():
    # n = 100, median: ranks 40 and 61 (David & Nagaraja 2003); values are their own ranks
    found = of(range(1, 101))
    assert (found.low, found.high, found.n, found.sem) == (40.0, 61.0, 100, None)
    # p95 of 59 has no upper end: 0.95^59 = 4.8 % > 2.5 %
    assert of(range(1, 60), 0.95).high is None
    assert of(range(1, 200), 0.95).high is not None


def test_few_values_have_no_interval():
    for n in range(1, 6):
        assert (of(range(n)).low, of(range(n)).high) == (None, None)
    assert (of(range(6)).low, of(range(6)).high) == (0, 5)
    assert of([3.0, 1.0]).mean == 2.0
    assert [of([1.0, *[math.inf] * k, 2.0]).mean for k in (1, 2)] == [2.0, math.inf]
    with pytest.raises(ValueError, match="at least one"):
        of([])


@pytest.mark.parametrize("n", [6, 8, 9, 10, 20, 35, 100, 1001])
def test_intervals_of_medians_cover_at_least_95_percent_and_no_narrower_one_would(n):
    found = of(range(n))
    rank = int(found.low) + 1
    assert found.high == n - rank
    assert brute_coverage(n, rank) >= 0.95
    assert brute_coverage(n, rank + 1) < 0.95


@settings(deadline=None)
@given(st.lists(st.integers(0, 30) | st.just(math.inf), min_size=1, max_size=200), SHARES)
def test_the_interval_is_that_of_scipys_quantile_test(values, share):
    """Equal values and infinite ones, too; SciPy has NaN for an end that does not exist."""
    found = of(values, share)
    ends = stats.quantile_test(np.asarray(values, dtype=float), q=0.0, p=share).confidence_interval(0.95)
    expected = (None, None) if np.isnan(ends).any() else tuple(ends)
    assert (found.low, found.high) == expected


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.inf), min_size=1, max_size=40), SHARES)
def test_quantiles_stand_within_their_interval_infinities_too(values, share):
    found = of(values, share)
    assert found.n == len(values)
    if found.low is not None:
        assert found.low <= found.mean <= found.high
    finite = sorted(v for v in values if math.isfinite(v))
    at = share * (len(values) - 1)
    assert math.isinf(found.mean) == (math.ceil(at) >= len(finite))
    if math.isfinite(found.mean):
        below = finite[math.floor(at)]
        by_hand = below + (finite[math.ceil(at)] - below) * (at - math.floor(at))
        assert found.mean == pytest.approx(by_hand, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_interval_covers_as_often_as_it_says(share):
    rng, hits = np.random.default_rng(0), 0
    truth = -np.log(1 - share)  # of the standard exponential distribution
    for _ in range(400):
        found = of(rng.exponential(size=200), share)
        hits += found.low <= truth <= found.high
    assert hits >= 0.94 * 400


def test_intervals_cover_the_median_of_a_skewed_distribution():
    rng = np.random.default_rng(0)
    found = [of(rng.exponential(size=10)) for _ in range(2000)]
    assert 0.965 < np.mean([m.low <= math.log(2) <= m.high for m in found]) < 0.99  # exactly 0.979 for n = 10
