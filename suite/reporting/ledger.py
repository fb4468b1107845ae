"""Every joule of a run: what it was spent on, and how it was obtained. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from suite.energy import Estimate, idle_power_w
from suite.record import Kind, LedgerEntry, Reading, TrialRecord, Window

Group = Literal["training", "measured", "protocol", "overhead"]

GROUPS: dict[Group, str] = {
    "training": "Training",
    "measured": "Measured phases",
    "protocol": "Warm-up and idle",
    "overhead": "Overhead",
}

#: How the study notes in its ledger that a rule of the task ended the run.
STOPPED = "stopped: "

#: Windows that are not a phase the workload names: their group and what they hold, in the ledger's order.
_ACCOUNTS: dict[str, tuple[Group, str]] = {
    "start": ("overhead", "starting meters and session"),
    "data": ("overhead", "reading and staging the data"),
    "precheck": ("protocol", "checking the meters before the search"),
    "propose": ("overhead", "choosing the next configuration"),
    "wait": ("overhead", "waiting for the other side of a cluster"),
    "build": ("overhead", "building the model"),
    "train": ("training", "training steps"),
    "validate": ("training", "validation after each epoch"),
    "count": ("overhead", "counting parameters, MACs and FLOPs"),
    "score": ("overhead", "scoring outside training"),
    "prepare": ("overhead", "preparing a phase"),
    "warmup": ("protocol", "warm-up before measured windows"),
    "cooldown": ("protocol", "cooling down after training"),
    "settle": ("protocol", "settling before idle windows"),
    "idle": ("protocol", "idle baseline"),
    "release": ("overhead", "releasing the model"),
    "failed": ("overhead", "work cut short by a failure"),
    "record": ("overhead", "writing records"),
    "end": ("overhead", "ending the session"),
    "unfinished": ("overhead", "work cut short by the end of the session"),
}


@dataclass(frozen=True)
class Account:
    """What windows of one phase cost; `energy_j` is None where none of them has a reading."""

    name: str
    about: str
    group: Group
    windows: int
    duration_s: float
    energy_j: float | None
    by_family: dict[str, float]  # gpu, cpu, ram, …: joules


@dataclass(frozen=True)
class SourceShare:
    """Joules of one domain by one source over the run; `share` is of the run's primary joules."""

    domain: str
    source: str
    kind: Kind
    role: Literal["primary", "check"]
    energy_j: float
    share: float | None  # None for a check, which is never summed


@dataclass(frozen=True)
class Check:
    """A second meter beside the primary one of its domain, over the windows that have both."""

    domain: str
    source: str
    check_j: float
    primary_j: float

    @property
    def rel_difference(self) -> float:
        return self.check_j / self.primary_j - 1


@dataclass(frozen=True)
class Ledger:
    """All windows of a run, added up."""

    accounts: tuple[Account, ...]
    total_j: float | None
    measured_j: float
    duration_s: float
    by_family: dict[str, float]
    sources: tuple[SourceShare, ...]
    checks: tuple[Check, ...]
    last_note: str  # how the last session ended; empty if it has not
    stopped: str  # why the last session stopped before the task's stages did; empty if it did not
    open_sessions: tuple[int, ...]  # started, not ended: killed or still running

    @property
    def measured_share(self) -> float | None:
        return self.measured_j / self.total_j if self.total_j else None

    def group_j(self, group: Group) -> float | None:
        found = [a.energy_j for a in self.accounts if a.group == group and a.energy_j is not None]
        return math.fsum(found) if found else None

    def group_s(self, group: Group) -> float:
        return math.fsum(a.duration_s for a in self.accounts if a.group == group)


def balance(trials: Sequence[TrialRecord], entries: Sequence[LedgerEntry]) -> Ledger:
    """The ledger over all trials and over what the run spent between them."""
    windows = [w for t in trials for w in t.windows] + [w for e in entries for w in e.windows]
    phases = {name for t in trials for name in t.unit}
    groups: dict[str, list[Window]] = {}
    for window in windows:
        groups.setdefault(window.phase, []).append(window)
    accounts = sorted((_account(n, w, phases) for n, w in groups.items()), key=_order)
    primary = [r for w in windows for r in counted(w)]
    total_j = math.fsum(r.energy_j for r in primary) if primary else None
    return Ledger(
        accounts=tuple(accounts),
        total_j=total_j,
        measured_j=math.fsum(r.energy_j for r in primary if r.kind == "measured"),
        duration_s=math.fsum(w.duration_s for w in windows),
        by_family=_by_family(primary),
        sources=_sources(windows, total_j),
        checks=_checks(windows),
        last_note=entries[-1].note if entries and entries[-1].event == "end" else "",
        stopped=_stopped(entries),
        open_sessions=_open_sessions(entries),
    )


def counted(window: Window, role: str = "primary") -> list[Reading]:
    """The window's readings that add up; one that is not a number was not read."""
    return [r for r in window.readings if r.role == role and math.isfinite(r.energy_j)]


def family(domain: str) -> str:
    """`gpu` of `gpu:1`."""
    return domain.split(":", 1)[0]


def idle_by_domain(idle: Sequence[Window], domains: Iterable[str]) -> dict[str, Estimate | None]:
    """Idle power of each domain; None where there is no quiet baseline."""
    return {domain: idle_power_w(idle, [domain]) for domain in domains}


def _account(name: str, windows: Sequence[Window], phases: set[str]) -> Account:
    group, about = _ACCOUNTS.get(name, ("overhead", "other"))
    if name in phases and name not in _ACCOUNTS:
        group, about = "measured", f"measured windows of phase {name}"
    readings = [r for w in windows for r in counted(w)]
    return Account(
        name=name,
        about=about,
        group=group,
        windows=len(windows),
        duration_s=math.fsum(w.duration_s for w in windows),
        energy_j=math.fsum(r.energy_j for r in readings) if readings else None,
        by_family=_by_family(readings),
    )


def _order(account: Account) -> tuple[int, int, str]:
    names = list(_ACCOUNTS)
    rank = names.index(account.name) if account.name in names else len(names)
    return list(GROUPS).index(account.group), rank, account.name


def _by_family(readings: Iterable[Reading]) -> dict[str, float]:
    parts: dict[str, list[float]] = {}
    for reading in readings:
        parts.setdefault(family(reading.domain), []).append(reading.energy_j)
    order = ["gpu", "cpu", "ram"]
    names = sorted(parts, key=lambda n: (order.index(n) if n in order else len(order), n))
    return {name: math.fsum(parts[name]) for name in names}


def _sources(windows: Iterable[Window], total_j: float | None) -> tuple[SourceShare, ...]:
    parts: dict[tuple[str, str, str, str], list[float]] = {}
    for window in windows:
        for reading in (*counted(window), *counted(window, "check")):
            key = (reading.role, reading.domain, reading.source, reading.kind)
            parts.setdefault(key, []).append(reading.energy_j)
    found = []
    for (role, domain, source, kind), energies in sorted(parts.items(), key=lambda i: (i[0][0] != "primary", i[0])):
        energy_j = math.fsum(energies)
        share = energy_j / total_j if role == "primary" and total_j else None
        found.append(SourceShare(domain, source, kind, role, energy_j, share))  # type: ignore[arg-type]
    return tuple(found)


def _checks(windows: Iterable[Window]) -> tuple[Check, ...]:
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for window in windows:
        primary = {r.domain: r.energy_j for r in counted(window)}
        for reading in counted(window, "check"):
            if reading.domain in primary:
                pair = (reading.energy_j, primary[reading.domain])
                pairs.setdefault((reading.domain, reading.source), []).append(pair)
    found = []
    for (domain, source), members in sorted(pairs.items()):
        check_j, primary_j = (math.fsum(column) for column in zip(*members, strict=True))
        if primary_j > 0:
            found.append(Check(domain, source, check_j, primary_j))
    return tuple(found)


def _stopped(entries: Sequence[LedgerEntry]) -> str:
    last = entries[-1].session if entries else None
    notes = (e.note for e in entries if e.session == last and e.note.startswith(STOPPED))
    return next((note.removeprefix(STOPPED) for note in notes), "")


def _open_sessions(entries: Iterable[LedgerEntry]) -> tuple[int, ...]:
    started, ended = set(), set()
    for entry in entries:
        if entry.event == "start":
            started.add(entry.session)
        elif entry.event == "end":
            ended.add(entry.session)
    return tuple(sorted(started - ended))
