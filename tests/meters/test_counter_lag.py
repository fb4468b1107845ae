"""Lag of a counter behind power: found where power changes, absent where it does not."""

from __future__ import annotations

import random

import pytest

from joulebench.meters.counter_lag import find_lag
from joulebench.meters.nvml_counter import watch
from joulebench.meters.replay import PowerTrace
from tests.meter_sources import Gpu, TickingClock


def step(at_s, low_w=100.0, high_w=500.0):
    return PowerTrace("gpu:0", (0.0, at_s, at_s + 0.005, 100.0), (low_w, low_w, high_w, high_w))


def waves(seed, period_s=0.3):
    chance = random.Random(seed)
    times = [period_s * n for n in range(60)]
    return PowerTrace("gpu:0", tuple(times), tuple(chance.uniform(100, 600) for _ in times))


def watched(gpu):
    clock = TickingClock()
    clock.sleep(1.0)  # what it shows at first may lie before its trace
    (facts,) = watch([lambda: gpu.energy_mj(clock.now_s())], 1e-3, clock, [lambda: gpu.watts(clock.now_s())])
    return facts


@pytest.mark.parametrize("lag_s", [0.0, 0.04, 0.1, 0.25])
@pytest.mark.parametrize("update_s", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("power_factor", [1.0, 0.9])
def test_the_lag_is_found_at_a_step_of_power(lag_s, update_s, power_factor):
    gpu = Gpu(step(1.9), update_s=update_s, lag_s=lag_s, power_factor=power_factor, step_mj=50)
    facts = watched(gpu)
    if facts.lag is None:  # between two polls of power, a step is known less well than moves this close together
        assert update_s == 0.02
        return
    assert facts.lag.lag_s == pytest.approx(lag_s, abs=max(0.012, facts.lag.off_s))
    assert facts.lag.off_s <= 0.03
    assert f"{1000 * facts.lag.lag_s:.0f} ± " in str(facts)


@pytest.mark.parametrize("seed", range(20))
def test_the_lag_is_found_or_absent_where_power_wavers(seed):
    chance = random.Random(seed)
    lag_s, update_s = chance.uniform(0, 0.3), chance.choice([0.02, 0.05, 0.1, 0.2, 0.5])
    lag = watched(Gpu(waves(seed), update_s=update_s, lag_s=lag_s, jitter_s=0.002)).lag
    assert lag is None or lag.lag_s == pytest.approx(lag_s, abs=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_a_counter_of_another_power_has_no_lag(seed):
    """The counter of one GPU beside the power of another says nothing."""
    clock, gpu, other = TickingClock(), Gpu(waves(seed)), Gpu(waves(seed + 100))
    (facts,) = watch([lambda: gpu.energy_mj(clock.now_s())], 1e-3, clock, [lambda: other.watts(clock.now_s())])
    assert facts.lag is None


@pytest.mark.parametrize("lag_s", [0.0, 0.1])
def test_at_steady_power_there_is_none(lag_s):
    chance = random.Random(3)
    times = [0.02 * n for n in range(500)]
    noisy = PowerTrace("gpu:0", tuple(times), tuple(chance.gauss(300, 3) for _ in times))
    for trace in (PowerTrace("gpu:0", (0.0,), (300.0,)), noisy):
        facts = watched(Gpu(trace, lag_s=lag_s))
        assert facts.period_s == pytest.approx(0.1, rel=0.02)
        assert facts.lag is None
        assert "behind" not in str(facts)


def test_without_power_or_with_too_few_moves_there_is_none():
    moves = [(0.1 * n, 10.0) for n in range(20)]
    assert find_lag(moves, []) is None
    assert find_lag(moves, [(0.0, 100.0)]) is None
    assert find_lag(moves[:4], [(-1.0, 100.0), (0.5, 900.0), (9.0, 100.0)]) is None
    assert find_lag([(t, 0.0) for t, _ in moves], [(-1.0, 100.0), (0.5, 900.0), (9.0, 100.0)]) is None
