"""Sources with known energy through the whole path: sensor, meter, timeline, phase energy.

What must hold: a window that counts is right to an update of its counter at either edge, a phase measured as the
protocol has it is right to 1 %, and whatever goes wrong with a source leaves no window that counts and is wrong.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.host.clock import VirtualClock
from joulebench.measurement.protocol import Timeline
from joulebench.meters.base import Counter
from joulebench.meters.nvml import PERIOD_S, NvmlMeter
from joulebench.meters.replay import PowerTrace
from joulebench.meters.sampling import STUCK_S, CounterTrack
from joulebench.results.energy import MIN_COUNTER_UPDATES, invalidity, phase_energy
from joulebench.spec.task import Protocol
from tests.meter_sources import FakeNvml, Gpu, TickingClock

LENGTH_S = 40.0
WINDOW = Protocol(warmup_s=0, window_s=5.0, repeats=5, max_repeats=15, target_rel_ci=0.02, idle_s=0)


def constant(watts):
    return PowerTrace("gpu:0", (0.0,), (watts,))


def ramp(low, high):
    return PowerTrace("gpu:0", (0.0, LENGTH_S), (low, high))


def square(low, high, half_period_s):
    """Slopes of 1 ms: a trace is linear between its points."""
    times, watts = [0.0], [low]
    for i in range(int(LENGTH_S / half_period_s)):
        t = (i + 1) * half_period_s
        level, other = (low, high) if i % 2 == 0 else (high, low)
        times += [t, t + 0.001]
        watts += [level, other]
    return PowerTrace("gpu:0", tuple(times), tuple(watts))


def noise(low, high, seed):
    times = np.arange(0, LENGTH_S, 0.02)
    watts = np.random.default_rng(seed).uniform(low, high, len(times))
    return PowerTrace("gpu:0", tuple(times.tolist()), tuple(watts.tolist()))


LEVELS = st.tuples(st.floats(50, 700), st.floats(1, 2)).map(lambda pair: (pair[0], pair[0] * pair[1]))
TRACES = st.one_of(
    st.floats(50, 700).map(constant),
    LEVELS.map(lambda level: ramp(*level)),
    LEVELS.map(lambda level: ramp(*reversed(level))),
    st.builds(lambda level, half: square(*level, half), LEVELS, st.floats(0.003, 5.0)),
    st.builds(lambda level, seed: noise(*level, seed), LEVELS, st.integers(0, 1000)),
)
LENGTHS = st.lists(st.floats(5.0, 6.0), min_size=5, max_size=5)


def measure(gpu, lengths, held=None):
    """Windows of these lengths on one simulated GPU; `held` keeps the sampler from running in a span of time."""
    clock = TickingClock()
    sampler = clock.sampler(PERIOD_S)
    timeline = Timeline(NvmlMeter([0], FakeNvml([gpu], clock), clock, sampler), clock)
    timeline.start()
    for length in lengths:
        if held:
            sampler.held = held[0] <= clock.now_s() < held[1]
        clock.sleep(length)
        timeline.cut("inference", units=1, steps=1)
    return timeline.take()


def true_j(trace, window):
    return trace.energy_j(window.end_s) - trace.energy_j(window.start_s)


def primary(window):
    return next(r for r in window.readings if r.role == "primary")


def assert_none_wrong(trace, windows, allowed_j):
    """Every window that counts is right, to what its source can resolve."""
    for window in windows:
        if invalidity(window, WINDOW) is None:
            assert primary(window).energy_j == pytest.approx(true_j(trace, window), abs=allowed_j)


@settings(max_examples=40, deadline=None)
@given(TRACES, LENGTHS, st.floats(0, 0.0999))
def test_a_quantised_counter_is_right_to_an_update_a_window_and_to_1_percent_a_phase(trace, lengths, phase_s):
    windows = measure(Gpu(trace, phase_s=phase_s), lengths)
    assert all(invalidity(w, WINDOW) is None for w in windows)
    assert_none_wrong(trace, windows, allowed_j=max(trace.watts) * 0.1 + 0.002)
    energy = phase_energy(windows, "inference", ["gpu"], WINDOW)
    assert energy.kind == "measured"
    truth = sum(true_j(trace, w) for w in windows) / len(windows)
    assert energy.j_per_unit.mean == pytest.approx(truth, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(st.floats(50, 700).map(constant), LEVELS.map(lambda level: ramp(*level))),
    LENGTHS,
    st.booleans(),
)
def test_integrated_power_of_smooth_sources_is_right_to_1_percent_in_every_window(trace, lengths, counter):
    windows = measure(Gpu(trace, counter=counter), lengths)
    for window in windows:
        assert invalidity(window, WINDOW) is None
        power = next(r for r in window.readings if r.source == "nvml_power")
        assert power.energy_j == pytest.approx(true_j(trace, window), rel=1e-3)


@settings(max_examples=20, deadline=None)
@given(LEVELS, st.integers(0, 1000), LENGTHS)
def test_integrated_power_of_noise_is_right_to_what_sampling_allows(level, seed, lengths):
    trace = noise(*level, seed)
    windows = measure(Gpu(trace, counter=False), lengths)
    energy = phase_energy(windows, "inference", ["gpu"], WINDOW)
    spread = (level[1] - level[0]) / level[0] / np.sqrt(12 * sum(lengths) / PERIOD_S)
    truth = sum(true_j(trace, w) for w in windows) / len(windows)
    assert energy.j_per_unit.mean == pytest.approx(truth, rel=max(0.01, 4 * spread))


TIMES = st.floats(0.5, 24.0)
FAULTS = st.one_of(
    TIMES.map(lambda t: {"reset_s": t}),
    TIMES.map(lambda t: {"back_s": t}),
    st.tuples(TIMES, st.floats(0.01, 10)).map(lambda p: {"stuck_s": (p[0], p[0] + p[1])}),
    st.tuples(TIMES, st.floats(0.01, 10)).map(lambda p: {"dropout_s": (p[0], p[0] + p[1])}),
    st.just({"stuck_s": (0.0, 1e9)}),
    st.just({"dropout_s": (0.01, 1e9)}),
)


@settings(max_examples=100, deadline=None)
@given(TRACES, LENGTHS, FAULTS)
def test_whatever_happens_to_a_counter_no_window_that_counts_is_wrong(trace, lengths, fault):
    windows = measure(Gpu(trace, **fault), lengths)
    unnoticed_s = STUCK_S + PERIOD_S if "stuck_s" in fault else 0.0
    assert_none_wrong(trace, windows, allowed_j=max(trace.watts) * (0.1 + unnoticed_s) + 0.002)
    times = [t for key in ("reset_s", "back_s") if (t := fault.get(key)) is not None]
    for t in times:
        hit = [w for w in windows if w.start_s < t + 0.1 and w.end_s > t]
        assert any(invalidity(w, WINDOW) for w in hit)


@settings(max_examples=30, deadline=None)
@given(TRACES, LENGTHS, TIMES, st.floats(0.01, 10), st.booleans())
def test_whatever_happens_to_polled_power_no_window_that_counts_is_wrong(trace, lengths, start, gone_s, counter):
    span = (start, start + gone_s)
    windows = measure(Gpu(trace, counter=counter, power_out_s=span), lengths)
    low, high = min(trace.watts), max(trace.watts)
    # a gap up to 1 s is filled in by a straight line; slower sampling than the source moves adds its own error
    allowed_j = max(high * 0.1, (high - low) * 1.5) + 0.02 * high * 6
    assert_none_wrong(trace, windows, allowed_j)


@settings(max_examples=20, deadline=None)
@given(TRACES, st.lists(st.floats(0.1, 6.0), min_size=4, max_size=8), st.tuples(st.floats(0, 5), st.floats(5, 30)))
def test_a_sampler_kept_from_running_makes_no_window_wrong(trace, lengths, held):
    windows = measure(Gpu(trace), lengths, held)
    assert_none_wrong(trace, windows, allowed_j=max(trace.watts) * 0.1 + 0.002)


@settings(max_examples=40, deadline=None)
@given(TRACES, st.floats(0.05, 1.95))
def test_fewer_than_20_updates_never_count(trace, length):
    (window,) = measure(Gpu(trace), [length])
    short = WINDOW.model_copy(update={"window_s": 0.01})
    assert primary(window).counter_updates < MIN_COUNTER_UPDATES
    assert invalidity(window, short) is not None
    assert phase_energy([window], "inference", ["gpu"], short) is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 900)), min_size=5, max_size=60),
    st.integers(10**6, 10**9),
    st.floats(0, 1),
)
def test_a_counter_that_wraps_counts_on(pieces, range_counts, start):
    track = CounterTrack(1e-3, range_counts, max_power_w=1000.0)
    true_mj, t = start * range_counts, 0.0
    first_mj = true_mj
    track.observe(t, int(true_mj) % range_counts)
    for seconds, watts in pieces:
        t += seconds
        true_mj += seconds * watts * 1000
        track.observe(t, int(true_mj) % range_counts)
    assert track.energy_j == pytest.approx((int(true_mj) - int(first_mj)) / 1000)
    assert track.take_fault() is None


NONSENSE = {"zero": 0.0, "nan": float("nan"), "infinite": float("inf"), "negative": -1.0}


@settings(max_examples=50, deadline=None)
@given(
    trace=TRACES,
    broken=st.sampled_from([*NONSENSE, "none"]),
    at=st.integers(0, 4),
)
def test_a_meter_that_gives_nonsense_leaves_no_window_that_counts(trace, broken, at):
    class Nonsense:
        reads = 0

        def start(self): ...
        def stop(self): ...
        def describe(self):
            return []

        def integrals(self):
            return {}

        def read(self):
            self.reads += 1
            energy = trace.energy_j(clock.now_s()) - trace.energy_j(0.0)
            if self.reads > at + 1:  # the first read is the timeline's start
                energy = {"zero": 0.0, "nan": float("nan"), "infinite": float("inf"), "negative": -1.0}.get(
                    broken, energy
                )
                if broken == "none":
                    return ()
            return (Counter("gpu:0", energy, "test", "measured"),)

    clock = VirtualClock()
    timeline = Timeline(Nonsense(), clock)
    timeline.start()
    windows = []
    for _ in range(6):
        clock.sleep(5.0)
        windows.append(timeline.cut("inference", units=1))
    assert_none_wrong(trace, windows, allowed_j=1e-6 * max(trace.watts))
    assert all(invalidity(w, WINDOW) is not None for w in windows[at:])
