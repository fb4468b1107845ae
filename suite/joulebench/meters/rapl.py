"""CPU package and DRAM energy by RAPL, from Linux's powercap tree (Intel, and AMD since Zen).

The tree is the kernel's `Documentation/power/powercap`: zones `intel-rapl:<n>` named `package-<n>` (or `psys`), in
them subzones named `core`, `uncore`, `dram`; each has `energy_uj`, which starts at 0 again after
`max_energy_range_uj`. Packages add up to the CPU; `core` and `uncore` lie inside their package and `psys` around
all of them, so none is added. `intel-rapl-mmio:<n>` is another window onto the same package: it counts once.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from joulebench.errors import MeterError
from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter, MeterOffer, MeterRequest, description
from joulebench.meters.sampling import CounterTrack, HeldIntegral, Sampler, ThreadSampler
from joulebench.records.model import Fault

POWERCAP = Path("/sys/class/powercap")
# RAPL updates about every millisecond; what is counted is the updates seen, at most one per sample. A counter of
# 2^32 × 15.3 µJ = 65 kJ (the smallest in use) wraps after 33 s at 2 kW, so this is also far more often than needed.
PERIOD_S = 0.04
MAX_PACKAGE_W = 2000.0  # no package draws as much; where the TDP is known, four times that
MAX_POWER_SHARE = 2.0  # of the short-term limit: a package's mean over 100 ms stays below
REMEDY = (
    "sudo chmod -R a+r /sys/class/powercap/* (until the next boot; a udev rule or a group makes it last), "
    "or run as root"
)

Part = Literal["package", "dram"]
DOMAINS: dict[Part, tuple[str, str]] = {"package": ("cpu", "rapl_package"), "dram": ("ram", "rapl_dram")}


@dataclass(frozen=True)
class Zone:
    """Energy counter of one part of one package, with its folder."""

    part: Part
    package: str  # package-0, package-1-die-0, …
    path: Path
    range_uj: int

    def energy_uj(self) -> int:
        """The counter.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        return int(_text(self.file))

    @cached_property
    def file(self) -> str:
        return str(self.path / "energy_uj")

    def power_limit_w(self) -> float | None:
        """What its mean power is held below: the higher of its long-term and short-term limit.

        None where the kernel states no short-term limit, or none is in force. `constraint_*_max_power_uw` is not
        this: for the long term it is the TDP, which a package may exceed for as long as its limits let it.
        """
        try:
            if _text(self.path / "enabled") != "1":
                return None
            limits_w = {
                _text(file): int(_text(file.with_name(file.name.replace("_name", "_power_limit_uw")))) / 1e6
                for file in self.path.glob("constraint_*_name")
            }
        except (OSError, ValueError):
            return None
        short_w = limits_w.get("short_term", 0.0)
        return max(short_w, limits_w.get("long_term", 0.0)) if short_w > 0 else None


@dataclass(frozen=True)
class Rapl:
    """Readable zones of the powercap tree by part, and why a part is not readable."""

    zones: dict[Part, tuple[Zone, ...]]
    why_not: dict[Part, str]
    remedy: dict[Part, str]

    def domains(self) -> tuple[str, ...]:
        """The domains that can be read: `cpu`, `ram`."""
        return tuple(DOMAINS[part][0] for part in self.zones)


def _text(path: Path | str) -> str:
    """Content of a small file, read without a text stream: 25 times a second and zone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 128).decode("ascii").strip()
    finally:
        os.close(descriptor)


def find_rapl(root: Path = POWERCAP) -> Rapl:
    """Find readable RAPL zones. A part that is readable in some packages only is not readable."""
    zones: dict[Part, tuple[Zone, ...]] = {}
    why_not: dict[Part, str] = {}
    remedy: dict[Part, str] = {}
    folders = _zone_folders(root)
    for part in DOMAINS:
        packages = {package: path for (kind, package), path in folders.items() if kind == part}
        try:
            if not packages and part == "dram" and folders:
                raise LookupError("this CPU's RAPL has no DRAM domain")
            if not packages:
                raise LookupError("this machine (often a virtual machine) exposes no RAPL")
            zones[part] = tuple(_zone(part, package, path) for package, path in sorted(packages.items()))
        except LookupError as error:
            why_not[part] = str(error)
        except PermissionError as error:
            why_not[part] = f"{error.filename} may only be read by root"
            remedy[part] = REMEDY
        except (OSError, ValueError) as error:
            why_not[part] = f"RAPL's counter cannot be read: {error}"
    return Rapl(zones, why_not, remedy)


def _zone_folders(root: Path) -> dict[tuple[str, str], Path]:
    """Folders by (part, package); the first of several that describe the same, MSR before MMIO."""
    folders: dict[tuple[str, str], Path] = {}
    # the tree lists a subzone both beside its package and inside it
    zones = [p for pattern in ("intel-rapl*:*", "intel-rapl*:*/intel-rapl*:*") for p in root.glob(pattern)]
    for path in sorted(zones, key=lambda p: ("mmio" in p.name, p.name, len(p.parts))):
        name = _name(path)
        if re.fullmatch(r"package-\d+(-die-\d+)?", name):
            folders.setdefault(("package", name), path)
        elif name == "dram":  # its package: `intel-rapl:0` of `intel-rapl:0:1`
            folders.setdefault(("dram", _name(root / path.name.rsplit(":", 1)[0])), path)
    return folders


def _name(path: Path) -> str:
    try:
        return _text(path / "name")
    except OSError:
        return ""


def _zone(part: Part, package: str, path: Path) -> Zone:
    zone = Zone(part, package, path, int(_text(path / "max_energy_range_uj")))
    if zone.energy_uj() == 0:  # a hypervisor that pretends to have the register
        raise LookupError(f"RAPL's counter {path.name} reads 0: it is not connected to anything")
    return zone


class RaplMeter:
    """RAPL counters of the whole machine: packages as `cpu`, DRAM as `ram`.

    Args:
        rapl: the result of `find_rapl`.
        domains: which of `cpu`, `ram` to read.
        tdp_w: TDP of all sockets, to tell a wrapped counter from one that was reset.
        clock: the clock that windows are cut by.
        sampler: what calls for a sample every 40 ms; a thread if not given.
    """

    def __init__(
        self,
        rapl: Rapl,
        domains: Sequence[str] = ("cpu", "ram"),
        tdp_w: float | None = None,
        clock: Clock | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        self._zones = {p: z for p, z in rapl.zones.items() if DOMAINS[p][0] in domains}
        self._max_w = 4 * tdp_w if tdp_w else MAX_PACKAGE_W
        self._clock: Clock = clock or RealClock()
        self._sampler: Sampler = sampler or ThreadSampler("joulebench-rapl", PERIOD_S)
        self._lock = threading.Lock()
        self._tracks: dict[Zone, CounterTrack] = {}
        self._limit: HeldIntegral | None = None

    def start(self) -> None:
        """Begin to follow the counters.

        Raises:
            MeterError: one of them cannot be read any more.
        """
        zones = [zone for part in self._zones.values() for zone in part]
        self._tracks = {zone: CounterTrack(1e-6, zone.range_uj, self._most_w(zone)) for zone in zones}
        limit_w = self._power_limit_w()
        self._limit = HeldIntegral(self._clock.now_s(), limit_w) if limit_w else None
        if not all(self._sample(zone) for zone in zones):
            raise MeterError("RAPL's counters could be read a moment ago, and cannot any more")
        self._sampler.start(self._tick)

    def _most_w(self, zone: Zone) -> float:
        limit_w = zone.power_limit_w()
        return min(self._max_w, MAX_POWER_SHARE * limit_w) if limit_w else self._max_w

    def _power_limit_w(self) -> float | None:
        """Sum of all packages' limits; None where one has none."""
        limits_w = [zone.power_limit_w() for zone in self._zones.get("package", ())]
        known_w = [limit_w for limit_w in limits_w if limit_w]
        return sum(known_w) if known_w and len(known_w) == len(limits_w) else None

    def _tick(self) -> None:
        with self._lock:
            for zone in self._tracks:
                self._sample(zone)

    def _sample(self, zone: Zone) -> bool:
        """Sample a zone's counter; whether it could be read. A missed sample loses no joules."""
        try:
            raw = zone.energy_uj()
        except (OSError, ValueError):
            return False
        self._tracks[zone].observe(self._clock.now_s(), raw)
        return True

    def read(self) -> tuple[Counter, ...]:
        """Sum over packages, and over their DRAM; absent where one of them cannot be read.

        Raises:
            MeterError: the sampler died.
        """
        self._sampler.check()
        with self._lock:
            sums = [self._sum(part, zones) for part, zones in self._zones.items()]
        return tuple(counter for counter in sums if counter is not None)

    def _sum(self, part: Part, zones: Sequence[Zone]) -> Counter | None:
        sampled = [self._sample(zone) for zone in zones]  # every one, so that the edges of all are exact
        if not all(sampled):
            return None
        tracks = {zone.package: self._tracks[zone] for zone in zones}
        faults = {package: fault for package, track in tracks.items() if (fault := track.take_fault())}
        domain, source = DOMAINS[part]
        return Counter(
            domain,
            sum(track.energy_j for track in tracks.values()),
            source,
            "measured",
            updates=min(track.updates for track in tracks.values()),
            fault=Fault.joined(Fault(kind=f.kind, text=f"of {package} {f.text}") for package, f in faults.items()),
        )

    def integrals(self) -> dict[str, float]:
        """Integral of `cpu_power_limit_w`, W: what holds the packages' power; absent where nothing is known to.

        Beside it that of the sampler's own CPU time.
        """
        limit_w = self._power_limit_w() if self._limit else None
        if self._limit is None or limit_w is None:
            self._limit = None
            return self._sampler.integrals()
        now_s = self._clock.now_s()
        self._limit.set(now_s, limit_w)
        return {"cpu_power_limit_w": self._limit.at(now_s), **self._sampler.integrals()}

    def stop(self) -> None:
        self._sampler.stop()
        self._tracks = {}

    def describe(self) -> list[dict[str, str]]:
        return [description(*DOMAINS[part], "measured", method(part, zones)) for part, zones in self._zones.items()]


def method(part: Part, zones: Sequence[Zone]) -> str:
    """Description of how a part is read."""
    where = ", ".join(zone.package for zone in zones)
    return f"RAPL {part} energy counter of {where}" + (", summed" if len(zones) > 1 else "")


def offer(request: MeterRequest) -> MeterOffer | None:
    """Offer RAPL for the domains that it can read and no other meter does."""
    rapl, tdp = find_rapl(request.powercap), request.profile.cpu_tdp_w
    domains = tuple(domain for domain in rapl.domains() if domain not in request.taken)
    if not domains:
        return None
    return MeterOffer(RaplMeter(rapl, domains, tdp.value if tdp else None, request.clock), domains)
