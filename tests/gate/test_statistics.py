"""The gate's intervals: known cases, exactness, coverage by simulation."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from joulebench.gate import statistics
from joulebench.gate.statistics import (
    between_sessions,
    chance,
    paired,
    pairs_needed,
    pseudo_median,
    sessions_needed,
    total,
)

PATTERNS = partial(itertools.product, (-1, 1))
VALUES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=25)


def test_the_pseudo_median_by_hand():
    # means of pairs, each with itself: 1, 1.5, 2, 3, 5.5, 6, 10 and so on
    assert pseudo_median([1.0, 2.0, 10.0]) == pytest.approx(np.median([1, 1.5, 5.5, 2, 6, 10]))


@given(VALUES, st.integers(-2000, 2000))
def test_a_shift_of_all_values_shifts_everything(thousandths, by_thousandths):
    values, by = [v / 1000 for v in thousandths], by_thousandths / 1000
    moved, still = paired([v + by for v in values], 0.025), paired(values, 0.025)
    for a, b in zip((moved.estimate, moved.low, moved.high), (still.estimate, still.low, still.high), strict=True):
        assert a == b + by or a == pytest.approx(b + by, abs=1e-4)
    assert still.low <= still.estimate <= still.high


@pytest.mark.parametrize("signed", [[3, -1, 2], [5, 5, 5, -5, 5], [0, 4, -2, 7, 7, 1], [1, 2, 3, 4, 5, 6, 7, 8]])
def test_the_tail_is_that_of_every_pattern_of_signs(signed):
    sums = [sum(s * abs(v) for s, v in zip(signs, signed, strict=True)) for signs in PATTERNS(repeat=len(signed))]
    assert statistics._tail(np.array(signed)) == pytest.approx(np.mean([s >= sum(signed) for s in sums]))


def test_without_outliers_the_interval_is_near_students():
    values = np.random.default_rng(4).normal(0.03, 0.05, 40)
    shift = paired(list(values), 0.025)
    low, high = stats.t.interval(0.95, 39, np.mean(values), stats.sem(values))
    assert shift.estimate == pytest.approx(np.mean(values), abs=0.004)
    assert shift.half_width == pytest.approx((high - low) / 2, rel=0.2)


def test_six_outliers_of_forty_on_one_side_leave_the_interval_where_it_was():
    values = list(np.random.default_rng(4).normal(0.0, 0.01, 40))
    shift, bent = paired(values, 0.0025), paired([*values[:34], *[0.5] * 6], 0.0025)
    assert bent.high < shift.high + 0.01
    assert bent.low == pytest.approx(shift.low, abs=0.006)


def test_too_few_pairs_have_no_interval_and_say_how_many_would():
    shift = paired([0.1] * 5, 0.025)
    assert (shift.low, shift.high) == (-math.inf, math.inf)
    assert pairs_needed(shift, 0.02) == 6


def test_needed_pairs_follow_the_square_root():
    shift = statistics.Shift(0.0, -0.04, 0.04, 20, 0.025)
    assert pairs_needed(shift, 0.02) == 80
    assert pairs_needed(statistics.Shift(0.02, 0.0, 0.04, 20, 0.025), 0.02) is None


@pytest.mark.parametrize("outliers", [0.0, 0.1])
def test_pairs_cover_whatever_the_noise_and_drift(outliers):
    """400 gates of 20 pairs with a coin for the order; correlated noise, a drift of 5 %, outliers of a third."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        noise = np.convolve(random.normal(0, 0.02, 42), [0.8, 0.5, 0.3], mode="valid")
        level = noise + np.linspace(0, 0.05, 40) + (random.random(40) < outliers) * 0.3
        a, b = level[0::2], level[1::2]
        differences = np.where(random.random(20) < 0.5, b - a, a - b) + 0.04
        shift = paired(list(differences), 0.025)
        held += shift.low <= 0.04 <= shift.high
    # 95 %, and three standard errors of 400 tries
    assert held / 400 > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("shift", [-0.01, 0.0, 0.02])
def test_the_chance_is_where_the_interval_ends(shift):
    """Above its low end a shift is refused at the interval's level, below it is not."""
    values = list(np.random.default_rng(3).normal(0.03 + shift, 0.05, 30))
    found = paired(values, 0.01)
    assert chance(values, found.low - 1e-3) <= 0.01 < chance(values, found.low + 1e-3)
    assert chance([-v for v in values], -found.high - 1e-3) <= 0.01


def test_a_ratio_of_totals_by_hand():
    before, now = [1.0, 2.0, 3.0], [1.5, 2.0, 3.7]
    shift = total(before, now, 0.2)
    ratio = 7.2 / 6
    rest = [n - ratio * b for b, n in zip(before, now, strict=True)]
    sem = math.sqrt(sum(r * r for r in rest) / 2 / 3) / 2.4  # of the mean now
    assert shift.estimate == pytest.approx(math.log(ratio))
    assert shift.half_width == pytest.approx(stats.t.ppf(0.8, 2) * sem)
    assert total(before, now, 0.025).high == math.inf  # of three pairs nothing follows
    with pytest.raises(ValueError):
        total([1.0, 0.0], [1.0, 1.0], 0.025)


def test_totals_cover_though_some_processes_are_dear():
    """400 gates of 40 pairs, a tenth of both sides' processes 50 % dearer."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        sides = np.exp(random.normal(0, 0.02, (2, 40))) * np.where(random.random((2, 40)) < 0.1, 1.5, 1.0)
        shift = total(list(sides[0]), list(sides[1] * 1.04), 0.025)
        held += shift.low <= math.log(1.04) <= shift.high
    assert held / 400 > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


def test_outlying_differences_by_hand():
    values = [0.0, 0.01, -0.01, 0.02, -0.02, 0.5, 0.6, -0.7]
    assert statistics.outlying(values) == (2, 1)
    assert statistics.one_sided(2, 1) == pytest.approx(0.5)
    assert statistics.one_sided(4, 0) == 1 / 16
    assert statistics.one_sided(0, 0) == 1


def test_looks_share_what_may_go_wrong_whichever_are_taken():
    looks = range(1, statistics.LOOKS + 1)
    assert sum(statistics.look_share(n, n - 1) for n in looks) == pytest.approx(1)
    assert statistics.look_share(2, 0) + statistics.look_share(5, 2) == pytest.approx(1)


def test_so_many_processes_show_a_rare_kind():
    n = statistics.pairs_without(0.1)
    assert 0.9**n <= 0.05 < 0.9 ** (n - 1)


def test_sessions_cover_though_one_session_of_now_is_all_there_is():
    random = np.random.default_rng(2)
    held = 0
    for _ in range(4000):
        levels = random.normal(0, 0.03, 6)
        shift = between_sessions(list(levels[:5]), [levels[5]], 0.025)
        held += shift.low <= 0.0 <= shift.high
    assert held / 4000 == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / 4000))


def test_a_prediction_interval_by_hand():
    values = [0.0, 0.01, 0.02, 0.03, 0.04]
    shift = between_sessions(values, [0.10], 0.025)
    half = stats.t.ppf(0.975, 4) * math.sqrt(np.var(values, ddof=1) * (1 + 1 / 5))
    assert shift.estimate == pytest.approx(0.08)
    assert shift.half_width == pytest.approx(half)


@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=12),
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=12),
)
def test_the_interval_between_sessions_is_students_with_pooled_variance(baseline, current):
    assume(len(set(baseline)) > 1 and (len(current) == 1 or len(set(current)) > 1))  # SciPy warns of equal values
    shift = between_sessions(baseline, current, 0.01)
    ends = stats.ttest_ind(current, baseline).confidence_interval(0.98)
    assert (shift.low, shift.high) == pytest.approx(tuple(ends), rel=1e-9, abs=1e-9)


def test_needed_sessions_may_be_more_than_any():
    values = [0.0, 0.01, 0.02, 0.03, 0.04]
    near = between_sessions(values, [0.04], 0.025)
    assert sessions_needed(values, [0.04], near, 0.02) is None  # one session of now is 0.016 off on its own
    far = between_sessions(values, [0.08], 0.025)
    k = sessions_needed(values, [0.08], far, 0.02)
    spread = math.sqrt(np.var(values, ddof=1))
    half = {n: stats.t.ppf(0.975, n - 1) * spread * math.sqrt(1 + 1 / n) for n in (k - 1, k)}
    assert half[k] < abs(0.02 - far.estimate) <= half[k - 1]


def test_the_family_shares_what_may_go_wrong():
    assert statistics.family_level(4, 0.01) == pytest.approx(0.0025)
    assert statistics.family_level(1, 0.2) == statistics.LEVEL


def test_nothing_is_no_location():
    with pytest.raises(ValueError):
        pseudo_median([])
    with pytest.raises(ValueError):
        between_sessions([1.0], [1.0], 0.025)
