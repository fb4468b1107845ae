"""Selection of a run's meters: the best source that this machine has, one primary counter a domain."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulebench.errors import InputError, MeterError, described
from joulebench.host.clock import Clock, RealClock
from joulebench.meters import plugins
from joulebench.meters.base import CheckedMeter, LearnedCounters, Meter, MeterOffer, MeterRequest, MeterSet
from joulebench.meters.codecarbon import CodeCarbonMeter
from joulebench.meters.host import HostMeter
from joulebench.meters.live import live_offer
from joulebench.meters.live_settings import is_settings
from joulebench.meters.nvml_sensor import GpuSensor, handles_of, learn
from joulebench.meters.rapl import DOMAINS, POWERCAP, find_rapl, method
from joulebench.meters.replay import ReplayMeter, load_traces
from joulebench.records.model import Kind
from joulebench.spec.hardware import HardwareProfile, Host
from joulebench.spec.registry import METERS

#: Of an accelerator that `Host.unmetered` names: what follows, and what may be done.
UNMETERED = "no meter that ships with joulebench reads it, so the run uses the CPU alone"
OWN_METER = "a meter of your own may read it (docs/extending.md)"


def meters_for(
    profile: HardwareProfile,
    device: str,
    clock: Clock,
    replay: str | None,
    powercap: Path = POWERCAP,
    own: Sequence[str] = (),
    replay_origin_s: float | None = None,
    run_pid: int | None = None,
    learned: LearnedCounters | None = None,
) -> Meter:
    """Meters of a run on `device`; with `replay`, only the trace, from `replay_origin_s` on (by default, now).

    Those named by `own` come first (an entry point in the group `joulebench.meters`, `package.module:function`, or
    a live meter's file). Each domain that is left is read by the first that can: RAPL, then CodeCarbon's models,
    and NVML for GPUs. Where another meter reads the CPU or the RAM, CodeCarbon's model of it runs as a check. The
    host's conditions are read always, and how long each meter takes to read. Where other trials go on beside this
    one, under the process `run_pid`, no shipped meter reads the CPU or the RAM: they are not this trial's.
    What `learned` has of a counter is not learned again, and what is learned is put there.

    Raises:
        InputError: no such meter, the trace cannot be read, or NVML does not know the device.
    """
    if replay is not None:
        traces = [t for t in load_traces(replay) if run_pid is None or t.domain.startswith("gpu")]
        if not traces:
            raise InputError(
                f"--replay: {replay} has no column 'gpu', and of a trial beside others only that is read"
            )
        return ReplayMeter(traces, clock, replay, replay_origin_s)
    meters: dict[str, Meter] = {}
    taken: frozenset[str] = frozenset()
    known: LearnedCounters = {} if learned is None else learned
    shipped = AUTOMATIC if run_pid is None else OF_GPUS
    for name in dict.fromkeys([*own, *shipped]):
        offer = _offer(name, MeterRequest(profile, device, clock, taken, powercap, known), name in own)
        if offer is None:
            if name in own:
                raise InputError(f"--meter: '{name}' cannot read anything on this machine")
            continue
        if name in own:
            if not isinstance(offer, MeterOffer):
                raise InputError(f"--meter: '{name}' has to return a MeterOffer (got {type(offer).__name__})")
            checked = offer.meter if is_settings(name) else CheckedMeter(offer, name)
            if twice := taken & {*offer.domains, *offer.contains}:
                raise InputError(f"--meter: '{name}' reads {', '.join(sorted(twice))}, which another meter reads")
        meters[Path(name).stem if is_settings(name) else name] = checked if name in own else offer.meter
        taken |= {*offer.domains, *offer.contains}
    return MeterSet([*meters.values(), HostMeter(clock, run_pid)], clock, [*meters, "host"])


def _offer(name: str, request: MeterRequest, own: bool) -> Any:
    if is_settings(name):
        return live_offer(name, request)
    make = METERS.load(name, "--meter")
    if not own:
        return make(request)
    try:
        return make(request)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise InputError(f"--meter: '{name}' failed: {described(error)}") from error


#: Shipped meters that a run takes without being told to.
AUTOMATIC = tuple(name for name in METERS.shipped if name != "zeus")
#: Those of them that read nothing but GPUs.
OF_GPUS = ("nvml",)


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
    host: Host,
    profile: HardwareProfile,
    *,
    powercap: Path = POWERCAP,
    nvml: Any = None,
    files: Sequence[str] = (),
) -> list[MeterStatus]:
    """Every energy source of this machine; of those available, a run uses the first per domain.

    Behind the built-in ones come those that `--meter` names: live meters by their `files`, installed plug-ins, and
    zeus. Imports no torch and leaves nothing behind.

    Raises:
        InputError: a live meter's file is not there, or wrong.
    """
    none = [MeterStatus("gpu", "none", "measured", False, f"{n}: {UNMETERED}", OWN_METER) for n in host.unmetered]
    device = "cuda:0" if profile.kind == "gpu" else "cpu"
    named = plugins.seen(MeterRequest(profile, device, RealClock(), powercap=powercap), files)
    own = [MeterStatus(*line) for line in named]
    return [*_rapl_statuses(powercap), *_model_statuses(profile), *_gpu_statuses(host, nvml), *none, *own]


def unmetered(host: Host, meters: Sequence[Mapping[str, str]]) -> str | None:
    """What is said at a run's start of accelerators that none of its meters reads; None where there is none.

    Args:
        meters: the lines of `Meter.describe`.
    """
    if not host.unmetered or any(line["domain"].startswith("gpu") for line in meters):
        return None
    return f"{', '.join(dict.fromkeys(host.unmetered))}: {UNMETERED}; {OWN_METER}"


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
        lost: dict[int, str] = {}
        sensors = []
        for index, handle in handles_of(nvml, lost).items():
            try:
                sensors.append(GpuSensor(nvml, handle, index))
            except nvml.NVMLError as error:
                lost[index] = str(error)
        learn(sensors, RealClock())
        found = [status for sensor in sensors for status in _sensor_statuses(sensor)]
        found += [_unreached(index, error) for index, error in sorted(lost.items())]
        return found
    except nvml.NVMLError as error:
        return [MeterStatus("gpu", "nvml_counter", "measured", False, f"NVML failed: {error}")]
    finally:
        nvml.nvmlShutdown()


def _unreached(index: int, error: str) -> MeterStatus:
    why = f"the driver does not reach it: {error}"
    return MeterStatus(f"gpu:{index}", "nvml_counter", "measured", False, why)


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
