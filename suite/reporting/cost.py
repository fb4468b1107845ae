"""What the search cost, and after how many inferences it has paid for itself. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.energy import Estimate
from suite.reporting.ledger import Ledger
from suite.reporting.members import UnitEnergy
from suite.reporting.quantities import JOULES_PER_KWH


@dataclass(frozen=True)
class Fact:
    """A number from the hardware profile and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class SearchCost:
    """Everything the run spent. Carbon is None unless the profile gives a grid intensity."""

    energy_j: float | None
    duration_s: float
    intensity_g_per_kwh: Fact | None
    pue: Fact | None

    @property
    def carbon_g(self) -> float | None:
        """Joules × PUE (1 if none is given) × intensity: applied here, once."""
        if self.energy_j is None or self.intensity_g_per_kwh is None:
            return None
        pue = self.pue.value if self.pue else 1.0
        return self.energy_j / JOULES_PER_KWH * pue * self.intensity_g_per_kwh.value


@dataclass(frozen=True)
class Candidate:
    """A configuration as break-even sees it: quality by objective name, and joules per unit of work."""

    label: str
    quality: Mapping[str, float]
    energy: UnitEnergy


@dataclass(frozen=True)
class BreakEven:
    """Units of work after which the search has saved what it cost.

    `units` = search_j / (default − best joules per unit), all gross and over the same domains. `low` and
    `high` are the ends of its 95 % interval; `high` is None where the difference may be zero. Without `units`,
    `reason` says why there is none.
    """

    objective: str
    unit: str
    domains: tuple[str, ...]
    search_j: float | None
    default: Candidate | None = None
    best: Candidate | None = None
    saving: Estimate | None = None
    units: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def search_cost(ledger: Ledger, hardware: Mapping[str, Any]) -> SearchCost:
    """The run's joules and seconds, with the profile's grid intensity and PUE where it gives them."""
    return SearchCost(
        energy_j=ledger.total_j,
        duration_s=ledger.duration_s,
        intensity_g_per_kwh=_fact(hardware.get("grid_intensity_g_per_kwh")),
        pue=_fact(hardware.get("pue")),
    )


def _fact(given: Any) -> Fact | None:
    value, source = (given.get("value"), given.get("source")) if isinstance(given, Mapping) else (given, None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return Fact(float(value), str(source or "source not given"))


def break_even(
    objective: str,
    unit: str,
    domains: tuple[str, ...],
    search_j: float | None,
    default: Candidate | None,
    members: Sequence[Candidate],
    goals: Mapping[str, str],
) -> BreakEven:
    """Break-even of the search against the default configuration.

    The best is the frontier member with the least joules per unit among those at least as good as the
    default in every objective of `goals` (the task's objectives other than energy).
    """
    base = BreakEven(objective, unit, domains, search_j, default)
    if search_j is None:
        return _without(base, "the energy of the search was not measured")
    if default is None:
        return _without(base, "the run has no usable trial of the default configuration to compare with")
    good = [m for m in members if _at_least_as_good(m.quality, default.quality, goals)]
    if not good:
        names = ", ".join(goals) or "every objective"
        return _without(base, f"no frontier member with known energy is at least as good as the default in {names}")
    best = min(good, key=lambda m: m.energy.gross.mean)
    saving = difference(default.energy.gross, best.energy.gross)
    base = BreakEven(objective, unit, domains, search_j, default, best, saving)
    if best.label == default.label:
        return _without(base, "the default configuration is itself the most efficient at its quality")
    if saving.mean <= 0:
        return _without(base, f"the most efficient member at least as good ({best.label}) uses no less energy")
    return BreakEven(
        objective, unit, domains, search_j, default, best, saving,
        units=search_j / saving.mean,
        low=search_j / saving.high if saving.high is not None and saving.high > 0 else None,
        high=search_j / saving.low if saving.low is not None and saving.low > 0 else None,
    )  # fmt: skip


def _without(base: BreakEven, reason: str) -> BreakEven:
    return BreakEven(
        base.objective, base.unit, base.domains, base.search_j, base.default, base.best, base.saving,
        reason=reason,
    )  # fmt: skip


def _at_least_as_good(own: Mapping[str, float], other: Mapping[str, float], goals: Mapping[str, str]) -> bool:
    return all(own[n] >= other[n] if goal == "maximize" else own[n] <= other[n] for n, goal in goals.items())


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a − b; its 95 % interval from the two intervals (MOVER), absent if either is.

    The distance from the difference to its end is the root of the sum of squares of the two distances that
    pull that way, which keeps intervals of unequal n and of skewed shape as they are.
    """
    mean, n = a.mean - b.mean, min(a.n, b.n)
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(mean, n, None, None, None, "two configurations")
    sem = math.hypot(a.sem, b.sem) if a.sem is not None and b.sem is not None else None
    low = mean - math.hypot(a.mean - a.low, b.high - b.mean)
    high = mean + math.hypot(a.high - a.mean, b.mean - b.low)
    return Estimate(mean, n, sem, low, high, "two configurations")
