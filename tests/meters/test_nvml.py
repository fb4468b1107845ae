"""GPUs by NVML: simulated ones with known energy, and every way they have been seen to fail."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from joulebench.errors import InputError, MeterError
from joulebench.host.clock import RealClock
from joulebench.host.device import nvml_index, nvml_indices
from joulebench.measurement.protocol import Timeline
from joulebench.meters.nvml import PERIOD_S, NvmlMeter
from joulebench.meters.replay import PowerTrace
from joulebench.records.model import FaultKind
from joulebench.results.validity import invalidity
from joulebench.spec.task import Protocol
from tests.meter_sources import FakeNvml, Gpu, TickingClock

STEADY = PowerTrace("gpu:0", (0.0,), (300.0,))
PROTOCOL = Protocol(warmup_s=0, window_s=2.0, repeats=3, max_repeats=6, target_rel_ci=0.02, idle_s=0)


class Bench:
    """One simulated GPU behind the real meter and timeline."""

    def __init__(self, gpu):
        self.clock = TickingClock()
        self.nvml = FakeNvml([gpu], self.clock)
        self.sampler = self.clock.sampler(PERIOD_S)
        self.meter = NvmlMeter([0], self.nvml, self.clock, self.sampler)
        self.timeline = Timeline(self.meter, self.clock)
        self.timeline.start()

    def windows(self, *seconds):
        """Windows of these lengths, one after the other."""
        found = []
        for length in seconds:
            self.clock.sleep(length)
            found.append(self.timeline.cut("inference", units=1, steps=1))
        return found


def readings(window):
    return {(r.source, r.role): r for r in window.readings}


def test_the_counter_is_primary_and_integrated_power_its_check():
    bench = Bench(Gpu(STEADY))
    (window,) = bench.windows(5.0)
    counter, power = readings(window)["nvml_counter", "primary"], readings(window)["nvml_power", "check"]
    assert counter.energy_j == pytest.approx(1500.0, abs=30.01)  # one update
    assert counter.counter_updates in (49, 50)
    assert power.energy_j == pytest.approx(1500.0, rel=1e-6)
    assert counter.kind == power.kind == "measured"
    assert invalidity(window, PROTOCOL) is None
    lines = bench.meter.describe()
    roles = [(line["source"], line["role"]) for line in lines]
    assert roles == [("nvml_counter", "primary"), ("nvml_power", "check")]
    assert "instantaneous" in lines[1]["method"]
    bench.timeline.stop()
    assert bench.nvml.open == 0


def test_the_edges_are_sampled_afresh():
    trace = PowerTrace("gpu:0", (0.0, 100.0), (0.0, 1000.0))
    bench = Bench(Gpu(trace))
    bench.clock.sleep(0.031)
    (window,) = [bench.timeline.cut("build")] and bench.windows(3.0)
    assert readings(window)["nvml_power", "check"].energy_j == pytest.approx(
        trace.energy_j(3.031) - trace.energy_j(0.031), rel=1e-3
    )


def test_a_power_sensor_that_is_off_shows_in_the_check():
    bench = Bench(Gpu(STEADY, power_factor=0.9))
    (window,) = bench.windows(5.0)
    found = readings(window)
    assert found["nvml_power", "check"].energy_j == pytest.approx(1350.0, rel=1e-3)
    assert found["nvml_counter", "primary"].energy_j == pytest.approx(1500.0, rel=0.02)


def test_without_a_counter_integrated_power_is_primary_and_says_how():
    bench = Bench(Gpu(STEADY, counter=False, instant=False))
    (window,) = bench.windows(3.0)
    (reading,) = window.readings
    assert (reading.source, reading.role, reading.kind) == ("nvml_power", "primary", "measured")
    assert reading.energy_j == pytest.approx(900.0, rel=1e-6)
    assert 55 <= reading.counter_updates <= 62
    (line,) = bench.meter.describe()
    assert "polled at 50 ms" in line["method"]
    assert "driver averages" in line["method"]


def test_with_neither_the_domain_is_absent():
    bench = Bench(Gpu(STEADY, counter=False, power=False))
    (window,) = bench.windows(3.0)
    assert window.readings == ()
    assert bench.meter.describe() == []
    assert "gpu:0_temperature_c" in window.conditions
    assert "gpu:0_power_unseen" not in window.conditions


@pytest.mark.parametrize(("counter", "source"), [(False, "nvml_power"), (True, "nvml_counter")])
def test_a_mig_slice_is_labelled_as_the_whole_gpus_estimate(counter, source):
    bench = Bench(Gpu(STEADY, mig=True, counter=counter))
    (window,) = bench.windows(3.0)
    primary = next(r for r in window.readings if r.role == "primary")
    assert (primary.source, primary.kind) == (source, "estimated")
    assert all("whole GPU" in line["method"] for line in bench.meter.describe())


def test_conditions_are_means_over_the_window():
    gpu = Gpu(STEADY, pids=[os.getpid(), 1])
    bench = Bench(gpu)
    bench.clock.sleep(2.0)
    gpu.throttle = 0x04  # from here on
    bench.clock.sleep(2.0)
    conditions = bench.timeline.cut("inference", units=1).conditions
    assert conditions["gpu:0_temperature_c"] == pytest.approx(42.0, abs=0.15)
    assert conditions["gpu:0_sm_clock_mhz"] == 1980
    assert conditions["gpu:0_memory_clock_mhz"] == 2619
    assert conditions["gpu:0_utilisation"] == 0.75
    assert conditions["gpu:0_memory_used_bytes"] == 3 * 2**30
    assert conditions["gpu:0_throttled_power_cap"] == pytest.approx(0.5, abs=0.06)
    assert conditions["gpu:0_throttled_thermal"] == 0
    assert conditions["gpu:0_other_processes"] == 1
    assert conditions["gpu:0_power_unseen"] == 0
    assert "gpu:0_throttled_board_limit" not in conditions  # this GPU cannot be


def test_the_power_limit_is_a_condition_that_readers_judge_by():
    within, above = (Bench(Gpu(STEADY, limit_w=limit_w)).windows(5.0)[0] for limit_w in (260.0, 240.0))
    assert within.conditions["gpu:0_power_limit_w"] == 260.0
    assert invalidity(within, PROTOCOL) is None
    assert invalidity(above, PROTOCOL).kind is FaultKind.IMPOSSIBLE_POWER
    for unknown in (None, 0.0):
        (window,) = Bench(Gpu(STEADY, limit_w=unknown)).windows(5.0)
        assert "gpu:0_power_limit_w" not in window.conditions
        assert window.conditions["gpu:0_memory_used_bytes"] == 3 * 2**30


def test_a_process_that_this_one_has_started_is_no_other():
    command = [
        sys.executable,
        "-S",
        "-c",
        "import subprocess, sys; p = subprocess.Popen(['cat'])\nprint(p.pid, flush=True); p.wait()",
    ]
    child = subprocess.Popen(command, stdin=-1, stdout=-1)
    grandchild = int(child.stdout.readline())
    try:
        pids = [os.getpid(), child.pid, grandchild]
        for others in ([], [1], [1, os.getppid()]):
            (window,) = Bench(Gpu(STEADY, pids=pids + others)).windows(1.0)
            assert window.conditions["gpu:0_other_processes"] == len(others)
    finally:
        child.communicate()


def test_in_a_container_one_of_the_hosts_process_numbers_is_ours():
    bench = Bench(Gpu(STEADY, pids=[2**30, 2**30 + 1]))
    (window,) = bench.windows(1.0)
    assert window.conditions["gpu:0_other_processes"] == 1


def test_a_condition_that_fails_is_absent_not_stale():
    gpu = Gpu(STEADY)
    bench = Bench(gpu)
    bench.windows(1.0)
    gpu.conditions = False
    gone, later = bench.windows(1.0, 1.0)
    assert "gpu:0_temperature_c" not in gone.conditions
    assert "gpu:0_temperature_c" not in later.conditions
    assert gone.fault is None


FAULTS = {
    "reset": ({"reset_s": 7.0}, "it was reset"),
    "went back": ({"back_s": 7.0}, "went back by"),
    "stuck": ({"stuck_s": (6.0, 8.5)}, "stood still"),
    "dropped out": ({"dropout_s": (9.5, 10.5)}, "dropped out"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_counter_that_fails_inside_a_window_is_flagged_and_the_next_window_is_good(name):
    settings, message = FAULTS[name]
    bench = Bench(Gpu(STEADY, **settings))
    good, bad, after, later = bench.windows(5.0, 5.0, 5.0, 5.0)
    assert invalidity(good, PROTOCOL) is None
    assert message in invalidity(bad, PROTOCOL).text
    if name == "dropped out":
        assert "appeared" in invalidity(after, PROTOCOL).text
    for window in (later,) if name == "dropped out" else (after, later):
        assert invalidity(window, PROTOCOL) is None
        assert readings(window)["nvml_counter", "primary"].energy_j == pytest.approx(1500.0, abs=30.01)


def test_a_counter_that_never_moves_gives_no_valid_window():
    bench = Bench(Gpu(STEADY, stuck_s=(0.0, 1e9)))
    for window in bench.windows(5.0, 0.9, 5.0):
        assert invalidity(window, PROTOCOL) is not None


def test_a_counter_and_a_power_of_0_give_no_valid_window():
    bench = Bench(Gpu(PowerTrace("gpu:0", (0.0,), (0.0,))))
    (window,) = bench.windows(5.0)
    assert invalidity(window, PROTOCOL).kind == "impossible_reading"


def test_a_window_of_fewer_than_20_updates_is_invalid():
    bench = Bench(Gpu(STEADY))
    (window,) = bench.windows(1.85)
    assert "counter moved 18 times" in invalidity(window, replace_window(1.0)).text
    (window,) = bench.windows(2.15)
    assert invalidity(window, replace_window(1.0)) is None


def replace_window(seconds):
    return PROTOCOL.model_copy(update={"window_s": seconds})


def test_polled_power_that_was_not_seen_is_flagged():
    bench = Bench(Gpu(STEADY, counter=False))
    bench.windows(5.0)
    bench.sampler.held = True
    bench.clock.sleep(3.0)
    bench.sampler.held = False
    unseen, after = bench.windows(2.0, 5.0)
    assert "was not sampled for 3." in invalidity(unseen, PROTOCOL).text
    assert unseen.conditions["gpu:0_power_unseen"] == pytest.approx(0.6, abs=0.02)
    assert invalidity(after, PROTOCOL) is None


@pytest.mark.parametrize("counter", [True, False])
@pytest.mark.parametrize(("seconds", "counts"), [(0.9, True), (8.0, False)])
def test_a_process_that_was_frozen_has_no_window_that_counts_and_keeps_its_joules(counter, seconds, counts):
    bench = Bench(Gpu(STEADY, counter=counter))
    (before,) = bench.windows(3.0)
    bench.sampler.held = True  # nothing of the process runs, and the GPU goes on
    bench.clock.sleep(seconds)
    bench.sampler.held = False
    frozen, after = bench.windows(3.0, 3.0)
    assert [invalidity(w, PROTOCOL) for w in (before, after)] == [None, None]
    primary = next(r for r in frozen.readings if r.role == "primary")
    assert primary.energy_j == pytest.approx(300 * (3.0 + seconds), abs=30.01)
    if counts:
        assert frozen.fault is None
    else:
        assert frozen.fault.kind is FaultKind.SAMPLING_GAP
        assert [r.role for r in frozen.readings] == ["primary"]  # the check is left out


@pytest.mark.parametrize("limit_w", [None, 700.0])
def test_a_leap_that_no_power_explains_is_a_fault_and_is_not_counted(limit_w):
    bench = Bench(Gpu(STEADY, limit_w=limit_w, leap_j=(7.0, 500_000.0)))
    good, bad, after = bench.windows(5.0, 5.0, 5.0)
    assert bad.fault.kind is FaultKind.IMPOSSIBLE_POWER
    for window in (good, bad, after):
        assert readings(window)["nvml_counter", "primary"].energy_j == pytest.approx(1500.0, abs=60.01)
        assert window is bad or invalidity(window, PROTOCOL) is None


def test_a_leap_is_judged_by_twice_the_highest_limit_over_the_time_since_the_last_update():
    def fault(leap_j, limit_w=700.0):
        bench = Bench(Gpu(STEADY, limit_w=limit_w, leap_j=(7.0, leap_j)))
        bench.windows(5.0)
        return bench.windows(5.0)[0].fault

    # an update of 30 J each 0.1 s; 1400 W over 0.1 s and 0.1 s of slack are 280 J, 2000 W 400 J
    assert fault(240.0) is None
    assert fault(260.0).kind is FaultKind.IMPOSSIBLE_POWER
    assert fault(360.0, None) is None
    assert fault(380.0, None).kind is FaultKind.IMPOSSIBLE_POWER


def test_a_power_outage_of_a_polled_gpu_is_flagged():
    bench = Bench(Gpu(STEADY, counter=False, power_out_s=(4.0, 12.0)))
    edge, inside, back, good = bench.windows(5.0, 5.0, 5.0, 5.0)
    assert "dropped out" in invalidity(edge, PROTOCOL).text
    assert "no reading of gpu:0" in invalidity(inside, PROTOCOL).text
    assert invalidity(back, PROTOCOL) is not None
    assert invalidity(good, PROTOCOL) is None


def test_a_thread_samples_in_real_time_and_its_death_is_an_error():
    clock = RealClock()
    trace = PowerTrace("gpu:0", (0.0,), (300.0,))
    nvml = FakeNvml([Gpu(trace)], clock)
    meter = NvmlMeter([0], nvml, clock)
    meter.start()
    calls = nvml.calls
    time.sleep(0.4)
    assert nvml.calls - calls >= 2 * 5
    (before, _), start = meter.read(), clock.now_s()
    time.sleep(0.5)
    (after, power), seconds = meter.read(), clock.now_s() - start
    assert after.updates - before.updates in (4, 5, 6)
    assert after.energy_j - before.energy_j == pytest.approx(300 * seconds, abs=35)
    assert power.role == "check"

    def dead(gpu):
        raise RuntimeError("driver gone")

    nvml.nvmlDeviceGetTotalEnergyConsumption = dead
    time.sleep(0.2)
    with pytest.raises(MeterError, match="died"):
        meter.read()
    meter.stop()
    assert not [t for t in threading.enumerate() if t.name == "joulebench-nvml"]


def test_a_driver_that_hangs_is_an_error(monkeypatch):
    monkeypatch.setattr("joulebench.meters.nvml.ANSWER_S", 0.05)
    bench = Bench(Gpu(STEADY))
    bench.meter._lock.acquire()
    with pytest.raises(MeterError, match="not answered"):
        bench.meter.read()


def test_without_a_driver_or_the_gpu_the_meter_does_not_start():
    clock = TickingClock()
    with pytest.raises(MeterError, match="Library Not Found"):
        NvmlMeter([0], FakeNvml([], clock, works=False), clock).start()
    nvml = FakeNvml([Gpu(STEADY)], clock)
    with pytest.raises(MeterError, match="GPU 3"):
        NvmlMeter([3], nvml, clock).start()
    assert nvml.open == 0


def test_a_torch_device_is_found_by_its_uuid():
    other = "99999999-8888-7777-6666-555555555555"
    gpus = [Gpu(STEADY, uuid=other), Gpu(STEADY), replace(Gpu(STEADY), uuid="abcd-ef", mig=True)]
    nvml = FakeNvml(gpus, TickingClock())
    uuid = gpus[1].uuid
    assert nvml_index(uuid, nvml) == nvml_index(f"GPU-{uuid}", nvml) == 1
    assert nvml_index("fe-dcba", nvml) == nvml_index("MIG-fe-dcba", nvml) == 2
    with pytest.raises(InputError, match=r"cuda:0 .*NVML knows no such GPU"):
        nvml_index("00000000-0000", nvml, "cuda:0")
    with pytest.raises(InputError, match="NVML does not start"):
        nvml_index(uuid, FakeNvml([], TickingClock(), works=False))
    assert nvml.open == 0
    assert nvml_indices("cpu", nvml) == []
