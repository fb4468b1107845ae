"""One GPU as NVML answers for it: its counter, its power, what they contain. Nothing is sampled here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from joulebench.host.clock import Clock
from joulebench.meters.base import LearnedCounters, description
from joulebench.meters.nvml_counter import CounterFacts, LearnedCounter, watch
from joulebench.records.model import Kind

PERIOD_S = 0.0618  # a tenth of a second in the golden section: `joulebench.meters.nvml_counter.GOLDEN`
UNIT_J = 1e-3

Scope = Literal["GPU", "module"]
#: Grace Hopper and Grace Blackwell: GH200, GB200, GB300. Their counter is of the whole module (zeus, PR 172).
SUPERCHIP = re.compile(r"\bG[HB]\d{3}\b")


class GpuSensor:
    """Energy sources of one GPU and their readings. Changes nothing on the device.

    Args:
        nvml: `pynvml`, initialised, or what behaves like it.
        handle: NVML's of the GPU.
        role: its number in the run, or in the machine.

    Raises:
        nvml.NVMLError: it does not answer.
    """

    def __init__(self, nvml: Any, handle: Any, role: int) -> None:
        self._nvml, self.handle, self.role = nvml, handle, role
        self.domain = f"gpu:{role}"
        self.name = text_of(nvml.nvmlDeviceGetName(handle))
        self.uuid = text_of(nvml.nvmlDeviceGetUUID(handle))
        self.is_mig = self._mig_enabled()
        self._instant = self._field_w(nvml.NVML_POWER_SCOPE_GPU) is not None
        self.has_counter = self.energy_mj() is not None
        self.has_power = self.power_w() is not None
        # only a GPU that shares its module with a CPU tells the module's power; older drivers tell none
        on_module = self.module_w() is not None or SUPERCHIP.search(self.name) is not None
        self.counter_scope: Scope = "module" if self.has_counter and on_module else "GPU"
        self.facts = CounterFacts()

    def energy_mj(self) -> int | None:
        """The energy counter, millijoules since the driver was loaded; None where it cannot be read."""
        try:
            return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        except self._nvml.NVMLError:
            return None

    def power_w(self) -> float | None:
        """Power of the GPU now; None where it cannot be read."""
        if self._instant:
            return self._field_w(self._nvml.NVML_POWER_SCOPE_GPU)
        try:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self.handle)) / 1000
        except self._nvml.NVMLError:
            return None

    def module_w(self) -> float | None:
        """Power now of the module that the GPU shares with a CPU and its memory; None where there is none."""
        return self._field_w(self._nvml.NVML_POWER_SCOPE_MODULE)

    def counter_power_w(self) -> float | None:
        """Power now of what the counter counts."""
        return self.power_w() if self.counter_scope == "GPU" else self.module_w()

    def max_power_w(self) -> float | None:
        """The highest power limit that the GPU can be given; None where it cannot be read."""
        try:
            _, most_mw = self._nvml.nvmlDeviceGetPowerManagementLimitConstraints(self.handle)
        except self._nvml.NVMLError:
            return None
        return most_mw / 1000 or None

    def learn(self, facts: CounterFacts) -> None:
        """Take what was seen of the counter: also whether it counts the GPU or the module, by the power of both."""
        self.facts = facts
        gpu_w, module_w = self.power_w(), self.module_w()
        if self.counter_scope == "module" and facts.watts and gpu_w and module_w:
            nearer = abs(facts.watts - gpu_w) < abs(facts.watts - module_w)
            self.counter_scope = "GPU" if nearer else "module"

    @property
    def learned(self) -> LearnedCounter:
        """What a further process of the run may take over; when its counter moved last would be long ago then."""
        return LearnedCounter(replace(self.facts, moved_s=None), self.counter_scope == "module")

    def take(self, learned: LearnedCounter) -> None:
        """Take over what another process has learned of this counter."""
        self.facts = learned.facts
        if self.has_counter:
            self.counter_scope = "module" if learned.on_module else "GPU"

    def instant_w(self) -> float | None:
        """Power now of what the counter counts, where it is no mean over the past; else None."""
        return self.counter_power_w() if self._instant else None

    def _field_w(self, scope: int) -> float | None:
        """`nvmlDeviceGetPowerUsage` is a mean over 1 s on Ampere (but GA100) and newer; this field is not."""
        try:
            asked = [(self._nvml.NVML_FI_DEV_POWER_INSTANT, scope)]
            (value,) = self._nvml.nvmlDeviceGetFieldValues(self.handle, asked)
        except self._nvml.NVMLError:
            return None
        return value.value.uiVal / 1000 if value.nvmlReturn == 0 else None

    def _mig_enabled(self) -> bool:
        try:
            return bool(self._nvml.nvmlDeviceGetMigMode(self.handle)[0])
        except self._nvml.NVMLError:
            return False  # a GPU that cannot be sliced

    @property
    def kind(self) -> Kind:
        return "estimated" if self.is_mig else "measured"

    @property
    def primary(self) -> Literal["counter", "power", None]:
        """The source of the GPU's joules: its counter, unless that is the module's and the GPU's power is known."""
        if self.has_counter and (self.counter_scope == "GPU" or not self.has_power):
            return "counter"
        return "power" if self.has_power else None

    @property
    def counter_domain(self) -> str:
        return self.domain if self.counter_scope == "GPU" else f"module:{self.role}"

    @property
    def contains(self) -> tuple[str, ...]:
        """Domains that the counter reads beside its own."""
        return () if self.counter_scope == "GPU" else (self.domain, "cpu", "ram")

    def describe(self) -> list[dict[str, str]]:
        """Entries of `NvmlMeter.describe` for this GPU: the primary source, and the check if there is one."""
        shared = "; of the whole GPU, of which a MIG slice is only a part: an upper bound" if self.is_mig else ""
        how = "instantaneous power" if self._instant else "power as the driver averages it"
        polled = f"{how} of {self.name} polled at {PERIOD_S * 1000:.0f} ms and integrated{shared}"
        lines = []
        if self.has_counter:
            what = "" if self.counter_scope == "GPU" else " of its module, CPU and memory included"
            reckoned = "; joules since its last move from power" if self.counter_power_w() is not None else ""
            method = f"NVML total energy counter of {self.name}{what}, which {self.facts}{reckoned}{shared}"
            role = "primary" if self.primary == "counter" else "check"
            line = description(self.counter_domain, "nvml_counter", self.kind, method, role, self.counter_scope)
            facts = self.facts
            figures = {"period_s": facts.period_s, "resolution_j": facts.resolution_j}
            figures |= {"lag_s": facts.lag.lag_s, "lag_off_s": facts.lag.off_s} if facts.lag is not None else {}
            lines.append(line | {name: f"{value:.4g}" for name, value in figures.items() if value is not None})
        if self.has_power:
            role = "primary" if self.primary == "power" else "check"
            why = "it has no energy counter" if not self.has_counter else "its energy counter is the module's"
            text = f"{polled}; {why}" if role == "primary" else polled
            lines.append(description(self.domain, "nvml_power", self.kind, text, role))
        return [line | {"device": self.name, "uuid": self.uuid} for line in lines]


def text_of(value: Any) -> str:
    """NVML's text, which older bindings give as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def handles_of(nvml: Any, lost: dict[int, str] | None = None) -> dict[int, Any]:
    """Handles of all GPUs of the machine that answer, by NVML's number; why another does not goes into `lost`.

    Raises:
        nvml.NVMLError: NVML does not know how many there are.
    """
    found = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            found[index] = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            if lost is not None:
                lost[index] = str(error)
    return found


def learn(sensors: Sequence[GpuSensor], clock: Clock, known: LearnedCounters | None = None) -> None:
    """Watch the counters of GPUs, all at once.

    Args:
        known: what another process of the run has learned, by the GPU's UUID: these are not watched. What is
            learned here is put into it.
    """
    known = {} if known is None else known
    for sensor in sensors:
        if sensor.uuid in known:
            sensor.take(known[sensor.uuid])
    counting = [sensor for sensor in sensors if sensor.has_counter and sensor.uuid not in known]
    if not counting:
        return
    reads, powers = [s.energy_mj for s in counting], [s.instant_w for s in counting]
    for sensor, facts in zip(counting, watch(reads, UNIT_J, clock, powers), strict=True):
        sensor.learn(facts)
        known[sensor.uuid] = sensor.learned
