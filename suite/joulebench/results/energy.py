"""What windows say: validity, joules per unit of work, gross and net, with intervals. Pure; computed by the reader.

Validity is never trusted from the writer: a window counts only if its raw times and readings bear it out.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from statistics import fmean

from joulebench.records.model import Kind, Reading, Window, combined
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate, deviation, estimate, t_quantile_of

MIN_COUNTER_UPDATES = 20
ROUNDING = 1e-9  # of times that are differences of long sums
#: Less or more than this is no reading of a window: a nanojoule; 280 GWh.
MIN_J, MAX_J = 1e-9, 1e15
#: A metric or cost beyond this is none: its square must still be a number.
MAX_VALUE = 1e30
QUIET_IDLE_RSD = 0.10  # idle windows that vary more than this are no baseline


@dataclass(frozen=True)
class Energy:
    """Energy of a phase: joules per unit of work over the domains asked for."""

    j_per_unit: Estimate
    domains: tuple[str, ...]
    kind: Kind  # measured only if every domain is
    measured_share: float  # of the joules
    power_w: float
    unit_s: Estimate
    invalid_windows: int


def matches(domain: str, wanted: Iterable[str]) -> bool:
    """Whether `gpu:1` is among `gpu`, `cpu`, …"""
    return domain.split(":", 1)[0] in wanted


def is_read(reading: Reading) -> bool:
    """Whether a reading adds up: one that is not a number, negative or beyond all measure was not read."""
    return 0 <= reading.energy_j <= MAX_J


def joules(window: Window, domains: Iterable[str]) -> float | None:
    """Primary joules of a window over the domains; None where it has none of them."""
    wanted = tuple(domains)
    found = [
        r.energy_j for r in window.readings if r.role == "primary" and is_read(r) and matches(r.domain, wanted)
    ]
    return sum(found) if found else None


def invalidity(window: Window, protocol: Protocol) -> str | None:
    """Why a measured window does not count; None if it does."""
    if window.fault:
        return window.fault
    if not math.isfinite(window.duration_s) or window.duration_s <= 0:
        return "no duration"
    if window.duration_s < protocol.window_s * (1 - ROUNDING):
        return f"too short: {window.duration_s:.3g} s of {protocol.window_s:g} s"
    if window.units <= 0:
        return "no work done"
    for reading in window.readings:
        if reading.role != "primary":
            continue
        if not MIN_J <= reading.energy_j <= MAX_J:
            return f"{reading.domain} reads {reading.energy_j:g} J"
        if reading.counter_updates is not None and reading.counter_updates < MIN_COUNTER_UPDATES:
            return f"{reading.domain} counter moved {reading.counter_updates} times (< {MIN_COUNTER_UPDATES})"
    return None


def common_domains(windows: Sequence[Window], wanted: Iterable[str]) -> tuple[str, ...]:
    """The primary domains that every window has, among those wanted."""
    asked = tuple(wanted)
    sets = [{r.domain for r in w.readings if r.role == "primary" and matches(r.domain, asked)} for w in windows]
    return tuple(sorted(set.intersection(*sets))) if sets else ()


def idle_power_w(windows: Iterable[Window], domains: Sequence[str]) -> Estimate | None:
    """Power of the settled idle process over `domains`; None where it was not measured or not quiet."""
    powers = _idle_powers(windows, domains)
    if len(powers) < 2:
        return None
    idle = estimate(powers, "idle windows")
    quiet = idle.mean > 0 and deviation(powers) / idle.mean <= QUIET_IDLE_RSD
    return idle if quiet else None


def _idle_powers(windows: Iterable[Window], domains: Sequence[str]) -> list[float]:
    powers = []
    for window in windows:
        if window.phase != "idle" or window.fault or window.duration_s <= 0:
            continue
        found = {r.domain: r.energy_j for r in window.readings if r.role == "primary" and is_read(r)}
        if all(domain in found for domain in domains):
            powers.append(sum(found[d] for d in domains) / window.duration_s)
    return powers


class IdleWindows(tuple[Window, ...]):
    """A run's idle windows in order, with their blocks found once: every trial asks for the one nearest to it."""

    @cached_property
    def blocks(self) -> list[list[Window]]:
        """Windows that touch."""
        found: list[list[Window]] = []
        for window in self:
            last = found[-1][-1] if found else None
            touching = last is not None and last.end_s == window.start_s and last.node == window.node
            found[-1].append(window) if touching else found.append([window])
        return found

    @cached_property
    def _starts(self) -> dict[str | None, list[tuple[float, int]]]:
        """By node, when each block begins and which it is; of blocks that begin at once the first."""
        first: dict[str | None, dict[float, int]] = {}
        for number, block in enumerate(self.blocks):
            first.setdefault(block[0].node, {}).setdefault(_seconds(block[0].start_utc), number)
        return {node: sorted(begun.items()) for node, begun in first.items()}

    def nearest(self, moment_s: float, node: str | None = None) -> list[Window]:
        """The block of a node that begins nearest to a time (Unix seconds); of two as near the first."""
        starts = self._starts.get(node, [])
        after = bisect_left(starts, (moment_s, -1))
        beside = starts[max(0, after - 1) : after + 1]
        found = min(beside, key=lambda start: (abs(start[0] - moment_s), start[1]), default=None)
        return self.blocks[found[1]] if found else []


def nearest_idle(idle: Sequence[Window], to: Window) -> list[Window]:
    """The block of touching idle windows that is nearest in time: a machine's idle power drifts.

    On a cluster, of those of the same node: machines of one kind differ in idle power too.
    """
    known = idle if isinstance(idle, IdleWindows) else IdleWindows(idle)
    return known.nearest(_seconds(to.start_utc), to.node)


def _seconds(utc: str) -> float:
    return datetime.fromisoformat(utc).timestamp()


def idle_drift(windows: Iterable[Window], domains: Sequence[str]) -> float | None:
    """Relative change of idle power from the first quarter of a run's idle windows to the last.

    None where there are fewer than two baselines' worth of windows.
    """
    powers = _idle_powers(windows, domains)
    if len(powers) < 8:
        return None
    first, last = fmean(powers[: len(powers) // 4]), fmean(powers[-(len(powers) // 4) :])
    return last / first - 1 if first > 0 else None


def phase_energy(
    windows: Iterable[Window],
    phase: str,
    domains: Iterable[str],
    protocol: Protocol,
    idle: Sequence[Window] | None = None,
) -> Energy | None:
    """Energy per unit of `phase` from its valid windows; net of idle power if idle windows are given.

    None where there is no valid window, no domain asked for, or (net) no quiet idle nearby. The interval of a net
    value includes idle's: the two variances add.
    """
    every = [w for w in windows if w.phase == phase]
    valid = [w for w in every if invalidity(w, protocol) is None]
    names = common_domains(valid, domains)
    if not valid or not names:
        return None
    gross = [_sum(w, names) for w in valid]
    unit_s = estimate([w.duration_s / w.units for w in valid])
    per_unit = estimate([e / w.units for e, w in zip(gross, valid, strict=True)])
    if idle is not None:
        baseline = idle_power_w(nearest_idle(idle, valid[0]), names)
        if baseline is None:
            return None
        net = [(e - baseline.mean * w.duration_s) / w.units for e, w in zip(gross, valid, strict=True)]
        per_unit = _widen(estimate(net), (baseline.sem or 0.0) * unit_s.mean)
    measured = _measured_j(valid, names)
    return Energy(
        j_per_unit=per_unit,
        domains=names,
        kind=_kind(valid, names),
        measured_share=measured / sum(gross),
        power_w=sum(gross) / sum(w.duration_s for w in valid),
        unit_s=unit_s,
        invalid_windows=len(every) - len(valid),
    )


@dataclass(frozen=True)
class TrainingEnergy:
    """Energy of one training, all epochs together: measured once, so without an interval."""

    energy_j: float
    units: int
    domains: tuple[str, ...]
    kind: Kind
    measured_share: float

    @property
    def j_per_unit(self) -> float:
        return self.energy_j / self.units


def training_energy(windows: Iterable[Window], domains: Iterable[str]) -> TrainingEnergy | None:
    """Energy of a training over the domains asked for.

    None where an epoch's window is faulty (its joules are then unknown, and the sum with them) or reads nothing.
    """
    train = [w for w in windows if w.phase == "train"]
    names, units = common_domains(train, domains), sum(w.units for w in train)
    energy_j = sum(_sum(w, names) for w in train)
    if not names or units <= 0 or any(w.fault for w in train) or not (math.isfinite(energy_j) and energy_j > 0):
        return None
    return TrainingEnergy(energy_j, units, names, _kind(train, names), _measured_j(train, names) / energy_j)


def _kind(windows: Sequence[Window], names: Sequence[str]) -> Kind:
    kinds = {r.kind for w in windows for r in w.readings if r.role == "primary" and r.domain in names}
    return combined(kinds)


def _measured_j(windows: Sequence[Window], names: Sequence[str]) -> float:
    counted = (r for w in windows for r in w.readings if r.role == "primary" and r.domain in names)
    return sum(r.energy_j for r in counted if r.kind == "measured")


def _sum(window: Window, names: Sequence[str]) -> float:
    return sum(r.energy_j for r in window.readings if r.role == "primary" and r.domain in names)


def _widen(value: Estimate, extra_sem: float) -> Estimate:
    if value.sem is None:
        return value
    sem = math.hypot(value.sem, extra_sem)
    half = t_quantile_of(value) * sem
    return replace(value, sem=sem, low=value.mean - half, high=value.mean + half, varied=f"{value.varied} and idle")


def total_j(windows: Iterable[Window], domains: Iterable[str] = ("gpu", "cpu", "ram")) -> float | None:
    """Gross joules over windows, whatever they were spent on; None where nothing was read."""
    wanted = tuple(domains)
    found = [e for w in windows if (e := joules(w, wanted)) is not None]
    return sum(found) if found else None
