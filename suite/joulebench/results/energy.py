"""Energy of windows: joules per unit of work, gross and net, with intervals. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import fmean
from typing import Any, Literal, overload

from joulebench.records.model import Kind, Window, combined
from joulebench.results.idle import Baseline, as_idle
from joulebench.results.validity import is_read, training_fault, valid_windows
from joulebench.spec.task import Protocol
from joulebench.stats import intervals
from joulebench.stats.estimate import (
    Estimate,
    Part,
    Spread,
    estimate,
    freedom_of,
    mean_of_runs,
    of_parts,
    point,
    t_quantile,
)

#: What a module holds.
MODULE = frozenset({"gpu", "cpu", "ram"})
#: A metric or cost beyond this is none: its square must still be a number.
MAX_VALUE = 1e30


Basis = Literal["gross", "net"]
#: What makes an energy vary, by the names that `Energy.variances` has.
WINDOWS, RUNS, EDGES = "windows", "runs", "edges"  # and IDLE and DRIFT of `joulebench.results.idle`


@dataclass(frozen=True, kw_only=True)
class Energy(Estimate):
    """Joules, or joules per unit of work, with their interval and where they come from.

    Sums and differences are of energies on one basis and per the same unit of work, differences over the same
    domains; domains, kind, measured share and variances are combined. Intervals are those of
    `joulebench.stats.intervals`.

    Attributes:
        domains: that are counted in it (`gpu:0`, `cpu`, …).
        kind: measured only if every part is.
        measured_share: of the joules, 0 … 1.
        basis: gross, or net of idle power.
        per: the unit of work it is stated for; None for joules in all.
        variances: of the mean, by what varied (windows, edges, idle, idle_drift, runs), in squared joules (per
            squared unit); a source that is not known to vary is absent.
    """

    domains: tuple[str, ...]
    kind: Kind
    measured_share: float
    basis: Basis = "gross"
    per: str | None = None
    variances: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Estimate, like: Energy, **changed: Any) -> Energy:
        """An estimate as energy with the provenance of another."""
        provenance = {f.name: getattr(like, f.name) for f in fields(cls)}
        return cls(**{**provenance, **{f.name: getattr(value, f.name) for f in fields(Estimate)}, **changed})

    def __add__(self, other: Energy) -> Energy:
        """Raises ValueError where the two differ in basis or unit of work."""
        return self._with(other, intervals.plus(self, other))

    def comparable(self, other: Energy) -> bool:
        """Whether the two are on one basis, per the same unit of work and over the same domains."""
        return (self.basis, self.per, self.domains) == (other.basis, other.per, other.domains)

    def __sub__(self, other: Energy) -> Energy:
        """Raises ValueError where the two differ in basis, unit of work or domains."""
        if self.domains != other.domains:
            raise ValueError(f"{self.described} and {other.described} do not compare")
        return self._with(other, intervals.difference(self, other))

    def __mul__(self, factor: float) -> Energy:
        variances = {source: v * factor**2 for source, v in self.variances.items()}
        return Energy.of(intervals.scaled(self, factor), self, variances=variances)

    @overload
    def __truediv__(self, other: Energy) -> Estimate | None: ...
    @overload
    def __truediv__(self, other: float) -> Energy: ...
    def __truediv__(self, other: Energy | float) -> Energy | Estimate | None:
        """An energy divided by a number; of two energies their ratio, None where either is not positive.

        Raises:
            ValueError: two energies of other domains, basis or unit of work.
        """
        if not isinstance(other, Energy):
            return self * (1 / other)
        if not self.comparable(other):
            raise ValueError(f"{self.described} and {other.described} do not compare")
        return intervals.ratio(self, other)

    @property
    def described(self) -> str:
        """Basis, unit of work and domains, for messages."""
        per = f" per {self.per}" if self.per else ""
        return f"{self.basis} joules{per} of {' + '.join(self.domains)}"

    def each(self, units: float, unit: str) -> Energy:
        """The joules of one of `units` units of work."""
        return replace(self / units, per=unit)

    @property
    def within_run(self) -> float | None:
        """Relative 95 % half-width by the windows of one run alone; None where it has none of its own."""
        if WINDOWS not in self.variances or self.mean == 0 or self.n < 2:
            return None
        return t_quantile(self.n - 1) * math.sqrt(self.variances[WINDOWS]) / abs(self.mean)

    def _with(self, other: Energy, value: Estimate) -> Energy:
        if (self.basis, self.per) != (other.basis, other.per):
            raise ValueError(f"{self.described} and {other.described} do not add up")
        weights = abs(self.mean), abs(other.mean)
        weights = weights if any(weights) else (1.0, 1.0)
        shares = self.measured_share * weights[0] + other.measured_share * weights[1]
        sources = (*self.variances, *other.variances)
        variances = {s: self.variances.get(s, 0.0) + other.variances.get(s, 0.0) for s in sources}
        return Energy.of(
            value,
            self,
            domains=tuple(sorted({*self.domains, *other.domains})),
            kind=combined((self.kind, other.kind)),
            measured_share=shares / sum(weights),
            variances=variances if value.sem is not None else {},  # of a single run it is unknown, not 0
        )


def over_runs(runs: Sequence[Energy], spread: Spread | None = None, scale: float | None = None) -> Energy:
    """Mean of one configuration's runs, with provenance (`mean_of_runs`); domains are those of the first run.

    Args:
        spread: between runs of the run's configurations, pooled.
        scale: what the spread is relative to; by default the mean.

    Raises:
        ValueError: no runs.
    """
    if len(runs) == 1 and spread is None:
        return runs[0]
    value = mean_of_runs(runs, spread, scale)
    kind, share = combined(e.kind for e in runs), fmean(e.measured_share for e in runs)
    if len(runs) > 1:
        variances = {RUNS: value.sem**2} if value.sem is not None else {}
    else:
        variances = dict(runs[0].variances)
        if spread is not None:
            variances[RUNS] = spread.part(abs(value.mean) if scale is None else scale).variance
    return Energy.of(value, runs[0], kind=kind, measured_share=share, variances=variances)


def matches(domain: str, wanted: Iterable[str]) -> bool:
    """Whether a domain such as `gpu:1` is one of those wanted, or belongs to a wanted family, such as `gpu`.

    A counter of a whole module (GPU, CPU and memory on one board) answers for all three together only.
    """
    of, names = domain.split(":", 1)[0], set(wanted)
    return domain in names or of in names or (of == "module" and names >= MODULE)


def joules(window: Window, domains: Iterable[str]) -> float | None:
    """Primary joules of a window over the domains; None where it has none of them."""
    wanted = tuple(domains)
    primary = (r for r in window.readings if r.role == "primary" and is_read(r))
    energies = [r.energy_j for r in primary if matches(r.domain, wanted)]
    return sum(energies) if energies else None


def common_domains(windows: Sequence[Window], wanted: Iterable[str]) -> tuple[str, ...]:
    """The primary domains that every window has, among those wanted."""
    names = tuple(wanted)
    sets = [{r.domain for r in w.readings if r.role == "primary" and matches(r.domain, names)} for w in windows]
    return tuple(sorted(set.intersection(*sets))) if sets else ()


def phase_energy(
    windows: Iterable[Window],
    phase: str,
    domains: Iterable[str],
    protocol: Protocol,
    idle: Sequence[Window] | None = None,
    unit: str = "unit",
    delays: int = 0,
) -> Energy | None:
    """Energy per unit of `phase` from its valid windows; net of idle power if idle windows are given.

    With `delays`, the energy-delay product: each window's joules per unit times its seconds per unit to that power,
    as the two vary together.

    None where there is no valid window, no domain asked for, or (net) no quiet idle nearby. The interval holds what
    counters leave open at the windows' edges, where that is recorded; that of a net value holds that of idle power
    and its drift too: variances add.
    """
    valid = valid_windows(windows, phase, protocol)
    names = common_domains(valid, domains)
    if not valid or not names:
        return None
    gross = [_sum(w, names) for w in valid]
    energies, idle_parts = gross, {}
    if idle is not None:
        baseline = as_idle(idle).baseline(valid[0], names)
        if baseline is None:
            return None
        energies = [e - baseline.power_w.mean * w.duration_s for e, w in zip(gross, valid, strict=True)]
        idle_parts = baseline.parts(mean_delay(valid, delays + 1))
    value = estimate([e / w.units * _delay(w) ** delays for e, w in zip(energies, valid, strict=True)])
    parts = {} if value.sem is None else {WINDOWS: Part(value.sem**2, freedom_of(value)), **idle_parts}
    if parts and (edges := _edge_variance(valid, names, delays)) is not None:
        parts[EDGES] = Part(edges / len(valid), math.inf)
    if idle is not None or EDGES in parts:
        varied = value.varied if idle is None else f"{value.varied} and idle"
        value = of_parts(value.mean, value.n, list(parts.values()), varied)
    return Energy(
        **vars(value),
        domains=names,
        kind=_kind(valid, names),
        measured_share=_measured_j(valid, names) / sum(gross),
        basis="gross" if idle is None else "net",
        per=unit,
        variances={source: part.variance for source, part in parts.items()},
    )


def shared_idle(net: Energy, baselines: Sequence[tuple[Baseline, float]]) -> Energy:
    """The mean of several runs' net energies, with the error of the idle power that they share.

    Args:
        net: the mean, with what varied between the runs.
        baselines: of each run, and the seconds per unit of work that idle power was subtracted for.
    """
    if net.sem is None:
        return net
    parts = [*shared_idle_parts(baselines)]
    variances = dict(net.variances)
    for source, part in parts:
        variances[source] = variances.get(source, 0.0) + part.variance
    return Energy.of(with_parts(net, [part for _, part in parts], "idle"), net, variances=variances)


def shared_idle_parts(baselines: Sequence[tuple[Baseline, float]]) -> Iterator[tuple[str, Part]]:
    """Variance that idle power adds to a mean over runs, by source: once for all runs that share a block.

    Args:
        baselines: of each run, and by how much its value changes for a watt of idle power.
    """
    blocks: dict[int, tuple[Baseline, float]] = {}
    for baseline, seconds in baselines:
        _, known_s = blocks.get(baseline.block, (baseline, 0.0))
        blocks[baseline.block] = baseline, known_s + seconds / len(baselines)
    for baseline, seconds in blocks.values():
        yield from baseline.parts(seconds).items()


def with_parts(value: Estimate, parts: Sequence[Part], source: str) -> Estimate:
    """A value with the variance that a further source adds (`idle`); without an interval as before."""
    if value.sem is None:
        return value
    whole = of_parts(
        value.mean, value.n, [Part(value.sem**2, freedom_of(value)), *parts], f"{value.varied} and {source}"
    )
    return replace(whole, pooled=value.pooled)


def seconds_per_unit(valid: Sequence[Window]) -> Estimate:
    """Seconds per unit of work over windows that count.

    Raises:
        ValueError: no windows.
    """
    return estimate([_delay(w) for w in valid])


def mean_delay(valid: Sequence[Window], power: int = 1) -> float:
    """Mean over windows of (seconds per unit of work)^power: what a watt of idle takes off e · t^(power − 1)."""
    return fmean(_delay(w) ** power for w in valid)


def _delay(window: Window) -> float:
    return window.duration_s / window.units


def power_w(windows: Sequence[Window], domains: Sequence[str]) -> float:
    """Mean gross power over windows: all their joules over all their seconds."""
    return sum(_sum(w, domains) for w in windows) / sum(w.duration_s for w in windows)


def training_energy(
    protocol: Protocol, windows: Iterable[Window], domains: Iterable[str], idle: Sequence[Window] | None = None
) -> Energy | None:
    """Joules of one training, all epochs together; net of idle power if idle windows are given.

    It ran once, so gross joules have no interval; net ones have that of idle power. None where no work was done, an
    epoch's window does not count (the sum is then unknown) or reads nothing, or (net) no quiet idle is near.
    """
    train = [w for w in windows if w.phase == "train"]
    names = common_domains(train, domains)
    energy_j, units = sum(_sum(w, names) for w in train), sum(w.units for w in train)
    if not names or units <= 0 or any(training_fault(w, protocol) for w in train):
        return None
    if not (math.isfinite(energy_j) and energy_j > 0):
        return None
    share = _measured_j(train, names) / energy_j
    gross = Energy(**vars(point(energy_j)), domains=names, kind=_kind(train, names), measured_share=share)
    if idle is None:
        return gross
    baseline = as_idle(idle).baseline(train[len(train) // 2], names)
    if baseline is None:
        return None
    seconds = sum(w.duration_s for w in train)
    parts = baseline.parts(seconds)
    net_j = energy_j - baseline.power_w.mean * seconds
    net = of_parts(net_j, baseline.power_w.n, list(parts.values()), "idle windows, one training")
    return Energy.of(net, gross, basis="net", variances={source: part.variance for source, part in parts.items()})


def _edge_variance(windows: Sequence[Window], names: Sequence[str], delays: int) -> float | None:
    """Mean variance of a window's energy per unit that its counters leave open; None where none is recorded."""
    known = [
        sum((r.edge_sd_j or 0.0) ** 2 for r in w.readings if r.role == "primary" and r.domain in names)
        for w in windows
    ]
    if not any(known):
        return None
    return fmean(v / w.units**2 * _delay(w) ** (2 * delays) for v, w in zip(known, windows, strict=True))


def _kind(windows: Sequence[Window], names: Sequence[str]) -> Kind:
    return combined(r.kind for w in windows for r in w.readings if r.role == "primary" and r.domain in names)


def _measured_j(windows: Sequence[Window], names: Sequence[str]) -> float:
    counted = (r for w in windows for r in w.readings if r.role == "primary" and r.domain in names)
    return sum(r.energy_j for r in counted if r.kind == "measured")


def _sum(window: Window, names: Sequence[str]) -> float:
    return sum(r.energy_j for r in window.readings if r.role == "primary" and r.domain in names)


def total_j(windows: Iterable[Window], domains: Iterable[str] = ("gpu", "cpu", "ram")) -> float | None:
    """Gross joules of all windows; None where nothing was read."""
    wanted = tuple(domains)
    energies = [e for w in windows if (e := joules(w, wanted)) is not None]
    return sum(energies) if energies else None
