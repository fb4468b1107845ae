"""Bootstrap intervals over groups, and folds."""

from __future__ import annotations

import random

import pytest

from joulebench.stats.bootstrap import MIN_GROUPS, folds, quantile


def test_the_quantile_is_numpys_and_few_groups_have_no_interval():
    found = quantile([1.0, 2.0, 3.0, 4.0], "aabb", 0.5, "runs")
    assert (found.mean, found.n, found.low) == (2.5, 4, None)
    with pytest.raises(ValueError, match="groups"):
        quantile([], [], 0.5, "runs")
    with pytest.raises(ValueError, match="groups"):
        quantile([1.0], [], 0.5, "runs")


def test_the_interval_is_of_groups_not_of_values():
    """Ten equal values in a group tell no more than one."""
    once = quantile([float(i) for i in range(MIN_GROUPS + 5)], range(MIN_GROUPS + 5), 0.5, "runs")
    values = [float(i) for i in range(MIN_GROUPS + 5) for _ in range(10)]
    tenfold = quantile(values, [int(v) for v in values], 0.5, "runs")
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high), abs=1.0)
    assert tenfold.high - tenfold.low > 2


def test_the_interval_covers():
    held, n = 0, 200
    for seed in range(n):
        draw = random.Random(seed)
        found = quantile([draw.gauss(0.0, 1.0) for _ in range(40)], range(40), 0.5, "draws")
        held += found.low <= 0.0 <= found.high
    assert 0.90 <= held / n <= 0.995


def test_the_same_values_give_the_same_interval():
    values = [random.Random(1).random() for _ in range(30)]
    assert quantile(values, range(30), 0.95, "x") == quantile(values, range(30), 0.95, "x")


def test_folds_hold_every_group_once():
    groups = [1, 1, 2, 3, 4, 5, 5, 6, 7]
    parts = folds(groups, 3)
    assert len(parts) == 3
    assert sorted(g for part in parts for g in part) == [1, 2, 3, 4, 5, 6, 7]
    assert len(folds(groups, 100)) == 7
