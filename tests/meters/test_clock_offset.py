"""Offset of a power log's clock from a run's."""

from __future__ import annotations

import numpy as np
import pytest

from joulebench.meters.clock_offset import MAX_OFFSET_S, Span, estimate_offset

START_S = 1_000_000.0


def course(rng, trials=6, powers=(28.0, 40.0, 60.0)) -> list[Span]:
    """Idle, training of another length each time, twenty measured windows of a second; gaps between trials."""
    spans, at = [], START_S
    for _ in range(trials):
        parts = [(5.0, powers[0])] * 4 + [(rng.uniform(12, 38), powers[1])] + [(1.0, powers[2])] * 20
        for seconds, watts in parts:
            spans.append(Span(at, at + seconds, seconds * watts * rng.normal(1, 0.01)))
            at += seconds
        at += rng.uniform(0, 5)
    return spans


def logged(rng, spans, period_s, offset_s, noise_w=2.0, margin_s=60.0):
    """A log of 20 W + 1.5 × the run's power, with jitter, noise, and a clock that is ahead."""
    times = np.arange(spans[0].start_s - margin_s, spans[-1].end_s + margin_s, period_s)
    times += rng.uniform(-0.05, 0.05, len(times)) * period_s
    watts = np.full(len(times), 20 + 1.5 * spans[0].energy_j / 5)
    for span in spans:
        inside = (times >= span.start_s) & (times < span.end_s)
        watts[inside] = 20 + 1.5 * span.energy_j / (span.end_s - span.start_s)
    return times + offset_s, watts + rng.normal(0, noise_w, len(watts))


@pytest.mark.parametrize("period_s", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("offset_s", [-31.4, 0.0, 4.9, 77.0])
def test_a_known_offset_is_found_within_one_sampling_period(period_s, offset_s):
    rng = np.random.default_rng(1)
    spans = course(rng)
    offset = estimate_offset(*logged(rng, spans, period_s, offset_s), spans)
    assert offset.estimated
    assert abs(offset.offset_s - offset_s) <= min(period_s, offset.half_width_s)
    assert period_s / 2 <= offset.half_width_s < 1.1 * period_s


def test_the_stated_interval_holds_the_offset_at_least_as_often_as_stated():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(25):
        spans, true_s = course(rng, trials=3), rng.uniform(-20, 20)
        offset = estimate_offset(*logged(rng, spans, 1.0, true_s, noise_w=10.0), spans)
        held += offset.estimated and abs(offset.offset_s - true_s) <= offset.half_width_s
    assert held >= 22


def test_a_run_without_contrast_gives_no_offset():
    rng = np.random.default_rng(3)
    spans = [Span(START_S + i, START_S + i + 1, 30.0) for i in range(200)]
    offset = estimate_offset(*logged(rng, spans, 1.0, 5.0), spans)
    assert (offset.estimated, offset.excludes_zero) == (False, False)
    assert (offset.offset_s, offset.half_width_s, offset.correlation) == (0, pytest.approx(1, rel=0.05), 0)


def test_neither_does_a_log_without_contrast_nor_one_of_noise():
    rng = np.random.default_rng(4)
    spans = course(rng)
    times, _ = logged(rng, spans, 1.0, 5.0)
    assert not estimate_offset(times, np.full(len(times), 100.0), spans).estimated
    assert not estimate_offset(times, rng.normal(100, 10, len(times)), spans).estimated


def test_a_strictly_periodic_course_fits_at_several_offsets():
    """Load and idle by turns for as long as the log lasts and beyond: 20 s more or less make no difference."""
    spans = [Span(START_S + 10 * i, START_S + 10 * (i + 1), 400.0 if i % 2 else 200.0) for i in range(100)]
    rng = np.random.default_rng(5)
    times, watts = logged(rng, spans, 1.0, 4.0, margin_s=-150.0)
    offset = estimate_offset(times, watts, spans)
    assert not offset.estimated
    assert offset.excludes_zero
    assert offset.correlation > 0.9


def test_an_offset_beyond_the_range_is_not_taken():
    rng = np.random.default_rng(6)
    spans = course(rng, trials=12)
    offset = estimate_offset(*logged(rng, spans, 1.0, 2 * MAX_OFFSET_S, margin_s=600.0), spans)
    assert not offset.estimated
