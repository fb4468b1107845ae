"""Hardware profiles read from TOML, detection of this host, and matching of the two."""

from __future__ import annotations

import fnmatch
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.cpu_families import FAMILIES, family_of
from joulebench.spec.parameters import Name
from joulebench.spec.toml import Definition, read_toml, validate

Dtype = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp4", "int8", "int4"]

KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")  # the kernel's list of what computes for ROCm
SLICE = ", a MIG slice of it"  # in the title of its profile
MIN_RATE = 1e9  # FLOP/s and bytes/s: less is a figure in TFLOP/s or GB/s
#: By field: the plausible range, which shows a figure in another unit, and the unit.
_LIMITS = {
    "memory_bytes": (2**28, inf, "in bytes, not in GB"),
    "memory_bandwidth_bytes_per_s": (MIN_RATE, inf, "in bytes/s, not in GB/s"),
    "grid_intensity_g_per_kwh": (0.0, 3000.0, "in g CO2e/kWh"),
    "pue": (1.0, inf, "facility power over IT power"),
}


class Match(Definition):
    """Patterns of the hosts that a profile describes: shell patterns, case-insensitive."""

    accelerator: tuple[str, ...] = ()  # GPU names as NVML gives them, any one; none: hosts without a GPU
    cpu: str = "*"  # CPU model
    virtual: bool | None = None  # inside a virtual machine, on bare metal; None: either
    examples: tuple[str, ...] = ()  # names (of the accelerator, else of the CPU) that must match

    @field_validator("accelerator", mode="before")
    @classmethod
    def _one_or_many(cls, patterns: Any) -> Any:
        """A single pattern may be written without brackets."""
        if isinstance(patterns, str):
            return (patterns,) if patterns else ()
        return tuple(patterns) if isinstance(patterns, list) else patterns

    @field_validator("examples")
    @classmethod
    def _examples_match(cls, examples: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        patterns = info.data.get("accelerator") or (info.data.get("cpu", "*"),)
        for example in examples:
            if not any(_like(example, pattern) for pattern in patterns):
                raise ValueError(f"'{example}' is not matched by {' or '.join(map(repr, patterns))}")
        return examples


class Fact(Definition):
    """A number with its source and the date of publication or access (YYYY, YYYY-MM or YYYY-MM-DD)."""

    value: Annotated[float, Field(gt=0)]
    source: Annotated[str, Field(min_length=1)]
    date: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}){0,2}$")]


class HardwareProfile(Definition):
    """A type of machine. Unknown facts are absent; country, grid intensity and PUE are set by the user.

    Device figures are of one accelerator, or of all CPU sockets where there is none. Peaks are dense (no structured
    sparsity), at the rated boost clock, with tensor cores where the data type has them.
    """

    name: Name
    title: Annotated[str, Field(min_length=1)]
    match: Match = Match()
    tdp_w: Fact | None = None  # board power of the accelerator
    idle_power_w: Fact | None = None  # of the accelerator, measured
    memory_bytes: Fact | None = None  # of the device
    memory_bandwidth_bytes_per_s: Fact | None = None
    peak_flops: dict[Dtype, Fact] = {}  # FLOP/s (integer operations for int8, int4)
    cpu_tdp_w: Fact | None = None  # of all sockets; used by CodeCarbon's load model in place of its guess
    ram_power_w: Fact | None = None
    cpu_family: str | None = None  # in spec/cpu_families.py, where it is not the one that is detected
    cpu_threads: Annotated[int, Field(gt=0)] | None = None  # torch's; with it a profile is used by name only
    country: str | None = None  # ISO 3166, three letters; grid_intensity_g_per_kwh, if given, is used before it
    grid_intensity_g_per_kwh: Fact | None = None  # g CO2e/kWh
    pue: Fact | None = None

    @field_validator("tdp_w", "idle_power_w")
    @classmethod
    def _of_an_accelerator(cls, fact: Fact | None, info: ValidationInfo) -> Fact | None:
        match, tdp = info.data.get("match"), info.data.get("tdp_w")
        if fact and match and not match.accelerator:
            raise ValueError("is the accelerator's, and match.accelerator is empty; a CPU's TDP is cpu_tdp_w")
        if fact and info.field_name == "idle_power_w" and tdp and fact.value >= tdp.value:
            raise ValueError(f"{fact.value:g} W idle is not below tdp_w, {tdp.value:g} W")
        return fact

    @field_validator(*_LIMITS)
    @classmethod
    def _in_its_unit(cls, fact: Fact | None, info: ValidationInfo) -> Fact | None:
        low, high, unit = _LIMITS[str(info.field_name)]
        if fact and not low <= fact.value <= high:
            raise ValueError(f"must be {unit}, within {low:g} … {high:g} (got {fact.value:g})")
        return fact

    @field_validator("peak_flops", mode="before")
    @classmethod
    def _known_dtypes(cls, peaks: Any) -> Any:
        known = get_args(Dtype)
        for name in peaks if isinstance(peaks, dict) else ():
            if name not in known:
                raise ValueError(f"no data type '{name}'{did_you_mean(name, known)} (allowed: {', '.join(known)})")
        return peaks

    @field_validator("peak_flops")
    @classmethod
    def _in_flops(cls, peaks: dict[Dtype, Fact]) -> dict[Dtype, Fact]:
        for dtype, fact in peaks.items():
            if fact.value < MIN_RATE:
                raise ValueError(f"{dtype}: {fact.value:g} is too little; it is in FLOP/s, not in TFLOP/s")
        return peaks

    @field_validator("cpu_family")
    @classmethod
    def _known_family(cls, name: str | None) -> str | None:
        if name is not None and name not in FAMILIES:
            raise ValueError(f"no family '{name}'{did_you_mean(name, FAMILIES)} (allowed: {', '.join(FAMILIES)})")
        return name

    @field_validator("country")
    @classmethod
    def _iso3(cls, country: str | None) -> str | None:
        if country is not None and not (len(country) == 3 and country.isascii() and country.isupper()):
            raise ValueError("must be three capital letters of ISO 3166, such as FRA, DEU or USA")
        return country

    @property
    def kind(self) -> Literal["cpu", "gpu"]:
        return "gpu" if self.match.accelerator else "cpu"

    def of_slice(self) -> HardwareProfile:
        """The profile of a slice of the accelerator (MIG), without the figures that hold for a whole one."""
        title = self.title if self.title.endswith(SLICE) else f"{self.title}{SLICE}"
        whole: dict[str, Any] = {"peak_flops": {}, "memory_bytes": None, "memory_bandwidth_bytes_per_s": None}
        return self.model_copy(update={**whole, "title": title})

    def fits(self, host: Host) -> bool:
        return self.specificity(host) is not None

    def specificity(self, host: Host) -> tuple[int, int, int] | None:
        """Specificity of the match with `host`, to rank profiles; None if the profile does not match."""
        match = self.match
        if not _like(host.cpu, match.cpu) or match.virtual not in (None, host.virtual):
            return None
        matching = [p for p in match.accelerator if any(_like(name, p) for name in host.accelerators)]
        if bool(match.accelerator) != bool(host.accelerators) or (match.accelerator and not matching):
            return None
        longest = max((_literal(p) for p in matching), default=0)
        return longest, _literal(match.cpu), int(match.virtual is not None)


def _like(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _literal(pattern: str) -> int:
    return len(pattern.replace("*", ""))


@dataclass(frozen=True)
class Host:
    """CPU, accelerators and memory of a machine, as it reports them."""

    cpu: str
    logical_cpus: int
    accelerators: tuple[str, ...]
    memory_bytes: int | None = None
    virtual: bool = False  # a virtual machine
    cpu_family: str | None = None  # in `spec.cpu_families.FAMILIES`; None: no figures are published
    unmetered: tuple[str, ...] = ()  # accelerators that torch may use and no shipped meter reads
    lost: tuple[str, ...] = ()  # GPUs that the driver lists and does not reach, each with the reason

    @property
    def has_accelerator(self) -> bool:
        return bool(self.accelerators)

    def __str__(self) -> str:
        return ", ".join(self.accelerators) or f"{self.cpu}{' (virtual)' if self.virtual else ''}, no accelerator"


def detect_host() -> Host:
    """Detect this machine by the operating system and the GPU driver, without torch."""
    import psutil

    text = _cpuinfo()
    names, lost = _gpus()
    return Host(
        cpu=_cpu_model(text),
        logical_cpus=os.cpu_count() or 1,
        accelerators=names,
        memory_bytes=int(psutil.virtual_memory().total),
        virtual=_is_virtual(text),
        cpu_family=family_of(text),
        unmetered=unmetered_accelerators(),
        lost=lost,
    )


def detect_cpu_family() -> str | None:
    """Detect the CPU's family, a key in `spec.cpu_families.FAMILIES`; None where no figures are published."""
    return family_of(_cpuinfo())


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def unmetered_accelerators(nodes: Path = KFD_NODES) -> tuple[str, ...]:
    """Detect accelerators of AMD (ROCm) and Apple (MPS), which torch may use and no shipped meter reads."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ("Apple GPU (MPS)",)
    found = []
    for properties in sorted(nodes.glob("*/properties")):
        try:
            text = properties.read_text(encoding="utf-8")
        except OSError:  # it belongs to another container
            continue
        if re.search(r"^simd_count [1-9]", text, flags=re.M):  # a CPU in this list has none
            found.append("AMD GPU (ROCm)")
    return tuple(found)


def _cpu_model(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _is_virtual(cpuinfo: str) -> bool:
    """Detect a virtual machine: x86 guests have the CPU flag `hypervisor`; Xen and Arm guests a file each."""
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    signs = (Path("/sys/hypervisor/type"), Path("/proc/device-tree/hypervisor"))
    return "hypervisor" in flags or any(path.exists() for path in signs)


def _gpus() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the GPUs, and those that are lost: one of these hides no other."""
    import pynvml

    names, lost = [], []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), ()
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                names.append(str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index))))
            except pynvml.NVMLError as error:
                lost.append(f"GPU {index} of NVML: {error}")
    except pynvml.NVMLError as error:
        lost.append(f"NVML does not count the GPUs: {error}")
    finally:
        pynvml.nvmlShutdown()
    return tuple(names), tuple(lost)


def stated(fact: Any) -> tuple[float, str] | None:
    """Value and source of a fact in a profile as it was recorded, or a bare number; None where it is neither."""
    value, source = (fact.get("value"), fact.get("source")) if isinstance(fact, Mapping) else (fact, None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        return None
    return float(value), str(source or "source not given")


def carbon_g(energy_j: float, intensity_g_per_kwh: float, pue: float = 1.0) -> float:
    """g CO2e of metered joules: joules × PUE × grid intensity. The one place where joules become carbon."""
    return energy_j / 3.6e6 * pue * intensity_g_per_kwh


def kg_co2e_per_j(hardware: Mapping[str, Any]) -> float | None:
    """Carbon of a metered joule, by a recorded profile: with its PUE (1 if none is given); None without a grid."""
    intensity, pue = (stated(hardware.get(name)) for name in ("grid_intensity_g_per_kwh", "pue"))
    return None if intensity is None else carbon_g(1.0, intensity[0], pue[0] if pue else 1.0) / 1e3


def load_profile(path: Path) -> HardwareProfile:
    """The profile in a TOML file.

    Raises:
        InputError: one line with file, field and what is allowed.
    """
    profile = validate(HardwareProfile, read_toml(path), path)
    if profile.name != path.stem:
        raise InputError(f"{path}: name: must match the file's name (got '{profile.name}')")
    return profile


def choose_profile(profiles: Sequence[HardwareProfile], host: Host) -> HardwareProfile:
    """Choose the profile that fits this host; the most specific one if several do.

    Raises:
        InputError: none fits, or two fit equally well.
    """
    known = [p for p in profiles if p.cpu_threads is None]
    ranked = sorted(((e, p.name) for p in known if (e := p.specificity(host)) is not None), reverse=True)
    if not ranked:
        raise InputError(f"no hardware profile fits this host ({host}); add one, or name one with --hardware")
    best = [name for specificity, name in ranked if specificity == ranked[0][0]]
    if len(best) > 1:
        names = "' and '".join(sorted(best))
        raise InputError(f"hardware profiles '{names}' fit this host ({host}) equally; name one with --hardware")
    return next(p for p in profiles if p.name == best[0])


def mismatch(profile: HardwareProfile, host: Host) -> str | None:
    """Describe the difference between a profile and a host; None if they match."""
    if profile.fits(host):
        return None
    match = profile.match
    wanted = " or ".join(match.accelerator) or f"a CPU '{match.cpu}' without accelerator"
    if match.accelerator and match.cpu != "*":
        wanted += f" with a CPU '{match.cpu}'"
    if match.virtual is not None:
        wanted += " in a virtual machine" if match.virtual else " on bare metal"
    seen = f"{host} with {host.cpu}" if match.accelerator and match.cpu != "*" and host.accelerators else f"{host}"
    return f"hardware profile '{profile.name}' describes {wanted}, but this host has {seen}"


def check_profile(profile: HardwareProfile, host: Host) -> None:
    """Refuse a profile that does not describe this host.

    Raises:
        InputError: they do not match; both are named.
    """
    if words := mismatch(profile, host):
        raise InputError(f"{words}; --force-hardware uses it nevertheless and marks the report")
