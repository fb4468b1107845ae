"""The probe's arithmetic, on simulated GPUs whose counter and power are known. Needs no GPU."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from joulebench.measurement.timeline import Timeline
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.nvml_sensor import PERIOD_S
from joulebench.meters.replay import PowerTrace
from tests.gpu import counter_probe
from tests.gpu.counter_probe import POLL_S, STEP_POLL_S, Report, Sensors
from tests.meter_sources import FakeNvml, Gpu, TickingClock

STEADY = PowerTrace("gpu:0", (0.0,), (300.0,))
RISING = PowerTrace("gpu:0", (0.0, 100.0), (100.0, 1100.0))


class Simulated:
    """One GPU with its sensors, two seconds after its driver began."""

    def __init__(self, gpu):
        self.clock = TickingClock()
        self.nvml = FakeNvml([gpu], self.clock)
        self.sensors = Sensors(self.nvml, gpu, self.clock)
        self.clock.sleep(2.0)

    def against(self, seconds=4.0):
        sampler = self.clock.sampler(POLL_S)
        return counter_probe.against(self.sensors, seconds, lambda: self.clock.sleep(0.01), sampler=sampler)

    def metered(self):
        """The meter's timeline, and what samples for it."""
        sampler = self.clock.sampler(PERIOD_S)
        timeline = Timeline(NvmlMeter(self.nvml.uuids, self.nvml, self.clock, sampler), self.clock)
        timeline.start()
        return timeline, sampler


def test_of_nothing_there_are_no_statistics():
    assert counter_probe.stats([]) is None
    assert counter_probe.stats(range(101)) == {"n": 101, "min": 0, "p5": 5, "median": 50, "p95": 95, "max": 100}


@pytest.mark.parametrize("update_s", [0.02, 0.1])
def test_the_counters_period_is_found(update_s):
    made = Simulated(Gpu(STEADY, update_s=update_s))
    found = counter_probe.periods(made.sensors, 3.0)
    assert found["counter"]["between_changes_ms"]["median"] == pytest.approx(1e3 * update_s, abs=1.0)
    assert found["counter"]["steps"]["median"] == pytest.approx(300 * update_s, abs=0.01)
    assert found["counter"]["call_ms"]["max"] == 0  # the simulated clock stands while NVML answers
    assert found["instant"]["between_changes_ms"] is None  # steady power never changes


def test_counter_and_power_agree_where_they_should():
    found = Simulated(Gpu(RISING)).against()
    assert found["instant/counter"] == pytest.approx(1.0, abs=0.01)
    assert found["average/counter"] < 0.98  # a mean over the second before lags behind what rises
    assert found["counter_j"] == pytest.approx(found["watts"] * found["seconds"], rel=1e-3)
    assert found["longest_gap_of_counter_ms"] == pytest.approx(100, abs=51)
    assert found["longest_gap_of_sampler_ms"] == pytest.approx(50, abs=1)


def test_a_power_sensor_that_is_off_shows():
    assert Simulated(Gpu(STEADY, power_factor=0.9)).against()["instant/counter"] == pytest.approx(0.9, abs=0.01)


def test_a_counter_that_stands_still_shows():
    assert Simulated(Gpu(STEADY, stuck_s=(3.0, 3.5))).against()["longest_gap_of_counter_ms"] >= 500
    assert Simulated(Gpu(STEADY, update_s=2.0)).against() == {"moves": 1}


def test_a_step_of_load_is_traced():
    load = PowerTrace("gpu:0", (0.0, 3.0, 3.001, 5.0, 5.001, 60.0), (100.0, 100.0, 700.0, 700.0, 100.0, 100.0))
    made = Simulated(Gpu(load))
    sampler = made.clock.sampler(STEP_POLL_S)
    found = counter_probe.step(made.sensors, lambda: made.clock.sleep(0.01), sampler)
    assert (found["on_s"], found["off_s"]) == pytest.approx((1.0, 3.0), abs=0.02)
    trace = found["t_energyJ_instantW_averageW"]
    late = {name: next(t for t, *values in trace if values[i] > 400) for i, name in ((1, "now"), (2, "averaged"))}
    assert late["now"] == pytest.approx(1.0, abs=0.02)
    assert late["averaged"] == pytest.approx(1.5, abs=0.02)


def test_windows_of_steady_work_spread_by_an_update_at_most():
    made = Simulated(Gpu(STEADY))
    timeline, _ = made.metered()
    found = counter_probe.windows(timeline, lambda: made.clock.sleep(0.1))
    assert len(found["windows"]) == 10
    assert 0 <= found["rsd"] < 1 / 30
    assert all(w["fault"] is None and w["k"] == 30 and w["updates"] >= 29 for w in found["windows"])
    assert found["windows"][-1]["check_j"] == pytest.approx(900, rel=1e-3)


def test_a_window_in_which_nothing_could_sample_says_so():
    made = Simulated(Gpu(STEADY))
    timeline, sampler = made.metered()

    def starves():
        sampler.held = True
        made.clock.sleep(1.5)
        sampler.held = False
        made.clock.sleep(0.5)

    found = counter_probe.blocked(timeline, "starves", starves)
    assert found["seconds"] == pytest.approx(2.0)
    assert found["conditions"]["gpu:0_power_unseen"] == pytest.approx(0.75, abs=0.05)
    assert [role for _, role, *_ in found["readings"]] == ["primary"]  # the check cannot vouch for this window

    def fails():
        made.clock.sleep(0.5)
        raise RuntimeError("no memory")

    found = counter_probe.blocked(timeline, "fails", fails)
    assert found["error"] == "RuntimeError: no memory"
    assert found["seconds"] == 0.5


def test_what_a_meter_costs_is_a_share_of_the_pace():
    clock, metered = TickingClock(), []

    def work():
        clock.sleep(0.0125 if metered else 0.01)

    found = counter_probe.slowdown({"work": work}, clock, lambda: metered.append(True))
    assert found == {"work": pytest.approx(0.2, abs=0.01)}


def test_functions_that_a_driver_lacks_are_named():
    found = counter_probe.calls(Simulated(Gpu(STEADY)).sensors)
    assert found["nvmlDeviceGetName"]["ok"] == "Fake H100"
    assert found["nvmlDeviceGetMigMode"]["error"] == "NVMLError_NotSupported: Not Supported"
    assert "AttributeError" in found["nvmlDeviceGetMaxClockInfo"]["error"]


def test_fields_say_how_old_they_are():
    class Fields(FakeNvml):
        def nvmlDeviceGetFieldValues(self, gpu, fields):  # noqa: N802
            value = SimpleNamespace(uiVal=1, ullVal=2)
            return [SimpleNamespace(nvmlReturn=0, valueType=1, value=value, latencyUsec=3, timestamp=4)]

    clock = TickingClock()
    found = counter_probe.fields(Sensors(Fields([Gpu(STEADY)], clock), None, clock))
    assert found["186/0"] == {"ret": 0, "type": 1, "ui": 1, "ull": 2, "latencyUsec": 3, "timestamp_us": 4}


def test_every_part_is_on_the_disk_before_the_next(tmp_path):
    report = Report(tmp_path / "out.json")

    def second():
        assert json.loads((tmp_path / "out.json").read_text()) == {"first": 1}
        raise OSError("refused")

    report.keep("first", lambda: 1)
    report.keep("second", second)
    report.keep("third", lambda: None)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found == {"first": 1, "second": {"error": "OSError: refused"}, "third": None}


def test_without_nvml_it_ends_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([], TickingClock(), works=False))
    with pytest.raises(SystemExit, match="counter_probe: NVML does not read GPU 0"):
        counter_probe.main([str(tmp_path / "out.json")])


def test_without_cuda_it_keeps_what_the_sensors_gave(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([Gpu(STEADY)], TickingClock()))
    monkeypatch.setattr(counter_probe, "probe_sensors", lambda report, sensors: report.keep("calls", dict))
    monkeypatch.setattr(counter_probe, "cuda_missing", lambda: "no CUDA")
    counter_probe.main([str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text()) == {"calls": {}, "torch": "no CUDA"}
