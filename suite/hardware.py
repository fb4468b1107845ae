"""The machine: hardware profiles read from TOML, what this host is, and whether the two match."""

from __future__ import annotations

import fnmatch
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from suite.definition import Definition, read_toml, validate
from suite.errors import InputError
from suite.task import Name


class Match(Definition):
    """Which hosts a profile describes; shell patterns, matched without regard to case."""

    accelerator: str = ""  # GPU name as the driver gives it; empty: hosts without an accelerator
    cpu: str = "*"  # CPU model


class Fact(Definition):
    """A number with where it comes from."""

    value: Annotated[float, Field(gt=0)]
    source: Annotated[str, Field(min_length=1)]


class HardwareProfile(Definition):
    """A machine kind. Facts that are not known are absent; grid intensity and PUE are the user's to set."""

    name: Name
    title: Annotated[str, Field(min_length=1)]
    match: Match = Match()
    cpu_tdp_w: Fact | None = None  # of all sockets; used by CodeCarbon's load model in place of its guess
    ram_power_w: Fact | None = None
    grid_intensity_g_per_kwh: Fact | None = None
    pue: Fact | None = None

    @property
    def kind(self) -> Literal["cpu", "gpu"]:
        return "gpu" if self.match.accelerator else "cpu"

    def fits(self, host: Host) -> bool:
        cpu = fnmatch.fnmatch(host.cpu.lower(), self.match.cpu.lower())
        if not self.match.accelerator:
            return cpu and not host.accelerators
        pattern = self.match.accelerator.lower()
        return cpu and any(fnmatch.fnmatch(name.lower(), pattern) for name in host.accelerators)


@dataclass(frozen=True)
class Host:
    """What this machine says it is."""

    cpu: str
    logical_cpus: int
    accelerators: tuple[str, ...]

    @property
    def has_accelerator(self) -> bool:
        return bool(self.accelerators)


def detect_host() -> Host:
    """This machine, by the operating system and the GPU driver; imports no torch."""
    return Host(_cpu_model(), os.cpu_count() or 1, _gpu_names())


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _gpu_names() -> tuple[str, ...]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        count = pynvml.nvmlDeviceGetCount()
        return tuple(str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


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
    """The profile that fits this host; the most exact one if several do.

    Raises:
        InputError: none fits.
    """
    fitting = [p for p in profiles if p.fits(host)]
    if not fitting:
        seen = ", ".join(host.accelerators) or host.cpu
        raise InputError(f"no hardware profile fits this host ({seen}); add one, or name one with --hardware")
    return max(fitting, key=lambda p: _exactness(p.match))


def _exactness(match: Match) -> tuple[int, int]:
    return tuple(len(text.replace("*", "")) for text in (match.accelerator, match.cpu))  # type: ignore[return-value]


def check_profile(profile: HardwareProfile, host: Host) -> None:
    """Refuse a profile that does not describe this host.

    Raises:
        InputError: they do not match; both are named.
    """
    if not profile.fits(host):
        wanted = profile.match.accelerator or f"a CPU '{profile.match.cpu}' without accelerator"
        seen = ", ".join(host.accelerators) or f"{host.cpu}, no accelerator"
        raise InputError(f"hardware profile '{profile.name}' describes {wanted}, but this host has {seen}")
