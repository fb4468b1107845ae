"""Cost of the search, and its break-even: after how many inferences it has saved what it cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from joulebench.results.energy import Energy
from joulebench.results.ledger import Ledger
from joulebench.spec.hardware import carbon_g, stated
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, point
from joulebench.stats.intervals import shifted


@dataclass(frozen=True)
class Fact:
    """Number from the hardware profile, and its source."""

    value: float
    source: str


@dataclass(frozen=True)
class SearchCost:
    """Energy and time of the whole run. Carbon is None unless the profile gives a grid intensity."""

    energy_j: float | None
    duration_s: float
    intensity_g_per_kwh: Fact | None
    pue: Fact | None

    @property
    def carbon_g(self) -> float | None:
        """Of all joules of the run."""
        return None if self.energy_j is None else self.carbon_of(self.energy_j)

    def carbon_of(self, energy_j: float) -> float | None:
        """g CO2e of metered joules, with the PUE (1 if none is given); None without an intensity."""
        if self.intensity_g_per_kwh is None:
            return None
        return carbon_g(energy_j, self.intensity_g_per_kwh.value, self.pue.value if self.pue else 1.0)


@dataclass(frozen=True)
class Candidate:
    """Configuration with its quality by objective name, and its joules per unit of work."""

    label: str
    quality: Mapping[str, float]
    energy: Energy  # gross


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
    saving: Energy | None = None
    units: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    volume: float | None = None  # expected number of inferences with the chosen configuration

    @property
    def net(self) -> Estimate | None:
        """Joules saved over `volume` less those of the search; None where either or the volume is unknown.

        Where nothing beats the default, the default would be used and nothing is saved.
        """
        if self.volume is None or self.search_j is None or self.default is None:
            return None
        saved = point(0.0) if self.units is None or self.saving is None else self.saving * self.volume
        return shifted(saved, -self.search_j)


def search_cost(ledger: Ledger, hardware: Mapping[str, Any]) -> SearchCost:
    """Joules and seconds of the run, with the profile's grid intensity and PUE where it gives them."""
    return SearchCost(
        energy_j=ledger.total_j,
        duration_s=ledger.duration_s,
        intensity_g_per_kwh=_fact(hardware.get("grid_intensity_g_per_kwh")),
        pue=_fact(hardware.get("pue")),
    )


def _fact(given: Any) -> Fact | None:
    known = stated(given)
    return None if known is None else Fact(*known)


def break_even(
    objective: str,
    unit: str,
    domains: tuple[str, ...],
    search_j: float | None,
    default: Candidate | None,
    members: Sequence[Candidate],
    goals: Mapping[str, str],
    volume: float | None = None,
) -> BreakEven:
    """Break-even of the search against the default configuration, and its net saving at a stated volume.

    The best is the frontier member with the least joules per unit among those at least as good as the
    default in every objective of `goals` (the task's objectives other than energy). Members whose joules are
    over other domains than the default's (a meter dropped out) are left out.
    """
    base = BreakEven(objective, unit, domains, search_j, default, volume=volume)
    if search_j is None:
        return replace(base, reason="the energy of the search was not measured")
    if default is None:
        return replace(base, reason="the run has no usable trial of the default configuration to compare with")
    alike = [m for m in members if m.energy.comparable(default.energy)]
    good = [m for m in alike if _at_least_as_good(m.quality, default.quality, goals)]
    if not good:
        names = ", ".join(goals) or "every objective"
        return replace(
            base, reason=f"no frontier member with comparable energy is at least as good as the default in {names}"
        )
    best = min(good, key=lambda m: m.energy.mean)
    saving = default.energy - best.energy
    base = replace(base, best=best, saving=saving)
    if best.label == default.label:
        names = f" of those at least as good in {', '.join(goals)}" if goals else ""
        return replace(base, reason=f"the default configuration is itself the most efficient{names}")
    if saving.mean <= 0:
        return replace(
            base, reason=f"the most efficient member at least as good ({best.label}) uses no less energy"
        )
    return replace(
        base,
        units=search_j / saving.mean,
        low=search_j / saving.high if saving.high is not None and saving.high > 0 else None,
        high=search_j / saving.low if saving.low is not None and saving.low > 0 else None,
    )


def _at_least_as_good(own: Mapping[str, float], other: Mapping[str, float], goals: Mapping[str, str]) -> bool:
    return all(own[n] >= other[n] if goal == "maximize" else own[n] <= other[n] for n, goal in goals.items())


def stated_volume(task: Task, objective: str) -> float | None:
    """Expected number of inferences that the task states, where `objective` is its first energy objective."""
    return task.stopping.inferences if task.objectives[objective] is task.measured else None
