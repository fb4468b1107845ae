"""Consistency of a meter: spread and drift of its joules over repeated windows of the same work. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from joulebench.records.model import Kind, LedgerEntry, Window, combined
from joulebench.results.energy import common_domains
from joulebench.results.idle import idle_power_w
from joulebench.results.run import Run
from joulebench.results.validity import invalidity
from joulebench.spec.objectives import work_unit
from joulebench.spec.task import Protocol, Task
from joulebench.stats.dispersion import Drift, Rsd, drift, relative_sd
from joulebench.stats.estimate import Estimate, estimate

#: The relative standard deviation that a meter has to stay under.
MAX_RSD = 0.02
#: Phase and note of the windows that are measured before a search.
PRECHECK = "precheck"
CHECK_WINDOWS = 10
CHECK_WINDOW_S = 1.0
#: Power that moves less than this over the windows is a constant: the joules are seconds times it.
STEADY_POWER_RSD = 1e-3
#: … or less than this share of what the time per unit moves.
STEADY_POWER_SHARE = 0.1


@dataclass(frozen=True)
class WindowEnergy:
    """Energy of one window; `reason` says why it is not valid."""

    start_s: float
    seconds: float
    units: int
    by_domain: Mapping[str, float]  # primary joules
    checks: Mapping[tuple[str, str], float]  # joules of check meters by domain and source
    reason: str | None
    other_load_cpus: float | None = None  # of other processes, mean over the window; None where not recorded

    @property
    def energy_j(self) -> float:
        return sum(self.by_domain.values())


@dataclass(frozen=True)
class SourceSpread:
    """Mean power and its spread, of one primary meter over the windows."""

    domain: str
    source: str
    kind: Kind
    share: float  # of the joules
    power_w: float
    rsd: Rsd | None
    idle_w: Estimate | None


@dataclass(frozen=True)
class CheckSpread:
    """A check meter over the same windows: its spread, and its mean relative difference from the primary."""

    domain: str
    source: str
    rsd: Rsd | None
    rel_difference: float | None


@dataclass(frozen=True, eq=False)
class Consistency:
    """Repeated windows of the same work; numbers are of the valid windows, gross.

    `passed` is None where no limit (`max_rsd`) is set, and False with fewer than two valid windows.
    """

    phase: str
    unit: str
    families: tuple[str, ...]  # of domains that are counted
    recorded: Sequence[Window]
    protocol: Protocol
    idle: Sequence[Window] = ()
    max_rsd: float | None = None
    errors: tuple[str, ...] = ()  # of trials that gave no windows

    @cached_property
    def _sound(self) -> list[Window]:
        return [w for w in self.recorded if invalidity(w, self.protocol) is None]

    @cached_property
    def domains(self) -> tuple[str, ...]:
        return common_domains(self._sound, self.families)

    @cached_property
    def windows(self) -> tuple[WindowEnergy, ...]:
        return tuple(_window(w, self.domains, self.protocol) for w in self.recorded)

    @cached_property
    def valid(self) -> tuple[WindowEnergy, ...]:
        return tuple(w for w in self.windows if w.reason is None)

    @cached_property
    def kind(self) -> Kind | None:
        return combined(s.kind for s in self.sources) if self.valid else None

    @property
    def _per_unit(self) -> list[float]:
        return [w.energy_j / w.units for w in self.valid]

    @cached_property
    def j_per_unit(self) -> Estimate | None:
        return estimate(self._per_unit) if self.valid else None

    @cached_property
    def rsd(self) -> Rsd | None:
        """Of joules per unit."""
        return relative_sd(self._per_unit)

    @cached_property
    def time_rsd(self) -> Rsd | None:
        """Of seconds per unit."""
        return relative_sd([w.seconds / w.units for w in self.valid])

    @cached_property
    def power_rsd(self) -> Rsd | None:
        return relative_sd([w.energy_j / w.seconds for w in self.valid])

    @cached_property
    def power_w(self) -> float | None:
        return sum(w.energy_j for w in self.valid) / sum(w.seconds for w in self.valid) if self.valid else None

    @cached_property
    def idle_w(self) -> Estimate | None:
        return idle_power_w(self.idle, self.domains) if self.domains else None

    @cached_property
    def drift(self) -> Drift | None:
        return drift([w.start_s for w in self.valid], self._per_unit)

    @cached_property
    def sources(self) -> tuple[SourceSpread, ...]:
        return _sources(self._sound, self.domains, self.idle) if self.valid else ()

    @cached_property
    def checks(self) -> tuple[CheckSpread, ...]:
        return _checks(self.valid)

    @property
    def most_other_load(self) -> float | None:
        """Largest mean load of other processes in a valid window, in CPUs."""
        return max((w.other_load_cpus for w in self.valid if w.other_load_cpus is not None), default=None)

    @property
    def passed(self) -> bool | None:
        if self.max_rsd is None:
            return None
        return self.rsd is not None and self.rsd.value < self.max_rsd

    @property
    def close(self) -> bool:
        """Whether the RSD's interval contains the limit: a repetition could have the other result."""
        return self.rsd is not None and self.max_rsd is not None and self.rsd.low <= self.max_rsd <= self.rsd.high

    @property
    def steady_power(self) -> bool:
        """Whether power varies so little that the spread of the joules is that of time alone."""
        if self.power_rsd is None or self.time_rsd is None:
            return False
        return self.power_rsd.value < max(STEADY_POWER_RSD, STEADY_POWER_SHARE * self.time_rsd.value)

    @property
    def net_share(self) -> Estimate | None:
        """1 − idle power / load power, the share of the joules above idle; None without a quiet idle baseline.

        Its interval is that of idle power.
        """
        idle, load = self.idle_w, self.power_w
        if idle is None or not load:
            return None
        low = None if idle.high is None else 1 - idle.high / load
        high = None if idle.low is None else 1 - idle.low / load
        return Estimate(1 - idle.mean / load, idle.n, None, low, high, idle.varied)


def consistency(run: Run) -> Consistency | None:
    """Consistency over the windows of a run's default configuration; None if the task measures no phase."""
    task = run.task
    trials = [t for t in run.trials if t.params == task.defaults]
    errors = tuple(t.error or t.status for t in trials if t.status != "ok")
    windows = [w for t in trials for w in t.windows if task.measured and w.phase == task.measured.phase]
    return _of(task, windows, task.protocol, run.idle, task.gate.max_rsd if task.gate else None, errors)


def meter_check_protocol(protocol: Protocol) -> Protocol:
    """Protocol of the meter check before a search: ten windows of at most 1 s and the task's own length."""
    window_s = min(protocol.window_s, CHECK_WINDOW_S)
    return protocol.model_copy(
        update={
            "warmup_s": min(protocol.warmup_s, window_s),
            "max_warmup_s": min(protocol.max_warmup_s, 3 * window_s),
            "window_s": window_s,
            "repeats": CHECK_WINDOWS,
            "max_repeats": CHECK_WINDOWS,
        }
    )


def meter_check_of(task: Task, entry: LedgerEntry) -> Consistency | None:
    """Result of a meter check's ledger entry, against `MAX_RSD`; None if the task measures no phase."""
    windows = [w for w in entry.windows if w.phase == PRECHECK]
    return _of(task, windows, meter_check_protocol(task.protocol), max_rsd=MAX_RSD)


def meter_checks(task: Task, entries: Sequence[LedgerEntry]) -> list[tuple[int, Consistency]]:
    """Session and result of every meter check of a run."""
    checks = ((e.session, meter_check_of(task, e)) for e in entries if e.event == PRECHECK)
    return [(session, result) for session, result in checks if result is not None]


def _of(
    task: Task,
    windows: Sequence[Window],
    protocol: Protocol,
    idle: Sequence[Window] = (),
    max_rsd: float | None = None,
    errors: tuple[str, ...] = (),
) -> Consistency | None:
    measured = task.measured
    if measured is None:
        return None
    unit = work_unit(next(n for n, o in task.objectives.items() if o is measured))
    families = tuple(measured.domains or ())
    return Consistency(measured.phase or "", unit, families, windows, protocol, idle, max_rsd, errors)


def _window(window: Window, domains: Sequence[str], protocol: Protocol) -> WindowEnergy:
    primary = {r.domain: r.energy_j for r in window.readings if r.role == "primary" and r.domain in domains}
    checks = {(r.domain, r.source): r.energy_j for r in window.readings if r.role == "check"}
    fault = invalidity(window, protocol)
    reason = fault.text if fault is not None else None if domains else "no reading of the domains asked for"
    other = window.conditions.get("other_load_cpus")
    return WindowEnergy(window.start_s, window.duration_s, window.units, primary, checks, reason, other)


def _sources(windows: Sequence[Window], domains: Sequence[str], idle: Sequence[Window]) -> tuple[SourceSpread, ...]:
    groups: dict[tuple[str, str, Kind], list[tuple[float, float]]] = {}
    for window in windows:
        for r in window.readings:
            if r.role == "primary" and r.domain in domains:
                groups.setdefault((r.domain, r.source, r.kind), []).append((r.energy_j, window.duration_s))
    total = sum(energy_j for members in groups.values() for energy_j, _ in members)
    return tuple(
        SourceSpread(
            domain=domain,
            source=source,
            kind=kind,
            share=sum(e for e, _ in members) / total,
            power_w=sum(e for e, _ in members) / sum(s for _, s in members),
            rsd=relative_sd([e / s for e, s in members]),
            idle_w=idle_power_w(idle, [domain]),
        )
        for (domain, source, kind), members in sorted(groups.items())
    )


def _checks(valid: Sequence[WindowEnergy]) -> tuple[CheckSpread, ...]:
    keys = sorted({key for r in valid for key in r.checks})
    spreads = []
    for domain, source in keys:
        both = [r for r in valid if (domain, source) in r.checks]
        values = [r.checks[domain, source] for r in both]
        primary = [r.by_domain[domain] for r in both if domain in r.by_domain]
        off = fmean(values) / fmean(primary) - 1 if len(primary) == len(values) and fmean(primary) > 0 else None
        per_unit = [v / r.units for v, r in zip(values, both, strict=True)]
        spreads.append(CheckSpread(domain, source, relative_sd(per_unit), off))
    return tuple(spreads)
