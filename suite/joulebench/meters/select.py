"""Selection of a run's meters: the best source that this machine has, one primary counter a domain."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulebench.errors import InputError, MeterError, described
from joulebench.host.clock import Clock
from joulebench.meters.base import CheckedMeter, Meter, MeterOffer, MeterRequest, MeterSet
from joulebench.meters.codecarbon import CodeCarbonMeter
from joulebench.meters.host import HostMeter
from joulebench.meters.nvml import GpuSensor
from joulebench.meters.rapl import DOMAINS, POWERCAP, find_rapl, method
from joulebench.meters.replay import ReplayMeter, load_traces
from joulebench.records.model import Kind
from joulebench.spec.hardware import HardwareProfile, Host
from joulebench.spec.registry import METERS


def meters_for(
    profile: HardwareProfile,
    device: str,
    clock: Clock,
    replay: str | None,
    powercap: Path = POWERCAP,
    own: Sequence[str] = (),
) -> Meter:
    """Meters of a run on `device`; with `replay`, only the trace.

    Those named by `own` come first (an entry point in the group `joulebench.meters`, or `package.module:function`);
    each domain that is left is read by the first that can: RAPL, then CodeCarbon's models, and NVML for GPUs. Where
    another meter reads the CPU, CodeCarbon's model of it runs as a check. The host's conditions are read always.

    Raises:
        InputError: no such meter, the trace cannot be read, or NVML does not know the device.
    """
    if replay is not None:
        return ReplayMeter(load_traces(replay), clock, replay)
    meters: list[Meter] = []
    taken: frozenset[str] = frozenset()
    for name in dict.fromkeys([*own, *METERS.shipped]):
        offer = _offer(name, MeterRequest(profile, device, clock, taken, powercap), name in own)
        if offer is None:
            if name in own:
                raise InputError(f"--meter: '{name}' cannot read anything on this machine")
            continue
        if name in own:
            if not isinstance(offer, MeterOffer):
                raise InputError(f"--meter: '{name}' has to return a MeterOffer (got {type(offer).__name__})")
            checked = CheckedMeter(offer, name)
            if twice := taken & set(offer.domains):
                raise InputError(f"--meter: '{name}' offers {', '.join(sorted(twice))}, which another meter reads")
        meters.append(checked if name in own else offer.meter)
        taken |= set(offer.domains)
    return MeterSet([*meters, HostMeter(clock)])


def _offer(name: str, request: MeterRequest, own: bool) -> Any:
    make = METERS.load(name, "--meter")
    if not own:
        return make(request)
    try:
        return make(request)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise InputError(f"--meter: '{name}' failed: {described(error)}") from error


@dataclass(frozen=True)
class MeterStatus:
    """Availability of one energy source on this machine, and a remedy."""

    domain: str
    source: str
    kind: Kind
    available: bool
    detail: str  # the method, or why it cannot be used: "unavailable because …"
    remedy: str | None = None


def availability(
    host: Host, profile: HardwareProfile, *, powercap: Path = POWERCAP, nvml: Any = None
) -> list[MeterStatus]:
    """Every energy source of this machine; of those available, a run uses the first per domain.

    Imports no torch and leaves nothing behind.
    """
    return [*_rapl_statuses(powercap), *_model_statuses(profile), *_gpu_statuses(host, nvml)]


def _rapl_statuses(powercap: Path) -> list[MeterStatus]:
    rapl = find_rapl(powercap)
    statuses = []
    for part, (domain, source) in DOMAINS.items():
        if zones := rapl.zones.get(part):
            statuses.append(MeterStatus(domain, source, "measured", True, method(part, zones)))
        else:
            why, remedy = rapl.why_not[part], rapl.remedy.get(part)
            statuses.append(MeterStatus(domain, source, "measured", False, why, remedy))
    return statuses


def _model_statuses(profile: HardwareProfile) -> list[MeterStatus]:
    """Status of CodeCarbon's models, by a meter that is started and stopped."""
    cpu, ram = profile.cpu_tdp_w, profile.ram_power_w
    statuses = []
    for domain, source in (("cpu", "cpu_load_model"), ("ram", "ram_model")):
        meter = CodeCarbonMeter(cpu.value if cpu else None, ram.value if ram else None, [domain])
        try:
            meter.start()
        except MeterError as error:
            statuses.append(MeterStatus(domain, source, "estimated", False, str(error)))
            continue
        statuses += [MeterStatus(d["domain"], d["source"], _kind(d), True, d["method"]) for d in meter.describe()]
        meter.stop()
    return statuses


def _gpu_statuses(host: Host, nvml: Any) -> list[MeterStatus]:
    nvml = nvml or importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        seen = "" if host.has_accelerator else "no GPU is seen here: "
        why = f"{seen}NVML, a part of NVIDIA's driver, does not start ({error})"
        remedy = "install the NVIDIA driver; in a container, start it with GPUs (docker run --gpus all)"
        return [MeterStatus("gpu", "nvml_counter", "measured", False, why, remedy)]
    try:
        sensors = [GpuSensor(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
        return [status for sensor in sensors for status in _sensor_statuses(sensor)]
    except nvml.NVMLError as error:
        return [MeterStatus("gpu", "nvml_counter", "measured", False, f"NVML failed: {error}")]
    finally:
        nvml.nvmlShutdown()


def _sensor_statuses(sensor: GpuSensor) -> list[MeterStatus]:
    lines = sensor.describe()
    statuses = [MeterStatus(d["domain"], d["source"], _kind(d), True, d["method"]) for d in lines]
    if not sensor.has_counter:
        why = f"{sensor.name} has no energy counter (vGPU, MIG, or before Volta)"
        statuses.append(MeterStatus(sensor.domain, "nvml_counter", sensor.kind, False, why))
    if not sensor.has_power:
        why = f"the driver gives no power of {sensor.name}"
        statuses.append(MeterStatus(sensor.domain, "nvml_power", sensor.kind, False, why))
    return statuses


def _kind(line: dict[str, str]) -> Kind:
    return "measured" if line["kind"] == "measured" else "estimated"
