"""Estimates: a mean with its Student-t interval, and the arithmetic of such values. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import fmean


@dataclass(frozen=True)
class Estimate:
    """A mean with its n, standard error and 95 % interval (absent where not known); `varied` says what differed.

    `freedom`: degrees of freedom of the interval; n − 1 where not stated. `pooled`: how much of the mean's variance
    is known by a spread that is pooled with other configurations, whose estimates then have the same error.
    """

    mean: float
    n: int
    sem: float | None
    low: float | None
    high: float | None
    varied: str
    freedom: float | None = None
    pooled: Mapping[Spread, float] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rel_half_width(self) -> float | None:
        if self.low is None or self.high is None or self.mean == 0:
            return None
        return (self.high - self.low) / 2 / abs(self.mean)


@lru_cache(maxsize=4096)
def t_quantile(freedom: float, level: float = 0.025) -> float:
    """Upper `level` quantile of Student's t with `freedom` degrees of freedom."""
    from scipy import special  # takes a fifth of a second to import, which most commands do not need

    return float(special.stdtrit(freedom, 1 - level))


def t_quantile_of(value: Estimate) -> float:
    """97.5 % quantile of Student's t for an estimate's degrees of freedom, of which it has 1 at least."""
    return t_quantile(freedom_of(value))


def freedom_of(value: Estimate) -> float:
    """Degrees of freedom of an estimate's interval."""
    return max(1.0, value.n - 1.0 if value.freedom is None else value.freedom)


@dataclass(frozen=True)
class Part:
    """One source of a mean's variance; infinite degrees of freedom where it is known; `spread`: a pooled one's."""

    variance: float
    freedom: float
    spread: Spread | None = None


def of_parts(mean: float, n: int, parts: Sequence[Part], varied: str) -> Estimate:
    """Mean with the interval of independent parts of its variance; without one if there are no parts.

    Degrees of freedom by Welch (1947) and Satterthwaite (1946): (Σ v)² / Σ v²/f.
    """
    if not parts:
        return Estimate(mean, n, None, None, None, varied)
    variance = math.fsum(part.variance for part in parts)
    sem, freedom = math.sqrt(variance), welch_satterthwaite(parts)
    half = t_quantile(freedom) * sem
    pooled = {part.spread: part.variance for part in parts if part.spread is not None}
    return Estimate(mean, n, sem, mean - half, mean + half, varied, freedom, pooled)


def welch_satterthwaite(parts: Sequence[Part]) -> float:
    """Degrees of freedom of a sum of variances; the fewest of any part where all are 0."""
    variance = math.fsum(part.variance for part in parts)
    if variance == 0:
        return min(part.freedom for part in parts)
    spread = math.fsum((part.variance / variance) ** 2 / part.freedom for part in parts)
    return 1 / spread if spread > 0 else math.inf


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation, each sum rounded once; `statistics.stdev` is exact and forty times slower."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def estimate(
    values: Sequence[float], varied: str = "windows within a run", *, independent: bool = False
) -> Estimate:
    """Mean and 95 % interval by Student's t with n − 1 degrees of freedom.

    The standard error is that of n_eff values (`effective_n`); `independent` values, whose order has no meaning,
    count in full.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("an estimate needs at least one value")
    mean = fmean(values)
    if n == 1:
        return Estimate(mean, 1, None, None, None, varied)
    n_eff = float(n) if independent else effective_n(values)
    return of_parts(mean, n, [Part(deviation(values) ** 2 / n_eff, n - 1)], varied)


def effective_n(values: Sequence[float]) -> float:
    """Effective sample size by the lag-1 autocorrelation r: n (1 − r) / (1 + r) for r > 0, never below 2.

    That is the variance of an AR(1) sequence's mean. The estimator's own bias without correlation, −1/n, is
    taken off.
    """
    n = len(values)
    r = lag_correlation(values)
    if r is None or (r := r + 1 / n) <= 0:
        return float(n)
    return max(min(2.0, n), n * (1 - r) / (1 + r))


def lag_correlation(values: Sequence[float]) -> float | None:
    """Lag-1 autocorrelation of a sequence, −1 … 1; None where all values are equal."""
    mean = fmean(values)
    variance = math.fsum((v - mean) ** 2 for v in values)
    if variance == 0:
        return None
    return math.fsum((a - mean) * (b - mean) for a, b in itertools.pairwise(values)) / variance


def correlated(values: Sequence[float]) -> bool:
    """Whether a sequence of at least 10 values is correlated: a one-sided test of its lag-1 autocorrelation at 5 %.

    Without correlation that is normal with mean −1/n and standard deviation √(n − 2)/n (Moran 1948). Of sequences
    with a correlation of 0.6 it finds 39 % at n = 10, 60 % at 15 and 91 % at 30.
    """
    n = len(values)
    r = lag_correlation(values) if n >= 10 else None
    return r is not None and r > -1 / n + NORMAL_95 * math.sqrt(n - 2) / n


BETWEEN_RUNS = "runs of the configuration"
AND_RUNS = "run-to-run spread of repeated configurations"


def mean_of_runs(runs: Sequence[Estimate], spread: Spread | None = None, scale: float | None = None) -> Estimate:
    """Mean of one configuration's runs, with an interval that holds the spread between runs as far as it is known.

    One run has its own variance and the spread's. Several runs have the spread's over their number, or that of
    these runs alone where they differ by significantly more (F test at 1 %), or where no spread is known. Runs that
    are exactly alike, each with a standard error that is its source's, have it in common, as scores on the same
    samples: it counts once. So do those whose errors would have them differ by significantly more (χ² at 1 %).

    Args:
        spread: between runs of the run's configurations, pooled.
        scale: what the spread is relative to; by default the mean.

    Raises:
        ValueError: no runs.
    """
    k = len(runs)
    if k == 1 and spread is None:
        return runs[0]
    if k == 0:
        raise ValueError("a mean needs at least one run")
    mean = fmean(v.mean for v in runs)
    pooled = None if spread is None else spread.part(abs(mean) if scale is None else abs(scale))
    if k == 1:
        assert pooled is not None
        within = [] if runs[0].sem is None else [Part(runs[0].sem ** 2, freedom_of(runs[0]))]
        varied = f"{runs[0].varied} and {AND_RUNS}" if within else AND_RUNS
        return of_parts(mean, 1 if not within else runs[0].n, [*within, pooled], varied)
    own = Part(deviation([v.mean for v in runs]) ** 2, k - 1)
    part = own if pooled is None or _exceeds(own, pooled) else pooled
    between = replace(part, variance=part.variance / k)
    if all(v.sem and v.n == 1 for v in runs) and _in_common(own, runs):
        shared = Part(max(v.sem or 0.0 for v in runs) ** 2, min(freedom_of(v) for v in runs))
        parts = [shared, between] if between.variance else [shared]
        return of_parts(mean, k, parts, f"{runs[0].varied} and {AND_RUNS}")
    return of_parts(mean, k, [between], BETWEEN_RUNS)


def _in_common(own: Part, runs: Sequence[Estimate]) -> bool:
    """Whether runs are too alike for standard errors that are independent of each other."""
    from scipy import special

    if own.variance == 0 or any(freedom_of(v) < math.inf for v in runs):
        return own.variance == 0
    apart = fmean((v.sem or 0.0) ** 2 for v in runs) / own.freedom * float(special.chdtri(own.freedom, 0.99))
    return own.variance < apart


def _exceeds(own: Part, pooled: Part) -> bool:
    """Whether a variance is significantly larger than another: an F test at 1 %."""
    from scipy import special

    if own.variance <= pooled.variance:
        return False
    return own.variance > pooled.variance * float(special.fdtri(own.freedom, pooled.freedom, 0.99))


@dataclass(frozen=True)
class Spread:
    """Standard deviation between runs of one configuration, pooled over those that were run more than once.

    `sd` is relative to a scale, such as the mean (0.02 is 2 %); `freedom` are its degrees of freedom.
    """

    sd: float
    freedom: float

    def part(self, scale: float) -> Part:
        """The variance between runs of a value of this scale."""
        return Part((self.sd * scale) ** 2, self.freedom, self)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the standard deviation, by χ²."""
        from scipy import special

        low, high = (math.sqrt(self.freedom / float(special.chdtri(self.freedom, tail))) for tail in (0.025, 0.975))
        return self.sd * low, self.sd * high


def pooled_spread(groups: Iterable[Sequence[float]]) -> Spread | None:
    """Spread within groups, each with a mean of its own; None where no group has two values."""
    repeated = [group for group in groups if len(group) >= 2]
    freedom = sum(len(group) - 1 for group in repeated)
    if not freedom:
        return None
    squares = math.fsum((len(group) - 1) * deviation(group) ** 2 for group in repeated)
    return Spread(math.sqrt(squares / freedom), freedom)


NORMAL_975 = 1.959963985  # 97.5 % quantile of the standard normal distribution
NORMAL_95 = 1.644853627


def share_sem(hits: float, n: int) -> float:
    """Standard error of a share of n independent cases; above 0 also where all are hits or none is.

    Two hits and two misses are added (Agresti and Coull, The American Statistician 52, 1998, 119).
    """
    share = (hits + 2) / (n + 4)
    return math.sqrt(share * (1 - share) / (n + 4))


def paired_share_sem(gained: float, lost: float, n: int) -> float:
    """Standard error of the difference of two shares over the same n cases; above 0 also where no case differs.

    Half a case is added to each of the four kinds (Agresti and Min, Statistics in Medicine 24, 2005, 729).
    """
    gained, lost, n = gained + 0.5, lost + 0.5, n + 2
    return math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n


def point(value: float) -> Estimate:
    """Estimate of a single value, without an interval."""
    return Estimate(value, 1, None, None, None, "single run")


def reciprocal(value: Estimate) -> Estimate | None:
    """1/x of a positive estimate; its standard error by the delta method, its interval by inverting the ends.

    None if the value is not positive; without an upper end if the interval reaches zero.
    """
    if value.mean <= 0:
        return None
    sem = None if value.sem is None else value.sem / value.mean**2
    low = None if value.high is None else 1 / value.high
    high = None if value.low is None or value.low <= 0 else 1 / value.low
    low = low if high is not None else None
    pooled = weighted(value.pooled, 1 / value.mean / value.mean)
    return Estimate(1 / value.mean, value.n, sem, low, high, value.varied, value.freedom, pooled)


def weighted(pooled: Mapping[Spread, float], factor: float) -> dict[Spread, float]:
    """Variances by pooled spread of a value that is multiplied by a factor."""
    return {spread: variance * factor * factor for spread, variance in pooled.items()}
