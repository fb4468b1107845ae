"""Contract of a meter: a set of monotonic energy counters.

A window's energy is the difference of two readings, so windows may follow each other without a gap, nothing is
set up inside one, and every joule of a run falls in exactly one window.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args

from joulebench.errors import InputError, MeterError, described
from joulebench.host.clock import Clock
from joulebench.records.model import Fault, FaultKind, Kind, Reading
from joulebench.spec.hardware import HardwareProfile

T = TypeVar("T")


@dataclass(frozen=True)
class Counter:
    """Joules of one domain since the meter started."""

    domain: str
    energy_j: float
    source: str
    kind: Kind
    role: Literal["primary", "check"] = "primary"
    updates: int | None = None  # how often the counter has moved; None for a continuous source
    fault: Fault | None = None  # since the last read; it makes a window that ends here invalid


class Meter(Protocol):
    """Meter of one or more domains for a whole run."""

    def start(self) -> None:
        """Begin counting; called once a run."""
        ...

    def read(self) -> tuple[Counter, ...]:
        """The counters now. A domain that cannot be read is absent."""
        ...

    def integrals(self) -> dict[str, float]:
        """Conditions as integrals over time since `start`: `gpu:0_temperature_c` in °C·s, and so on.

        A window's mean is their difference over its duration, so conditions too need no set-up inside one.
        A meter that sees none returns an empty dict.
        """
        ...

    def stop(self) -> None:
        """Release what `start` took."""
        ...

    def describe(self) -> list[dict[str, str]]:
        """Table for each domain and source: `domain`, `source`, `kind`, `role`, and `method` in words."""
        ...


@dataclass(frozen=True)
class MeterRequest:
    """Argument of a registered meter's function, which returns a `MeterOffer` or None.

    `taken` are the domains that a meter before it reads already; `powercap` is the kernel's tree of that name.
    """

    profile: HardwareProfile
    device: str  # "cpu", "cuda:0"
    clock: Clock
    taken: frozenset[str] = frozenset()
    powercap: Path = Path("/sys/class/powercap")


@dataclass(frozen=True)
class MeterOffer:
    """Meter with the domains whose primary counter it is; no other meter reads those."""

    meter: Meter
    domains: tuple[str, ...]


def description(domain: str, source: str, kind: Kind, method: str, role: str = "primary") -> dict[str, str]:
    """One line of `Meter.describe`."""
    return {"domain": domain, "source": source, "kind": kind, "role": role, "method": method}


#: What a meter may read.
DOMAIN = re.compile(r"cpu|ram|gpu:\d+")


class CheckedMeter:
    """User-defined meter, checked against its offer and its description at every read.

    Args:
        offer: the meter, and the domains that only it reads.
        name: how the user named it, for messages.

    Raises:
        InputError: it offers something other than a tuple of domains.
    """

    def __init__(self, offer: MeterOffer, name: str) -> None:
        domains = offer.domains
        if not (
            isinstance(domains, tuple)
            and domains
            and all(isinstance(d, str) and DOMAIN.fullmatch(d) for d in domains)
        ):
            raise InputError(
                f"--meter: '{name}' has to offer a tuple of domains, of cpu, ram and gpu:<number> (got {domains!r})"
            )
        self._meter, self._domains, self._name = offer.meter, set(domains), name
        self._known: dict[tuple[str, str, str], str] = {}

    def start(self) -> None:
        """Start it, and check that it reads all domains that it offered, as described.

        Raises:
            MeterError: it does not start, or does not read them.
        """
        self._call(self._meter.start)
        try:
            self._known = {(d["domain"], d["source"], d["role"]): d["kind"] for d in self.describe()}
            counters = self.read()
            if missing := self._domains - {c.domain for c in counters if c.role == "primary"}:
                raise self._fault(f"does not read {', '.join(sorted(missing))}, which it offered")
        except BaseException:
            self.stop()
            raise

    def read(self) -> tuple[Counter, ...]:
        """The counters now. One that is absent for once makes the window faulty, as with any meter.

        Raises:
            MeterError: it fails, or gives what it has not offered or not described.
        """
        counters = self._call(lambda: tuple(self._meter.read()))
        for counter in counters:
            self._check(counter)
        counters = tuple(_with_kind(counter) for counter in counters)
        primary = [c.domain for c in counters if c.role == "primary"]
        if len(primary) > len(set(primary)) or not self._domains.issuperset(primary):
            raise self._fault(f"reads {', '.join(primary)}, and offered {', '.join(sorted(self._domains))}")
        return counters

    def _check(self, counter: object) -> None:
        if not isinstance(counter, Counter):
            raise self._fault(f"gives a {type(counter).__name__} instead of a Counter")
        words = (counter.domain, counter.source, counter.role, counter.kind)
        if not all(isinstance(word, str) for word in words):
            raise self._fault(f"gives a counter whose domain, source, role and kind are no text: {words!r}")
        if not (isinstance(counter.energy_j, float | int) and math.isfinite(counter.energy_j)):
            raise self._fault(f"gives {counter.energy_j!r} joules of {counter.domain}")
        if self._known.get(words[:3]) != counter.kind:
            raise self._fault(f"gives {counter.domain} by {counter.source}, {counter.kind}, and describes no such")
        if counter.updates is not None and not isinstance(counter.updates, int):
            raise self._fault(f"gives {counter.updates!r} updates of {counter.domain}")
        if not isinstance(counter.fault, Fault | str | None):
            raise self._fault(f"gives {counter.fault!r} as a fault of {counter.domain}")

    def integrals(self) -> dict[str, float]:
        values = self._call(lambda: {str(name): float(value) for name, value in self._meter.integrals().items()})
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def stop(self) -> None:
        """Stop it; a failure is only a warning, since earlier readings stay valid."""
        try:
            self._call(self._meter.stop)
        except MeterError as error:
            warnings.warn(str(error), stacklevel=2)

    def describe(self) -> list[dict[str, str]]:
        """Its description, complete.

        Raises:
            MeterError: it fails, or its description is incomplete.
        """
        lines = self._call(lambda: list(self._meter.describe()))
        keys = {"domain", "source", "kind", "role", "method"}
        for line in lines:
            if not (isinstance(line, dict) and keys <= line.keys() and all(isinstance(line[k], str) for k in keys)):
                raise self._fault(f"has to describe each domain by {', '.join(sorted(keys))}, as text")
            if line["kind"] not in get_args(Kind):
                raise self._fault(f"describes joules as {line['kind']!r} (allowed: {', '.join(get_args(Kind))})")
        return lines

    def _fault(self, what: str) -> MeterError:
        return MeterError(f"meter '{self._name}' {what}")

    def _call(self, method: Callable[[], T]) -> T:
        try:
            return method()
        except (MeterError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise MeterError(f"meter '{self._name}' failed: {described(error)}") from error


def _with_kind(counter: Counter) -> Counter:
    """Counter of a user-defined meter, whose fault may be a text alone."""
    if not isinstance(counter.fault, str):
        return counter
    return replace(counter, fault=Fault(kind=FaultKind.UNCLASSIFIED, text=counter.fault))


class MeterSet:
    """Several meters read as one; a domain has one primary counter."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = tuple(meters)

    def start(self) -> None:
        """Start all meters; if one fails, those before it are stopped again."""
        with ExitStack() as started:
            for meter in self._meters:
                meter.start()
                started.callback(meter.stop)
            started.pop_all()

    def read(self) -> tuple[Counter, ...]:
        counters = tuple(counter for meter in self._meters for counter in meter.read())
        primary = [c.domain for c in counters if c.role == "primary"]
        if len(primary) != len(set(primary)):
            twice = sorted({d for d in primary if primary.count(d) > 1})
            raise ValueError(f"two primary counters for {', '.join(twice)}: joules would be counted twice")
        return counters

    def integrals(self) -> dict[str, float]:
        return {name: value for meter in self._meters for name, value in meter.integrals().items()}

    def stop(self) -> None:
        """Stop every meter, also where one of them fails to."""
        with ExitStack() as stopping:
            for meter in self._meters:
                stopping.callback(meter.stop)

    def describe(self) -> list[dict[str, str]]:
        return [line for meter in self._meters for line in meter.describe()]


def difference(before: Sequence[Counter], after: Sequence[Counter]) -> tuple[tuple[Reading, ...], Fault | None]:
    """Readings of the window between two reads, and a fault if a primary counter failed, went back or vanished.

    A primary counter with a fault that has counted on is read nevertheless: its joules belong to the run, and the
    fault keeps the window from counting. A failed check counter is only left out.
    """
    earlier = {(c.domain, c.source, c.role): c for c in before}
    readings, faults = [], []
    for counter in after:
        start = earlier.pop((counter.domain, counter.source, counter.role), None)
        problem = _problem(start, counter)
        if problem is not None and counter.role == "primary":
            faults.append(problem)
        if start is None or (problem is not None and counter.role == "check"):
            continue
        energy_j, updates = counter.energy_j - start.energy_j, None
        if not (math.isfinite(energy_j) and energy_j >= 0):
            continue
        if counter.updates is not None and start.updates is not None:
            updates = max(0, counter.updates - start.updates)
        readings.append(
            Reading(
                domain=counter.domain,
                energy_j=energy_j,
                source=counter.source,
                kind=counter.kind,
                role=counter.role,
                counter_updates=updates,
            )
        )
    faults += [_missing(f"{d} ({source}) dropped out") for d, source, role in earlier if role == "primary"]
    return tuple(readings), Fault.joined(faults)


def _missing(text: str) -> Fault:
    return Fault(kind=FaultKind.MISSING_READING, text=text)


def _problem(start: Counter | None, end: Counter) -> Fault | None:
    """Why what two reads of a counter give is no energy, or is not all of it."""
    if start is None:
        return _missing(f"{end.domain} ({end.source}) appeared during the window")
    if end.fault is not None:
        return Fault(kind=end.fault.kind, text=f"{end.domain} ({end.source}) {end.fault.text}")
    if not math.isfinite(end.energy_j - start.energy_j):
        return Fault(kind=FaultKind.NO_NUMBER, text=f"{end.domain} ({end.source}) reads no number")
    if end.energy_j < start.energy_j:
        text = f"{end.domain} counter went back by {start.energy_j - end.energy_j:.3g} J"
        return Fault(kind=FaultKind.COUNTER_RESET, text=text)
    return None
