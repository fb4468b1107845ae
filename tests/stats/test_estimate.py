"""Variance in parts, the spread between runs, correlated sequences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulebench.stats.estimate import (
    AND_RUNS,
    BETWEEN_RUNS,
    Estimate,
    Part,
    Spread,
    correlated,
    effective_n,
    estimate,
    freedom_of,
    mean_of_runs,
    of_parts,
    paired_share_sem,
    point,
    pooled_spread,
    share_sem,
    welch_satterthwaite,
)

WITHIN = Estimate(10.0, 5, 0.1, 9.7, 10.3, "windows", 4)


def test_parts_of_a_variance_add_and_degrees_of_freedom_are_welchs():
    value = of_parts(10.0, 5, [Part(0.04, 4), Part(0.09, 8)], "both")
    freedom = 0.13**2 / (0.04**2 / 4 + 0.09**2 / 8)
    assert value.sem == pytest.approx(math.sqrt(0.13))
    assert value.freedom == pytest.approx(freedom)
    assert value.high - value.mean == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(0.13))
    assert of_parts(10.0, 5, [], "none").low is None
    assert welch_satterthwaite([Part(0.0, 3), Part(0.0, 7)]) == 3
    assert welch_satterthwaite([Part(1.0, math.inf)]) == math.inf


@given(st.lists(st.tuples(st.floats(1e-9, 1e9), st.integers(1, 50)), min_size=1, max_size=6))
def test_degrees_of_freedom_lie_between_the_fewest_and_their_sum(parts):
    freedom = welch_satterthwaite([Part(v, f) for v, f in parts])
    assert min(f for _, f in parts) * (1 - 1e-9) <= freedom <= sum(f for _, f in parts) * (1 + 1e-9)


def test_one_run_has_its_own_variance_and_that_between_runs():
    value = mean_of_runs([WITHIN], Spread(0.05, 8))
    assert (value.mean, value.n) == (10.0, 5)
    assert value.sem == pytest.approx(math.hypot(0.1, 0.5))
    assert value.freedom == pytest.approx((0.01 + 0.25) ** 2 / (0.01**2 / 4 + 0.25**2 / 8))
    assert AND_RUNS in value.varied
    assert mean_of_runs([WITHIN]) is WITHIN


def test_a_value_without_windows_has_the_spread_between_runs_alone():
    value = mean_of_runs([point(0.8)], Spread(0.01, 6), scale=1.0)
    assert (value.sem, value.freedom, value.varied) == (0.01, 6, AND_RUNS)


def test_several_runs_have_the_pooled_spread_over_their_number():
    runs = [point(10.0), point(10.4)]
    value = mean_of_runs(runs, Spread(0.05, 8))
    assert (value.n, value.varied) == (2, BETWEEN_RUNS)
    assert value.sem == pytest.approx(0.05 * 10.2 / math.sqrt(2))
    assert freedom_of(value) == 8


def test_runs_that_differ_by_far_more_than_others_keep_their_own_spread():
    value = mean_of_runs([point(10.0), point(20.0)], Spread(0.01, 8))
    assert value.sem == pytest.approx(stats.sem([10.0, 20.0]))
    assert value.freedom == 1


@given(st.lists(st.lists(st.integers(-50, 50), max_size=5), max_size=6))
def test_a_pooled_spread_is_the_root_of_the_mean_square_within_groups(groups):
    found = pooled_spread(groups)
    squares = sum(sum((v - np.mean(g)) ** 2 for v in g) for g in groups if len(g) > 1)
    freedom = sum(len(g) - 1 for g in groups if len(g) > 1)
    if freedom == 0:
        assert found is None
    else:
        assert found.sd == pytest.approx(math.sqrt(squares / freedom), abs=1e-12)
        assert found.freedom == freedom


def test_the_interval_of_a_spread_is_that_of_chi_squared():
    low, high = Spread(0.02, 9).interval
    assert low == pytest.approx(0.02 * math.sqrt(9 / stats.chi2.ppf(0.975, 9)))
    assert high == pytest.approx(0.02 * math.sqrt(9 / stats.chi2.ppf(0.025, 9)))


def _ar1(rng, n, phi):
    values = [rng.normal()]
    for _ in range(n - 1):
        values.append(phi * values[-1] + math.sqrt(1 - phi**2) * rng.normal())
    return values


def test_correlation_is_flagged_where_it_is_and_seldom_where_it_is_not():
    rng = np.random.default_rng(3)
    flagged = {phi: sum(correlated(_ar1(rng, 30, phi)) for _ in range(1000)) for phi in (0.0, 0.6)}
    assert flagged[0.0] <= 65
    assert flagged[0.6] >= 850
    assert not correlated([1.0, 2.0, 3.0])


@pytest.mark.parametrize("n", [3, 5, 7, 8, 9, 30])
def test_degrees_of_freedom_are_those_of_the_values_with_correlation_or_without(n):
    rising = [float(v) for v in range(n)]
    assert 2 <= effective_n(rising) < n
    assert estimate(rising).freedom == n - 1
    assert effective_n([0.0, 1.0] * n) == 2 * n


def test_what_runs_have_in_common_does_not_vanish_with_their_number():
    """Three evaluations on the same samples err alike: their mean is known no better than one of them."""
    score = Estimate(0.9, 1, 0.02, 0.9 - 1.96 * 0.02, 0.9 + 1.96 * 0.02, "samples", freedom=math.inf)
    for runs in ([score], [score] * 3):
        value = mean_of_runs(runs)
        assert (value.mean, value.sem) == (pytest.approx(0.9), pytest.approx(0.02))
        assert value.high - value.mean == pytest.approx(1.96 * 0.02, rel=1e-3)
    spread = pooled_spread([[0.88, 0.92], [0.9, 0.91]])
    wider = mean_of_runs([score] * 3, spread, 1.0)
    assert wider.sem == pytest.approx(math.hypot(0.02, spread.sd / math.sqrt(3)))
    apart = mean_of_runs([score, replace(score, mean=0.92), replace(score, mean=0.88)])
    assert apart.sem == pytest.approx(0.02 / math.sqrt(3))


def test_runs_that_are_nearly_alike_have_their_error_in_common_too():
    """One sample of a thousand that is scored otherwise must not make the mean sixty times as certain."""
    score = Estimate(0.9, 1, 0.02, 0.86, 0.94, "samples", freedom=math.inf)
    nearly = mean_of_runs([score, score, replace(score, mean=0.901)])
    assert nearly.sem == pytest.approx(math.hypot(0.02, 0.001 / 3), rel=1e-6)
    measured = [replace(v, freedom=9.0) for v in (score, replace(score, mean=0.901))]  # of windows, which differ
    assert mean_of_runs(measured).sem == pytest.approx(0.0005)
    rng = np.random.default_rng(5)
    drawn = [[replace(score, mean=float(m)) for m in rng.normal(0.9, 0.02, 4)] for _ in range(1000)]
    apart = sum(mean_of_runs(runs).varied == "runs of the configuration" for runs in drawn)
    assert apart / 1000 == pytest.approx(0.99, abs=0.008)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_standard_error_of_a_share_covers_it(share):
    """Of 4,000 samples of 64 cases each, 1.96 standard errors hold the true share in nearly 95 % or more."""
    hits = np.random.default_rng(0).binomial(64, share, 4000)
    held = np.mean([abs((h + 2) / 68 - share) <= 1.96 * share_sem(h, 64) for h in hits])
    assert held > 0.93
    assert share_sem(64, 64) > 0


def test_the_standard_error_of_a_difference_on_the_same_cases_covers_it():
    rng = np.random.default_rng(1)
    cells = rng.multinomial(100, [0.06, 0.03, 0.91], 4000)
    held = np.mean([abs((a - b) / 102 - 0.03) <= 1.96 * paired_share_sem(a, b, 100) for a, b, _ in cells])
    assert 0.93 < held < 0.98
    assert paired_share_sem(0, 0, 100) == pytest.approx(1 / 102)
