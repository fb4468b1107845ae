"""Simulated sensors with known energy, behind the real meters: a fake NVML, a powercap tree, a ticking clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import psutil
import pynvml

from joulebench.host.clock import VirtualClock
from joulebench.meters.replay import PowerTrace

CPUS = 4


def loaded(monkeypatch, load, clock):
    """Let psutil tell of CPUS processors that are busy as `load`, 0…1, has it; `clock` gives the time."""
    trace, zero = PowerTrace("cpu", *zip(*load, strict=True)), psutil.cpu_times()
    zero = zero._replace(**dict.fromkeys(zero._fields, 0.0))

    def cpu_times():
        now = clock()
        busy = CPUS * (trace.energy_j(now) - trace.energy_j(0.0))
        return zero._replace(user=busy, idle=CPUS * now - busy)

    monkeypatch.setattr(psutil, "cpu_times", cpu_times)


class TickingClock(VirtualClock):
    """A virtual clock that calls samplers when their time has come, as a background thread would be."""

    def __init__(self):
        super().__init__()
        self._samplers = []

    def sampler(self, period_s):
        made = ClockSampler(self, period_s)
        self._samplers.append(made)
        return made

    def sleep(self, seconds):
        end = self.now_s() + seconds
        while due := [s for s in self._samplers if s.sample is not None and s.next_s <= end]:
            first = min(due, key=lambda s: s.next_s)
            super().sleep(max(0.0, first.next_s - self.now_s()))
            first.next_s += first.period_s
            if not first.held:
                first.sample()
        super().sleep(max(0.0, end - self.now_s()))


class ClockSampler:
    """The sampler's contract on a virtual clock; `held` keeps it from running, as a busy interpreter would."""

    def __init__(self, clock, period_s):
        self._clock, self.period_s = clock, period_s
        self.sample, self.next_s, self.held = None, 0.0, False

    def start(self, sample):
        self.sample, self.next_s = sample, self._clock.now_s() + self.period_s

    def check(self):
        assert self.sample is not None

    def integrals(self):
        return {}

    def stop(self):
        self.sample = None


@dataclass
class Gpu:
    """A simulated GPU. Its counter is the trace's energy, seen every `update_s`; the rest is what tests bend.

    Times are seconds since `origin_s`: a meter watches its counter for some seconds before a run begins.
    """

    trace: PowerTrace
    name: str = "Fake H100"
    uuid: str = ""  # one of its own
    memory_bytes: int = 80 * 2**30
    update_s: float = 0.1
    phase_s: float = 0.0  # when within its period the counter updates
    jitter_s: float = 0.0  # its updates are late by up to this
    lag_s: float = 0.0  # what it shows is this old
    step_mj: int = 1  # the counter shows whole multiples of this
    counter: bool = True
    power: bool = True
    instant: bool = True
    mig: bool = False
    first_mj: int = 5_000_000
    power_factor: float = 1.0  # a power sensor that is off by this
    reset_s: float | None = None  # the counter starts at 0 again
    stuck_s: tuple[float, float] | None = None  # the counter stands still, and lacks that energy afterwards
    back_s: float | None = None  # the counter loses half of what it counted
    leap_j: tuple[float, float] | None = None  # at a time, the counter goes up by joules that nothing used
    dropout_s: tuple[float, float] | None = None  # the counter cannot be read
    power_out_s: tuple[float, float] | None = None
    lost_s: float | None = None  # from then on the GPU has fallen off the bus
    limit_w: float | None = None  # None: it gives no power limit
    throttle: int = 0
    pids: list[int] = field(default_factory=list)
    conditions: bool = True
    module: PowerTrace | None = None  # of a module that holds a CPU too
    counts_module: bool = True  # where there is one
    origin_s: float = 0.0

    def energy_mj(self, t):
        counted = self.module if self.module is not None and self.counts_module else self.trace
        number = (t - self.phase_s) // self.update_s
        late_s = self.jitter_s * (hash((int(number), 7)) % 1000) / 1000
        if number * self.update_s + self.phase_s + late_s > t:
            number -= 1
        seen = number * self.update_s + self.phase_s - self.lag_s
        zero = counted.energy_j(-self.origin_s)
        joules = counted.energy_j(seen) - zero
        first = self.first_mj
        if self.stuck_s and seen > self.stuck_s[0]:
            lacking = counted.energy_j(min(seen, self.stuck_s[1])) - counted.energy_j(self.stuck_s[0])
            joules -= lacking
        if self.back_s is not None and seen >= self.back_s:
            joules -= (counted.energy_j(self.back_s) - zero) / 2
        if self.reset_s is not None and seen >= self.reset_s:
            joules, first = counted.energy_j(seen) - counted.energy_j(self.reset_s), 0
        if self.leap_j is not None and seen >= self.leap_j[0]:
            joules += self.leap_j[1]
        return first + int(joules * 1000) // self.step_mj * self.step_mj

    def watts(self, t, trace=None):
        h = 1e-6
        trace = trace or self.trace
        return self.power_factor * (trace.energy_j(t + h) - trace.energy_j(t - h)) / (2 * h)


def _within(span, t):
    return span is not None and span[0] <= t < span[1]


class FakeNvml:
    """`pynvml` over simulated GPUs, with the driver's own errors."""

    NVML_FI_DEV_POWER_INSTANT = pynvml.NVML_FI_DEV_POWER_INSTANT
    NVML_POWER_SCOPE_GPU, NVML_POWER_SCOPE_MODULE = pynvml.NVML_POWER_SCOPE_GPU, pynvml.NVML_POWER_SCOPE_MODULE
    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
    NVMLError = pynvml.NVMLError

    def __init__(self, gpus, clock, works=True):
        self.gpus, self.clock, self.works, self.open, self.calls = gpus, clock, works, 0, 0
        for number, gpu in enumerate(gpus):
            gpu.uuid = gpu.uuid or f"{number:08d}-2222-3333-4444-555555555555"

    @property
    def uuids(self):
        return [f"GPU-{gpu.uuid}" for gpu in self.gpus]

    def _at(self, gpu, readable=True):
        """The GPU's time."""
        self.calls += 1
        t = self.clock.now_s() - gpu.origin_s
        self._reach(gpu)
        if not readable:
            raise self.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return t

    def _reach(self, gpu):
        if gpu.lost_s is not None and self.clock.now_s() - gpu.origin_s >= gpu.lost_s:
            raise self.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return gpu

    def nvmlInit(self):  # noqa: N802
        if not self.works:
            raise self.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if not 0 <= index < len(self.gpus):
            raise self.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self._reach(self.gpus[index])

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        for gpu in self.gpus:
            if uuid == f"GPU-{gpu.uuid}":
                return self._reach(gpu)
            if gpu.mig and uuid == f"MIG-{gpu.uuid[::-1]}":
                return SimpleNamespace(parent=self._reach(gpu))
        raise self.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, part):  # noqa: N802
        return part.parent

    def nvmlDeviceGetIndex(self, gpu):  # noqa: N802
        return next(i for i, own in enumerate(self.gpus) if own is gpu)

    def nvmlDeviceGetName(self, gpu):  # noqa: N802
        return self._reach(gpu).name

    def nvmlDeviceGetUUID(self, gpu):  # noqa: N802
        return f"GPU-{self._reach(gpu).uuid}"

    def nvmlDeviceGetMigMode(self, gpu):  # noqa: N802
        self._at(gpu, gpu.mig)
        return [1, 1]

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):  # noqa: N802
        now = self.clock.now_s() - gpu.origin_s
        return gpu.energy_mj(self._at(gpu, gpu.counter and not _within(gpu.dropout_s, now)))

    def nvmlDeviceGetPowerUsage(self, gpu):  # noqa: N802
        """A mean over the last second, as on Ampere and newer."""
        now = self.clock.now_s() - gpu.origin_s
        t = self._at(gpu, gpu.power and not _within(gpu.power_out_s, now))
        return round((gpu.trace.energy_j(t) - gpu.trace.energy_j(t - 1.0)) * gpu.power_factor * 1000)

    def nvmlDeviceGetFieldValues(self, gpu, fields):  # noqa: N802
        """Of a field that the GPU does not have it is the value's own code that says so."""
        number, scope = fields[0] if isinstance(fields[0], tuple) else (fields[0], self.NVML_POWER_SCOPE_GPU)
        assert number == self.NVML_FI_DEV_POWER_INSTANT
        now = self.clock.now_s() - gpu.origin_s
        t = self._at(gpu)
        trace = gpu.module if scope == self.NVML_POWER_SCOPE_MODULE else gpu.trace
        if trace is None or not (gpu.power and gpu.instant) or _within(gpu.power_out_s, now):
            return [SimpleNamespace(nvmlReturn=pynvml.NVML_ERROR_NOT_SUPPORTED)]
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=round(gpu.watts(t, trace) * 1000)))]

    def nvmlDeviceGetTemperature(self, gpu, sensor):  # noqa: N802
        return 40.0 + self._at(gpu, gpu.conditions)

    def nvmlDeviceGetClockInfo(self, gpu, kind):  # noqa: N802
        self._at(gpu, gpu.conditions)
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetUtilizationRates(self, gpu):  # noqa: N802
        self._at(gpu, gpu.conditions)
        return SimpleNamespace(gpu=75, memory=20)

    def nvmlDeviceGetMemoryInfo(self, gpu):  # noqa: N802
        self._at(gpu, gpu.conditions)
        return SimpleNamespace(used=3 * 2**30, total=gpu.memory_bytes)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu):  # noqa: N802
        self._at(gpu, gpu.limit_w is not None)
        return round(gpu.limit_w * 1000)

    def nvmlDeviceGetPowerManagementLimitConstraints(self, gpu):  # noqa: N802
        return [0, self.nvmlDeviceGetEnforcedPowerLimit(gpu)]

    def nvmlDeviceGetSupportedClocksEventReasons(self, gpu):  # noqa: N802
        self._at(gpu, gpu.conditions)
        return 0x6D

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu):  # noqa: N802
        self._at(gpu, gpu.conditions)
        return gpu.throttle

    nvmlDeviceGetCurrentClocksThrottleReasons = nvmlDeviceGetCurrentClocksEventReasons  # noqa: N815

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):  # noqa: N802
        self._at(gpu, gpu.conditions)
        return [SimpleNamespace(pid=pid) for pid in gpu.pids]


def powercap_zone(folder, name, uj=1_000_000, range_uj=262_143_328_850):
    """One zone of a powercap tree."""
    folder.mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    (folder / "energy_uj").write_text(f"{uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder
