"""Estimates: a mean with its Student-t interval, and the arithmetic of such values. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean


@dataclass(frozen=True)
class Estimate:
    """A mean with its n, standard error and 95 % interval (absent at n = 1); `varied` says what differed."""

    mean: float
    n: int
    sem: float | None
    low: float | None
    high: float | None
    varied: str
    n_effective: float | None = None  # independent values worth as much; decides the interval's t quantile

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
    """97.5 % quantile of Student's t for an estimate's number of independent values, taken as 2 at least."""
    return t_quantile(max(2, math.floor(value.n_effective or value.n)) - 1)


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation, each sum rounded once; `statistics.stdev` is exact and forty times slower."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def estimate(
    values: Sequence[float], varied: str = "windows within a run", *, independent: bool = False
) -> Estimate:
    """Mean and 95 % interval by Student's t, n reduced for lag-1 correlation of the sequence.

    n_eff = n (1 - r) / (1 + r) for r > 0 (AR(1) mean variance), never below 2. `independent` values, whose
    order has no meaning, have n_eff = n.

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
    sem = deviation(values) / math.sqrt(n_eff)
    half = t_quantile(math.floor(n_eff) - 1) * sem
    return Estimate(mean, n, sem, mean - half, mean + half, varied, None if independent else n_eff)


def effective_n(values: Sequence[float]) -> float:
    """Effective sample size by the lag-1 autocorrelation; n below 8 values, where that is only noise."""
    n = len(values)
    mean = fmean(values)
    variance = sum((v - mean) ** 2 for v in values)
    if n < 8 or variance == 0:
        return float(n)
    r = sum((a - mean) * (b - mean) for a, b in itertools.pairwise(values)) / variance
    r += 1 / n  # the estimator's own bias under independence
    return float(n) if r <= 0 else max(2.0, n * (1 - r) / (1 + r))


BETWEEN_RUNS = "runs of the configuration"


def mean_of_runs(runs: Sequence[Estimate]) -> Estimate:
    """Mean of several runs with the interval between them; a single run's estimate unchanged.

    Raises:
        ValueError: no runs.
    """
    return runs[0] if len(runs) == 1 else estimate([v.mean for v in runs], BETWEEN_RUNS)


NORMAL_975 = 1.959963985  # 97.5 % quantile of the standard normal distribution


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
    return Estimate(1 / value.mean, value.n, sem, low if high is not None else None, high, value.varied)
