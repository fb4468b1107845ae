"""Counters of zeus, by stand-ins with the interface of its classes (0.16): no such device is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from joulebench.errors import MeterError
from joulebench.host.clock import RealClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters import zeus_devices
from joulebench.meters.base import CheckedMeter, MeterOffer, MeterRequest
from joulebench.meters.zeus_devices import PERIOD_S, ZeusMeter, find_devices
from joulebench.records.model import FaultKind
from joulebench.spec.hardware import HardwareProfile
from tests.meter_sources import TickingClock, powercap_zone

PROFILE = HardwareProfile(name="here", title="x")


class ZeusGPUNotSupportedError(Exception):
    pass


@dataclass
class AMDGPU:
    clock: TickingClock
    watts: float = 300.0
    counter: bool = True
    odd_die: bool = False

    def get_name(self):
        return "AMD Instinct MI300X"

    def supports_get_total_energy_consumption(self):
        return self.counter

    def get_total_energy_consumption(self):
        if self.odd_die:
            raise ZeusGPUNotSupportedError("GPU 1 is a chiplet of a dual-die AMD Instinct MI250X GPU")
        return int(5_000_000 + 1000 * self.watts * self.clock.now_s())

    def get_instant_power_usage(self):
        return int(1000 * self.watts)


class AMDGPUs(SimpleNamespace):
    pass


class NVIDIAGPUs(SimpleNamespace):
    pass


@dataclass
class ZeusdRAPLCPU:
    clock: TickingClock
    cpu_index: int
    watts: float = 100.0
    dram: bool = True
    out_s: tuple[float, float] | None = None

    def get_total_energy_consumption(self):
        now_s = self.clock.now_s()
        if self.out_s is not None and self.out_s[0] <= now_s < self.out_s[1]:
            raise ConnectionError("zeusd has gone")
        joules = self.watts * now_s
        return SimpleNamespace(cpu_mj=1000 * joules, dram_mj=100 * joules if self.dram else None)


class AppleSilicon:
    """All fields that a Mac with an M-series chip gives, in mJ; `ane_mj` is in no sum."""

    def __init__(self, clock):
        self.clock = clock

    def get_total_energy_consumption(self):
        t = 1000 * self.clock.now_s()
        return SimpleNamespace(
            cpu_total_mj=int(12 * t), efficiency_cores_mj=[int(t)], dram_mj=int(3 * t), gpu_mj=int(20 * t), ane_mj=0
        )


class Jetson:
    def __init__(self, clock):
        self.clock = clock

    def get_total_energy_consumption(self):
        t = 1000 * self.clock.now_s()
        return SimpleNamespace(cpu_energy_mj=4.0 * t, gpu_energy_mj=9.0 * t, total_energy_mj=18.0 * t)


def library(gpus=None, cpus=None, soc=None):
    """`import` of a zeus that has these devices."""

    def fail(error):
        raise error

    modules = {
        "zeus.device": SimpleNamespace(),
        "zeus.device.gpu": SimpleNamespace(
            get_gpus=lambda: gpus or fail(RuntimeError("NVML and AMDSMI unavailable"))
        ),
        "zeus.device.cpu": SimpleNamespace(
            get_cpus=lambda: SimpleNamespace(cpus=cpus) if cpus else fail(RuntimeError("RAPL unavailable"))
        ),
        "zeus.device.soc": SimpleNamespace(
            get_soc=lambda: soc or fail(RuntimeError("No observable SoC was found"))
        ),
    }
    return modules.__getitem__


def request(tmp_path, device="cpu", taken=()):
    return MeterRequest(PROFILE, device, RealClock(), frozenset(taken), tmp_path)


def read(devices, clock, seconds=10.0):
    """Joules by domain, source and role over some seconds, and the window's fault."""
    meter = ZeusMeter(devices, clock, clock.sampler(PERIOD_S))
    timeline = Timeline(meter, clock)
    timeline.start()
    clock.sleep(seconds)
    window = timeline.cut("inference", units=1, steps=1)
    timeline.stop()
    return {(r.domain, r.source, r.role): r.energy_j for r in window.readings}, window


def test_an_amd_gpu_that_the_run_computes_on(tmp_path):
    clock = TickingClock()
    gpus = AMDGPUs(gpus=[AMDGPU(clock, 100.0), AMDGPU(clock, 300.0)])
    devices, why_not = find_devices(request(tmp_path, "cuda:1"), library(gpus))
    joules, window = read(devices, clock)
    assert joules == pytest.approx({("gpu:1", "zeus_gpu", "primary"): 3000.0}, rel=1e-3)
    assert window.fault is None
    assert window.readings[0].counter_updates == pytest.approx(100, abs=2)
    assert why_not == ["RuntimeError: RAPL unavailable", "RuntimeError: No observable SoC was found"]
    assert find_devices(request(tmp_path, "cpu"), library(gpus))[0] == []
    assert find_devices(request(tmp_path, "cuda:0"), library(NVIDIAGPUs(gpus=[])))[0] == []


def test_an_amd_gpu_without_a_counter_is_read_by_its_power(tmp_path):
    clock = TickingClock()
    devices, _ = find_devices(request(tmp_path, "cuda:0"), library(AMDGPUs(gpus=[AMDGPU(clock, counter=False)])))
    joules, _ = read(devices, clock)
    assert joules == pytest.approx({("gpu:0", "zeus_gpu_power", "primary"): 3000.0})


def test_a_die_whose_counter_the_other_one_has_is_refused_with_zeus_words(tmp_path):
    gpus = AMDGPUs(gpus=[AMDGPU(TickingClock(), odd_die=True)])
    devices, why_not = find_devices(request(tmp_path, "cuda:0"), library(gpus))
    assert devices == []
    assert "chiplet of a dual-die" in why_not[0]


def test_rapl_by_the_daemon_sums_packages_and_no_psys(tmp_path, monkeypatch):
    clock = TickingClock()
    for number, name in enumerate(("package-0", "package-1", "psys")):
        powercap_zone(tmp_path / f"intel-rapl:{number}", name)
    zeus = library(cpus=[ZeusdRAPLCPU(clock, n) for n in range(3)])
    assert find_devices(request(tmp_path), zeus)[0] == []  # without the daemon RAPL is read without zeus
    monkeypatch.setenv("ZEUSD_SOCK_PATH", "/var/run/zeusd.sock")
    devices, _ = find_devices(request(tmp_path), zeus)
    joules, window = read(devices, clock)
    expected = {("cpu", "zeus_cpu", "primary"): 2000.0, ("ram", "zeus_ram", "primary"): 200.0}
    assert joules == pytest.approx(expected, rel=1e-3)
    assert window.fault is None
    assert "2 sockets by zeus (its daemon)" in ZeusMeter(devices, clock).describe()[0]["method"]


def test_a_socket_without_dram_leaves_the_ram_to_others(tmp_path):
    clock = TickingClock()
    cpus = [ZeusdRAPLCPU(clock, 0), ZeusdRAPLCPU(clock, 1, dram=False)]
    devices, _ = find_devices(request(tmp_path), library(cpus=cpus))
    assert [part.domain for device in devices for part in device.parts.values()] == ["cpu"]


def test_a_daemon_that_goes_away_is_a_gap(tmp_path):
    clock = TickingClock()
    devices, _ = find_devices(request(tmp_path), library(cpus=[ZeusdRAPLCPU(clock, 0, out_s=(4.0, 7.0))]))
    _, window = read(devices, clock)
    assert window.fault.kind is FaultKind.SAMPLING_GAP
    assert "ConnectionError: zeusd has gone" in window.fault.text


@pytest.mark.parametrize(("device", "role"), [("mps:0", "primary"), ("cpu", "check")])
def test_apple_silicon(device, role, tmp_path):
    clock = TickingClock()
    devices, _ = find_devices(request(tmp_path, device), library(soc=AppleSilicon(clock)))
    joules, window = read(devices, clock)
    expected = {("cpu", "zeus_cpu", "primary"): 120.0, ("ram", "zeus_ram", "primary"): 30.0}
    assert joules == pytest.approx({**expected, ("gpu:0", "zeus_gpu", role): 200.0}, rel=1e-2)
    assert window.fault is None


def test_jetson_in_all_is_a_check(tmp_path):
    clock = TickingClock()
    zeus = library(NVIDIAGPUs(gpus=[]), soc=Jetson(clock))
    devices, _ = find_devices(request(tmp_path, "cuda:0"), zeus)
    joules, _ = read(devices, clock)
    expected = {
        ("cpu", "zeus_cpu", "primary"): 40.0, ("gpu:0", "zeus_gpu", "primary"): 90.0,
        ("module:0", "zeus_module", "check"): 180.0,
    }  # fmt: skip
    assert joules == pytest.approx(expected, rel=1e-2)


def test_what_others_read_is_left_to_them_and_the_offer_keeps_its_word(tmp_path, monkeypatch):
    zeus = library(soc=AppleSilicon(TickingClock()))
    monkeypatch.setattr(zeus_devices, "find_devices", lambda r: find_devices(r, zeus))
    offer = zeus_devices.offer(request(tmp_path, taken=["cpu"]))
    assert offer.domains == ("ram",)
    checked = CheckedMeter(MeterOffer(ZeusMeter(offer.meter._devices), offer.domains), "zeus")
    checked.start()
    assert {c.domain for c in checked.read()} == {"ram", "gpu:0"}
    checked.stop()
    with pytest.raises(MeterError, match="zeus finds nothing to read here; RuntimeError: RAPL unavailable"):
        zeus_devices.offer(request(tmp_path, taken=["cpu", "ram"]))


def test_without_the_library_or_with_another_of_its_name(tmp_path):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name}'", name="zeus")

    def broken(name):
        raise ImportError("libamd_smi.so: no such file")

    with pytest.raises(MeterError, match="the library zeus is not installed"):
        find_devices(request(tmp_path), missing)
    with pytest.raises(MeterError, match=r"zeus cannot be imported: ImportError: libamd_smi\.so"):
        find_devices(request(tmp_path), broken)


def test_a_device_that_is_gone_when_the_run_starts(tmp_path):
    clock = TickingClock()
    devices, _ = find_devices(request(tmp_path), library(cpus=[ZeusdRAPLCPU(clock, 0, out_s=(0.5, 9.0))]))
    clock.sleep(1.0)
    with pytest.raises(MeterError, match="zeus does not read zeus_cpu, zeus_ram any more"):
        ZeusMeter(devices, clock, clock.sampler(PERIOD_S)).start()
