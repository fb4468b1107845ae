"""What `joulebench hardware` prints: the host, a profile's facts with their sources, the meters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from joulebench.meters.select import MeterStatus
from joulebench.spec.hardware import Fact, HardwareProfile, Host

GIB = 2**30

#: Field of a profile -> its name in words, the unit to print it in, and how many base units that is.
_FACTS = {
    "tdp_w": ("TDP (board power)", "W", 1.0),
    "idle_power_w": ("idle power", "W", 1.0),
    "memory_bytes": ("memory", "GiB", float(GIB)),
    "memory_bandwidth_bytes_per_s": ("memory bandwidth", "GB/s", 1e9),
    "cpu_tdp_w": ("CPU TDP", "W", 1.0),
    "ram_power_w": ("RAM power", "W", 1.0),
    "grid_intensity_g_per_kwh": ("grid intensity", "g CO2e/kWh", 1.0),
    "pue": ("PUE", "", 1.0),
}


def host_lines(host: Host) -> Iterator[str]:
    """The host in words."""
    yield "Host"
    where = "a virtual machine" if host.virtual else "no hypervisor seen"
    yield f"  CPU           {host.cpu}, {host.logical_cpus} logical CPUs, {where}"
    memory = "not known" if host.memory_bytes is None else f"{host.memory_bytes / GIB:.1f} GiB"
    yield f"  memory        {memory}"
    yield f"  accelerators  {_counted(host.accelerators) or 'none'}"


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(n)} × {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names))


def profile_lines(profile: HardwareProfile, difference: str | None = None) -> Iterator[str]:
    """A profile with every fact, its source and its date; `difference` is how it differs from this host."""
    yield f"Hardware profile {profile.name}: {profile.title}"
    if difference:
        yield f"  not this host's: {difference}"
    facts = list(_facts(profile))
    for label, value, fact in facts:
        yield f"  {label:<20}  {value}"
        yield f"  {'':<20}    {fact.source} ({fact.date})"
    if not facts:
        yield "  no power figures and no peaks: what cannot be measured is left to CodeCarbon's estimates"
    if profile.grid_intensity_g_per_kwh is None and profile.country is None:
        yield "  carbon is not stated: set country or grid_intensity_g_per_kwh, or give --country to a run"


def _facts(profile: HardwareProfile) -> Iterator[tuple[str, str, Fact]]:
    for field, (label, unit, size) in _FACTS.items():
        fact: Fact | None = getattr(profile, field)
        if fact is not None:
            yield label, f"{fact.value / size:g} {unit}".rstrip(), fact
    for dtype, fact in profile.peak_flops.items():
        unit = "TOP/s" if dtype.startswith("int") else "TFLOP/s"
        yield f"peak {dtype}", f"{fact.value / 1e12:g} {unit}", fact


def meter_lines(meters: Iterable[MeterStatus]) -> Iterator[str]:
    """Every meter: available, or why not and how to enable it."""
    yield "Meters"
    for meter in meters:
        if meter.available:
            state = f"available: {meter.detail}" if meter.detail else "available"
        else:
            remedy = f"; to enable: {meter.remedy}" if meter.remedy else ""
            state = f"unavailable because {meter.detail}{remedy}"
        yield f"  {meter.domain:<6} {meter.source:<16} {meter.kind:<9}  {state}"


def catalogue_lines(profiles: Iterable[HardwareProfile], host: Host) -> Iterator[str]:
    """Every profile in a line, those that fit this host marked."""
    for profile in profiles:
        mark = "*" if profile.fits(host) else " "
        yield f"{mark} {profile.name:<22} {profile.title}"
