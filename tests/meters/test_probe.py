"""What a counter is seen to do, on simulated counters whose period, step and cost are known."""

from __future__ import annotations

import pytest

from joulebench.errors import MeterError
from joulebench.meters import probe as module
from joulebench.meters.base import Counter
from joulebench.meters.probe import counters, probe, probe_all
from tests.meter_sources import TickingClock, powercap_zone


class Stepping:
    """A counter of 300 W that moves every `update_s`; a read takes 0.1 ms."""

    def __init__(self, clock, update_s):
        self._clock, self._update_s = clock, update_s

    def start(self):
        pass

    def read(self):
        self._clock.sleep(0.0001)
        moved_s = self._clock.now_s() // self._update_s * self._update_s
        return (Counter("cpu", 300 * moved_s, "rapl_package", "measured"),)

    def stop(self):
        pass


@pytest.mark.parametrize("update_s", [0.02, 0.1, 0.35])
def test_period_and_step_of_a_counter_are_found(update_s):
    clock = TickingClock()
    (found,) = probe(Stepping(clock, update_s), clock, 4.0)
    assert (found.domain, found.source) == ("cpu", "rapl_package")
    assert found.period_s == pytest.approx(update_s, abs=0.002)
    assert found.longest_s == pytest.approx(update_s, abs=0.002)
    assert found.resolution_j == pytest.approx(300 * update_s, rel=0.01)
    assert found.read_s == pytest.approx(0.0001)


class Modelled:
    """A meter that takes 1 ms a read, with a model, a check and a counter that stands."""

    def __init__(self, clock):
        self._clock = clock
        self.stopped = False

    def start(self):
        pass

    def read(self):
        self._clock.sleep(0.001)
        now_s = self._clock.now_s()
        return (
            Counter("ram", 20 * now_s, "ram_model", "estimated"),
            Counter("gpu:0", 300 * now_s, "nvml_power", "measured", "check"),
            Counter("cpu", 7.0, "rapl_package", "measured"),
        )

    def stop(self):
        self.stopped = True


def test_models_and_checks_are_left_out_and_a_counter_that_stands_has_no_period():
    clock = TickingClock()
    meter = Modelled(clock)
    (found,) = probe(meter, clock, 1.0)
    assert (found.source, found.period_s, found.longest_s, found.resolution_j) == ("rapl_package", None, None, None)
    assert found.read_s == pytest.approx(0.001)
    assert meter.stopped


def test_rapl_is_probed_where_there_is_any(tmp_path):
    clock = TickingClock()
    assert list(counters(clock, tmp_path)) == []
    powercap_zone(tmp_path / "intel-rapl:0", "package-0")
    assert [type(m).__name__ for m in counters(clock, tmp_path)] == ["RaplMeter"]


def test_a_meter_that_fails_does_not_stop_the_others(monkeypatch):
    clock = TickingClock()

    class Broken(Modelled):
        def read(self):
            raise MeterError("the GPU is lost")

    meters = [Broken(clock), Modelled(clock)]
    monkeypatch.setattr(module, "counters", lambda clock: iter(meters))
    first, (second,) = probe_all(clock, 0.5)
    assert first == "the GPU is lost"
    assert second.source == "rapl_package"
    assert all(m.stopped for m in meters)
