"""Sources with known energy through the whole path: sensor, meter, timeline, phase energy.

What must hold: a window that counts is right to an update of its counter at either edge, a phase measured as the
protocol has it is right to 1 %, and whatever goes wrong with a source leaves no window that counts and is wrong.
For CodeCarbon's models, at the end, the known source is a CPU whose load is given.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.errors import InputError, MeterError
from joulebench.host.clock import RealClock, VirtualClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters import codecarbon
from joulebench.meters.base import Counter, MeterRequest
from joulebench.meters.codecarbon import PERIOD_S as CODECARBON_PERIOD_S
from joulebench.meters.codecarbon import CodeCarbonMeter, grid_intensity_g_per_kwh, offer
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.nvml_sensor import PERIOD_S
from joulebench.meters.replay import PowerTrace
from joulebench.meters.sampling import LONG_GAP_S, STUCK_S, UPDATE_S, CounterTrack, ThreadSampler
from joulebench.records.model import FaultKind
from joulebench.results.energy import phase_energy
from joulebench.results.validity import MIN_COUNTER_UPDATES, invalidity
from joulebench.spec.cpu_families import FAMILIES
from joulebench.spec.hardware import HardwareProfile
from joulebench.spec.task import Protocol
from tests.conftest import REPOSITORY
from tests.meter_sources import CPUS, FakeNvml, Gpu, TickingClock, loaded

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


#: A counter that moves every 0.1 s is watched for less than this at start; the windows' times begin here.
ORIGIN_S = 2.0


def measure(gpu, lengths, held=None):
    """Windows of these lengths on one simulated GPU; `held` keeps the sampler from running in a span of time."""
    clock, gpu.origin_s = TickingClock(), ORIGIN_S
    sampler = clock.sampler(PERIOD_S)
    nvml = FakeNvml([gpu], clock)
    timeline = Timeline(NvmlMeter(nvml.uuids, nvml, clock, sampler), clock)
    timeline.start()
    clock.sleep(ORIGIN_S - clock.now_s())
    timeline.cut("wait")
    timeline.take()
    for length in lengths:
        if held:
            sampler.held = held[0] <= clock.now_s() - ORIGIN_S < held[1]
        clock.sleep(length)
        timeline.cut("inference", units=1, steps=1)
    times = ({"start_s": w.start_s - ORIGIN_S, "end_s": w.end_s - ORIGIN_S} for w in timeline.pending)
    return [w.model_copy(update=each) for w, each in zip(timeline.take(), times, strict=True)]


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
    assert energy.mean == pytest.approx(truth, rel=0.01)


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
    assert energy.mean == pytest.approx(truth, rel=max(0.01, 4 * spread))


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
def test_without_power_fewer_than_20_updates_never_count(trace, length):
    (window,) = measure(Gpu(trace, power=False), [length])
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


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.04, 0.1, 0.9, 1.5, 60.0]), st.floats(0, 0.999)), min_size=1, max_size=20),
    st.sampled_from([None, 10**9]),
    st.floats(1.001, 1e6),
)
def test_a_counter_leaps_only_where_more_than_the_most_power_over_the_time_since_its_last_change(
    pieces, range_counts, times
):
    most_w, t, raw, changed_s = 500.0, 0.0, 0, 0.0
    track = CounterTrack(1e-3, range_counts, max_power_w=most_w)
    track.observe(t, raw)
    for seconds, share in pieces:  # up to the bound nothing is a fault, also after a long time unseen
        counts = int(share * most_w * (seconds + UPDATE_S) * 1000)
        t, raw = t + seconds, raw + counts
        changed_s = t if counts else changed_s
        track.observe(t, raw, draws_power=False)
    assert track.energy_j == pytest.approx(raw / 1000)
    unseen = track.take_fault()
    assert (unseen is not None) == (max(s for s, _ in pieces) > LONG_GAP_S)
    assert unseen is None or unseen.kind is FaultKind.SAMPLING_GAP
    counted, t = track.energy_j, t + 0.05
    leap = int(most_w * (t - changed_s + UPDATE_S) * 1000 * times) + 1
    track.observe(t, raw + leap if range_counts is None else min(raw + leap, range_counts - 1))
    assert track.energy_j == counted
    assert track.take_fault().kind is FaultKind.IMPOSSIBLE_POWER


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


def steps(*levels):
    """Load that is constant for a second a level."""
    return [point for i, level in enumerate(levels) for point in ((i, level), (i + 1 - 1e-9, level))]


def ticking(**settings):
    clock = TickingClock()
    return CodeCarbonMeter(clock=clock, sampler=clock.sampler(CODECARBON_PERIOD_S), **settings), clock


def joules_of(meter):
    return {counter.domain: counter.energy_j for counter in meter.read()}


def sampling_threads():
    return {t for t in threading.enumerate() if t.name.startswith("joulebench")}


@pytest.fixture
def _forget_cpu():
    """What an earlier test found of this CPU, or this one will."""
    codecarbon._guess_tdp.cache_clear()
    yield
    codecarbon._guess_tdp.cache_clear()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=6, max_size=6),
    st.lists(st.floats(0.001, 5.9), max_size=12),
)
def test_codecarbons_joules_are_those_of_each_seconds_load_whenever_it_is_read(loads, reads):
    with pytest.MonkeyPatch.context() as monkeypatch:
        meter, clock = ticking(cpu_power_w=100.0, ram_power_w=12.0)
        loaded(monkeypatch, steps(*loads), clock.now_s)
        meter.start()
        seen = [joules_of(meter)]
        for at in [*sorted(reads), 6.0]:
            clock.sleep(at - clock.now_s())
            seen.append(joules_of(meter))
        meter.stop()
    assert seen[0] == {"ram": 0.0, "cpu": 0.0}
    assert all(before[d] <= after[d] for before, after in pairwise(seen) for d in after)
    assert seen[-1]["ram"] == pytest.approx(12.0 * 6, rel=1e-6)
    assert seen[-1]["cpu"] == pytest.approx(sum(100 * (0.1 + 0.9 * load**3) for load in loads), rel=1e-6)


def test_codecarbon_gives_the_joules_of_its_own_tracker(monkeypatch, tmp_path):
    from codecarbon import OfflineEmissionsTracker

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    start = time.perf_counter()
    loaded(monkeypatch, [(0, 0.6)], lambda: time.perf_counter() - start)
    monkeypatch.setattr("codecarbon.core.cpu.detect_cpu_model", lambda: "AMD EPYC 7763")  # sparing it seconds
    quiet = {"save_to_file": False, "save_to_api": False, "log_level": "critical", "allow_multiple_runs": True}
    tracker = OfflineEmissionsTracker(
        country_iso_code="FRA", force_cpu_power=100.0, measure_power_secs=1000, gpu_ids=[], **quiet
    )
    meter = CodeCarbonMeter(cpu_power_w=100.0)
    meter.start()
    tracker.start()
    before = joules_of(meter)
    time.sleep(2.3)
    after = joules_of(meter)
    tracker.stop()
    meter.stop()
    theirs = tracker.final_emissions_data
    assert after["cpu"] - before["cpu"] == pytest.approx(theirs.cpu_energy * 3.6e6, rel=0.1)
    assert after["ram"] - before["ram"] == pytest.approx(theirs.ram_energy * 3.6e6, rel=0.1)


def label(**settings):
    """Of the CPU: its source, kind and method."""
    meter = CodeCarbonMeter(domains=["cpu"], **settings)
    meter.start()
    meter.stop()
    (line,) = meter.describe()
    assert "tdp_w" not in line or f"TDP {float(line['tdp_w']):g} W" in line["method"]
    return line["source"], line["kind"], line["method"]


def test_a_modelled_cpu_is_described_with_what_servers_of_its_family_draw():
    meter = CodeCarbonMeter(cpu_power_w=60.0, cpu_family="epyc_rome")
    meter.start()
    meter.stop()
    lines = {line["domain"]: line for line in meter.describe()}
    family = FAMILIES["epyc_rome"]
    told = [float(lines["cpu"][f"server_{load}_{end}_w"]) for load in ("idle", "full") for end in ("low", "high")]
    assert told == [*family.idle_w, *family.full_w]
    assert lines["cpu"]["cpu_family"] == "epyc_rome"
    assert "cpu_family" not in lines["ram"]


@pytest.mark.parametrize("stated", [None, "epyc_naples"])
def test_the_family_is_the_profiles_else_the_one_that_is_detected(monkeypatch, stated):
    monkeypatch.setattr("joulebench.meters.codecarbon.detect_cpu_family", lambda: "epyc_milan")
    profile = HardwareProfile(name="here", title="x", cpu_family=stated)
    meter = offer(MeterRequest(profile, "cpu", RealClock())).meter
    meter.start()
    meter.stop()
    line = next(line for line in meter.describe() if line["domain"] == "cpu")
    assert line["cpu_family"] == (stated or "epyc_milan")


def test_a_lost_gpu_of_the_machine_does_not_stop_cpu_and_ram(tmp_path):
    """In a process of its own, whose NVML starts and then fails, as that of a node with one lost GPU of eight."""
    (tmp_path / "pynvml.py").write_text(
        "class NVMLError(Exception): pass\n"
        "class NVMLError_GpuIsLost(NVMLError): pass\n"
        "class NVMLError_NotSupported(NVMLError): pass\n"
        "def nvmlInit(): pass\n"
        "def nvmlShutdown(): pass\n"
        "def nvmlDeviceGetCount(): return 8\n"
        "def nvmlDeviceGetHandleByIndex(index):\n"
        "    if index == 3: raise NVMLError_GpuIsLost('GPU is lost')\n"
        "    return index\n"
        "def __getattr__(name):\n"
        "    if not name.startswith('nvmlDevice'): raise AttributeError(name)\n"
        "    def lost(*_): raise NVMLError_GpuIsLost('GPU is lost')\n"
        "    return lost\n"
    )
    code = (
        "import time, pynvml\n"
        "assert pynvml.nvmlDeviceGetCount() == 8\n"
        "from joulebench.meters.codecarbon import CodeCarbonMeter\n"
        "meter = CodeCarbonMeter(60.0, 20.0)\n"
        "meter.start(); time.sleep(0.1)\n"
        "print(sorted(c.domain for c in meter.read() if c.energy_j > 0)); meter.stop()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY / "suite")])}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert told.stdout.strip() == "['cpu', 'ram']", told.stderr


@pytest.mark.parametrize(
    ("model", "sockets", "tdp_w"),
    [("AMD EPYC 7763", 2, 2 * 280), ("No Such Processor 9000", 1, 4 * CPUS), ("", 2, 85)],
)
@pytest.mark.usefixtures("_forget_cpu")
def test_a_cpu_without_a_given_tdp_has_that_of_codecarbons_table_or_rule(monkeypatch, model, sockets, tdp_w):
    monkeypatch.setattr("codecarbon.core.cpu.detect_cpu_model", lambda: model)
    monkeypatch.setattr("codecarbon.core.util.count_physical_cpus", lambda: sockets)
    monkeypatch.setattr("codecarbon.core.cpu.count_cpus", lambda: CPUS)
    source, kind, method = label()
    assert (source, kind) == ("cpu_load_model", "estimated")
    assert f"TDP {tdp_w} W" in method
    assert (model or "Unknown") in method


def test_a_given_tdp_needs_no_look_at_the_cpu(monkeypatch):
    monkeypatch.setattr("codecarbon.core.cpu.TDP", _fail)
    monkeypatch.setattr("codecarbon.core.util.detect_cpu_model", _fail)
    monkeypatch.setattr("codecarbon.external.hardware.detect_cpu_model", _fail)
    source, kind, method = label(cpu_power_w=65.0)
    assert (source, kind) == ("cpu_load_model", "estimated")
    assert "TDP 65 W" in method
    assert "hardware profile" in method


def test_where_the_load_cannot_be_read_the_cpu_draws_half_its_tdp(monkeypatch):
    monkeypatch.setattr("codecarbon.core.cpu.is_psutil_available", lambda: False)
    meter, clock = ticking(cpu_power_w=65.0)
    meter.start()
    clock.sleep(7.5)
    (counter,) = [c for c in meter.read() if c.domain == "cpu"]
    assert (counter.source, counter.kind) == ("tdp_constant", "estimated")
    assert counter.energy_j == pytest.approx(7.5 * 65 / 2, rel=1e-6)


def test_windows_own_counter_comes_before_a_model_and_after_a_given_tdp(monkeypatch):
    details = {"Processor Energy Delta_0(kWh)": 5 / 3.6e6, "Processor Power_0(W)": 5.0}
    counter = SimpleNamespace(
        start=lambda: None, get_cpu_details=lambda delay: details, get_static_cpu_details=lambda: details
    )
    monkeypatch.setattr("codecarbon.core.windows_emi.is_emi_available", lambda: True)
    monkeypatch.setattr("codecarbon.external.hardware.WindowsEMI", lambda **_: counter)
    assert label()[:2] == ("windows_emi", "measured")
    assert label(cpu_power_w=65.0)[:2] == ("cpu_load_model", "estimated")
    meter, clock = ticking(domains=["cpu"])
    meter.start()
    before = joules_of(meter)
    clock.sleep(0.5)
    assert joules_of(meter)["cpu"] - before["cpu"] == pytest.approx(5)


def test_power_gadgets_log_is_written_to_a_folder_of_its_own_that_does_not_stay(monkeypatch):
    class Gadget:
        def __init__(self, folder):
            self.log = Path(folder, "log.csv")
            folders.append(self.log.parent)

        def start(self): ...

        def get_cpu_details(self):
            self.log.write_text("5")
            return {"Processor Power_0(Watt)": 5.0}

    folders = []
    monkeypatch.setattr("codecarbon.core.cpu.is_powergadget_available", lambda: True)
    monkeypatch.setattr("codecarbon.external.hardware.IntelPowerGadget", Gadget)
    meter, clock = ticking(domains=["cpu"])
    meter.start()
    clock.sleep(2.5)
    (counter,) = meter.read()
    assert (counter.source, counter.kind) == ("power_gadget", "measured")
    assert counter.energy_j == pytest.approx(12.5, rel=1e-6)
    assert list(folders[0].iterdir())
    meter.stop()
    assert not folders[0].exists()


def test_the_rams_power_is_asked_for_once(monkeypatch):
    meter, clock = ticking(domains=["ram"])
    meter.start()
    monkeypatch.setattr(psutil, "virtual_memory", _fail)  # where SLURM is, a process would be started each time
    clock.sleep(10.0)
    first = joules_of(meter)["ram"]
    clock.sleep(10.0)
    assert joules_of(meter)["ram"] == pytest.approx(2 * first)
    assert first > 0


def test_codecarbon_looks_at_no_gpu(monkeypatch):
    monkeypatch.setattr("codecarbon.external.hardware.AllGPUDevices", _fail)
    monkeypatch.setattr("codecarbon.core.gpu_nvidia.is_nvidia_system", _fail)
    monkeypatch.setattr("codecarbon.core.gpu_amd.is_rocm_system", _fail)
    meter = CodeCarbonMeter(cpu_power_w=65.0)
    meter.start()
    assert set(joules_of(meter)) == {"cpu", "ram"}
    meter.stop()


QUIET = """
import sys
seen = []
def audit(event, args):
    if event == "open" and isinstance(args[0], str):
        writes = isinstance(args[1], str) and set(args[1]) & set("wax+")
        if (writes and args[0] != "/dev/null") or ".codecarbon" in args[0]:
            seen.append(args)
    elif event in ("socket.connect", "socket.getaddrinfo", "tempfile.mkdtemp", "tempfile.mkstemp"):
        seen.append((event, args))
sys.addaudithook(audit)
from joulebench.meters.codecarbon import CodeCarbonMeter, grid_intensity_g_per_kwh
meter = CodeCarbonMeter()
meter.start()
meter.read()
meter.stop()
grid_intensity_g_per_kwh("FRA")
assert not seen, seen
"""


@pytest.mark.parametrize("level", ["debug", "nonsense"])
def test_codecarbon_logs_writes_asks_and_configures_nothing(tmp_path, level):
    """Of an unknown CPU, say, CodeCarbon would log; a tracker of its own would read the user's configuration."""
    (tmp_path / ".codecarbon.config").write_text("[codecarbon]\nlog_level = debug\nforce_cpu_power = 1e6\n")
    environment = {**os.environ, "HOME": str(tmp_path), "CODECARBON_LOG_LEVEL": level}
    command = [sys.executable, "-c", QUIET]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == [".codecarbon.config"]


def _fail(*_, **__):
    raise OSError("no such sensor")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("codecarbon.core.cpu.TDP", "did not start: OSError: no such sensor"),
        ("codecarbon.external.hardware.CPU.start", "did not start: OSError: no such sensor"),
        ("codecarbon.external.hardware.CPU.measure_power_and_energy", "failed: OSError: no such sensor"),
        ("codecarbon.external.ram.RAM.total_power", "did not start: OSError: no such sensor"),
        ("psutil.virtual_memory", "0 W"),  # swallowed by the model, which gives 0 W
    ],
)
@pytest.mark.usefixtures("_forget_cpu")
def test_codecarbon_that_cannot_measure_does_not_start(monkeypatch, target, message):
    monkeypatch.setattr(target, _fail)
    meter, others = CodeCarbonMeter(), sampling_threads()
    with pytest.raises(MeterError, match=message):
        meter.start()
    assert sampling_threads() <= others
    with pytest.raises(MeterError, match="not running"):
        meter.read()


def test_codecarbon_that_failed_between_reads_does_not_read_on(monkeypatch):
    meter = CodeCarbonMeter(cpu_power_w=65.0, sampler=ThreadSampler("joulebench-test", 0.01))
    meter.start()
    with monkeypatch.context() as patch:
        patch.setattr("codecarbon.external.hardware.CPU.total_power", _fail)
        time.sleep(0.2)
    with pytest.raises(MeterError, match="no such sensor"):
        meter.read()
    meter.stop()


@pytest.mark.parametrize("part", ["hardware.CPU", "ram.RAM"])
def test_a_total_that_stands_still_is_refused(monkeypatch, part):
    clock = VirtualClock()
    meter = CodeCarbonMeter(cpu_power_w=65.0, clock=clock)
    meter.start()
    monkeypatch.setattr(
        f"codecarbon.external.{part}.measure_power_and_energy", lambda *_, **__: (None, SimpleNamespace(kWh=0.0))
    )
    clock.sleep(0.4)
    meter.read()
    clock.sleep(0.2)
    with pytest.raises(MeterError, match="stands still"):
        meter.read()
    meter.stop()


def test_a_window_in_which_the_process_stood_still_is_faulted_whatever_its_phase():
    clock = TickingClock()
    sampler = clock.sampler(CODECARBON_PERIOD_S)
    timeline = Timeline(CodeCarbonMeter(65.0, 12.0, clock=clock, sampler=sampler), clock)
    timeline.start()
    clock.sleep(3.0)
    timeline.cut("train")
    sampler.held = True
    clock.sleep(8.0)  # stopped by a signal: nothing of it runs
    sampler.held = False
    timeline.cut("train")
    clock.sleep(3.0)
    timeline.cut("train")
    timeline.stop()
    windows = timeline.take()
    assert [w.fault and w.fault.kind for w in windows] == [None, "sampling_gap", None]
    assert sum(r.energy_j for w in windows for r in w.readings if r.domain == "ram") == pytest.approx(12.0 * 14)


def test_a_meter_started_again_counts_from_zero():
    meter, clock = ticking(cpu_power_w=65.0, ram_power_w=12.0)
    for _ in range(2):
        meter.start()
        assert joules_of(meter)["ram"] == 0.0
        clock.sleep(4.0)
        assert joules_of(meter)["ram"] == pytest.approx(48.0, rel=1e-6)
        meter.stop()


@pytest.mark.parametrize(
    ("given", "code"), [("cote d'ivoir", "CIV"), ("Germny", "DEU"), ("france", "FRA"), ("FR", "FRA")]
)
def test_a_country_by_another_name_is_told_its_code(given, code):
    with pytest.raises(InputError, match=f"'{code}'"):
        grid_intensity_g_per_kwh(given)
