"""GPUs by NVML: simulated ones with known energy, and every way they have been seen to fail."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from joulebench.commands.hardware import host_lines
from joulebench.errors import InputError, MeterError
from joulebench.host.clock import RealClock
from joulebench.host.device import nvml_gpu, nvml_indices
from joulebench.host.process import belongs
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import MeterSet
from joulebench.meters.codecarbon import CodeCarbonMeter
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.nvml_sensor import PERIOD_S
from joulebench.meters.replay import PowerTrace
from joulebench.meters.select import _gpu_statuses
from joulebench.records.model import FaultKind
from joulebench.results.validity import invalidity
from joulebench.spec.hardware import detect_host
from joulebench.spec.task import Protocol
from tests.meter_sources import ClockSampler, FakeNvml, Gpu, TickingClock

STEADY = PowerTrace("gpu:0", (0.0,), (300.0,))
PROTOCOL = Protocol(warmup_s=0, window_s=2.0, repeats=3, max_repeats=6, target_rel_ci=0.02, idle_s=0)


#: A counter is watched for less than this at start; windows begin here.
ORIGIN_S = 6.0


class Bench:
    """Simulated GPUs behind the real meter and timeline; the first `own` of them are the run's."""

    def __init__(self, *gpus, own=None):
        self.clock = TickingClock()
        own = len(gpus) if own is None else own
        for gpu in gpus:
            gpu.origin_s = ORIGIN_S
        self.nvml = FakeNvml(list(gpus), self.clock)
        self.sampler = self.clock.sampler(PERIOD_S)
        self.meter = NvmlMeter(self.nvml.uuids[:own], self.nvml, self.clock, self.sampler)
        self.timeline = Timeline(self.meter, self.clock)
        self.timeline.start()
        self.clock.sleep(ORIGIN_S - self.clock.now_s())
        self.timeline.cut("wait")
        self.timeline.take()

    def true_j(self, window, gpu=None):
        gpu = gpu or self.nvml.gpus[0]
        return gpu.trace.energy_j(window.end_s - gpu.origin_s) - gpu.trace.energy_j(window.start_s - gpu.origin_s)

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
    assert counter.energy_j == pytest.approx(1500.0, rel=0.01)
    assert counter.counter_updates in (49, 50, 51)
    assert 0 < counter.edge_sd_j < 7.5
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
    assert readings(window)["nvml_power", "check"].energy_j == pytest.approx(bench.true_j(window), rel=1e-3)


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
    assert 45 <= reading.counter_updates <= 50
    (line,) = bench.meter.describe()
    assert "polled at 62 ms" in line["method"]
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
    assert conditions["gpu:0_memory_used_bytes"] == pytest.approx(3 * 2**30)
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
        assert window.conditions["gpu:0_memory_used_bytes"] == pytest.approx(3 * 2**30)


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


def test_a_window_whose_edges_are_more_than_1_percent_of_it_is_invalid():
    bench = Bench(Gpu(STEADY, update_s=0.35))
    short = PROTOCOL.model_copy(update={"window_s": 0.1})
    bench.windows(3.0)
    window, longer = bench.windows(0.15, 5.0)
    fault = invalidity(window, short)
    assert fault.kind is FaultKind.FEW_UPDATES
    assert "open at its edges (> 1 %)" in fault.text
    assert invalidity(longer, short) is None


def test_without_power_a_counter_that_moved_fewer_than_20_times_is_invalid():
    bench = Bench(Gpu(STEADY, power=False))
    short = PROTOCOL.model_copy(update={"window_s": 1.0})
    few, enough = bench.windows(1.85, 2.15)
    assert "counter moved 1" in invalidity(few, short).text
    assert invalidity(enough, short) is None


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

    # an update of 30 J each 0.1 s, seen after 0.06 or 0.12 s; 1400 W over these and 0.1 s more are 226 or 313 J,
    # 2000 W 324 or 447 J
    assert fault(190.0) is None
    assert fault(290.0).kind is FaultKind.IMPOSSIBLE_POWER
    assert fault(290.0, None) is None
    assert fault(420.0, None).kind is FaultKind.IMPOSSIBLE_POWER


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
    meter = NvmlMeter(nvml.uuids, nvml, clock)
    meter.start()
    calls = nvml.calls
    time.sleep(0.4)
    assert nvml.calls - calls >= 2 * 4
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
        NvmlMeter(["GPU-1"], FakeNvml([], clock, works=False), clock).start()
    nvml = FakeNvml([Gpu(STEADY)], clock)
    with pytest.raises(MeterError, match="GPU-3: Not Found"):
        NvmlMeter(["GPU-3"], nvml, clock).start()
    assert nvml.open == 0


def test_a_torch_device_is_found_by_its_uuid():
    other = "99999999-8888-7777-6666-555555555555"
    gpus = [Gpu(STEADY, uuid=other), Gpu(STEADY), replace(Gpu(STEADY), uuid="abcd-ef", mig=True)]
    nvml = FakeNvml(gpus, TickingClock())
    uuid = gpus[1].uuid
    assert nvml_gpu(uuid, nvml) == nvml_gpu(f"GPU-{uuid}", nvml) == (1, f"GPU-{uuid}")
    assert nvml_gpu("fe-dcba", nvml) == nvml_gpu("MIG-fe-dcba", nvml) == (2, "GPU-abcd-ef")
    with pytest.raises(InputError, match=r"cuda:0 .*NVML knows no such GPU"):
        nvml_gpu("00000000-0000", nvml, "cuda:0")
    with pytest.raises(InputError, match="NVML does not start"):
        nvml_gpu(uuid, FakeNvml([], TickingClock(), works=False))
    assert nvml.open == 0
    assert nvml_indices("cpu", nvml) == []


def gpus(*settings):
    return [Gpu(STEADY, **each) for each in settings]


def test_each_gpu_of_the_work_is_summed_once_and_a_uuid_given_twice_is_one():
    eight = gpus(
        *({"update_s": s, "phase_s": 0.01 * n} for n, s in enumerate((0.02, 0.05, 0.1, 0.1, 0.2, 0.3, 0.5, 1)))
    )
    bench = Bench(*eight)
    window = bench.windows(4.0, 5.0)[1]
    primary = [r for r in window.readings if r.role == "primary"]
    assert [r.domain for r in primary] == [f"gpu:{n}" for n in range(8)]
    assert all(r.energy_j == pytest.approx(1500.0, rel=0.01) for r in primary)
    meter = NvmlMeter(
        [*bench.nvml.uuids[:2], bench.nvml.uuids[0]], bench.nvml, TickingClock(), ClockSampler(TickingClock(), 1)
    )
    meter.start()
    assert sorted({line["uuid"] for line in meter.describe()}) == bench.nvml.uuids[:2]
    assert [line["domain"] for line in meter.describe()] == ["gpu:0", "gpu:0", "gpu:1", "gpu:1"]


def test_a_gpu_that_the_run_begins_to_use_is_read_from_then_on_and_spoils_one_window():
    mine, second, other = gpus({"pids": [os.getpid()]}, {}, {"pids": [1]})
    bench = Bench(mine, second, other, own=1)
    bench.windows(3.0)
    second.pids.append(os.getpid())
    between, *_, after = bench.windows(3.0, 3.0, 3.0, 3.0)
    assert between.fault.kind is FaultKind.MISSING_READING
    assert "gpu:1" in between.fault.text
    assert invalidity(after, PROTOCOL) is None
    primary = {r.domain: r.energy_j for r in after.readings if r.role == "primary"}
    assert primary == {"gpu:0": pytest.approx(900, rel=0.02), "gpu:1": pytest.approx(900, rel=0.02)}


def test_others_on_a_gpu_that_the_run_does_not_use_are_no_concern_of_it():
    bench = Bench(*gpus({"pids": [os.getpid()]}, {"pids": [1]}), own=1)
    window = bench.windows(3.0, 3.0)[1]
    assert invalidity(window, PROTOCOL) is None
    assert not any(name.startswith("gpu:1") for name in window.conditions)
    assert [r.domain for r in window.readings] == ["gpu:0", "gpu:0"]


def test_a_tenant_on_a_gpu_of_the_run_spoils_the_window():
    bench = Bench(*gpus({"pids": [os.getpid()]}, {"pids": [os.getpid(), 1]}))
    (window,) = bench.windows(3.0)
    assert invalidity(window, PROTOCOL).kind is FaultKind.OTHER_GPU_PROCESS


def test_work_on_a_gpu_that_nothing_can_read_spoils_the_windows():
    bench = Bench(*gpus({"pids": [os.getpid()]}, {"counter": False, "power": False}), own=1)
    bench.windows(3.0)
    bench.nvml.gpus[1].pids.append(os.getpid())
    for window in bench.windows(3.0, 3.0, 3.0):
        fault = invalidity(window, PROTOCOL)
        assert fault.kind is FaultKind.UNMETERED_GPU
        assert "gpu:1 worked for the run, and no meter reads it" in fault.text
        assert [r.domain for r in window.readings] == ["gpu:0", "gpu:0"]


def test_a_process_of_the_run_is_one_that_its_root_started(monkeypatch):
    """A trial's own process measures; the run's, which started it, may hold a device too."""
    assert not belongs(os.getppid())
    monkeypatch.setattr("joulebench.host.process._root", os.getppid())
    assert belongs(os.getpid())
    assert belongs(os.getppid())
    assert not belongs(1)


@pytest.mark.parametrize("lost", [0, 3, 7])
def test_a_lost_neighbour_hides_no_gpu(lost, monkeypatch):
    clock = TickingClock()
    nvml = FakeNvml(gpus(*({"lost_s": 0.0 if n == lost else None} for n in range(8))), clock)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    host = detect_host()
    assert host.accelerators == ("Fake H100",) * 7
    assert host.lost == (f"GPU {lost} of NVML: GPU is lost",)
    assert f"not reached   GPU {lost} of NVML" in "\n".join(host_lines(host))
    monkeypatch.setattr("joulebench.meters.select.RealClock", lambda: clock)
    found = _gpu_statuses(host, nvml)
    assert sum(s.available and s.source == "nvml_counter" for s in found) == 7
    (missing,) = (s for s in found if not s.available)
    assert (missing.domain, missing.detail) == (f"gpu:{lost}", "the driver does not reach it: GPU is lost")
    assert all("moves every 100 ms" in s.detail for s in found if s.available and s.source == "nvml_counter")
    own = next(n for n in range(8) if n != lost)
    meter = NvmlMeter([nvml.uuids[own]], nvml, clock, clock.sampler(PERIOD_S))
    meter.start()
    clock.sleep(3.0)
    assert [c.domain for c in meter.read()] == ["gpu:0", "gpu:0"]
    assert nvml.open == 1


def test_a_gpu_that_is_lost_during_a_run_spoils_its_windows_and_hides_no_other():
    bench = Bench(*gpus({}, {"lost_s": 7.0}))
    good, edge, gone = bench.windows(5.0, 5.0, 5.0)
    assert invalidity(good, PROTOCOL) is None
    assert "gpu:1 (nvml_counter) dropped out" in edge.fault.text
    assert gone.fault.text == "no reading of gpu:1"
    assert [r.domain for r in gone.readings] == ["gpu:0", "gpu:0"]


def test_a_neighbour_that_fails_stops_the_reading_of_neither_cpu_nor_ram_nor_gpu():
    clock = TickingClock()
    nvml = FakeNvml(gpus({"pids": [os.getpid()]}, {"lost_s": 0.0}, {"lost_s": 8.0}), clock)
    models = CodeCarbonMeter(65.0, 12.0, clock=clock, sampler=clock.sampler(1.0))
    meter = NvmlMeter(nvml.uuids[:1], nvml, clock, clock.sampler(PERIOD_S))
    timeline = Timeline(MeterSet([models, meter], clock), clock)
    timeline.start()
    for _ in range(3):
        clock.sleep(5.0)
        window = timeline.cut("inference", units=1)
        assert window.fault is None
        assert {r.domain for r in window.readings if r.role == "primary"} == {"cpu", "ram", "gpu:0"}
    timeline.stop()


MODULE = PowerTrace("module", (0.0,), (520.0,))


@pytest.mark.parametrize("name", ["NVIDIA GH200 480GB", "NVIDIA GB200", "Fake H100"])
def test_a_counter_of_the_module_is_a_check_and_the_gpus_power_its_joules(name):
    bench = Bench(Gpu(STEADY, name=name, module=MODULE))
    window = bench.windows(3.0, 5.0)[1]
    found = {(r.domain, r.source, r.role): r.energy_j for r in window.readings}
    assert found == {
        ("module:0", "nvml_counter", "check"): pytest.approx(2600.0, rel=0.01),
        ("gpu:0", "nvml_power", "primary"): pytest.approx(1500.0, rel=0.01),
    }
    assert invalidity(window, PROTOCOL) is None
    counter, power = bench.meter.describe()
    assert (counter["domain"], counter["role"], counter["scope"]) == ("module:0", "check", "module")
    assert "of its module, CPU and memory included" in counter["method"]
    assert (power["role"], power["scope"]) == ("primary", "GPU")
    assert "its energy counter is the module's" in power["method"]


def test_a_counter_on_a_module_that_counts_the_gpu_alone_is_the_gpus():
    bench = Bench(Gpu(STEADY, name="NVIDIA GB200", module=MODULE, counts_module=False))
    window = bench.windows(3.0, 5.0)[1]
    assert readings(window)["nvml_counter", "primary"].energy_j == pytest.approx(1500.0, rel=0.01)
    assert readings(window)["nvml_counter", "primary"].domain == "gpu:0"


def test_an_older_driver_of_a_superchip_is_not_believed_to_count_the_gpu():
    bench = Bench(Gpu(STEADY, name="NVIDIA GH200 480GB", instant=False))
    window = bench.windows(3.0, 5.0)[1]
    assert {(r.domain, r.role) for r in window.readings} == {("module:0", "check"), ("gpu:0", "primary")}


def test_a_gb10_has_no_module_of_its_own():
    bench = Bench(Gpu(STEADY, name="NVIDIA GB10"))
    assert bench.meter.describe()[0]["scope"] == "GPU"


def test_what_one_process_has_learned_of_counters_the_next_one_does_not_watch_again():
    learned = {}
    for expected_s in (1.5, 0.0, 0.0):
        clock = TickingClock()
        clock.sleep(0.137)
        gpus = [Gpu(STEADY), Gpu(STEADY, update_s=0.3, module=PowerTrace("module:0", (0.0,), (520.0,)))]
        nvml = FakeNvml(gpus, clock)
        meter = NvmlMeter(nvml.uuids, nvml, clock, clock.sampler(PERIOD_S), learned=learned)
        timeline = Timeline(meter, clock)
        timeline.start()
        assert clock.now_s() - 0.137 == pytest.approx(expected_s, abs=0.35)
        clock.sleep(1.0)
        timeline.cut("start")
        clock.sleep(2.0)
        window = timeline.cut("inference", units=1, steps=1)
        assert invalidity(window, PROTOCOL) is None
        assert {(r.domain, r.role): r.energy_j for r in window.readings} == {
            ("gpu:0", "primary"): pytest.approx(600.0, rel=0.01),
            ("gpu:0", "check"): pytest.approx(600.0, rel=0.01),
            ("gpu:1", "primary"): pytest.approx(600.0, rel=0.01),
            ("module:1", "check"): pytest.approx(1040.0, rel=0.01),
        }
        learned = pickle.loads(pickle.dumps(learned))
    assert {uuid: one.on_module for uuid, one in learned.items()} == dict(
        zip(nvml.uuids, (False, True), strict=True)
    )
