"""The gate's statistics: looks, sessions, and what more would cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from joulebench.gate import statistics
from joulebench.gate.statistics import between_sessions, pairs_needed, sessions_needed
from joulebench.stats.paired_ratio import LEVEL, Shift, paired


def test_too_few_pairs_have_no_interval_and_say_how_many_would():
    shift = paired([0.1] * 5, 0.025)
    assert (shift.low, shift.high) == (-math.inf, math.inf)
    assert pairs_needed(shift, 0.02) == 6


def test_needed_pairs_follow_the_square_root():
    shift = Shift(0.0, -0.04, 0.04, 20, 0.025)
    assert pairs_needed(shift, 0.02) == 80
    assert pairs_needed(Shift(0.02, 0.0, 0.04, 20, 0.025), 0.02) is None


def test_the_sign_test_by_hand():
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
    assert statistics.family_level(1, 0.2) == LEVEL


def test_one_session_is_no_baseline():
    with pytest.raises(ValueError):
        between_sessions([1.0], [1.0], 0.025)
