"""The contract of a meter: a set of counters that only grow.

A window's energy is the difference of two readings, so windows may follow each other without a gap, nothing is
set up inside one, and every joule of a run falls in exactly one window.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from joulebench.errors import InputError, MeterError, described
from joulebench.host.clock import Clock
from joulebench.records.model import Kind, Reading
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
    fault: str | None = None  # what happened since the last read, that no window ending here may count


class Meter(Protocol):
    """Reads one or more domains for a whole run."""

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
        """Per domain and source: `domain`, `source`, `kind`, `role`, `method` in words."""
        ...


@dataclass(frozen=True)
class MeterRequest:
    """What a meter is made for: the function of a registered meter is called with it and returns an `MeterOffer`.

    `taken` are the domains that a meter before it reads already; `powercap` is the kernel's tree of that name.
    """

    profile: HardwareProfile
    device: str  # "cpu", "cuda:0"
    clock: Clock
    taken: frozenset[str] = frozenset()
    powercap: Path = Path("/sys/class/powercap")


@dataclass(frozen=True)
class MeterOffer:
    """A meter, and the domains whose primary counter it is; no other meter is asked for those."""

    meter: Meter
    domains: tuple[str, ...]


def description(domain: str, source: str, kind: Kind, method: str, role: str = "primary") -> dict[str, str]:
    """One line of `Meter.describe`."""
    return {"domain": domain, "source": source, "kind": kind, "role": role, "method": method}


#: What a meter may read.
DOMAIN = re.compile(r"cpu|ram|gpu:\d+")


class CheckedMeter:
    """A meter of the user's own, held to what it offers: what it does not keep would change sums without a word.

    Args:
        offer: the meter, and the domains that no other meter reads because of it.
        name: how the user named it, for messages.

    Raises:
        InputError: it offers what is no domain.
    """

    def __init__(self, offer: MeterOffer, name: str) -> None:
        wrong = [d for d in offer.domains if not (isinstance(d, str) and DOMAIN.fullmatch(d))]
        if not isinstance(offer.domains, tuple) or not offer.domains or wrong:
            raise InputError(
                f"--meter: '{name}' has to offer a tuple of domains, of cpu, ram and gpu:<number> "
                f"(got {offer.domains!r})"
            )
        self._meter, self._domains, self._name = offer.meter, set(offer.domains), name
        self._known: dict[tuple[str, str, str], str] = {}

    def start(self) -> None:
        """Start it, and see whether it reads what it offered and says of it.

        Raises:
            MeterError: it does not.
        """
        self._call(self._meter.start)
        self._known = {(d["domain"], d["source"], d["role"]): d["kind"] for d in self.describe()}
        try:
            self.read()
        except MeterError:
            self.stop()
            raise

    def read(self) -> tuple[Counter, ...]:
        counters = tuple(self._call(self._meter.read))
        for counter in counters:
            self._check(counter)
        primary = [c.domain for c in counters if c.role == "primary"]
        if sorted(primary) != sorted(self._domains):
            raise MeterError(
                f"meter '{self._name}' reads {', '.join(primary) or 'nothing'}, and offered "
                f"{', '.join(sorted(self._domains))}"
            )
        return counters

    def _check(self, counter: Counter) -> None:
        wrong = None
        if not isinstance(counter, Counter):
            wrong = f"gives a {type(counter).__name__} instead of a Counter"
        elif not (isinstance(counter.energy_j, float | int) and math.isfinite(counter.energy_j)):
            wrong = f"gives {counter.energy_j!r} joules of {counter.domain}"
        elif self._known.get((counter.domain, counter.source, counter.role)) != counter.kind:
            wrong = f"gives {counter.domain} by {counter.source} as {counter.kind}, which it does not describe"
        elif counter.updates is not None and not isinstance(counter.updates, int):
            wrong = f"gives {counter.updates!r} updates of {counter.domain}"
        if wrong:
            raise MeterError(f"meter '{self._name}' {wrong}")

    def integrals(self) -> dict[str, float]:
        return {str(n): float(v) for n, v in self._call(self._meter.integrals).items() if math.isfinite(v)}

    def stop(self) -> None:
        """Stop it; what was read before is no less true where it cannot be stopped."""
        try:
            self._call(self._meter.stop)
        except MeterError as error:
            warnings.warn(str(error), stacklevel=2)

    def describe(self) -> list[dict[str, str]]:
        lines = list(self._call(self._meter.describe))
        keys = {"domain", "source", "kind", "role", "method"}
        if not all(isinstance(line, dict) and keys <= line.keys() for line in lines):
            raise MeterError(f"meter '{self._name}' has to describe each domain by {', '.join(sorted(keys))}")
        if wrong := [line["kind"] for line in lines if line["kind"] not in ("measured", "estimated")]:
            raise MeterError(
                f"meter '{self._name}' describes joules as {wrong[0]!r} (allowed: measured, estimated)"
            )
        return lines

    def _call(self, method: Callable[[], T]) -> T:
        try:
            return method()
        except (MeterError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise MeterError(f"meter '{self._name}' failed: {described(error)}") from error


class MeterSet:
    """Several meters read as one; a domain has one primary counter."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self._meters = tuple(meters)

    def start(self) -> None:
        """Start all, or none: if one fails, those before it are stopped again."""
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


def difference(before: Sequence[Counter], after: Sequence[Counter]) -> tuple[tuple[Reading, ...], str | None]:
    """Readings of the window between two reads, and the fault if a primary counter failed, went back or vanished.

    A check that did so is left out; the window stands without it.
    """
    earlier = {(c.domain, c.source, c.role): c for c in before}
    readings, faults = [], []
    for counter in after:
        start = earlier.pop((counter.domain, counter.source, counter.role), None)
        problem = _problem(start, counter)
        if start is None or problem is not None:
            faults += [problem] if problem and counter.role == "primary" else []
            continue
        updates = None
        if counter.updates is not None and start.updates is not None:
            updates = counter.updates - start.updates
        readings.append(
            Reading(
                domain=counter.domain,
                energy_j=counter.energy_j - start.energy_j,
                source=counter.source,
                kind=counter.kind,
                role=counter.role,
                counter_updates=updates,
            )
        )
    faults += [f"{domain} ({source}) dropped out" for domain, source, role in earlier if role == "primary"]
    return tuple(readings), "; ".join(faults) or None


def _problem(start: Counter | None, end: Counter) -> str | None:
    """Why two reads of a counter give no energy."""
    if start is None:
        return f"{end.domain} ({end.source}) appeared during the window"
    if end.fault is not None:
        return f"{end.domain} ({end.source}) {end.fault}"
    if not math.isfinite(end.energy_j - start.energy_j):
        return f"{end.domain} ({end.source}) reads no number"
    if end.energy_j < start.energy_j:
        return f"{end.domain} counter went back by {start.energy_j - end.energy_j:.3g} J"
    return None
