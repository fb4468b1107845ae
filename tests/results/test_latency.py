"""Quantiles of step times and their distribution-free intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.records.model import Reading, Window
from joulebench.results.latency import latency, quantile_of
from joulebench.spec.task import Protocol


def window(step_s, seconds=2.0, phase="request"):
    reading = Reading(domain="cpu", energy_j=10.0, source="replay", kind="measured")
    return Window(phase=phase, start_utc="", start_s=0.0, end_s=seconds, units=4, steps=len(step_s),
                  step_s=tuple(step_s), readings=(reading,))  # fmt: skip


def test_only_valid_windows_of_the_phase_count():
    windows = [window([1.0, 2.0]), window([9.0], phase="decode"), window([50.0], seconds=0.5), window([3.0])]
    found = latency(windows, "request", 0.5, Protocol(window_s=1.0))
    assert (found.mean, found.n) == (2.0, 3)
    assert latency(windows, "prefill", 0.5, Protocol(window_s=1.0)) is None


def test_the_known_ranks_of_a_median_and_a_p95():
    # n = 100, median: ranks 40 and 61 (David & Nagaraja 2003); values are their own ranks
    found = quantile_of([float(i) for i in range(1, 101)], 0.5)
    assert (found.low, found.high) == (40.0, 61.0)
    # p95 of 59 has no upper end: 0.95^59 = 4.8 % > 2.5 %
    assert quantile_of([float(i) for i in range(1, 60)], 0.95).high is None
    assert quantile_of([float(i) for i in range(1, 200)], 0.95).high is not None


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_the_interval_covers_as_often_as_it_says(quantile):
    rng, hits = np.random.default_rng(0), 0
    truth = -np.log(1 - quantile)  # of the standard exponential distribution
    for _ in range(400):
        found = quantile_of(rng.exponential(size=200).tolist(), quantile)
        hits += found.low <= truth <= found.high
    assert hits >= 0.94 * 400


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200), st.sampled_from([0.05, 0.5, 0.95, 0.99]))
def test_the_quantile_lies_within_its_interval_and_the_values(values, quantile):
    found = quantile_of(values, quantile)
    assert min(values) <= found.mean * (1 + 1e-12)
    assert found.mean <= max(values) * (1 + 1e-12)
    assert found.n == len(values)
    if found.low is not None and found.high is not None:
        assert found.low <= found.high
