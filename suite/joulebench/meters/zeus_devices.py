"""Counters of the library zeus: AMD GPUs, Apple silicon, Jetson, and RAPL without root by its daemon.

An optional library, `joulebench[zeus]`; `--meter zeus` asks for it. It gives millijoules that only grow: of a GPU
`GPU.get_total_energy_consumption`, of a CPU `cpu_mj` and `dram_mj`, of a system on a chip a field for each part.
NVIDIA's GPUs are left to NVML, and RAPL that this process can read itself to `joulebench.meters.rapl`.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from joulebench.errors import MeterError, described
from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter, MeterOffer, MeterRequest, description
from joulebench.meters.live_track import Track
from joulebench.meters.sampling import Sampler, ThreadSampler

PERIOD_S = 0.1
MAX_W = 5000.0
#: Environment variables that name zeus' daemon: with one of them zeus asks the daemon for RAPL.
DAEMON = ("ZEUSD_SOCK_PATH", "ZEUSD_HOST_PORT")
NOT_INSTALLED = "the library zeus is not installed"
REMEDY = "pip install 'joulebench[zeus]' (AMD GPUs, Apple silicon, Jetson, RAPL without root by its daemon)"

Import = Callable[[str], Any]
Domain = Literal["cpu", "ram", "gpu", "module"]
#: Fields of a system on a chip that are read, of Apple silicon and of Jetson: what each is of.
SOC_FIELDS: Mapping[str, Domain] = {
    "cpu_total_mj": "cpu", "dram_mj": "ram", "gpu_mj": "gpu",
    "cpu_energy_mj": "cpu", "gpu_energy_mj": "gpu", "total_energy_mj": "module",
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One counter: its domain, what it is called and how it is read."""

    domain: str
    source: str
    method: str
    role: Literal["primary", "check"] = "primary"
    is_power: bool = False


@dataclass(frozen=True)
class Device:
    """Counters that one call reads: millijoules (or milliwatts) by their names; one that has no value is absent."""

    parts: Mapping[str, Part]
    read: Callable[[], Mapping[str, float]]


@dataclass
class _Followed:
    part: Part
    track: Track = field(init=False)
    seen: bool = False  # in the last reading of its device

    def __post_init__(self) -> None:
        self.track = Track(is_power=self.part.is_power, size=1e-3, interval_s=PERIOD_S, max_w=MAX_W)


class ZeusMeter:
    """Counters of zeus' devices, sampled in the background.

    Args:
        devices: as `find_devices` gives them.
        clock: the clock that windows are cut by.
        sampler: what calls for a sample every 100 ms; a thread if not given.
    """

    def __init__(
        self, devices: Sequence[Device], clock: Clock | None = None, sampler: Sampler | None = None
    ) -> None:
        self._devices = tuple(devices)
        self._clock: Clock = clock or RealClock()
        self._sampler: Sampler = sampler or ThreadSampler("joulebench-zeus", PERIOD_S)
        self._lock = threading.Lock()
        self._followed: list[dict[str, _Followed]] = []

    def start(self) -> None:
        """Begin to follow the counters.

        Raises:
            MeterError: one of them cannot be read any more.
        """
        self._followed = [{name: _Followed(part) for name, part in d.parts.items()} for d in self._devices]
        self._sample()
        lost = [f.part.source for each in self._followed for f in each.values() if not f.seen]
        if lost:
            raise MeterError(f"zeus does not read {', '.join(lost)} any more, which it did a moment ago")
        self._sampler.start(self._sample)

    def _sample(self) -> None:
        with self._lock:
            for device, followed in zip(self._devices, self._followed, strict=True):
                began_s = self._clock.now_s()
                try:
                    values, why = device.read(), "gives no value"
                except Exception as error:  # zeus', its driver's, or of the connection to its daemon
                    values, why = {}, described(error)
                asked_s = (began_s + self._clock.now_s()) / 2
                for name, each in followed.items():
                    each.seen = name in values
                    if each.seen:
                        each.track.add(asked_s, values[name])
                    else:
                        each.track.miss(why)

    def read(self) -> tuple[Counter, ...]:
        """The counters, sampled now; one that cannot be read goes on from its last value, and says so.

        Raises:
            MeterError: the sampler died.
        """
        self._sampler.check()
        self._sample()
        with self._lock:
            now_s = self._clock.now_s()
            return tuple(_counter(each, now_s) for followed in self._followed for each in followed.values())

    def integrals(self) -> dict[str, float]:
        """The CPU time of the sampler."""
        return self._sampler.integrals()

    def stop(self) -> None:
        self._sampler.stop()

    def describe(self) -> list[dict[str, str]]:
        parts = [part for device in self._devices for part in device.parts.values()]
        return [description(p.domain, p.source, "measured", p.method, p.role) for p in parts]


def _counter(each: _Followed, now_s: float) -> Counter:
    energy_j, updates, fault = each.track.read(now_s)
    part = each.part
    return Counter(part.domain, energy_j, part.source, "measured", part.role, updates, fault)


def find_devices(request: MeterRequest, load: Import = importlib.import_module) -> tuple[list[Device], list[str]]:
    """Find the devices that zeus reads here; also why others cannot be read.

    Args:
        load: imports a module of zeus.

    Raises:
        MeterError: zeus is not installed, or what is installed under its name is another library.
    """
    try:
        load("zeus.device")
    except ModuleNotFoundError as error:
        if error.name in ("zeus", "zeus.device"):
            raise MeterError(NOT_INSTALLED) from None
        raise MeterError(f"zeus cannot be imported: {described(error)}") from None
    except Exception as error:
        raise MeterError(f"zeus cannot be imported: {described(error)}") from None
    found: list[Device] = []
    why_not: list[str] = []
    for look in (_gpus, _cpus, _soc):
        try:
            found += look(request, load)
        except Exception as error:  # zeus has an exception of its own for each thing that is not there
            why_not.append(described(error))
    return found, why_not


def _gpus(request: MeterRequest, load: Import) -> Iterator[Device]:
    """The AMD GPU that the run computes on: zeus counts visible GPUs as torch does."""
    if not request.device.startswith("cuda"):
        return
    gpus = load("zeus.device.gpu").get_gpus()
    if not type(gpus).__name__.startswith("AMD"):
        return
    index = int(request.device.partition(":")[2] or 0)
    gpu, domain = gpus.gpus[index], f"gpu:{index}"
    name = gpu.get_name()
    if gpu.supports_get_total_energy_consumption():
        gpu.get_total_energy_consumption()  # raises for a die of a package whose other die has the counter of both
        part = Part(domain, "zeus_gpu", f"energy counter of {name} by zeus (amdsmi)")
        yield Device({"gpu": part}, lambda: {"gpu": float(gpu.get_total_energy_consumption())})
    else:
        gpu.get_instant_power_usage()
        method = f"power of {name} by zeus (amdsmi), every {1000 * PERIOD_S:.0f} ms; it has no energy counter"
        part = Part(domain, "zeus_gpu_power", method, is_power=True)
        yield Device({"gpu": part}, lambda: {"gpu": float(gpu.get_instant_power_usage())})


def _cpus(request: MeterRequest, load: Import) -> Iterator[Device]:
    """All sockets, as one counter of the CPU and one of the RAM; not the zone `psys`, which contains them."""
    by_daemon = any(name in os.environ for name in DAEMON)
    if not by_daemon and any(request.powercap.glob("intel-rapl:*")):
        return  # zeus would start a process for each zone, to read what `joulebench.meters.rapl` reads
    cpus = [c for c in load("zeus.device.cpu").get_cpus().cpus if _is_package(request.powercap, c.cpu_index)]
    if not cpus:
        return
    by = "its daemon" if by_daemon else type(cpus[0]).__name__

    def read() -> dict[str, float]:
        each = [cpu.get_total_energy_consumption() for cpu in cpus]
        sums = {"cpu": [e.cpu_mj for e in each], "ram": [e.dram_mj for e in each]}
        return {name: float(sum(mj)) for name, mj in sums.items() if all(m is not None for m in mj)}

    sockets = f"{len(cpus)} socket{'s' if len(cpus) > 1 else ''}"
    words = {"cpu": "package", "ram": "DRAM"}
    yield Device(
        {n: Part(n, f"zeus_{n}", f"{words[n]} counters of {sockets} by zeus ({by})") for n in read()}, read
    )


def _is_package(powercap: Path, index: int) -> bool:
    try:
        name = (powercap / f"intel-rapl:{index}" / "name").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return name.startswith("package")


def _soc(request: MeterRequest, load: Import) -> Iterator[Device]:
    """Parts of a system on a chip: its GPU counts where the run computes on it; what holds all is a check."""
    soc = load("zeus.device.soc").get_soc()
    kind = type(soc).__name__

    def read() -> dict[str, float]:
        energy = soc.get_total_energy_consumption()
        values = {name: getattr(energy, name, None) for name in SOC_FIELDS}
        return {name: float(mj) for name, mj in values.items() if mj is not None}

    parts = {}
    for name in read():
        domain = SOC_FIELDS[name]
        beside = domain == "module" or (domain == "gpu" and request.device == "cpu")
        method = f"{name} of {kind} by zeus"
        parts[name] = Part(
            f"{domain}:0" if domain in ("gpu", "module") else domain,
            f"zeus_{domain}",
            method,
            "check" if beside else "primary",
        )
    yield Device(parts, read)


def offer(request: MeterRequest) -> MeterOffer | None:
    """Offer what zeus reads and no meter before it does.

    Raises:
        MeterError: zeus is not installed, or finds nothing that it can read, with its reasons.
    """
    devices, why_not = find_devices(request)
    kept = [_without(device, request.taken) for device in devices]
    kept = [device for device in kept if device.parts]
    domains = tuple(p.domain for device in kept for p in device.parts.values() if p.role == "primary")
    if not domains:
        raise MeterError("zeus finds nothing to read here" + "".join(f"; {why}" for why in why_not))
    return MeterOffer(ZeusMeter(kept, request.clock), domains)


def _without(device: Device, taken: frozenset[str]) -> Device:
    parts = {name: p for name, p in device.parts.items() if p.role == "check" or p.domain not in taken}
    return Device(parts, device.read)
