"""The protocol on replayed power with known energy, on a virtual clock."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.host.clock import VirtualClock
from joulebench.measurement.protocol import cool_down, measure_idle, measure_phase, measure_side_by_side
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import Counter, MeterSet, difference
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.results.energy import phase_energy, total_j
from joulebench.results.validity import idle_fault, invalidity, judged
from joulebench.spec.task import Protocol
from joulebench.workloads.base import Phase
from tests.factories import fault

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


@pytest.mark.parametrize("factor", [1 / 50, 1 / 3, 3.0])
@pytest.mark.parametrize("timed", [False, True])
def test_windows_end_on_time_when_the_pace_changes(factor, timed):
    """Neither too short nor thrown away, when steps become faster or slower in the middle of a window."""
    timeline = timeline_with([0.0], [50.0])

    def step():
        timeline.clock.sleep(0.002 * (factor if timeline.clock.now_s() > 4.0 else 1.0))

    windows = measure_phase(timeline, "inference", Phase(step, units=1, timed=timed), PROTOCOL)
    assert windows[0].start_s < 4.0 < windows[-1].end_s
    assert all(found is None for _, found in judged(windows, "inference", PROTOCOL))
    for window in windows:  # a chunk is a twentieth of a window; in the one that slowed down it took longer
        assert 2.0 * (1 - 1e-9) <= window.duration_s <= 2.0 + 0.1 * max(1.0, factor)
    if not timed:
        others = [w.duration_s for w in windows if not w.start_s < 4.0 < w.end_s]
        assert max(others) < 2.0 + 2 * 0.002 * max(1.0, factor)
    assert {len(w.step_s) == w.steps for w in windows} == {timed}


def test_the_clock_is_checked_a_few_dozen_times_in_a_window():
    """Each check settles the device: on a GPU that costs time."""
    clock, checks = VirtualClock(), 0

    def synchronize():
        nonlocal checks
        checks += 1

    timeline = Timeline(ReplayMeter([PowerTrace("gpu:0", (0.0,), (100.0,))], clock, "t"), clock, synchronize)
    timeline.start()
    warm = PROTOCOL.model_copy(update={"warmup_s": 0.0})
    windows = measure_phase(timeline, "inference", Phase(lambda: clock.sleep(1e-4), units=1), warm)
    assert 20 * len(windows) <= checks <= 26 * len(windows) + 20


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


class Shared(ReplayMeter):
    """50 W on a machine that other processes share: `busy` are spans of seconds, each with the CPUs they take."""

    def __init__(self, clock, busy) -> None:
        super().__init__([PowerTrace("cpu", (0.0,), (50.0,))], clock, "a test")
        self._busy = busy

    def integrals(self):
        now_s = self._clock.now_s()
        return {"other_load_cpus": sum(c * max(0.0, min(now_s, end) - start) for start, end, c in self._busy)}


def shared(*busy):
    clock = VirtualClock()
    timeline = Timeline(Shared(clock, busy), clock)
    timeline.start()
    return timeline


def test_a_window_spoiled_by_others_is_repeated_once_they_are_quiet():
    timeline, notes = shared((3.0, 7.9, 0.8)), []
    phase = Phase(lambda: timeline.clock.sleep(0.01), units=1)
    windows = measure_phase(timeline, "inference", phase, PROTOCOL, note=notes.append)
    faults = [found and found.kind for _, found in judged(windows, "inference", PROTOCOL)]
    assert faults == [None, "other_load", None, None]
    laid = timeline.take()
    assert [w.phase for w in laid if w.phase not in ("inference", "prepare")] == ["warmup", *["busy"] * 6, "warmup"]
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(laid))
    assert all(w.of == "inference" for w in laid if w.phase == "busy")
    assert sum(w.duration_s for w in laid if w.phase == "busy") == pytest.approx(3.6)  # spans of 0.6 s
    assert len(notes) == 1
    assert "0.8 CPUs" in notes[0]


def test_a_round_spoiled_by_others_is_repeated_once_they_are_quiet_and_all_are_warm():
    timeline, notes = shared((6.6, 7.6, 0.8)), []
    phases = [Phase(lambda s=s: timeline.clock.sleep(s), units=1) for s in (0.01, 0.02)]
    windows = measure_side_by_side(
        timeline, "block", phases, PROTOCOL, lambda turns: turns.reverse(), note=notes.append
    )
    faults = [[found and found.kind for _, found in judged(own, "block", PROTOCOL)] for own in windows]
    assert faults == [[None, None, None, None], [None, "other_load", None, None]]
    laid = timeline.take()
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(laid))
    names = [w.phase for w in laid]
    again = len(names) - 1 - names[::-1].index("busy")
    assert names[again + 1 : again + 3] == ["warmup", "warmup"]
    assert names.count("warmup") == 4
    assert len(notes) == 1
    for own, seconds in zip(windows, (0.01, 0.02), strict=True):
        energy = phase_energy(own, "block", ("cpu",), PROTOCOL)
        assert energy.mean == pytest.approx(50 * seconds, rel=0.02)


def test_waiting_for_others_is_bounded():
    timeline, notes = shared((0.0, 1e9, 0.8)), []
    protocol = PROTOCOL.model_copy(update={"max_quiet_wait_s": 5.0})
    phase = Phase(lambda: timeline.clock.sleep(0.01), units=1)
    windows = measure_phase(timeline, "inference", phase, protocol, note=notes.append)
    assert len(windows) == protocol.max_repeats
    assert {f.kind for _, f in judged(windows, "inference", protocol)} == {"other_load"}
    assert sum(w.duration_s for w in timeline.take() if w.phase == "busy") == pytest.approx(4.8)  # spans of 0.6 s
    assert len(notes) == 2


def test_where_busy_is_allowed_nobody_waits():
    timeline = shared((0.0, 1e9, 0.8))
    protocol = PROTOCOL.model_copy(update={"allow_busy": True})
    measure_idle(timeline, protocol)
    windows = measure_phase(timeline, "inference", Phase(lambda: timeline.clock.sleep(0.01), units=1), protocol)
    assert len(windows) == protocol.repeats
    assert "busy" not in {w.phase for w in timeline.take()}


@pytest.mark.parametrize(("busy_until", "good"), [(0.0, 4), (2.5, 4), (1e9, 0)])
def test_an_idle_baseline_is_of_quiet_windows_that_touch(busy_until, good):
    timeline = shared((1.5, busy_until, 0.3))
    measure_idle(timeline, PROTOCOL)
    idle = [w for w in timeline.take() if w.phase == "idle"]
    quiet = [w for w in idle if idle_fault(w, PROTOCOL) is None]
    assert len(quiet) == good
    assert len(idle) <= 12
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(quiet))


def test_a_fault_that_warming_up_has_read_stays_with_its_window():
    class Faulty(ReplayMeter):
        """Its second read notices a fault, and is the last to know of it."""

        reads = 0

        def read(self):
            self.reads += 1
            noticed = fault("stuck") if self.reads == 2 else None
            return tuple(replace(c, kind="measured", fault=noticed) for c in super().read())

    clock = VirtualClock()
    timeline = Timeline(Faulty([PowerTrace("cpu", (0.0,), (1.0,))], clock, "test"), clock)
    timeline.start()
    clock.sleep(1.0)
    timeline.peek()
    timeline.peek()
    clock.sleep(1.0)
    assert "stuck" in timeline.cut("warmup").fault.text
    clock.sleep(1.0)
    assert timeline.cut("inference").fault is None


class Heating(ReplayMeter):
    """A measured counter; with `updates` one that moves every 0.1 s."""

    updates = False

    def read(self):
        moved = int(self._clock.now_s() / 0.1 + 1e-9) if self.updates else None
        return tuple(replace(c, kind="measured", updates=moved) for c in super().read())


class HeatingSlowly(Heating):
    updates = True


@pytest.mark.parametrize(("meter", "seconds"), [(Heating, 6.0), (HeatingSlowly, 1.0), (ReplayMeter, 1.0)])
def test_it_warms_up_until_measured_power_has_settled(meter, seconds):
    """Power rises for 6 s, the pace is steady. A slow counter and a model's ticks are too coarse for chunks."""
    clock = VirtualClock()
    timeline = Timeline(meter([PowerTrace("gpu:0", (0.0, 6.0), (10.0, 200.0))], clock, "test"), clock)
    timeline.start()
    protocol = PROTOCOL.model_copy(update={"settled_rel": 0.005})
    measure_phase(timeline, "inference", Phase(lambda: clock.sleep(0.01), units=1), protocol)
    warmup = next(w for w in timeline.take() if w.phase == "warmup")
    assert warmup.duration_s == pytest.approx(seconds, abs=0.5)


class Thermometer(ReplayMeter):
    """A GPU that cools from 80 °C towards 40 °C in the way of all bodies, 20 s a halving; without one if not."""

    def integrals(self):
        rate = math.log(2) / 20
        return {
            "gpu:0_temperature_c": 40 * self._clock.now_s() + 40 / rate * -math.expm1(-rate * self._clock.now_s())
        }


def test_it_cools_down_until_temperature_or_power_has_settled():
    protocol = PROTOCOL.model_copy(update={"cooldown_s": 2.0, "max_cooldown_s": 60.0})
    clock = VirtualClock()
    timeline = Timeline(Thermometer([PowerTrace("gpu:0", (0.0,), (90.0,))], clock, "test"), clock)
    timeline.start()
    cool_down(timeline, protocol)
    spans = timeline.take()
    assert {w.phase for w in spans} == {"cooldown"}
    assert [w.duration_s for w in spans[:3]] == pytest.approx([2.0, 1.0, 1.0])
    # 40 °C · 2^(-t/20) falls by less than 1 °C in 2 s from 28.4 s on: the middle of the first of three spans
    assert clock.now_s() == pytest.approx(31.0)
    falling = timeline_with([0.0, 10.0], [100.0, 20.0])
    cool_down(falling, protocol)
    assert falling.clock.now_s() == pytest.approx(13.0, abs=1.0)
    cool_down(falling, protocol.model_copy(update={"max_cooldown_s": 0.0}))
    assert falling.take()[-1].duration_s == pytest.approx(2.0)


def test_a_temperature_that_never_settles_ends_the_cooling_at_its_limit():
    timeline = timeline_with([0.0, 1000.0], [1000.0, 0.0])
    cool_down(timeline, PROTOCOL.model_copy(update={"cooldown_s": 2.0, "max_cooldown_s": 4.5}))
    assert timeline.clock.now_s() == pytest.approx(5.0, abs=0.51)


def test_cooling_down_is_time_of_its_own():
    timeline = timeline_with([0.0], [7.0])
    cool_down(timeline, PROTOCOL.model_copy(update={"cooldown_s": 3.0}))
    cool_down(timeline, PROTOCOL)
    assert [(w.phase, w.duration_s) for w in timeline.take()] == [("cooldown", 3.0)]
