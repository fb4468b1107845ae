"""CPU and RAM energy by CodeCarbon, each component labelled with the method that it uses.

Its hardware classes are asked for power once a second, as its own tracker asks them, and at every read. The
tracker, with its configuration files, output, emissions (which assume a country) and PUE factor, is not used. A
component that fails, or whose total stands still, raises here instead of reading 0. Where another meter reads the
CPU or the RAM, the model of it runs beside that meter as a check, so that its error is recorded. Its table of
countries gives grid carbon intensity, only for a country that the user named.
"""

from __future__ import annotations

import difflib
import json
import logging
import threading
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from joulebench.errors import InputError, MeterError, did_you_mean
from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter, MeterOffer, MeterRequest, description
from joulebench.meters.sampling import LONG_GAP_S, Sampler, ThreadSampler
from joulebench.records.model import Fault, FaultKind
from joulebench.spec.cpu_families import FAMILIES
from joulebench.spec.hardware import detect_cpu_family
from joulebench.stats.constants import JOULES_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from joulebench.records.model import Kind

PERIOD_S = 1.0  # the tracker's own; the load model is not linear, so its joules depend on how often it is asked
STILL_S = 0.5  # totals that have not moved for longer are not being counted

# mode of CodeCarbon's class CPU -> (source, kind, method in words)
_CPU_MODES: dict[str, tuple[str, Kind, str]] = {
    "intel_power_gadget": ("power_gadget", "measured", "Intel Power Gadget"),
    "windows_emi": ("windows_emi", "measured", "Windows Energy Meter Interface"),
    "cpu_load": ("cpu_load_model", "estimated", "TDP {tdp:g} W × (0.1 + 0.9 × load³) of the whole machine"),
    "constant": ("tdp_constant", "estimated", "half of a TDP of {tdp:g} W, constant"),
}


@dataclass
class _Part:
    """CodeCarbon component with its label, and its joules since it was started."""

    hardware: Any
    domain: str
    source: str
    kind: Kind
    method: str
    folder: TemporaryDirectory[str] | None = None  # for the files that a component needs, gone when it stops
    tdp_w: float | None = None  # of a CPU model
    family: str | None = None  # of the CPU that a model stands in for, in `spec.cpu_families.FAMILIES`
    power_w: float | None = None  # of a constant
    role: Literal["primary", "check"] = "primary"
    energy_j: float = 0.0
    counted_s: float = 0.0  # up to here joules are counted
    moved_s: float = 0.0  # when they last grew
    fault: Fault | None = None  # since the last read

    def start(self, now_s: float) -> None:
        self.counted_s = self.moved_s = now_s
        self.hardware.start()

    def count(self, now_s: float) -> None:
        """Add the joules since the last call: power × time.

        Raises:
            MeterError: the component failed, or has drawn nothing for longer than `STILL_S`.
        """
        with _meter_errors("failed"):
            _, energy = self.hardware.measure_power_and_energy(now_s - self.counted_s)
        gap_s, self.counted_s = now_s - self.counted_s, now_s
        if gap_s > PERIOD_S + LONG_GAP_S:
            self.fault = Fault(kind=FaultKind.SAMPLING_GAP, text=f"was not asked for power for {gap_s:.1f} s")
        self.energy_j += energy.kWh * JOULES_PER_KWH
        if energy.kWh > 0:
            self.moved_s = now_s
        elif (still_s := now_s - self.moved_s) > STILL_S:
            raise MeterError(
                f"CodeCarbon's total for {self.domain} stands still at {self.energy_j:g} J for {still_s:.2f} s"
            )

    def read(self) -> Counter:
        """Its joules so far, with the fault since the last read."""
        fault, self.fault = self.fault, None
        return Counter(self.domain, self.energy_j, self.source, self.kind, self.role, fault=fault)

    def stop(self) -> None:
        if self.folder is not None:
            self.folder.cleanup()

    def describe(self) -> dict[str, str]:
        """Its line of `Meter.describe`; a CPU model's TDP and a constant power have fields of their own, and so has
        what servers with CPUs of this family draw a hardware thread.
        """
        line = description(self.domain, self.source, self.kind, self.method, self.role)
        given = {"tdp_w": self.tdp_w, "power_w": self.power_w}
        if self.family is not None:
            line["cpu_family"] = self.family
            family = FAMILIES[self.family]
            names = ("server_idle_low_w", "server_idle_high_w", "server_full_low_w", "server_full_high_w")
            given |= dict(zip(names, (*family.idle_w, *family.full_w), strict=True))
        return line | {name: repr(watts) for name, watts in given.items() if watts is not None}


class CodeCarbonMeter:
    """Running totals of CodeCarbon's CPU and RAM components.

    Args:
        cpu_power_w: the CPU's TDP from the hardware profile; None leaves CodeCarbon its own guess.
        ram_power_w: the RAM's power from the hardware profile; None leaves CodeCarbon's model.
        domains: which of `cpu`, `ram` it reports; the rest is another meter's.
        clock: the clock that windows are cut by.
        sampler: what asks for power between reads, every `PERIOD_S`; None makes a thread.
        checks: which of `cpu`, `ram` another meter reads: the model of it runs beside that as a check. A check
            that fails is left out with a warning.
        cpu_family: of the CPU, in `spec.cpu_families.FAMILIES`; described beside a model of it, and not used here.
    """

    def __init__(
        self,
        cpu_power_w: float | None = None,
        ram_power_w: float | None = None,
        domains: Sequence[str] = ("cpu", "ram"),
        clock: Clock | None = None,
        sampler: Sampler | None = None,
        checks: Sequence[str] = (),
        cpu_family: str | None = None,
    ) -> None:
        self._cpu_family = cpu_family
        self._checks = tuple(checks)
        self._cpu_power_w = cpu_power_w
        self._ram_power_w = ram_power_w
        self._domains = tuple(domains)
        self._clock: Clock = clock or RealClock()
        self._sampler: Sampler = sampler or ThreadSampler("joulebench-codecarbon", PERIOD_S)
        self._lock = threading.Lock()  # reads and the sampler's thread ask the same components
        self._parts: tuple[_Part, ...] = ()
        self._running = False

    def start(self) -> None:
        """Make the components, start them, and measure once.

        Raises:
            MeterError: CodeCarbon did not start, reads none of the domains, or its first measurement failed.
        """
        try:
            with _silence(), _meter_errors("did not start"):
                self._parts = (
                    *([_ram(self._ram_power_w)] if "ram" in self._domains else []),
                    *([_cpu(self._cpu_power_w, self._cpu_family)] if "cpu" in self._domains else []),
                )
                for part in self._parts:
                    part.start(self._clock.now_s())
            for domain in self._checks:
                self._start_check(domain)
            if not (self._parts or self._checks):
                raise MeterError(f"CodeCarbon reads none of {', '.join(self._domains)} on this machine")
            self._running = True
            self._sampler.start(self._sample)
            self.read()
        except BaseException:
            self.stop()
            raise

    def _start_check(self, domain: str) -> None:
        try:
            with _silence(), _meter_errors("did not start"):
                of_cpu = domain == "cpu"
                check = _cpu_model(self._cpu_power_w, "check") if of_cpu else _ram(self._ram_power_w, "check")
                check.start(self._clock.now_s())
        except MeterError as error:
            _warn(domain, error)
            return
        self._parts = (*self._parts, check)

    def _sample(self) -> None:
        with self._lock:
            self._count()

    def _count(self) -> None:
        for part in self._parts:
            try:
                part.count(self._clock.now_s())
            except MeterError as error:
                if part.role == "primary":
                    raise
                _warn(part.domain, error)
                self._parts = tuple(p for p in self._parts if p is not part)

    def read(self) -> tuple[Counter, ...]:
        """Joules since `start`. It takes 0.1 ms.

        Raises:
            MeterError: the meter or its sampler is not running, a component failed, or its total stands still.
        """
        if not self._running:
            raise MeterError("CodeCarbon is not running")
        self._sampler.check()
        with self._lock:
            self._count()
            return tuple(p.read() for p in self._parts)

    def integrals(self) -> dict[str, float]:
        """Integral of the sampler's own CPU time."""
        return self._sampler.integrals()

    def stop(self) -> None:
        self._running = False
        self._sampler.stop()
        for part in self._parts:
            part.stop()

    def describe(self) -> list[dict[str, str]]:
        return [part.describe() for part in self._parts]


@contextmanager
def _silence() -> Iterator[None]:
    """Keep CodeCarbon from logging, also while its first import sets its logger up by CODECARBON_LOG_LEVEL."""
    logger = logging.getLogger("codecarbon")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False
        logger.setLevel(logging.CRITICAL)


def _warn(domain: str, error: MeterError) -> None:
    warnings.warn(f"the model of {domain} is not checked against its counter: {error}", stacklevel=3)


@contextmanager
def _meter_errors(what: str) -> Iterator[None]:
    """Raise any exception of the block as a MeterError, "CodeCarbon `what`: …"."""
    try:
        yield
    except MeterError:
        raise
    except Exception as error:
        raise MeterError(f"CodeCarbon {what}: {type(error).__name__}: {error}") from None


def _ram(power_w: float | None, role: Literal["primary", "check"] = "primary") -> _Part:
    """The component `ram`: a constant power, from the hardware profile or CodeCarbon's model.

    Raises:
        MeterError: the model gives 0 W.
    """
    from codecarbon.external.ram import RAM

    # asked once: where SLURM is, the model starts a process each time
    watts = RAM().total_power().W if power_w is None else power_w
    if not watts > 0:
        raise MeterError("CodeCarbon's RAM model gives 0 W: it could not tell how much memory there is")
    if power_w is None:
        method = f"CodeCarbon's model by installed memory: {watts:g} W"
    else:
        method = f"constant {watts:g} W (hardware profile)"
    return _Part(RAM(force_ram_power=watts), "ram", "ram_model", "estimated", method, power_w=watts, role=role)


def _cpu(tdp_w: float | None, family: str | None) -> _Part:
    """The component `cpu`: a counter where CodeCarbon knows one and no TDP is given, else a model of this TDP.

    Its RAPL is left out: where that can be read in full, `joulebench.meters.rapl` does; where not, CodeCarbon would
    read a part.
    """
    from codecarbon.core.cpu import is_powergadget_available
    from codecarbon.core.windows_emi import is_emi_available
    from codecarbon.external.hardware import CPU

    if tdp_w is None and is_emi_available():
        mode = "windows_emi"
    elif tdp_w is None and is_powergadget_available():
        mode = "intel_power_gadget"
    else:
        return replace(_cpu_model(tdp_w), family=family)
    source, kind, method = _CPU_MODES[mode]
    folder = TemporaryDirectory(prefix="joulebench-")
    return _Part(CPU(folder.name, mode, model="", tdp=0), "cpu", source, kind, method, folder)


def _cpu_model(tdp_w: float | None, role: Literal["primary", "check"] = "primary") -> _Part:
    """The component `cpu` by a model of its TDP, which is CodeCarbon's guess where none is given."""
    from codecarbon.core.cpu import is_psutil_available
    from codecarbon.external.hardware import CPU

    mode = "cpu_load" if is_psutil_available() else "constant"
    source, kind, method = _CPU_MODES[mode]
    model, watts = _guess_tdp() if tdp_w is None else ("", tdp_w)
    origin = f"CodeCarbon's for '{model}'" if tdp_w is None else "hardware profile"
    text = f"{method.format(tdp=watts)} (TDP: {origin})"
    return _Part(CPU("", mode, model, watts), "cpu", source, kind, text, tdp_w=watts, role=role)


@cache
def _guess_tdp() -> tuple[str, float]:
    """This CPU's name and the TDP, in watts, of all its sockets that CodeCarbon's tracker would take."""
    from codecarbon.core.cpu import TDP
    from codecarbon.core.util import count_physical_cpus, detect_cpu_model, is_mac_arm, is_mac_os
    from codecarbon.external.hardware import POWER_CONSTANT

    if is_mac_os() and is_mac_arm(model := detect_cpu_model() or ""):
        return model, float(POWER_CONSTANT)
    tdp = TDP()
    return tdp.model, float(POWER_CONSTANT if tdp.tdp is None else tdp.tdp * count_physical_cpus())


@cache
def _countries() -> dict[str, dict[str, Any]]:
    """CodeCarbon's table: three-letter code -> a country's name, carbon intensity and its year."""
    with _silence():
        from codecarbon.input import DataSource
    countries: dict[str, dict[str, Any]] = json.loads(
        DataSource().global_energy_mix_data_path.read_text(encoding="utf-8")
    )
    return countries


def grid_intensity_g_per_kwh(country_iso3: str) -> tuple[float, str]:
    """Yearly mean carbon intensity of a country's electricity, gCO2e/kWh, and where the figure comes from.

    Raises:
        InputError: no country has this three-letter code (the nearest is named), or its figure is missing.
    """
    countries = _countries()
    code = country_iso3.strip().upper()
    if code not in countries:
        raise InputError(f"country '{country_iso3}': not an ISO 3166 three-letter code{_nearest(country_iso3)}")
    country = countries[code]
    value = float(country.get("carbon_intensity") or 0)
    if not value > 0:
        raise InputError(f"country '{code}': CodeCarbon's table has no carbon intensity for it; give a figure")
    version = metadata.version("codecarbon")
    return value, f"CodeCarbon {version} country table: {country['country_name']}, {country['year']}"


def _nearest(given: str) -> str:
    """Hint `; did you mean 'x'?` at the country with the nearest name, else code; may be empty."""
    countries = _countries()
    by_name = {entry["country_name"].lower(): code for code, entry in countries.items()}
    if near := difflib.get_close_matches(given.strip().lower(), by_name, n=1, cutoff=0.5):
        code = by_name[near[0]]
        return f"; did you mean '{code}' ({countries[code]['country_name']})?"
    return did_you_mean(given.strip().upper(), countries)


def offer(request: MeterRequest) -> MeterOffer:
    """Offer CodeCarbon's models of CPU and RAM; where another meter reads one of them, its model is a check."""
    domains = tuple(domain for domain in ("cpu", "ram") if domain not in request.taken)
    cpu, ram = request.profile.cpu_tdp_w, request.profile.ram_power_w
    meter = CodeCarbonMeter(
        cpu.value if cpu else None,
        ram.value if ram else None,
        domains,
        request.clock,
        checks=[domain for domain in ("cpu", "ram") if domain in request.taken],
        cpu_family=request.profile.cpu_family or detect_cpu_family(),
    )
    return MeterOffer(meter, domains)
