"""Searches read from records: their hypervolume and joules after each trial. Pure.

A search is one trial of the workload `search`. Its hypervolume is that of the true values of everything tried, as
a share of the best: the true front's, or, where that is not known, the highest that any of the run's searches of
the same problem reached.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from joulebench.records.model import TrialRecord
from joulebench.results.energy import joules
from joulebench.spec.parameters import Params, Value
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate
from joulebench.stats.quantiles import quantile_of

#: Parameters of a search; every other one is a setting of its problem.
SEARCH_PARAMETERS = ("problem", "method", "repeat", "trials", "initial")
LEVELS = (0.90, 0.95, 0.98)  # shares of the best hypervolume whose trials are counted
DOMAINS = ("gpu", "cpu", "ram")


def median(values: Sequence[float]) -> Estimate:
    """Return the median over searches, with its distribution-free 95 % interval."""
    return quantile_of(values, 0.5, "searches")


@dataclass(frozen=True)
class ProblemVariant:
    """A problem, and those of its settings that the task varies."""

    problem: str
    settings: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True)
class Search:
    """One search. Tuples hold a value after each of its trials."""

    variant: ProblemVariant
    method: str
    repeat: int
    trial: int  # of the run
    status: str
    shares: tuple[float, ...]
    proposing_j: tuple[float, ...] | None  # metered, cumulative; None where a window has no reading
    cost_j: tuple[float, ...] | None  # of the trials themselves, cumulative, as the problem states it
    metrics: Mapping[str, float]

    @property
    def final(self) -> float:
        return self.shares[-1]

    @property
    def total_j(self) -> tuple[float, ...] | None:
        """Joules of proposals and trials, cumulative; of proposals alone where a trial's are not known."""
        if self.proposing_j is None or self.cost_j is None:
            return self.proposing_j
        return tuple(a + b for a, b in zip(self.proposing_j, self.cost_j, strict=True))

    def share_after(self, trials: int) -> float:
        """Return the share after so many trials; a search that ended sooner keeps its last."""
        return self.shares[min(trials, len(self.shares)) - 1]

    def share_within(self, energy_j: float) -> float:
        """Return the share reached for at most so many joules of `total_j`; 0 where none was."""
        spent = self.total_j or ()
        return max((s for s, j in zip(self.shares, spent, strict=True) if j <= energy_j), default=0.0)

    def trials_to(self, level: float) -> float:
        """Return the trials until a share is reached; infinity if it is not."""
        return next((float(n) for n, share in enumerate(self.shares, start=1) if share >= level), math.inf)

    def proposing_to(self, level: float) -> float:
        """Return the joules of proposals until a share is reached; infinity if it is not."""
        after = zip(self.shares, self.proposing_j or (), strict=False)
        return next((energy_j for share, energy_j in after if share >= level), math.inf)


@dataclass(frozen=True)
class SearchGroup:
    """All searches of one problem variant by one method, which differ by their seed."""

    variant: ProblemVariant
    method: str
    searches: tuple[Search, ...]

    @property
    def final(self) -> Estimate:
        return median([s.final for s in self.searches])

    @property
    def length(self) -> int:
        return max(len(s.shares) for s in self.searches)

    @property
    def has_joules(self) -> bool:
        return all(s.proposing_j is not None for s in self.searches)

    def trials_to(self, level: float) -> Estimate:
        return median([s.trials_to(level) for s in self.searches])

    def proposing_to(self, level: float) -> Estimate:
        return median([s.proposing_to(level) for s in self.searches])

    def reached(self, level: float) -> int:
        return sum(math.isfinite(s.trials_to(level)) for s in self.searches)

    def after(self, trials: int) -> Estimate:
        return median([s.share_after(trials) for s in self.searches])

    def within(self, energy_j: float) -> Estimate:
        return median([s.share_within(energy_j) for s in self.searches])

    def total(self, metric: str) -> int:
        return round(sum(s.metrics.get(metric, 0.0) for s in self.searches))

    @property
    def proposal_j(self) -> float | None:
        """Mean joules of a proposal; None where a search has none."""
        spent = [s.proposing_j[-1] for s in self.searches if s.proposing_j is not None]
        return sum(spent) / sum(len(s.shares) for s in self.searches) if len(spent) == len(self.searches) else None

    @property
    def proposal_s(self) -> float | None:
        known = [s.metrics["proposing_s"] for s in self.searches if "proposing_s" in s.metrics]
        done = sum(len(s.shares) for s in self.searches if "proposing_s" in s.metrics)
        return sum(known) / done if known else None


@dataclass(frozen=True)
class Searches:
    """The searches of a run, by problem variant and method."""

    groups: tuple[SearchGroup, ...]
    trials: tuple[TrialRecord, ...]  # their records
    best_of_runs: tuple[ProblemVariant, ...]  # where no better best is known


def varied(task: Task) -> tuple[str, ...]:
    """Return the names of the problem settings that a task varies."""
    return tuple(name for name in task.free if name not in SEARCH_PARAMETERS)


def read_searches(task: Task, trials: Sequence[TrialRecord]) -> Searches:
    """Read the searches from a run's trials.

    A search that was cut short or failed counts with what it had reached; of two with the same seed, method and
    variant only the first counts.
    """
    first: dict[tuple[ProblemVariant, str, int], TrialRecord] = {}
    for trial in trials:
        if trial.epochs and all(name in trial.params for name in SEARCH_PARAMETERS):
            first.setdefault(_identity(trial.params, varied(task)), trial)
    best, unknown = _best((key[0], trial) for key, trial in first.items())
    by_method: dict[tuple[ProblemVariant, str], list[Search]] = {}
    for key, trial in first.items():
        by_method.setdefault(key[:2], []).append(_search(key, trial, best[key[0]]))
    groups = tuple(SearchGroup(*key, tuple(searches)) for key, searches in by_method.items())
    return Searches(groups, tuple(first.values()), unknown)


def _identity(params: Params, varied: Sequence[str]) -> tuple[ProblemVariant, str, int]:
    variant = ProblemVariant(str(params["problem"]), tuple((name, params[name]) for name in varied))
    return variant, str(params["method"]), int(params["repeat"])


def _best(
    searches: Iterable[tuple[ProblemVariant, TrialRecord]],
) -> tuple[dict[ProblemVariant, float], tuple[ProblemVariant, ...]]:
    """Return the best hypervolume of each variant, and the variants where it is only the highest reached."""
    known: dict[ProblemVariant, float] = {}
    reached: dict[ProblemVariant, float] = {}
    for variant, trial in searches:
        if "best_hypervolume" in trial.metrics:
            known[variant] = trial.metrics["best_hypervolume"]
        reached[variant] = max(reached.get(variant, 0.0), *_column(trial, "val_hypervolume"))
    return reached | known, tuple(c for c in reached if c not in known)


def _search(key: tuple[ProblemVariant, str, int], trial: TrialRecord, best: float) -> Search:
    volumes = _column(trial, "val_hypervolume")
    spent = [joules(w, DOMAINS) for w in trial.windows if w.phase == "train"]
    whole = len(spent) == len(volumes) and all(j is not None for j in spent)
    cost = _column(trial, "val_trial_cost_j")
    return Search(
        *key,
        trial=trial.trial,
        status=trial.status,
        shares=tuple(v / best if best > 0 else 0.0 for v in volumes),
        proposing_j=tuple(accumulate(j or 0.0 for j in spent)) if whole else None,
        cost_j=cost if any(cost) else None,
        metrics=trial.metrics,
    )


def _column(trial: TrialRecord, metric: str) -> tuple[float, ...]:
    """Return a metric after each trial of the search; 0 before the first trial that has it (a cost)."""
    return tuple(epoch.metrics.get(metric, 0.0) for epoch in trial.epochs)
