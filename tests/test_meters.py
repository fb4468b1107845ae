"""Every meter keeps the contract; each says truly where its joules come from."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.clock import VirtualClock
from suite.errors import InputError, MeterError
from suite.meters.codecarbon import CodeCarbonMeter
from suite.meters.nvml import NvmlMeter
from suite.meters.replay import PowerTrace, ReplayMeter, load_traces


class FakeNvml:
    """Two GPUs; the second has no counter."""

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.mj = 5_000
        self.open = 0

    def nvmlInit(self):  # noqa: N802
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"Fake GPU {handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if handle == 1:
            raise self.NVMLError("not supported")
        return self.mj


@pytest.fixture
def meters():
    clock = VirtualClock()
    return {
        "codecarbon": CodeCarbonMeter(),
        "nvml": NvmlMeter([0, 1], FakeNvml()),
        "replay": ReplayMeter([PowerTrace("cpu", (0.0,), (5.0,))], clock, "5 W"),
    }


@pytest.mark.parametrize("name", ["codecarbon", "nvml", "replay"])
def test_the_contract(meters, name):
    meter = meters[name]
    meter.start()
    try:
        first, second = meter.read(), meter.read()
        described = {line["domain"]: line for line in meter.describe()}
    finally:
        meter.stop()
    assert [c.domain for c in first] == [c.domain for c in second]
    for before, after in zip(first, second, strict=True):
        assert 0 <= before.energy_j <= after.energy_j
        assert described[after.domain]["source"] == after.source
        assert described[after.domain]["kind"] == after.kind
        assert described[after.domain]["method"]


def test_codecarbon_counts_power_times_time_with_the_profiles_power():
    meter = CodeCarbonMeter(cpu_power_w=100.0, ram_power_w=12.0)
    meter.start()
    try:
        before, start = {c.domain: c for c in meter.read()}, time.perf_counter()
        time.sleep(0.5)
        after, seconds = {c.domain: c for c in meter.read()}, time.perf_counter() - start
    finally:
        meter.stop()
    ram_j = after["ram"].energy_j - before["ram"].energy_j
    cpu_j = after["cpu"].energy_j - before["cpu"].energy_j
    assert ram_j == pytest.approx(12.0 * seconds, rel=0.02)
    assert 0.09 * 100 * seconds <= cpu_j <= 1.02 * 100 * seconds  # TDP × (0.1 + 0.9 load³)
    assert all(c.kind == "estimated" for c in after.values() if c.source != "rapl_package")
    assert "hardware profile" in {line["domain"]: line for line in meter.describe()}["ram"]["method"]


def test_codecarbon_settings_of_the_environment_do_not_reach_the_joules(monkeypatch):
    monkeypatch.setenv("CODECARBON_PUE", "10")
    monkeypatch.setenv("CODECARBON_FORCE_RAM_POWER", "1000")
    meter = CodeCarbonMeter(ram_power_w=None)
    meter.start()
    try:
        before, start = {c.domain: c for c in meter.read()}, time.perf_counter()
        time.sleep(0.2)
        after, seconds = {c.domain: c for c in meter.read()}, time.perf_counter() - start
    finally:
        meter.stop()
    assert (after["ram"].energy_j - before["ram"].energy_j) / seconds < 200


def test_codecarbon_that_stopped_says_so_instead_of_reading_0():
    meter = CodeCarbonMeter()
    with pytest.raises(MeterError, match="not running"):
        meter.read()
    meter.start()
    meter.stop()
    with pytest.raises(MeterError, match="not running"):
        meter.read()


def test_nvml_counts_from_the_start_and_leaves_out_what_has_no_counter():
    nvml = FakeNvml()
    meter = NvmlMeter([0, 1], nvml)
    meter.start()
    nvml.mj += 2_500
    (counter,) = meter.read()
    assert (counter.domain, counter.energy_j, counter.kind) == ("gpu:0", 2.5, "measured")
    assert [line["domain"] for line in meter.describe()] == ["gpu:0"]
    meter.stop()
    assert nvml.open == 0


@given(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1000)), min_size=1, max_size=20),
    st.floats(0, 300),
    st.floats(0, 300),
)
def test_replayed_energy_adds_up(pieces, a, b):
    times, t = [], 0.0
    for gap, _ in pieces:
        t += gap
        times.append(t)
    trace = PowerTrace("cpu", tuple(times), tuple(w for _, w in pieces))
    low, high = sorted((a, b))
    whole = trace.energy_j(high) - trace.energy_j(low)
    middle = (low + high) / 2
    parts = (trace.energy_j(high) - trace.energy_j(middle)) + (trace.energy_j(middle) - trace.energy_j(low))
    assert whole == pytest.approx(parts, rel=1e-9, abs=1e-6)
    top = max(w for _, w in pieces)
    assert -1e-6 <= whole <= top * (high - low) + 1e-6


def test_a_trace_file(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t_s,cpu,gpu:0\n0,10,100\n10,20,100\n")
    cpu, gpu = load_traces(str(path))
    assert cpu.energy_j(10.0) == pytest.approx(150.0)
    assert gpu.energy_j(20.0) == pytest.approx(2000.0)
    assert load_traces("42")[0].energy_j(2.0) == 84.0


@pytest.mark.parametrize(
    "text",
    ["", "t_s,cpu\n", "time,cpu\n0,1\n", "t_s,tpu\n0,1\n", "t_s,cpu\n0,x\n", "t_s,cpu\n1,1\n0,1\n",
     "t_s,cpu\n0,-1\n", "t_s,cpu\n0,1,2\n", "t_s,cpu\n0,nan\n"],
)  # fmt: skip
def test_a_broken_trace_file_is_refused(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError):
        load_traces(str(path))


@pytest.mark.parametrize("spec", ["0", "-5", "inf", "nan", "no-such-file.csv"])
def test_nonsense_instead_of_a_trace_is_refused(spec):
    with pytest.raises(InputError, match="--replay"):
        load_traces(spec)
