"""Cost of a benchmark in a replicate: choice of metric and domains, windows that count. Pure.

A metric of measured energy counts measured domains only: an estimate follows time and would hide a change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from joulebench.gate.model import Choice, Measurement, MetricName
from joulebench.measurement.protocol import ALL_DOMAINS
from joulebench.records.model import Kind, Window
from joulebench.results import validity
from joulebench.results.energy import common_domains, joules
from joulebench.results.validity import invalidity
from joulebench.stats.paired_ratio import pseudo_median

#: Conditions of a window, per second: processor time, and instructions, of the measuring process and all that it
#: started.
CONDITIONS: dict[MetricName, str] = {"processor": "own_load_cpus", "instructions": "own_instructions_per_s"}


@dataclass(frozen=True)
class Metric:
    """Compared quantity per unit: joules over `domains`, time, or the processes' processor time or instructions."""

    name: MetricName
    domains: tuple[str, ...] = ()
    kind: Kind | None = None  # of the joules

    @property
    def label(self) -> str:
        if self.name == "energy":
            return f"{self.kind} energy ({', '.join(self.domains)})"
        return {"processor": "processor time", "instructions": "instruction count"}.get(self.name, self.name)

    @property
    def symbol(self) -> str:
        """Symbol of its unit, without prefix."""
        return {"energy": "J", "instructions": ""}.get(self.name, "s")


TIME, PROCESSOR, INSTRUCTIONS = Metric("time"), Metric("processor"), Metric("instructions")


@dataclass(frozen=True)
class Unmeasured:
    """Why there is nothing to compare."""

    reason: str


def valid_windows(measurement: Measurement) -> list[Window]:
    """Valid windows, judged from their raw times and readings."""
    return validity.valid_windows(measurement.windows, measurement.phase, measurement.protocol)


def amounts(measurement: Measurement, metric: Metric) -> list[tuple[float, int] | None]:
    """Joules or seconds of each window, with its units of work, in the order of measurement; None where invalid."""
    judged = validity.judged(measurement.windows, measurement.phase, measurement.protocol)
    return [_amount(window, metric) if fault is None else None for window, fault in judged]


def _amount(window: Window, metric: Metric) -> tuple[float, int] | None:
    amount: float | None = window.duration_s
    if (condition := CONDITIONS.get(metric.name)) is not None:
        rate = window.conditions.get(condition)
        amount = None if rate is None else rate * window.duration_s
    elif metric.name == "energy":
        amount = joules(window, metric.domains) if _has_domains(window, metric.domains) else None
    return (amount, window.units) if amount is not None and amount > 0 and math.isfinite(amount) else None


def typical(measurement: Measurement, metric: Metric) -> float | None:
    """Logarithm of the median cost per unit over valid windows; None without any."""
    per_unit = [a[0] / a[1] for a in amounts(measurement, metric) if a is not None]
    return math.log(median(per_unit)) if per_unit else None


def mean(measurement: Measurement, metric: Metric) -> float | None:
    """Cost per unit over all valid windows together; None without any."""
    valid = [a for a in amounts(measurement, metric) if a is not None]
    return math.fsum(a[0] for a in valid) / sum(a[1] for a in valid) if valid else None


def ratio(baseline: Measurement, current: Measurement, metric: Metric) -> float | None:
    """Logarithm of the typical ratio of two processes that were measured in turn, window by window.

    The n-th window of one beside the n-th of the other: what changes slowly cancels. None without valid windows.
    """
    logs = [math.log(b[0] / b[1]) - math.log(a[0] / a[1]) for a, b in _both(baseline, current, metric)]
    return pseudo_median(logs) if logs else None


def means(baseline: Measurement, current: Measurement, metric: Metric) -> tuple[float, float]:
    """Costs per unit of two processes that were measured in turn, over the windows that are valid in both.

    Over others the machine may have been in another state, and the difference would be taken for theirs.

    Raises:
        ValueError: there are none (`ratio` is None).
    """
    sides = list(zip(*_both(baseline, current, metric), strict=True))
    if not sides:
        raise ValueError("means of a pair need windows that are valid in both")
    before, now = (math.fsum(a[0] for a in side) / sum(a[1] for a in side) for side in sides)
    return before, now


def _both(
    baseline: Measurement, current: Measurement, metric: Metric
) -> list[tuple[tuple[float, int], tuple[float, int]]]:
    """Amounts of the n-th window of one and of the n-th of the other, where both are valid."""
    each = zip(amounts(baseline, metric), amounts(current, metric), strict=False)
    return [(a, b) for a, b in each if a is not None and b is not None]


def _has_domains(window: Window, domains: Sequence[str]) -> bool:
    return {d.split(":")[0] for d in common_domains([window], domains)} == set(domains)


def repeats(measurement: Measurement, metric: Metric) -> int:
    """Number of windows behind a measurement's value."""
    return sum(a is not None for a in amounts(measurement, metric))


def domains_of(measurements: Sequence[Measurement], kind: Kind | None = None) -> set[str]:
    """Domains (gpu, cpu, ram) that all valid windows have; with `kind`, only those always of that kind."""
    windows = [w for m in measurements for w in valid_windows(m)]
    every = {name.split(":")[0] for name in common_domains(windows, ALL_DOMAINS)}
    if kind is None:
        return every
    other = {r.domain.split(":")[0] for w in windows for r in w.readings if r.role == "primary" and r.kind != kind}
    return every - other


def choose_metric(
    baseline: Sequence[Measurement],
    current: Sequence[Measurement],
    choice: Choice,
    *,
    require_energy: bool,
    accelerated: bool,
) -> Metric | Unmeasured:
    """Choose the metric of one benchmark.

    `auto`: measured joules where both sides have them; else processor time, or with an accelerator, whose work it
    does not count, time. `energy`: measured joules, else estimated ones of common domains. If a domain measured in
    the baseline is not measured now, nothing is compared: neither time nor the remaining domains replace it.
    """
    if choice == "time" and not require_energy:
        return TIME
    for side, measurements in (("baseline", baseline), ("current", current)):
        if not any(valid_windows(m) for m in measurements):
            return Unmeasured(f"no valid window in the {side} measurement: {first_fault(measurements)}")
    timed = _has(PROCESSOR, [*baseline, *current])
    if choice == "processor" and not require_energy:
        return PROCESSOR if timed else Unmeasured("no processor time was recorded")
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
        return PROCESSOR if timed and not accelerated else TIME
    return (
        Metric("energy", estimated, "estimated") if estimated else Unmeasured("no domain has joules on both sides")
    )


def beside(metric: Metric, baseline: Sequence[Measurement], current: Sequence[Measurement]) -> list[Metric]:
    """The other quantities that both sides have: they are shown, and decide nothing."""
    counted = [other for other in (PROCESSOR, INSTRUCTIONS) if _has(other, [*baseline, *current])]
    return [other for other in (*counted, TIME) if other != metric]


def _has(metric: Metric, measurements: Sequence[Measurement]) -> bool:
    return all(CONDITIONS[metric.name] in w.conditions for m in measurements for w in valid_windows(m))


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
