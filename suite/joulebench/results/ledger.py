"""Ledger of a run: every joule by phase, domain and source. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from joulebench.records.model import Ending, Kind, LedgerEntry, Reading, TrialRecord, Window
from joulebench.results.idle import idle_power_w
from joulebench.results.validity import is_read
from joulebench.stats.estimate import Estimate

Group = Literal["training", "measured", "protocol", "overhead"]
_Role = Literal["primary", "check"]
_Source = tuple[_Role, str, str, Kind]  # role, domain, source, kind
_Checked = tuple[str, str, Kind, Kind]  # domain, source and kind of a check, kind of the primary reading

GROUPS: dict[Group, str] = {
    "training": "Training",
    "measured": "Measured phases",
    "protocol": "Warm-up and idle",
    "overhead": "Overhead",
}

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
    "control": ("protocol", "measuring the default again, for drift"),
    "busy": ("protocol", "waiting until other load has ended"),
    "release": ("overhead", "releasing the model"),
    "failed": ("overhead", "work cut short by a failure"),
    "record": ("overhead", "writing records"),
    "end": ("overhead", "ending the session"),
    "unfinished": ("overhead", "work cut short by the end of the session"),
}


@dataclass(frozen=True)
class Account:
    """Sum over the windows of one phase; `energy_j` is None where none of them has a reading."""

    name: str
    about: str
    group: Group
    windows: int
    duration_s: float
    energy_j: float | None
    by_family: dict[str, float]  # gpu, cpu, ram, …: joules
    by_source: tuple[SourceShare, ...] = ()  # the same joules by domain and source; shares are of this account


@dataclass(frozen=True)
class SourceShare:
    """Joules of one domain by one source over the run; `share` is of the run's primary joules."""

    domain: str
    source: str
    kind: Kind
    role: _Role
    energy_j: float
    share: float | None  # None for a check, which is never summed


@dataclass(frozen=True)
class Check:
    """Check meter against the primary one of its domain, over the windows that have both without a fault."""

    domain: str
    source: str
    kind: Kind
    primary_kind: Kind
    check_j: float
    primary_j: float

    @property
    def is_model(self) -> bool:
        """Whether a model was checked against a measurement: the difference is then the model's error."""
        return self.kind == "estimated" and self.primary_kind == "measured"

    @property
    def rel_difference(self) -> float:
        return self.check_j / self.primary_j - 1


@dataclass(frozen=True)
class Ledger:
    """Sums over all windows of a run."""

    accounts: tuple[Account, ...]
    total_j: float | None
    measured_j: float
    duration_s: float
    by_family: dict[str, float]
    sources: tuple[SourceShare, ...]
    checks: tuple[Check, ...]
    ending: Ending | None  # how the last session ended; None if it has not
    ending_note: str  # what it was refused for
    stopped: str  # why the last session stopped before the task's stages did; empty if it did not
    open_sessions: tuple[int, ...]  # started, not ended: killed or still running

    @property
    def measured_share(self) -> float | None:
        return self.measured_j / self.total_j if self.total_j else None

    def group_j(self, group: Group) -> float | None:
        energies = [a.energy_j for a in self.accounts if a.group == group and a.energy_j is not None]
        return math.fsum(energies) if energies else None

    def group_s(self, group: Group) -> float:
        return math.fsum(a.duration_s for a in self.accounts if a.group == group)


def balance(trials: Sequence[TrialRecord], entries: Sequence[LedgerEntry]) -> Ledger:
    """Ledger over all trials and the entries between them."""
    sums = _Sums()
    every = chain((t.windows for t in trials), (e.windows for e in entries))
    for window in chain.from_iterable(every):
        sums.add(window)
    phases = {name for t in trials for name in t.unit}
    primary = sums.primary
    total_j = math.fsum(chain.from_iterable(primary.values())) if primary else None
    return Ledger(
        accounts=tuple(sorted((a.account(n, phases) for n, a in sums.accounts.items()), key=_order)),
        total_j=total_j,
        measured_j=math.fsum(e for key, parts in primary.items() if key[3] == "measured" for e in parts),
        duration_s=math.fsum(s for a in sums.accounts.values() for s in a.durations_s),
        by_family=_by_family(primary),
        sources=_sources({**primary, **sums.check_sources}, total_j),
        checks=_checks(sums.checks),
        ending=entries[-1].ending if entries else None,
        ending_note=entries[-1].note if entries and entries[-1].event == "end" else "",
        stopped=_stopped(entries),
        open_sessions=_open_sessions(entries),
    )


@dataclass
class _Parts:
    """Addends of one phase: seconds of each window, joules of each primary reading by source."""

    durations_s: list[float] = field(default_factory=list)
    energies: dict[_Source, list[float]] = field(default_factory=dict)

    def account(self, name: str, phases: set[str]) -> Account:
        group, about = _ACCOUNTS.get(name, ("overhead", "other"))
        if name in phases and name not in _ACCOUNTS:
            group, about = "measured", f"measured windows of phase {name}"
        every = [e for parts in self.energies.values() for e in parts]
        energy_j = math.fsum(every) if every else None
        return Account(
            name=name,
            about=about,
            group=group,
            windows=len(self.durations_s),
            duration_s=math.fsum(self.durations_s),
            energy_j=energy_j,
            by_family=_by_family(self.energies),
            by_source=_sources(self.energies, energy_j),
        )


@dataclass
class _Sums:
    """Addends of a ledger, gathered in one pass: a long run has a million readings."""

    accounts: defaultdict[str, _Parts] = field(default_factory=lambda: defaultdict(_Parts))
    check_sources: dict[_Source, list[float]] = field(default_factory=dict)  # joules of each check
    checks: dict[_Checked, list[tuple[float, float]]] = field(default_factory=dict)  # joules of check, primary

    def add(self, window: Window) -> None:
        parts = self.accounts[window.phase]
        parts.durations_s.append(max(0.0, window.duration_s))
        primary: dict[str, Reading] = {}
        checks: list[Reading] = []
        for reading in window.readings:
            if not is_read(reading):
                continue
            key = (reading.role, reading.domain, reading.source, reading.kind)
            if reading.role == "primary":
                parts.energies.setdefault(key, []).append(reading.energy_j)
                primary[reading.domain] = reading
            else:
                self.check_sources.setdefault(key, []).append(reading.energy_j)
                checks.append(reading)
        for check in checks:
            # a faulty counter says nothing about its check
            if (beside := primary.get(check.domain)) is not None and window.fault is None:
                key_of_pair = (check.domain, check.source, check.kind, beside.kind)
                self.checks.setdefault(key_of_pair, []).append((check.energy_j, beside.energy_j))

    @property
    def primary(self) -> dict[_Source, list[float]]:
        """Joules of each primary reading of the run."""
        energies: defaultdict[_Source, list[float]] = defaultdict(list)
        for account in self.accounts.values():
            for key, parts in account.energies.items():
                energies[key].extend(parts)
        return energies


def family(domain: str) -> str:
    """`gpu` of `gpu:1`."""
    return domain.split(":", 1)[0]


def idle_by_domain(idle: Sequence[Window], domains: Iterable[str]) -> dict[str, Estimate | None]:
    """Idle power of each domain; None where there is no quiet baseline.

    That of an estimated domain has no interval: a model has no sampling error, and how far off it is its windows
    do not show.
    """
    estimated = {r.domain for w in idle for r in w.readings if r.role == "primary" and r.kind == "estimated"}
    powers = {domain: idle_power_w(idle, [domain]) for domain in domains}
    return {
        domain: replace(power, sem=None, low=None, high=None) if power and domain in estimated else power
        for domain, power in powers.items()
    }


def _order(account: Account) -> tuple[int, int, str]:
    names = list(_ACCOUNTS)
    rank = names.index(account.name) if account.name in names else len(names)
    return list(GROUPS).index(account.group), rank, account.name


def _by_family(energies: Mapping[_Source, Sequence[float]]) -> dict[str, float]:
    parts: defaultdict[str, list[float]] = defaultdict(list)
    for (_, domain, _, _), joules in energies.items():
        parts[family(domain)].extend(joules)
    order = ["gpu", "cpu", "ram"]
    names = sorted(parts, key=lambda n: (order.index(n) if n in order else len(order), n))
    return {name: math.fsum(parts[name]) for name in names}


def _sources(sources: Mapping[_Source, Sequence[float]], total_j: float | None) -> tuple[SourceShare, ...]:
    shares = []
    ordered = sorted(sources.items(), key=lambda item: (item[0][0] != "primary", item[0]))
    for (role, domain, source, kind), energies in ordered:
        energy_j = math.fsum(energies)
        share = energy_j / total_j if role == "primary" and total_j else None
        shares.append(SourceShare(domain, source, kind, role, energy_j, share))
    return tuple(shares)


def _checks(pairs: Mapping[_Checked, Sequence[tuple[float, float]]]) -> tuple[Check, ...]:
    checks = []
    for checked, members in sorted(pairs.items()):
        check_j, primary_j = (math.fsum(column) for column in zip(*members, strict=True))
        if primary_j > 0:
            checks.append(Check(*checked, check_j, primary_j))
    return tuple(checks)


def _stopped(entries: Sequence[LedgerEntry]) -> str:
    last = entries[-1].session if entries else None
    return next((e.note for e in entries if e.session == last and e.event == "stopped"), "")


def _open_sessions(entries: Iterable[LedgerEntry]) -> tuple[int, ...]:
    ends = [(entry.event, entry.session) for entry in entries if entry.event in ("start", "end")]
    return tuple(sorted({s for event, s in ends if event == "start"} - {s for event, s in ends if event == "end"}))
