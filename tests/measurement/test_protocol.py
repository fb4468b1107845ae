"""The protocol on replayed power with known energy, on a virtual clock."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.host.clock import VirtualClock
from joulebench.measurement.protocol import Timeline, cool_down, measure_idle, measure_phase
from joulebench.meters.base import Counter, MeterSet, difference
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.results.energy import phase_energy, total_j
from joulebench.results.validity import invalidity
from joulebench.spec.task import Protocol
from joulebench.workloads.base import Phase

PROTOCOL = Protocol(warmup_s=1.0, window_s=2.0, repeats=3, max_repeats=6, target_rel_ci=0.02, idle_s=4.0)


def timeline_with(times_s, watts, clock=None):
    clock = clock or VirtualClock()
    trace = PowerTrace("cpu", tuple(times_s), tuple(watts))
    timeline = Timeline(ReplayMeter([trace], clock, "a test"), clock)
    timeline.start()
    return timeline


def test_known_power_gives_known_joules_per_sample():
    timeline = timeline_with([0.0], [50.0])
    phase = Phase(lambda: timeline.clock.sleep(0.01), units=4)
    windows = measure_phase(timeline, "inference", phase, PROTOCOL)
    energy = phase_energy(windows, "inference", ["cpu"], PROTOCOL)
    assert energy.mean == pytest.approx(50.0 * 0.01 / 4, rel=1e-9)
    assert len(windows) == PROTOCOL.repeats
    assert all(w.duration_s >= PROTOCOL.window_s for w in windows)


def test_windows_touch_and_hold_every_joule():
    timeline = timeline_with([0.0, 50.0], [10.0, 200.0])
    phase = Phase(lambda: timeline.clock.sleep(0.05), units=1)
    measure_idle(timeline, PROTOCOL)
    measure_phase(timeline, "inference", phase, PROTOCOL)
    windows = timeline.take()
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(windows))
    end = windows[-1].end_s
    assert end < 50
    assert total_j(windows) == pytest.approx(10.0 * end + (190.0 / 50.0) * end**2 / 2)
    assert timeline.take() == ()


def test_idle_is_settled_then_measured_in_several_windows():
    timeline = timeline_with([0.0], [7.0])
    measure_idle(timeline, PROTOCOL)
    windows = timeline.take()
    assert [w.phase for w in windows] == ["settle"] + ["idle"] * 4
    assert sum(w.duration_s for w in windows[1:]) == pytest.approx(PROTOCOL.idle_s)


def test_noisy_power_is_repeated_to_the_limit_and_the_interval_stays_wide():
    rng = np.random.default_rng(0)
    times = np.arange(0, 100, 0.5)
    timeline = timeline_with(times.tolist(), rng.uniform(10, 200, len(times)).tolist())
    phase = Phase(lambda: timeline.clock.sleep(0.01), units=1)
    windows = measure_phase(timeline, "inference", phase, PROTOCOL)
    assert len(windows) == PROTOCOL.max_repeats
    energy = phase_energy(windows, "inference", ["cpu"], PROTOCOL)
    assert energy.rel_half_width > PROTOCOL.target_rel_ci


def test_a_model_that_speeds_up_gets_longer_windows():
    timeline = timeline_with([0.0], [50.0])
    calls = 0

    def step():
        nonlocal calls
        calls += 1
        timeline.clock.sleep(0.5 if calls <= 4 else 0.01)

    windows = measure_phase(timeline, "inference", Phase(step, units=1), PROTOCOL)
    assert invalidity(windows[0], PROTOCOL).kind == "too_short"
    assert sum(invalidity(w, PROTOCOL) is None for w in windows) >= PROTOCOL.repeats


def test_a_step_that_takes_no_time_is_refused():
    timeline = timeline_with([0.0], [50.0])
    with pytest.raises(ValueError, match="takes no time"):
        measure_phase(timeline, "inference", Phase(lambda: None, units=1), PROTOCOL)


def test_the_device_is_settled_at_both_edges():
    clock = VirtualClock()
    pending = 0.0

    def step():
        nonlocal pending
        pending += 0.25  # asynchronous: the work is done when somebody waits for it

    def synchronize():
        nonlocal pending
        clock.sleep(pending)
        pending = 0.0

    timeline = Timeline(ReplayMeter([PowerTrace("gpu:0", (0.0,), (100.0,))], clock, "t"), clock, synchronize)
    timeline.start()
    windows = measure_phase(timeline, "inference", Phase(step, units=1), PROTOCOL)
    energy = phase_energy(windows, "inference", ["gpu"], PROTOCOL)
    assert energy.mean == pytest.approx(25.0)


@settings(max_examples=50)
@given(
    watts=st.lists(st.floats(0.5, 500), min_size=1, max_size=8),
    step_s=st.floats(0.001, 0.9),
    units=st.integers(1, 512),
)
def test_any_trace_is_accounted_for_to_the_last_joule(watts, step_s, units):
    times = [3.0 * i for i in range(len(watts))]
    timeline = timeline_with(times, watts)
    windows = measure_phase(
        timeline, "inference", Phase(lambda: timeline.clock.sleep(step_s), units=units), PROTOCOL
    )
    everything = timeline.take()
    end = everything[-1].end_s
    grid = np.unique(np.concatenate([np.linspace(0, end, 20_001), [t for t in times if t <= end]]))
    assert total_j(everything) == pytest.approx(np.trapezoid(np.interp(grid, times, watts), grid), rel=1e-6)
    assert all(w.units == w.steps * units for w in windows)


def test_a_counter_that_goes_back_or_drops_out_is_a_fault():
    before = (Counter("gpu:0", 100.0, "nvml_counter", "measured"), Counter("cpu", 5.0, "rapl", "measured"))
    readings, fault = difference(before, (Counter("gpu:0", 40.0, "nvml_counter", "measured"),))
    assert readings == ()
    assert "gpu:0 counter went back by 60 J" in fault.text
    assert "cpu (rapl) dropped out" in fault.text


def test_two_primary_counters_of_a_domain_are_refused():
    clock = VirtualClock()
    meters = [ReplayMeter([PowerTrace("cpu", (0.0,), (1.0,))], clock, n) for n in "ab"]
    both = MeterSet(meters)
    both.start()
    with pytest.raises(ValueError, match="counted twice"):
        both.read()


def test_a_meter_that_drops_out_leaves_no_valid_window():
    class Failing(ReplayMeter):
        def read(self):
            counters = super().read()
            return counters if self._clock.now_s() < 5 else counters[:1]

    clock = VirtualClock()
    traces = [PowerTrace("cpu", (0.0,), (10.0,)), PowerTrace("gpu:0", (0.0,), (90.0,))]
    timeline = Timeline(Failing(traces, clock, "test"), clock)
    timeline.start()
    for _ in range(4):
        clock.sleep(2.5)
        timeline.cut("inference", units=1)
    faults = [w.fault for w in timeline.take()]
    assert faults[0] is None
    assert [fault and fault.kind for fault in faults] == [None, *["missing_reading"] * 3]
    assert "gpu:0 (replay)" in faults[1].text


def test_it_warms_up_until_the_pace_has_settled():
    timeline = timeline_with([0.0], [50.0])
    calls = 0

    def step():
        nonlocal calls
        calls += 1
        timeline.clock.sleep(max(0.1, 1.0 - 0.05 * calls))  # faster and faster, then steady at 0.1 s

    measure_phase(timeline, "inference", Phase(step, units=1), PROTOCOL)
    warmup = next(w for w in timeline.take() if w.phase == "warmup")
    assert warmup.duration_s > 5 * PROTOCOL.warmup_s
    assert warmup.steps >= 18


def test_a_pace_that_never_settles_ends_the_warm_up_at_its_limit():
    protocol = PROTOCOL.model_copy(update={"max_warmup_s": 8.0})
    timeline = timeline_with([0.0], [50.0])
    steps = iter(range(10**6))
    phase = Phase(lambda: timeline.clock.sleep(0.5 + 0.4 * (next(steps) % 2)), units=1)
    measure_phase(timeline, "inference", phase, protocol)
    warmup = next(w for w in timeline.take() if w.phase == "warmup")
    assert 8.0 <= warmup.duration_s < 10.0


class SlowCounter(ReplayMeter):
    """Moves every 0.4 s only."""

    def read(self):
        period = 0.4
        ticks = int((self._clock.now_s() + 1e-9) / period)
        return (Counter("gpu:0", 100.0 * ticks * period, "test", "measured", updates=ticks),)


def test_windows_grow_until_the_counter_has_moved_often_enough():
    clock = VirtualClock()
    timeline = Timeline(SlowCounter([], clock, "test"), clock)
    timeline.start()
    protocol = PROTOCOL.model_copy(update={"max_warmup_s": 2.0})
    windows = measure_phase(timeline, "inference", Phase(lambda: clock.sleep(0.05), units=1), protocol)
    assert invalidity(windows[0], protocol).kind == "few_counter_updates"
    valid = [w for w in windows if invalidity(w, protocol) is None]
    assert len(valid) >= protocol.repeats
    assert all(w.readings[0].counter_updates >= 20 for w in valid)
    energy = phase_energy(windows, "inference", ["gpu"], protocol)
    assert energy.mean == pytest.approx(5.0, rel=0.05)


def test_cooling_down_is_time_of_its_own():
    timeline = timeline_with([0.0], [7.0])
    cool_down(timeline, PROTOCOL.model_copy(update={"cooldown_s": 3.0}))
    cool_down(timeline, PROTOCOL)
    assert [(w.phase, w.duration_s) for w in timeline.take()] == [("cooldown", 3.0)]
