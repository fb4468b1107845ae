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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args

from joulebench.errors import InputError, MeterError, described
from joulebench.host.clock import Clock, RealClock
from joulebench.meters.nvml_counter import LearnedCounter
from joulebench.records.model import Fault, FaultKind, Kind, Reading
from joulebench.spec.hardware import HardwareProfile

T = TypeVar("T")
#: What was learned of counters, by the UUID of the GPU.
LearnedCounters = dict[str, LearnedCounter]


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
    edge_sd_j: float | None = None  # standard deviation of what is not known of `energy_j` between two moves
    contains: tuple[str, ...] = ()  # other domains whose joules are in this counter too: `gpu:0` in `module:0`

    @property
    def key(self) -> tuple[str, str, str]:
        """Domain, source and role."""
        return self.domain, self.source, self.role


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

    `taken` are the domains that a meter before it reads already, or has in its counters; `powercap` is the kernel's
    tree of that name; `learned` is what this process, or the one that started it, has seen of counters, by their
    GPU's UUID, and what a meter adds to it.
    """

    profile: HardwareProfile
    device: str  # "cpu", "cuda:0"
    clock: Clock
    taken: frozenset[str] = frozenset()
    powercap: Path = Path("/sys/class/powercap")
    learned: LearnedCounters = field(default_factory=dict)


@dataclass(frozen=True)
class MeterOffer:
    """Meter with the domains whose primary counter it is; no other meter reads those.

    `contains`: further domains whose joules are in its counters, which no other meter reads either.
    """

    meter: Meter
    domains: tuple[str, ...]
    contains: tuple[str, ...] = ()


#: What a counter contains, by the family of its domain, where it does not say otherwise.
SCOPES = {"gpu": "GPU", "cpu": "package", "ram": "DRAM", "module": "module", "node": "node", "wall": "wall"}


def description(
    domain: str, source: str, kind: Kind, method: str, role: str = "primary", scope: str | None = None
) -> dict[str, str]:
    """One line of `Meter.describe`; `scope`: what the counter contains, by default that of its domain."""
    line = {"domain": domain, "source": source, "kind": kind, "role": role, "method": method}
    known = scope or SCOPES.get(domain.partition(":")[0])
    return line | ({"scope": known} if known else {})


#: What a meter may read.
DOMAIN = re.compile(r"cpu|ram|(gpu|module):\d+|node|wall")


class CheckedMeter:
    """User-defined meter, checked against its offer and its description at every read.

    Args:
        offer: the meter, and the domains that only it reads.
        name: how the user named it, for messages.

    Raises:
        InputError: it offers something other than a tuple of domains.
    """

    def __init__(self, offer: MeterOffer, name: str) -> None:
        domains, contains = offer.domains, offer.contains
        if not (isinstance(contains, tuple) and all(isinstance(d, str) and DOMAIN.fullmatch(d) for d in contains)):
            raise InputError(
                f"--meter: '{name}' has to say by a tuple of domains what its counters contain (got {contains!r})"
            )
        if not (
            isinstance(domains, tuple)
            and domains
            and all(isinstance(d, str) and DOMAIN.fullmatch(d) for d in domains)
        ):
            raise InputError(
                f"--meter: '{name}' has to offer a tuple of domains, of cpu, ram, gpu:<number>, module:<number>, "
                f"node and wall (got {domains!r})"
            )
        self._meter, self._domains, self._name = offer.meter, set(domains), name
        self._contains = contains if len(domains) == 1 else ()  # of several its own counters have to say it
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
        counters = tuple(_with_kind(self._with_contents(counter)) for counter in counters)
        primary = [c.domain for c in counters if c.role == "primary"]
        if len(primary) > len(set(primary)) or not self._domains.issuperset(primary):
            raise self._fault(f"reads {', '.join(primary)}, and offered {', '.join(sorted(self._domains))}")
        return counters

    def _with_contents(self, counter: Counter) -> Counter:
        """The counter with what its offer says that it contains, where it does not say so itself."""
        if counter.role != "primary" or counter.contains:
            return counter
        return replace(counter, contains=self._contains)

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
    """Several meters read as one; a domain has one primary counter, and so has each of the parts in it.

    A counter that shares a part with a finer one is a check: a module beside its GPU, a wall meter beside all. So
    no joule is summed twice, whichever domains are asked for.

    Args:
        meters: the meters.
        clock: measures how long each takes to read.
        names: what the meters are called in the conditions that say how long each takes; without names there are
            none.
    """

    def __init__(self, meters: Sequence[Meter], clock: Clock | None = None, names: Sequence[str] = ()) -> None:
        self._meters = tuple(meters)
        self._clock: Clock = clock or RealClock()
        self._names = tuple(names)
        self._read_s = [0.0] * len(self._meters)
        self._summed: dict[tuple[str, str, str], set[str]] = {}  # primary counters, with the domains in them
        self._contained: dict[
            tuple[str, str, str], str
        ] = {}  # others, with the domain of one that has a part of them

    def start(self) -> None:
        """Start all meters; if one fails, those before it are stopped again."""
        with ExitStack() as started:
            for meter in self._meters:
                meter.start()
                started.callback(meter.stop)
            started.pop_all()

    def read(self) -> tuple[Counter, ...]:
        counters = tuple(counter for i, m in enumerate(self._meters) for counter in self._timed(i, m.read))
        primary = [c.domain for c in counters if c.role == "primary"]
        if len(primary) != len(set(primary)):
            twice = sorted({d for d in primary if primary.count(d) > 1})
            raise ValueError(f"two primary counters for {', '.join(twice)}: joules would be counted twice")
        for counter in sorted(counters, key=lambda c: len(c.contains)):
            if counter.role == "primary":
                self._place(counter)
        return tuple(replace(c, role="check") if c.key in self._contained else c for c in counters)

    def _place(self, counter: Counter) -> None:
        """Decide at its first read whether a primary counter stays one: not where a part of it is in another."""
        if counter.key in self._summed or counter.key in self._contained:
            return
        parts = {counter.domain, *counter.contains}
        other = next((key[0] for key, those in self._summed.items() if parts & those), None)
        if other is None:
            self._summed[counter.key] = parts
        else:
            self._contained[counter.key] = other

    def integrals(self) -> dict[str, float]:
        """Integrals of all meters, and of `<meter>_read_share`: the share of time in which it was being read."""
        of_each = [self._timed(i, meter.integrals) for i, meter in enumerate(self._meters)]
        shares = {f"{name}_read_share": s for name, s in zip(self._names, self._read_s, strict=False)}
        return {name: value for conditions in of_each for name, value in conditions.items()} | shares

    def _timed(self, number: int, call: Callable[[], T]) -> T:
        began_s = self._clock.now_s()
        result = call()
        self._read_s[number] += self._clock.now_s() - began_s
        return result

    def stop(self) -> None:
        """Stop every meter, also where one of them fails to."""
        with ExitStack() as stopping:
            for meter in self._meters:
                stopping.callback(meter.stop)

    def describe(self) -> list[dict[str, str]]:
        """Lines of all meters; one that only is a check because of what it contains says so."""
        return [self._described(line) for meter in self._meters for line in meter.describe()]

    def _described(self, line: dict[str, str]) -> dict[str, str]:
        other = self._contained.get((line["domain"], line["source"], line.get("role", "primary")))
        if other is None:
            return line
        return line | {"role": "check", "method": f"{line['method']}; shares a part with {other}, so never summed"}


def difference(before: Sequence[Counter], after: Sequence[Counter]) -> tuple[tuple[Reading, ...], Fault | None]:
    """Readings of the window between two reads, and a fault if a primary counter failed, went back or vanished.

    A primary counter with a fault that has counted on is read nevertheless: its joules belong to the run, and the
    fault keeps the window from counting. A check counter that failed, or did not move, is only left out.
    """
    earlier = {c.key: c for c in before}
    readings, faults = [], []
    for counter in after:
        start = earlier.pop(counter.key, None)
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
        if counter.role == "check" and updates == 0:
            continue
        readings.append(
            Reading(
                domain=counter.domain,
                energy_j=energy_j,
                source=counter.source,
                kind=counter.kind,
                role=counter.role,
                counter_updates=updates,
                edge_sd_j=_of_edges(start, counter),
            )
        )
    faults += [_missing(f"{d} ({source}) dropped out") for d, source, role in earlier if role == "primary"]
    # the kind is that of the first: few updates spoil fewer windows than the others do
    return tuple(readings), Fault.joined(sorted(faults, key=lambda f: f.kind is FaultKind.FEW_UPDATES))


def _of_edges(start: Counter, end: Counter) -> float | None:
    if start.edge_sd_j is None or end.edge_sd_j is None:
        return None
    return float(f"{math.hypot(start.edge_sd_j, end.edge_sd_j):.3g}")


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
