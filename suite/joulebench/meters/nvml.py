"""GPU energy by NVML: the driver's energy counter (Volta and newer), checked against integrated power.

The counter moves at times that no vendor states, so at start it is watched for some seconds: how often it moves,
in which steps, how far behind power, and whether it counts the GPU or the whole module that it sits on. From then
on it is polled to see each of its moves, and power with it, which is integrated by the trapezoidal rule. At a
window's edge the counter's joules are completed by those drawn since it last moved (`meters.nvml_counter`).

A GPU is known by its UUID. Domains are its roles in the run: `gpu:0` is the one that the run began on, further ones
those that a process of the run was seen to compute on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from joulebench.errors import MeterError
from joulebench.host import device as torch_device
from joulebench.host.clock import Clock, RealClock
from joulebench.host.process import belongs
from joulebench.meters.base import Counter, LearnedCounters, MeterOffer, MeterRequest
from joulebench.meters.nvml_conditions import GpuConditions
from joulebench.meters.nvml_counter import DeadReckoning, poll_s
from joulebench.meters.nvml_sensor import PERIOD_S, UNIT_J, GpuSensor, handles_of, learn, text_of
from joulebench.meters.sampling import (
    STUCK_S,
    UPDATE_S,
    CounterTrack,
    HeldIntegral,
    PowerIntegral,
    Sampler,
    ThreadSampler,
)
from joulebench.records.model import Fault, FaultKind

CONDITIONS_EVERY = 3  # temperature and the like change slowly: every third sample
FOLLOW_EVERY = 16  # about once a second: the other GPUs of the machine, for processes of the run
MIN_DRAW_W = 1.0  # a GPU that draws this much has a counter that moves
MAX_GPU_W = 2000.0  # no GPU draws as much; where its limit is known, MAX_POWER_SHARE times that
MAX_MODULE_W = 5000.0
MAX_POWER_SHARE = 2.0  # of the highest power limit: a GPU's mean over 100 ms stays well below
ANSWER_S = 10.0  # a driver that takes longer to answer hangs
STILL_PERIODS = 3.0  # two missed updates may be the driver's delay; with a third a counter is stuck


class _Gpu:
    """Counters and conditions of one GPU over a run."""

    def __init__(self, sensor: GpuSensor, nvml: Any, clock: Clock) -> None:
        self.sensor = sensor
        self.conditions = GpuConditions(nvml, sensor.handle, sensor.domain, clock.now_s())
        most_w = sensor.max_power_w()
        plausible_w = MAX_POWER_SHARE * most_w if most_w else MAX_GPU_W
        facts, self._on_module = sensor.facts, sensor.counter_scope == "module"
        self._counter = CounterTrack(
            UNIT_J,
            max_power_w=MAX_MODULE_W if self._on_module else plausible_w,
            update_s=max(UPDATE_S, facts.longest_s or 0.0),
            stuck_s=max(STUCK_S, STILL_PERIODS * (facts.longest_s or 0.0)),
        )
        self._reckoning = DeadReckoning(facts, self._counter.stuck_s)
        self._power = PowerIntegral()  # of the GPU
        self._module_power = PowerIntegral()
        self._clock = clock
        self._sampled_s = clock.now_s()
        self._told_j = 0.0

    def sample(self) -> tuple[bool, bool, float | None]:
        """Sample counter and power; whether each could be read, and the power of what the counter counts."""
        sensor = self.sensor
        raw = sensor.energy_mj() if sensor.has_counter else None
        watts = sensor.power_w() if sensor.has_power else None
        counted_w = sensor.module_w() if self._on_module else watts
        before_s, now_s = self._sampled_s, self._clock.now_s()
        self._sampled_s = now_s
        if watts is not None:
            self._power.add(now_s, watts, min_gap_s=PERIOD_S / 2)
        if counted_w is not None:
            if self._on_module:
                self._module_power.add(now_s, counted_w)
            integral = self._module_power if self._on_module else self._power
            self._reckoning.power(now_s, integral.energy_j, counted_w)
        if raw is not None:
            moves, shown_j = self._counter.updates, self._counter.energy_j
            self._counter.observe(now_s, raw, draws_power=watts is None or watts >= MIN_DRAW_W)
            if self._counter.updates > moves:
                self._reckoning.moved(before_s, now_s, self._counter.energy_j - shown_j)
        return raw is not None, watts is not None, counted_w

    def read(self) -> list[Counter]:
        """The counters now; one that could not be read is absent."""
        sensor, power = self.sensor, self._power
        counted, seen, counted_w = self.sample()
        counters = []
        if counted:
            counters.append(self._counted(counted_w))
        if seen and sensor.primary == "counter":
            fault = power.take_fault()
            counters.append(Counter(sensor.domain, power.energy_j, "nvml_power", sensor.kind, "check", fault=fault))
        elif seen:
            samples, fault = power.samples, power.take_fault()
            counter = Counter(sensor.domain, power.energy_j, "nvml_power", sensor.kind, "primary", samples, fault)
            counters.append(counter)
        return counters

    def _counted(self, watts: float | None) -> Counter:
        """The counter with what was drawn since its last move."""
        sensor = self.sensor
        since_j, sd_j = (0.0, None) if watts is None else self._reckoning.since_move(self._sampled_s, watts)
        self._told_j = max(
            self._told_j, self._counter.energy_j + since_j
        )  # what was reckoned may have been too much
        return Counter(
            sensor.counter_domain,
            self._told_j,
            "nvml_counter",
            sensor.kind,
            "primary" if sensor.primary == "counter" else "check",
            self._counter.updates,
            self._counter.take_fault(),
            sd_j,
            sensor.contains,
        )

    def integrals(self, now_s: float) -> dict[str, float]:
        unseen = {f"{self.sensor.domain}_power_unseen": self._power.unseen_s} if self._power.samples else {}
        return self.conditions.integrals(now_s) | unseen


@dataclass
class _Neighbour:
    """GPU of the machine that the run does not use, as far as is known."""

    handle: Any
    role: int
    visible: int | None  # its number among torch's devices, where it is one of them
    unmetered: HeldIntegral | None = None  # 1 from when the run uses it, and nothing can read it


class NvmlMeter:
    """Energy and conditions of the GPUs a run uses, sampled in the background.

    The energy counter is primary and integrated power its check. Without a counter (vGPU, older than Volta)
    integrated power is primary, its samples taken for updates; with neither the domain is absent, never 0. Where
    the counter is of a whole module it is a check of `module:0`, and the GPU's integrated power is primary.

    Args:
        own: UUIDs of the GPUs that the run begins on, as NVML has them: they are `gpu:0`, `gpu:1`, …
        nvml: the `pynvml` module, or one that behaves like it.
        clock: the clock that windows are cut by.
        sampler: what calls for a sample at regular times; a thread if not given.
        visible: UUIDs of all GPUs that torch can use, in its order. These and the machine's others are read from
            when a process of the run computes on them.
        taken: domains that another meter reads.
        learned: what is known of counters already, by UUID, and what is learned here.
    """

    def __init__(
        self,
        own: Sequence[str],
        nvml: Any = None,
        clock: Clock | None = None,
        sampler: Sampler | None = None,
        visible: Sequence[str] = (),
        taken: Collection[str] = (),
        learned: LearnedCounters | None = None,
    ) -> None:
        import pynvml

        self._nvml: Any = pynvml if nvml is None else nvml
        self._own, self._visible = tuple(dict.fromkeys(own)), tuple(dict.fromkeys(visible))
        self._clock: Clock = clock or RealClock()
        self._sampler: Sampler = sampler or ThreadSampler("joulebench-nvml", PERIOD_S)
        self._learned: LearnedCounters = {} if learned is None else learned
        self._lock = threading.Lock()
        self._gpus: list[_Gpu] = []
        self._neighbours: list[_Neighbour] = []
        self._taken, self._found_unmetered = frozenset(taken), ""
        self._open = False
        self._ticks = 0

    def start(self) -> None:
        """Open NVML, find each GPU's sources, watch its counter for some seconds, begin to sample.

        Raises:
            MeterError: NVML does not start, or knows no such GPU.
        """
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            self._open = True
            handles = [nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in self._own]
            sensors = [GpuSensor(nvml, handle, role) for role, handle in enumerate(handles)]
        except nvml.NVMLError as error:
            self.stop()
            raise MeterError(f"NVML does not read GPU {', '.join(self._own)}: {error}") from None
        learn(sensors, self._clock, self._learned)
        self._sampler.period_s = poll_s([sensor.facts for sensor in sensors], PERIOD_S)
        self._gpus = [_Gpu(sensor, nvml, self._clock) for sensor in sensors]
        self._neighbours = self._others()
        for gpu in self._gpus:
            gpu.sample()
        self._sampler.start(self._tick)

    def _others(self) -> list[_Neighbour]:
        """The machine's other GPUs; those that do not answer are left out: nothing computes on them."""
        found: dict[str, Any] = {}
        for handle in handles_of(self._nvml).values():
            try:
                found[text_of(self._nvml.nvmlDeviceGetUUID(handle))] = handle
            except self._nvml.NVMLError:
                continue
        ordered = [u for u in self._visible if u in found]
        ordered += [u for u in found if u not in ordered]
        rest = [u for u in ordered if u not in self._own]
        places = {uuid: place for place, uuid in enumerate(self._visible)}
        others = [_Neighbour(found[u], role, places.get(u)) for role, u in enumerate(rest, len(self._own))]
        return [other for other in others if f"gpu:{other.role}" not in self._taken]

    def _tick(self) -> None:
        with self._lock:
            self._ticks += 1
            for gpu in self._gpus:
                gpu.sample()
                if self._ticks % CONDITIONS_EVERY == 0:
                    gpu.conditions.sample(self._clock.now_s())
            if self._ticks % FOLLOW_EVERY == 0:
                self._follow()

    def _follow(self) -> None:
        """Begin to read each GPU that a process of the run computes on by now."""
        for neighbour in self._neighbours[:]:
            if neighbour.unmetered is not None or not self._is_used(neighbour):
                continue
            try:
                sensor = GpuSensor(self._nvml, neighbour.handle, neighbour.role)
            except self._nvml.NVMLError:
                sensor = None
            if sensor is None or sensor.primary is None:
                neighbour.unmetered = HeldIntegral(self._clock.now_s(), 1.0)
                self._found_unmetered = f"gpu:{neighbour.role}"
                continue
            self._neighbours.remove(neighbour)
            self._gpus.append(_Gpu(sensor, self._nvml, self._clock))
            self._gpus[-1].sample()

    def _is_used(self, neighbour: _Neighbour) -> bool:
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(neighbour.handle)
        except self._nvml.NVMLError:
            return False
        return any(belongs(p.pid) for p in processes) or (bool(processes) and _allocated(neighbour.visible))

    def read(self) -> tuple[Counter, ...]:
        """Counter and power of each GPU, sampled now.

        Raises:
            MeterError: the sampler died, or the driver hangs.
        """
        self._sampler.check()
        with self._settled():
            counters = [counter for gpu in self._gpus for counter in gpu.read()]
            if counters and (found := self._found_unmetered):  # the condition tells of later windows
                self._found_unmetered = ""
                text = f"is not all: {found} worked for the run, and no meter reads it"
                fault = Fault(kind=FaultKind.UNMETERED_GPU, text=text)
                counters[0] = replace(counters[0], fault=counters[0].fault or fault)
            return tuple(counters)

    def integrals(self) -> dict[str, float]:
        """Conditions of each GPU; see `GpuConditions`.

        `gpu:0_power_unseen` is the share of time in gaps of more than 1 s between samples of power;
        `gpu:1_unmetered` is 1 while the run computes on a GPU that nothing can read. Beside them that of the
        sampler's own CPU time.
        """
        with self._settled():
            now_s = self._clock.now_s()
            conditions = {name: value for gpu in self._gpus for name, value in gpu.integrals(now_s).items()}
            for other in self._neighbours:
                if other.unmetered is not None:
                    conditions[f"gpu:{other.role}_unmetered"] = other.unmetered.at(now_s)
        return conditions | self._sampler.integrals()

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


def _allocated(number: int | None) -> bool:
    """Whether this process holds memory on torch's device of that number: a container hides whose a process is."""
    if number is None or "torch" not in sys.modules:
        return False
    import torch

    return torch.cuda.is_initialized() and torch.cuda.memory_reserved(number) > 0


def offer(request: MeterRequest) -> MeterOffer | None:
    """Offer NVML for the GPUs of the run; None on a CPU, or where another meter reads them."""
    if not request.device.startswith("cuda") or "gpu:0" in request.taken:
        return None
    own, visible = torch_device.physical_gpus(request.device)
    meter = NvmlMeter(own, clock=request.clock, visible=visible, taken=request.taken, learned=request.learned)
    return MeterOffer(meter, ("gpu:0",))
