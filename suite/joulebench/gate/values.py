"""Value of a benchmark in a replicate: choice of metric, domains and valid windows. Pure.

A metric of measured energy counts measured domains only: an estimate follows time and would hide a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.gate.model import Choice, Measurement, MetricName
from joulebench.gate.statistics import log_median
from joulebench.measurement.protocol import ALL_DOMAINS
from joulebench.records.model import Kind, Window
from joulebench.results import validity
from joulebench.results.energy import common_domains, joules
from joulebench.results.validity import invalidity


@dataclass(frozen=True)
class Metric:
    """Compared quantity: joules per unit over `domains`, or seconds per unit."""

    name: MetricName
    domains: tuple[str, ...] = ()
    kind: Kind | None = None  # of the joules

    @property
    def label(self) -> str:
        return f"{self.kind} energy ({', '.join(self.domains)})" if self.name == "energy" else "time"


TIME = Metric("time")


@dataclass(frozen=True)
class Unmeasured:
    """Why there are no joules to compare."""

    reason: str


def valid_windows(measurement: Measurement) -> list[Window]:
    """Valid windows, judged from their raw times and readings."""
    return validity.valid_windows(measurement.windows, measurement.phase, measurement.protocol)


def value(measurement: Measurement, metric: Metric) -> float | None:
    """Logarithm of the median joules or seconds per unit over valid windows; None without any."""
    windows = valid_windows(measurement)
    if metric.name == "time":
        per_unit = [w.duration_s / w.units for w in windows]
    else:
        read = [(joules(w, metric.domains), w.units) for w in windows if _has(w, metric.domains)]
        per_unit = [energy_j / units for energy_j, units in read if energy_j is not None]
    return log_median(per_unit) if per_unit else None


def _has(window: Window, domains: Sequence[str]) -> bool:
    return {d.split(":")[0] for d in common_domains([window], domains)} == set(domains)


def repeats(measurement: Measurement, metric: Metric) -> int:
    """Number of windows behind a measurement's value."""
    windows = valid_windows(measurement)
    return len(windows) if metric.name == "time" else sum(_has(w, metric.domains) for w in windows)


def domains_of(measurements: Sequence[Measurement], kind: Kind | None = None) -> set[str]:
    """Domains (gpu, cpu, ram) that all valid windows have; with `kind`, only those always of that kind."""
    windows = [w for m in measurements for w in valid_windows(m)]
    every = {name.split(":")[0] for name in common_domains(windows, ALL_DOMAINS)}
    if kind is None:
        return every
    other = {r.domain.split(":")[0] for w in windows for r in w.readings if r.role == "primary" and r.kind != kind}
    return every - other


def choose_metric(
    baseline: Sequence[Measurement], current: Sequence[Measurement], choice: Choice, require_energy: bool
) -> Metric | Unmeasured:
    """Choose the metric of one benchmark.

    `auto`: measured joules where both sides have them, else time. `energy`: measured joules, else estimated ones of
    common domains. If a domain measured in the baseline is not measured now, nothing is compared: neither time nor
    the remaining domains replace it.
    """
    if choice == "time" and not require_energy:
        return TIME
    for side, measurements in (("baseline", baseline), ("current", current)):
        if not any(valid_windows(m) for m in measurements):
            return Unmeasured(f"no valid window in the {side} measurement: {first_fault(measurements)}")
    before, now = domains_of(baseline, "measured"), domains_of(current, "measured")
    if lost := sorted(before - now):
        there = domains_of(current)
        how = [f"{d} was measured and is {'estimated' if d in there else 'absent'} now" for d in lost]
        return Unmeasured("; ".join(how))
    if both := _ordered(before & now):
        return Metric("energy", both, "measured")
    if require_energy:
        return Unmeasured("no domain has measured joules on both sides")
    estimated = _ordered(domains_of(baseline) & domains_of(current))
    if choice == "auto":
        return TIME
    return (
        Metric("energy", estimated, "estimated") if estimated else Unmeasured("no domain has joules on both sides")
    )


def _ordered(domains: set[str]) -> tuple[str, ...]:
    return tuple(d for d in ALL_DOMAINS if d in domains)


def first_fault(measurements: Sequence[Measurement]) -> str:
    """Return why the first invalid window is invalid."""
    for measurement in measurements:
        for window in measurement.windows:
            why = invalidity(window, measurement.protocol) if window.phase == measurement.phase else None
            if why is not None:
                return why.text
    return "no window was measured"
