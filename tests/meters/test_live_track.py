"""Joules from samples, by hand: trapezoids, what is told between samples, and what is told to be wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.meters.live_track import Track
from joulebench.records.model import FaultKind


def power(interval_s=1.0, **more):
    return Track(is_power=True, size=1.0, interval_s=interval_s, max_w=1000.0, **more)


def counter(interval_s=1.0, **more):
    return Track(is_power=False, size=3600.0, interval_s=interval_s, max_w=1000.0, **more)  # in Wh


def test_power_is_integrated_by_trapezoids_and_goes_on_between_samples():
    track = power()
    track.add(0.0, 100.0)
    assert track.read(0.5) == (50.0, 0, None)
    track.add(1.0, 100.0)
    track.add(2.0, 300.0)
    assert track.read(2.0) == (300.0, 2, None)  # 100 J, then (100 + 300) / 2
    assert track.read(2.5) == (450.0, 2, None)
    assert (track.latest, track.update_s, track.resolution) == (300.0, 1.0, 200.0)


def test_the_joules_at_an_edge_are_known_later():
    """At 0.5 s 100 W go on: 50 J are told. Power was on its way to 300 W: 50 + 200 × 0.5² / 2 = 75 J were used."""
    track = power()
    track.add(0.0, 100.0)
    assert track.read(0.5)[0] == 50.0
    track.add(1.0, 300.0)
    energy_j, _, fault = track.read(1.5)
    assert energy_j == 200.0 + 150.0
    assert fault.kind is FaultKind.FEW_UPDATES
    assert "knows to 25 J of 300 J" in fault.text
    for n in range(2, 30):
        track.add(float(n), 300.0)
    assert track.read(29.5)[2] is None


def test_a_counter_goes_on_at_its_last_power_for_one_step_at_most():
    track = counter()
    for n in range(5):
        track.add(float(n), n // 2 * 0.1)  # 0.1 Wh = 360 J every 2 s
    assert track.read(4.0) == (720.0, 2, None)
    assert track.read(5.0)[0] == pytest.approx(900.0)  # 180 W since 4.0 s
    assert track.read(6.5)[0] == pytest.approx(1080.0)  # one step of 360 J, although 450 J would follow
    assert (track.update_s, track.resolution) == (2.0, pytest.approx(360.0))


def test_what_goes_back_wraps_where_that_explains_it():
    reset, wraps = counter(), counter(wraps_at=1.0)
    for track in (reset, wraps):
        for n, value in enumerate((0.8, 0.9, 0.0, 0.1)):
            track.add(float(n), value)
    assert wraps.read(3.0)[:2] == (pytest.approx(1080.0), 3)
    energy_j, _, fault = reset.read(3.0)
    assert energy_j == pytest.approx(720.0)
    assert (fault.kind, fault.text) == (FaultKind.COUNTER_RESET, "went back by 3.24e+03 J: it was reset")


def test_no_energy_goes_on_for_ever_without_samples():
    track = power()
    track.add(0.0, 100.0)
    energy_j, _, fault = track.read(60.0)
    assert energy_j == 300.0  # three intervals
    assert fault.kind is FaultKind.SAMPLING_GAP


@given(
    st.booleans(),
    st.lists(st.tuples(st.floats(0.001, 10.0), st.floats(allow_nan=True), st.booleans()), min_size=1, max_size=40),
    st.floats(0.0, 5.0),
)
def test_whatever_is_sampled_the_joules_only_grow_and_are_bounded(is_power, samples, delay_s):
    track = Track(is_power=is_power, size=2.0, interval_s=1.0, max_w=500.0, delay_s=delay_s)
    now_s, told = 0.0, [0.0]
    for seconds, value, reads in samples:
        now_s += seconds
        track.add(now_s, value)
        if reads:
            told.append(track.read(now_s)[0])
    told.append(track.read(now_s + 100.0)[0])
    assert told == sorted(told)
    assert math.isfinite(told[-1])
    assert told[-1] <= 500.0 * (now_s + 1.0 * len(samples) + 20.0)
