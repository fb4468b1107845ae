"""Ratios of pairs: known cases, exactness, coverage by simulation."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulebench.stats import paired_ratio
from joulebench.stats.paired_ratio import chance, outlying, paired, pseudo_median, ratio_of_rounds, total

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
    assert paired_ratio._tail(np.array(signed)) == pytest.approx(np.mean([s >= sum(signed) for s in sums]))


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
    assert outlying([0.0, 0.01, -0.01, 0.02, -0.02, 0.5, 0.6, -0.7]) == (2, 1)


def test_nothing_is_no_location():
    with pytest.raises(ValueError):
        pseudo_median([])


def test_a_ratio_of_rounds_leaves_out_what_is_not_known_or_not_positive():
    known = [(2.0 * level, level) for level in (1.0, 1.1, 0.9, 1.3, 1.05, 0.95)]
    found = ratio_of_rounds([*known, (None, 1.0), (1.0, None), (0.0, 1.0), (-1.0, 1.0)])
    assert (found.mean, found.n, found.varied) == (pytest.approx(2.0, rel=1e-4), 6, "rounds")
    assert (found.low, found.high) == (pytest.approx(2.0, rel=1e-4), pytest.approx(2.0, rel=1e-4))
    few = ratio_of_rounds(known[:5])
    assert (few.mean, few.low, few.high) == (pytest.approx(2.0, rel=1e-4), None, None)
    assert ratio_of_rounds([(None, 1.0)]) is None
