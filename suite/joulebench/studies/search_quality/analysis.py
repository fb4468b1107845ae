"""Comparison of search methods: hypervolume reached, joules of proposals, and variants where they fail. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from joulebench.records.model import Kind, TrialRecord, combined
from joulebench.results.run import Run
from joulebench.spec.parameters import Value
from joulebench.stats.estimate import Estimate, estimate
from joulebench.studies.search_quality.curves import ProblemVariant, SearchGroup, median, read_searches, varied

BROKEN_BELOW = 0.90  # of the best hypervolume
#: Share of the best hypervolume by which a method must be able to gain on the rival; with less it is no better.
WORTH_HAVING = 0.02
BETTER, NO_BETTER, UNDECIDED = "better", "no better", "undecided"


@dataclass(frozen=True)
class PairedDifference:
    """Differences of the final shares of a method and the rival, paired by seed; `difference` is their median."""

    variant: ProblemVariant
    method: str
    difference: Estimate
    wins: int
    losses: int

    @property
    def verdict(self) -> str:
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return "too few repeats to tell"
        return "better" if low > 0 else "worse" if high < 0 else "not significant"


@dataclass(frozen=True)
class Level:
    """A method against the rival at one value of a setting, all others at their base.

    `difference`: mean of the differences of the final shares, paired by seed. Its interval is of this level's seeds
    alone: at settings with more noise they differ by more.
    """

    value: Value
    share: float  # mean over seeds
    rival_share: float
    difference: Estimate

    @property
    def verdict(self) -> str:
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return UNDECIDED
        return BETTER if low > 0 else NO_BETTER if high < WORTH_HAVING else UNDECIDED


@dataclass(frozen=True)
class BreakEven:
    """Joules of a trial above which a method's costlier proposals are repaid by the trials that they save.

    `trials` and `rival_trials` are medians of trials until the method and the rival reach `level`, the rival's
    final share.
    """

    variant: ProblemVariant
    method: str
    level: float
    trials: float
    rival_trials: float
    trial_j: float


@dataclass(frozen=True)
class SearchQuality:
    """A run's searches by variant and method; `factors` are settings with several values, `base` the defaults."""

    groups: tuple[SearchGroup, ...]
    rival: str | None
    kind: Kind | None  # of the joules of proposals
    best_of_runs: tuple[ProblemVariant, ...]  # whose best is only the highest that was reached
    factors: Mapping[str, tuple[Value, ...]]
    base: Mapping[str, Value]

    @property
    def variants(self) -> tuple[ProblemVariant, ...]:
        return tuple(dict.fromkeys(group.variant for group in self.groups))

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(group.method for group in self.groups))

    def label(self, variant: ProblemVariant) -> str:
        """Name a variant by its problem, where there are several, and its settings that differ from the base."""
        several = len({c.problem for c in self.variants}) > 1 or not self.base
        apart = [f"{name} = {value}" for name, value in variant.settings if self.base.get(name) != value]
        settings = apart or (["base"] if self.base else [])
        return ", ".join([*([variant.problem] if several else []), *settings])

    def group(self, variant: ProblemVariant, method: str | None) -> SearchGroup | None:
        return next((c for c in self.groups if c.variant == variant and c.method == method), None)

    @property
    def base_variants(self) -> tuple[ProblemVariant, ...]:
        """Variants with every setting at its default; all variants where there is none."""
        at_base = tuple(c for c in self.variants if all(self.base.get(n) == v for n, v in c.settings))
        return at_base or self.variants

    def along(self, factor: str, problem: str) -> tuple[ProblemVariant, ...]:
        """Return the variants of a problem that differ from the base in `factor` only, ordered by it."""
        apart = [
            c for c in self.variants
            if c.problem == problem and all(n == factor or self.base.get(n) == v for n, v in c.settings)
        ]  # fmt: skip
        return tuple(sorted(apart, key=lambda c: self.factors[factor].index(dict(c.settings)[factor])))

    def paired_differences(self) -> tuple[PairedDifference, ...]:
        """Compare every method with the rival, over the repeats that both have."""
        pairs = (self._pair(group) for group in self.groups if group.method != self.rival)
        return tuple(pair for pair in pairs if pair is not None)

    def _pairs(self, group: SearchGroup) -> list[tuple[float, float]]:
        """Final shares of a method and the rival, over the repeats that both have."""
        other = self.group(group.variant, self.rival)
        theirs = {s.repeat: s.final for s in other.searches} if other else {}
        return [(s.final, theirs[s.repeat]) for s in group.searches if s.repeat in theirs]

    def _pair(self, group: SearchGroup) -> PairedDifference | None:
        gaps = [mine - theirs for mine, theirs in self._pairs(group)]
        if not gaps:
            return None
        wins, losses = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        return PairedDifference(group.variant, group.method, median(gaps), wins, losses)

    def levels(self, method: str, factor: str, problem: str) -> tuple[Level, ...]:
        """Compare a method with the rival along a setting, in the order of its values."""
        found = []
        for variant in self.along(factor, problem):
            group = self.group(variant, method)
            if group is not None and (pairs := self._pairs(group)):
                shares = [fmean(side) for side in zip(*pairs, strict=True)]
                gain = estimate([mine - theirs for mine, theirs in pairs], "seeds", independent=True)
                found.append(Level(dict(variant.settings)[factor], shares[0], shares[1], gain))
        return tuple(found)

    def break_evens(self) -> tuple[BreakEven, ...]:
        """Return those of methods that reach the rival's final median in fewer trials: extra joules of proposals
        over trials saved, of medians over seeds."""
        results = (self._break_even(group) for group in self.groups if group.method != self.rival)
        return tuple(result for result in results if result is not None)

    def _break_even(self, group: SearchGroup) -> BreakEven | None:
        other = self.group(group.variant, self.rival)
        if other is None or not (group.has_joules and other.has_joules):
            return None
        level = other.final.mean
        mine, theirs = group.trials_to(level).mean, other.trials_to(level).mean
        if not mine < theirs < math.inf:
            return None
        more = group.proposing_to(level).mean - other.proposing_to(level).mean
        return BreakEven(group.variant, group.method, level, mine, theirs, max(0.0, more / (theirs - mine)))


def search_quality(run: Run) -> SearchQuality | None:
    """Read and group a run's searches; None where no search has a trial."""
    task, searches = run.task, read_searches(run.task, run.trials)
    if not searches.groups:
        return None
    methods = {group.method for group in searches.groups}
    rival = task.options.get("rival", "random")
    values = {n: _ordered(dict(c.variant.settings)[n] for c in searches.groups) for n in varied(task)}
    return SearchQuality(
        searches.groups,
        rival if rival in methods and len(methods) > 1 else None,
        _kind(searches.trials),
        searches.best_of_runs,
        {name: levels for name, levels in values.items() if len(levels) > 1},
        {name: task.defaults[name] for name in varied(task)},
    )


def _ordered(values: Iterable[Value]) -> tuple[Value, ...]:
    distinct = tuple(dict.fromkeys(values))
    numbers = all(isinstance(v, int | float) for v in distinct)
    return tuple(sorted(distinct, key=float)) if numbers else distinct


def _kind(trials: Iterable[TrialRecord]) -> Kind | None:
    kinds = {
        r.kind for t in trials for w in t.windows if w.phase == "train" for r in w.readings if r.role == "primary"
    }
    return combined(kinds) if kinds else None
