"""Effect of PUE and grid on ranking and frontier: scenarios of factors on the joules of each domain. Pure.

PUE and carbon are factors on joules. One factor c > 0 on all of them changes nothing: a < b exactly when c·a < c·b,
so the order by energy stays, and with it what dominates what. Factors that differ between domains can change it:
with a_d joules of configuration A in domain d, A takes less than B exactly when Σ c_d (a_d − b_d) < 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from joulebench.results.cost import search_cost
from joulebench.results.frontier import Goal, beats_reference, non_dominated
from joulebench.results.outcome import Configuration
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.results.run import Run
from joulebench.spec.objectives import Objective
from joulebench.spec.task import Task

#: The world's average, as ECOpt (arXiv 2601.08991) has it: for the example where a run states no PUE of its own.
EXAMPLE_PUE = 1.56

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """A configuration: joules per unit of work by family of domains, and its other objectives, more is better."""

    label: str
    by_family: Mapping[str, float]
    others: tuple[float, ...] = ()

    @property
    def energy_j(self) -> float:
        return sum(self.by_family.values())


@dataclass(frozen=True)
class Scenario:
    """A factor on the joules of each family; one that is not named keeps 1."""

    name: str
    factors: Mapping[str, float]

    def of(self, subject: Subject) -> float:
        """Joules under the scenario; one factor on all is taken of their sum, so that rounding reorders nothing."""
        factors = [self.factors.get(f, 1.0) for f in subject.by_family]
        if len(set(factors)) == 1:
            return factors[0] * subject.energy_j
        return sum(c * energy_j for c, energy_j in zip(factors, subject.by_family.values(), strict=True))


#: Every factor 1.
METERED = Scenario("metered", {})


@dataclass(frozen=True)
class Effect:
    """Change of ranking and frontier from the metered joules to a scenario.

    Rank correlations are None where one side does not vary; `moved` counts configurations whose rank changes.
    """

    scenario: Scenario
    kendall: float | None
    spearman: float | None
    moved: int
    least: str
    entered: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def changes(self) -> bool:
        return bool(self.moved or self.entered or self.left)


@dataclass(frozen=True)
class Range:
    """Interval of factors in which a ranking holds, and the pair of configurations that tie at each end.

    `low` is 0 and `high` None where that side is unbounded.
    """

    low: float
    high: float | None
    at_low: tuple[str, str] | None
    at_high: tuple[str, str] | None


@dataclass(frozen=True)
class Sensitivity:
    """Factors on one family's joules, the others unchanged, up to which the ranking holds."""

    family: str
    share: float  # of all joules, mean over configurations
    order: Range  # every rank stays
    least: Range  # the least configuration stays


@dataclass(frozen=True, eq=False)
class Pue:
    """Scenarios of one PUE over two or more configurations; made by `compare_scenarios`."""

    subjects: tuple[Subject, ...]
    unit: str
    pue: float
    is_example: bool  # no PUE was given
    grid_intensity_g_per_kwh: float | None

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(self.subjects[0].by_family)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        return tuple(effect(self.subjects, s) for s in scenarios(self.families, self.pue))

    @property
    def constant(self) -> Effect:
        """Of the PUE on every joule."""
        return self.effects[0]

    @cached_property
    def sensitivities(self) -> tuple[Sensitivity, ...]:
        return tuple(sensitivity(self.subjects, f) for f in self.families) if len(self.families) > 1 else ()

    @cached_property
    def frontier(self) -> tuple[Subject, ...]:
        """By metered joules."""
        return tuple(self.subjects[i] for i in _frontier(self.subjects, METERED))

    @property
    def least(self) -> str:
        """Label of the configuration with the fewest joules."""
        return min(self.subjects, key=lambda s: s.energy_j).label


def pue(run: Run) -> Pue | None:
    """Scenarios of a run by its first energy objective's phase, gross; None with fewer than two configurations.

    Configurations that break a constraint or are no better than a reference take no part.
    """
    task = run.task
    name = next((n for n, o in task.objectives.items() if o.is_energy), None)
    if name is None:
        return None
    usable = [c for c in run.configurations if c.complete and c.feasible and beats_reference(task, c)]
    known = [(c, joules) for c in usable if (joules := _by_family(run, task.objectives[name], c))]
    families = [f for f in EVERY_FAMILY if all(f in joules for _, joules in known)]
    subjects = [Subject(_label(c), {f: by[f] for f in families}, _others(task, name, c)) for c, by in known]
    unit = next((t.unit[p] for t in run.trials for p in t.unit if p == task.objectives[name].phase), "unit")
    return compare_scenarios(subjects, *site_of(run), unit) if families else None


def site_of(run: Run) -> tuple[float | None, float | None]:
    """PUE and grid intensity (g CO2e/kWh) given with the run or the report; None where not given."""
    cost = search_cost(run.ledger, run.manifest.hardware)
    return (
        cost.pue.value if cost.pue and cost.pue.value >= 1 else None,
        cost.intensity_g_per_kwh.value if cost.intensity_g_per_kwh else None,
    )


def _by_family(run: Run, objective: Objective, configuration: Configuration) -> dict[str, float]:
    """Mean joules per unit over the configuration's trials; a family that one of them lacks is left out."""
    by_family: dict[str, float] = {}
    for family in EVERY_FAMILY:
        if family not in (objective.domains or ()):
            continue
        if objective.phase == "train":
            trained = run.training(configuration.usable, (family,))
            runs, each = (trained.runs, trained.per(trained.units, "unit")) if trained else ([], None)
        else:
            phase = run.phase(configuration.usable, objective.phase or "", (family,))
            runs, each = (phase.runs, phase.gross) if phase else ([], None)
        if each is not None and len(runs) == len(configuration.usable):
            by_family[family] = each.mean
    return by_family


def _others(task: Task, name: str, configuration: Configuration) -> tuple[float, ...]:
    goals = {n: o.goal for n, o in task.objectives.items() if n != name}
    signs = {"maximize": 1.0, "minimize": -1.0}
    return tuple(signs[goal] * configuration.outcomes[n].value.mean for n, goal in goals.items())


def _label(configuration: Configuration) -> str:
    return "trial " + ", ".join(str(t.trial) for t in configuration.usable)


def compare_scenarios(
    subjects: Sequence[Subject],
    factor: float | None,
    grid_intensity_g_per_kwh: float | None = None,
    unit: str = "unit",
) -> Pue | None:
    """Effects of a PUE (`EXAMPLE_PUE` where `factor` is None) on configurations; None with fewer than two.

    `unit` is the unit of work of their joules.

    Raises:
        ValueError: a PUE below 1.
    """
    value = EXAMPLE_PUE if factor is None else factor
    if value < 1:
        raise ValueError(f"a PUE is at least 1 (got {value})")
    if len(subjects) < 2:
        return None
    return Pue(tuple(subjects), unit, value, factor is None, grid_intensity_g_per_kwh)


def scenarios(families: Sequence[str], value: float) -> tuple[Scenario, ...]:
    """The PUE on all joules; then the extreme cases: the PUE on one family alone (the others have no overhead), and
    one family counted alone, as in papers that read the GPU only."""
    constant = Scenario(f"PUE {value:g} on every joule", dict.fromkeys(families, value))
    if len(families) < 2:
        return (constant,)
    alone = [Scenario(f"PUE {value:g} on {f.upper()} alone", {f: value}) for f in families]
    only = [
        Scenario(f"{f.upper()} joules only", {other: 0.0 for other in families if other != f}) for f in families
    ]
    return (constant, *alone, *only)


def effect(subjects: Sequence[Subject], scenario: Scenario) -> Effect:
    """Effect of a scenario on the ranking and frontier by metered joules."""
    before = np.array([s.energy_j for s in subjects])
    after = np.array([scenario.of(s) for s in subjects])
    old, new = (set(_frontier(subjects, s)) for s in (METERED, scenario))
    moved = int((stats.rankdata(before) != stats.rankdata(after)).sum())
    return Effect(
        scenario=scenario,
        kendall=_rank_correlation(stats.kendalltau, before, after),
        spearman=_rank_correlation(stats.spearmanr, before, after),
        moved=moved,
        least=subjects[int(after.argmin())].label,
        entered=tuple(subjects[i].label for i in sorted(new - old)),
        left=tuple(subjects[i].label for i in sorted(old - new)),
    )


def _rank_correlation(how: Callable[..., Any], before: _Array, after: _Array) -> float | None:
    if np.ptp(before) == 0 or np.ptp(after) == 0:
        return None
    return float(how(before, after).statistic)


def _frontier(subjects: Sequence[Subject], scenario: Scenario) -> list[int]:
    """Indices of non-dominated configurations, by energy under the scenario and the other objectives."""
    goals: list[Goal] = ["minimize", *(["maximize"] * len(subjects[0].others))]  # type: ignore[list-item]
    points = [(scenario.of(s), *s.others) for s in subjects]
    return [int(i) for i in np.flatnonzero(non_dominated(points, goals))]


def sensitivity(subjects: Sequence[Subject], family: str) -> Sensitivity:
    """Factors on one family's joules up to which ranks stay.

    The first pair to swap is adjacent in the ranking, so for the whole order adjacent pairs suffice; for the least
    configuration, its pairs with every other.
    """
    ordered = sorted(subjects, key=lambda s: s.energy_j)
    share = fmean(s.by_family[family] / s.energy_j for s in subjects if s.energy_j > 0)
    first = ordered[0]
    return Sensitivity(
        family, share, _range(pairwise(ordered), family), _range(((first, s) for s in ordered[1:]), family)
    )


def _range(pairs: Iterable[tuple[Subject, Subject]], family: str) -> Range:
    """A pair that differs by d in the family and by r in the rest ties at the factor −r / d."""
    low, high = 0.0, math.inf
    at_low: tuple[str, str] | None = None
    at_high: tuple[str, str] | None = None
    for a, b in pairs:
        d = b.by_family[family] - a.by_family[family]
        if b.energy_j == a.energy_j or d == 0:
            continue
        tie = 1 - (b.energy_j - a.energy_j) / d
        if 1 < tie < high:
            high, at_high = tie, (a.label, b.label)
        elif low < tie < 1:
            low, at_low = tie, (a.label, b.label)
    return Range(low, None if at_high is None else high, at_low, at_high)
