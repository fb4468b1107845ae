"""Spread and drift, against numbers worked out by hand or by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from joulebench.stats.dispersion import distribution, drift, relative_sd


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
