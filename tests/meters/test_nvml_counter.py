"""Counters of any update period: what is learned of them at start, and their joules between two moves."""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean, stdev

import pytest

from joulebench.measurement.protocol import measure_phase
from joulebench.meters.nvml_counter import CounterFacts, UpdateGrid, poll_s, watch
from joulebench.meters.replay import PowerTrace
from joulebench.results.energy import EDGES, WINDOWS, phase_energy
from joulebench.results.validity import invalidity
from joulebench.spec.task import Protocol
from joulebench.workloads.base import Phase
from tests.meter_sources import Gpu, TickingClock
from tests.meters.test_nvml import Bench

PERIODS_S = (0.02, 0.05, 0.1, 0.2, 0.3, 0.35, 0.5, 1.0)
PROTOCOL = Protocol(warmup_s=0, window_s=2.0, repeats=3, max_repeats=6, target_rel_ci=0.02, idle_s=0)
STEADY = PowerTrace("gpu:0", (0.0,), (300.0,))


def thermal(idle_w=70.0, work_w=300.0, hotter=0.05, tau_s=20.0, begins_s=3.0, length_s=120.0):
    """Work after idling: at once `work_w`, and as the chip heats up a share `hotter` more (a thermal RC)."""
    times, watts = [0.0, begins_s], [idle_w, idle_w]
    t = begins_s + 1e-4
    while t < length_s:
        times.append(t)
        watts.append(work_w * (1 + hotter * (1 - math.exp(-(t - begins_s) / tau_s))))
        t += 0.25
    return PowerTrace("gpu:0", tuple(times), tuple(watts))


def lengths(n, seed, least_s=2.0):
    """Windows that end at the first look at the clock after their time is up, some milliseconds later."""
    chance = random.Random(seed)
    return [least_s + chance.uniform(0.0, 0.1) for _ in range(n)]


@pytest.mark.parametrize("update_s", PERIODS_S)
@pytest.mark.parametrize("phase", [0.0, 0.37])
def test_a_counters_period_and_resolution_are_learned_in_seconds(update_s, phase):
    clock = TickingClock()
    chance = random.Random(0)
    times = [0.01 * n for n in range(600)]
    trace = PowerTrace("gpu:0", tuple(times), tuple(chance.uniform(200, 400) for _ in times))
    gpu = Gpu(trace, update_s=update_s, phase_s=phase * update_s, step_mj=50)
    (facts,) = watch([lambda: gpu.energy_mj(clock.now_s())], 1e-3, clock)
    assert facts.period_s == pytest.approx(update_s, rel=0.02)
    assert facts.longest_s == pytest.approx(update_s, abs=0.005)
    assert 0.05 - 1e-9 <= facts.resolution_j <= 0.2  # of a few moves all may be even
    assert facts.watts == pytest.approx(300.0, rel=0.1)
    assert facts.moved_s <= clock.now_s()
    assert clock.now_s() <= 5.01
    assert f"every {round(facts.period_s * 1000)} ms in steps of 0." in str(facts)


def test_a_counter_that_rests_with_its_gpu_is_not_learned_and_holds_nothing_up():
    clock = TickingClock()
    resting, absent = watch([lambda: 7, lambda: None], 1e-3, clock)
    assert resting.period_s is absent.period_s is None
    assert "did not move in 2.5 s" in str(resting)
    assert clock.now_s() == pytest.approx(2.5, abs=0.01)


@pytest.mark.parametrize("update_s", PERIODS_S)
def test_polls_fall_on_all_phases_of_a_counter(update_s):
    period_s = poll_s([CounterFacts(update_s)], 0.0618)
    assert 0.031 <= period_s <= 0.0618
    phases = sorted((n * period_s / update_s) % 1 for n in range(60))
    gaps = [b - a for a, b in itertools.pairwise([*phases, phases[0] + 1])]
    assert max(gaps) < 0.1


@pytest.mark.parametrize("update_s", [0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("jitter_s", [0.0, 0.003])
def test_moves_are_placed_to_a_fraction_of_a_poll(update_s, jitter_s):
    chance = random.Random(1)
    moves = [0.013 + n * update_s + chance.uniform(0, jitter_s) for n in range(int(60 / update_s))]
    grid, poll = UpdateGrid(update_s * 1.0005), poll_s([CounterFacts(update_s)], 0.0618)
    seen, before_s, off = 0, 0.0, []
    for n in range(1, int(60 / poll)):
        now_s = n * poll
        by_now = sum(1 for _ in itertools.takewhile(lambda m: m <= now_s, moves[seen:])) + seen  # noqa: B023
        if by_now > seen:
            grid.moved(before_s, now_s)
            seen = by_now
            if now_s > 15:
                off.append(grid.last[0] - moves[seen - 1])
        before_s = now_s
    assert stdev(off) < 0.1 * poll + jitter_s
    assert abs(fmean(off)) < 0.1 * poll


@pytest.mark.parametrize("update_s", PERIODS_S)
@pytest.mark.parametrize("power_factor", [1.0, 0.93])
def test_windows_that_count_hold_the_traces_joules_whatever_the_counters_period(update_s, power_factor):
    gpu = Gpu(thermal(), update_s=update_s, phase_s=0.37 * update_s, power_factor=power_factor)
    bench = Bench(gpu)
    windows = bench.windows(*lengths(25, seed=3))
    counted = [w for w in windows if invalidity(w, PROTOCOL) is None]
    for window in counted:
        (reading,) = (r for r in window.readings if r.role == "primary")
        assert reading.energy_j == pytest.approx(bench.true_j(window), rel=0.01)
    assert len(counted) >= (15 if update_s < 1 else 8)


@pytest.mark.parametrize("phase", [0.0, 0.29, 0.83])
def test_regular_work_on_a_counter_of_100_ms_varies_by_less_than_a_third_of_a_percent(phase):
    """The counter alone gives windows of 2 s a relative standard deviation above 1 %."""
    bench = Bench(Gpu(STEADY, phase_s=phase * 0.1))
    windows = bench.windows(*lengths(40, seed=5))
    watts = [r.energy_j / w.duration_s for w in windows for r in w.readings if r.role == "primary"]
    moves = [r.counter_updates * 0.1 / w.duration_s for w in windows for r in w.readings if r.role == "primary"]
    assert stdev(watts) / fmean(watts) <= 0.003
    assert stdev(moves) / fmean(moves) > 0.01
    assert all(invalidity(w, PROTOCOL) is None for w in windows)


def test_what_edges_leave_open_is_in_the_interval():
    bench = Bench(Gpu(STEADY, update_s=0.3))
    windows = [w for w in bench.windows(*lengths(10, seed=2)) if invalidity(w, PROTOCOL) is None]
    energy = phase_energy(windows, "inference", ["gpu"], PROTOCOL)
    assert len(windows) > 5
    sd_j = [r.edge_sd_j for w in windows for r in w.readings if r.role == "primary"]
    assert energy.variances[EDGES] == pytest.approx(fmean(s**2 for s in sd_j) / len(windows), rel=1e-6)
    assert energy.sem**2 == pytest.approx(energy.variances[WINDOWS] + energy.variances[EDGES])
    assert energy.low < fmean(300.0 * w.duration_s for w in windows) < energy.high


def test_the_deviation_that_is_told_is_the_one_that_is_made():
    for update_s in PERIODS_S[1:]:
        bench = Bench(Gpu(STEADY, update_s=update_s, phase_s=0.6 * update_s))
        windows = bench.windows(*lengths(30, seed=9))[5:]
        pairs = [(r, bench.true_j(w)) for w in windows for r in w.readings if r.role == "primary"]
        off = math.sqrt(fmean((r.energy_j - true_j) ** 2 for r, true_j in pairs))
        told = math.sqrt(fmean(r.edge_sd_j**2 for r, _ in pairs))
        assert off / 3 < told
        assert off < 1.5 * told


@pytest.mark.parametrize("update_s", [0.1, 0.35, 1.0])
def test_a_stuck_counter_is_one_that_has_missed_three_of_its_own_periods(update_s):
    fine = Bench(Gpu(STEADY, update_s=update_s))
    assert [w.fault for w in fine.windows(4.0, 4.0)] == [None, None]
    _, stuck = Bench(Gpu(STEADY, update_s=update_s, stuck_s=(5.0, 5.0 + 7.5 * update_s))).windows(4.0, 10.0)
    assert "stood still" in stuck.fault.text


@pytest.mark.parametrize("update_s", [0.1, 0.3, 1.0])
def test_warming_up_ends_when_power_has_settled_not_only_the_pace(update_s):
    """Power falls from 500 to 300 W within 6 s of work that goes at one pace."""
    times = tuple(0.1 * n for n in range(120))
    trace = PowerTrace("gpu:0", times, tuple(300 + 200 * math.exp(-t / 2.0) for t in times))
    bench = Bench(Gpu(trace, update_s=update_s))
    protocol = PROTOCOL.model_copy(update={"warmup_s": 0.5, "max_warmup_s": 30.0, "settled_rel": 0.02})
    measure_phase(bench.timeline, "inference", Phase(lambda: bench.clock.sleep(0.01), units=1), protocol)
    warmup = next(w for w in bench.timeline.take() if w.phase == "warmup")
    ended_w = trace.energy_j(warmup.end_s - bench.nvml.gpus[0].origin_s + 0.5)
    ended_w = (ended_w - trace.energy_j(warmup.end_s - bench.nvml.gpus[0].origin_s)) / 0.5
    assert ended_w < 340
    assert warmup.duration_s < 15
