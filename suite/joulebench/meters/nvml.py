"""GPU energy by NVML: the driver's energy counter (Volta and newer), checked against integrated power.

The counter moves about every 100 ms (measured by others: Zeus, ML.ENERGY), so it is polled at half that period to
count its updates; power is polled with it and integrated by the trapezoidal rule. Both are read afresh at a
window's edges. A counter's value at an edge is up to one update old: a window of n updates is known to one part in
n, and what one window lacks the next one has, so that means over touching windows are better than one window.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from joulebench.errors import MeterError
from joulebench.host import device as torch_device
from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter, MeterOffer, MeterRequest, description
from joulebench.meters.nvml_conditions import GpuConditions
from joulebench.meters.sampling import CounterTrack, PowerIntegral, Sampler, ThreadSampler
from joulebench.records.model import Kind

PERIOD_S = 0.05  # half the counter's update period
CONDITIONS_EVERY = 4  # temperature and the like change slowly: every fourth sample, 0.2 s
MIN_DRAW_W = 1.0  # a GPU that draws this much has a counter that moves
MAX_GPU_W = 2000.0  # no GPU draws as much; where its limit is known, MAX_POWER_SHARE times that
MAX_POWER_SHARE = 2.0  # of the highest power limit: a GPU's mean over 100 ms stays well below
ANSWER_S = 10.0  # a driver that takes longer to answer hangs


class GpuSensor:
    """Energy sources of one GPU and their readings. Changes nothing on the device.

    Args:
        nvml: `pynvml`, initialised, or what behaves like it.
        index: NVML index.

    Raises:
        nvml.NVMLError: there is no such GPU.
    """

    def __init__(self, nvml: Any, index: int) -> None:
        self._nvml = nvml
        self.domain = f"gpu:{index}"
        self.handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self.name = str(nvml.nvmlDeviceGetName(self.handle))
        self.is_mig = self._mig_enabled()
        self._instant = self._instant_power_w() is not None
        self.has_counter = self.energy_mj() is not None
        self.has_power = self.power_w() is not None

    def energy_mj(self) -> int | None:
        """The energy counter, millijoules since the driver was loaded; None where it cannot be read."""
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        except self._nvml.NVMLError:
            return None

    def power_w(self) -> float | None:
        """Power now; None where it cannot be read."""
        if self._instant:
            return self._instant_power_w()
        try:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self.handle)) / 1000
        except self._nvml.NVMLError:
            return None

    def max_power_w(self) -> float | None:
        """The highest power limit that the GPU can be given; None where it cannot be read."""
        try:
            _, most_mw = self._nvml.nvmlDeviceGetPowerManagementLimitConstraints(self.handle)
        except self._nvml.NVMLError:
            return None
        return most_mw / 1000 or None

    def _instant_power_w(self) -> float | None:
        """`nvmlDeviceGetPowerUsage` is a mean over 1 s on Ampere (but GA100) and newer; this field is not."""
        try:
            (field,) = self._nvml.nvmlDeviceGetFieldValues(self.handle, [self._nvml.NVML_FI_DEV_POWER_INSTANT])
        except self._nvml.NVMLError:
            return None
        return field.value.uiVal / 1000 if field.nvmlReturn == 0 else None

    def _mig_enabled(self) -> bool:
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(self.handle)[0])
        except self._nvml.NVMLError:
            return False  # a GPU that cannot be sliced

    @property
    def kind(self) -> Kind:
        return "estimated" if self.is_mig else "measured"

    def describe(self) -> list[dict[str, str]]:
        """Entries of `NvmlMeter.describe` for this GPU: the primary source, and the check if there is one."""
        shared = "; of the whole GPU, of which a MIG slice is only a part: an upper bound" if self.is_mig else ""
        how = "instantaneous power" if self._instant else "power as the driver averages it"
        polled = f"{how} of {self.name} polled at {PERIOD_S * 1000:.0f} ms and integrated{shared}"
        counter = f"NVML total energy counter of {self.name}, which moves about every 100 ms{shared}"
        lines = []
        if self.has_counter:
            lines.append(description(self.domain, "nvml_counter", self.kind, counter))
        if self.has_power:
            role = "check" if self.has_counter else "primary"
            text = polled if self.has_counter else f"{polled}; it has no energy counter"
            lines.append(description(self.domain, "nvml_power", self.kind, text, role))
        return lines


class _Gpu:
    """Counters and conditions of one GPU over a run."""

    def __init__(self, sensor: GpuSensor, nvml: Any, clock: Clock) -> None:
        self.sensor = sensor
        self.conditions = GpuConditions(nvml, sensor.handle, sensor.domain, clock.now_s())
        most_w = sensor.max_power_w()
        self._counter = CounterTrack(1e-3, max_power_w=MAX_POWER_SHARE * most_w if most_w else MAX_GPU_W)
        self._power = PowerIntegral()
        self._clock = clock

    def sample(self) -> tuple[bool, bool]:
        """Sample counter and power; whether each could be read."""
        raw = self.sensor.energy_mj() if self.sensor.has_counter else None
        watts = self.sensor.power_w() if self.sensor.has_power else None
        now_s = self._clock.now_s()
        if raw is not None:
            self._counter.observe(now_s, raw, draws_power=watts is None or watts >= MIN_DRAW_W)
        if watts is not None:
            self._power.add(now_s, watts, min_gap_s=PERIOD_S / 2)
        return raw is not None, watts is not None

    def read(self) -> list[Counter]:
        """The counters now; one that could not be read is absent."""
        domain, kind = self.sensor.domain, self.sensor.kind
        counter, power = self._counter, self._power
        counted, seen = self.sample()
        counters = []
        if counted:
            updates, fault = counter.updates, counter.take_fault()
            counters.append(Counter(domain, counter.energy_j, "nvml_counter", kind, "primary", updates, fault))
        if seen and self.sensor.has_counter:
            counters.append(Counter(domain, power.energy_j, "nvml_power", kind, "check", fault=power.take_fault()))
        elif seen:
            samples, fault = power.samples, power.take_fault()
            counters.append(Counter(domain, power.energy_j, "nvml_power", kind, "primary", samples, fault))
        return counters

    def integrals(self, now_s: float) -> dict[str, float]:
        unseen = {f"{self.sensor.domain}_power_unseen": self._power.unseen_s} if self._power.samples else {}
        return self.conditions.integrals(now_s) | unseen


class NvmlMeter:
    """Energy and conditions of the GPUs a run uses, sampled in the background.

    The energy counter is primary and integrated power its check. Without a counter (vGPU, older than Volta)
    integrated power is primary, its samples taken for updates; with neither the domain is absent, never 0.

    Args:
        indices: NVML indices of the GPUs.
        nvml: the `pynvml` module, or one that behaves like it.
        clock: the clock that windows are cut by.
        sampler: what calls for a sample every 50 ms; a thread if not given.
    """

    def __init__(
        self,
        indices: Sequence[int],
        nvml: Any = None,
        clock: Clock | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        import pynvml

        self._nvml: Any = pynvml if nvml is None else nvml
        self._indices = tuple(indices)
        self._clock: Clock = clock or RealClock()
        self._sampler: Sampler = sampler or ThreadSampler("joulebench-nvml", PERIOD_S)
        self._lock = threading.Lock()
        self._gpus: list[_Gpu] = []
        self._open = False
        self._ticks = 0

    def start(self) -> None:
        """Open NVML, find each GPU's sources, begin to sample.

        Raises:
            MeterError: NVML does not start, or knows no such GPU.
        """
        try:
            self._nvml.nvmlInit()
            self._open = True
            sensors = [GpuSensor(self._nvml, index) for index in self._indices]
        except self._nvml.NVMLError as error:
            self.stop()
            raise MeterError(f"NVML does not read GPU {', '.join(map(str, self._indices))}: {error}") from None
        self._gpus = [_Gpu(sensor, self._nvml, self._clock) for sensor in sensors]
        for gpu in self._gpus:
            gpu.sample()
        self._sampler.start(self._tick)

    def _tick(self) -> None:
        with self._lock:
            self._ticks += 1
            for gpu in self._gpus:
                gpu.sample()
                if self._ticks % CONDITIONS_EVERY == 0:
                    gpu.conditions.sample(self._clock.now_s())

    def read(self) -> tuple[Counter, ...]:
        """Counter and power of each GPU, sampled now.

        Raises:
            MeterError: the sampler died, or the driver hangs.
        """
        self._sampler.check()
        with self._settled():
            return tuple(counter for gpu in self._gpus for counter in gpu.read())

    def integrals(self) -> dict[str, float]:
        """Conditions of each GPU; see `GpuConditions`.

        `gpu:0_power_unseen` is the share of time in gaps of more than 1 s between samples of power.
        """
        with self._settled():
            now_s = self._clock.now_s()
            return {name: value for gpu in self._gpus for name, value in gpu.integrals(now_s).items()}

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Hold the lock against the background thread; raises MeterError if the driver hangs."""
        if not self._lock.acquire(timeout=ANSWER_S):
            raise MeterError(f"NVML has not answered for {ANSWER_S:g} s")
        try:
            yield
        finally:
            self._lock.release()

    def stop(self) -> None:
        self._sampler.stop()
        if self._open:
            self._nvml.nvmlShutdown()
        self._open = False

    def describe(self) -> list[dict[str, str]]:
        """Primary source and check of each GPU; a GPU without either is not listed."""
        return [line for gpu in self._gpus for line in gpu.sensor.describe()]


def offer(request: MeterRequest) -> MeterOffer | None:
    """Offer NVML for the GPU of the run; None on a CPU."""
    gpus = [i for i in torch_device.nvml_indices(request.device) if f"gpu:{i}" not in request.taken]
    return MeterOffer(NvmlMeter(gpus, clock=request.clock), tuple(f"gpu:{i}" for i in gpus)) if gpus else None
