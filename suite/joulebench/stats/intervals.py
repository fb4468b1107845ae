"""Sums, differences and ratios of two estimates, with 95 % intervals from theirs. Pure.

The intervals are recovered from those of the two estimates (MOVER; Zou and Donner, Statistics in Medicine 27, 2008,
1693): the distance from the result to each end is the root of the sum of squares of the two distances on that side.
Unequal n and skewed intervals are kept; where both are symmetric it is Welch's. The two estimates are taken as
independent, but for a spread between runs that is pooled over both: its degrees of freedom count once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from statistics import fmean

from joulebench.stats.estimate import (
    Estimate,
    Part,
    Spread,
    freedom_of,
    mean_of_runs,
    t_quantile,
    t_quantile_of,
    weighted,
    welch_satterthwaite,
)

TWO = "two configurations"


def plus(a: Estimate, b: Estimate, varied: str = TWO) -> Estimate:
    """a + b; without an interval if either has none."""
    mean, n = a.mean + b.mean, min(a.n, b.n)
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(mean, n, None, None, None, varied)
    sem, freedom = _sem(a, b)
    # each distance is a quantile of its own degrees of freedom; that of the sum is of Welch's and Satterthwaite's
    to_a, to_b = (1.0 if freedom is None else t_quantile(freedom) / t_quantile_of(v) for v in (a, b))
    low = mean - math.hypot(to_a * (a.mean - a.low), to_b * (b.mean - b.low))
    high = mean + math.hypot(to_a * (a.high - a.mean), to_b * (b.high - b.mean))
    pooled = {s: a.pooled.get(s, 0.0) + b.pooled.get(s, 0.0) for s in (*a.pooled, *b.pooled)}
    return Estimate(mean, n, sem, low, high, varied, freedom, pooled)


def difference(a: Estimate, b: Estimate, varied: str = TWO) -> Estimate:
    """a − b; without an interval if either has none."""
    return plus(a, scaled(b, -1.0), varied)


def ratio(a: Estimate, b: Estimate, varied: str = TWO) -> Estimate | None:
    """Ratio a / b by the difference of their logarithms; None where either is not positive.

    Without an interval if either has none, or one that reaches zero.
    """
    if a.mean <= 0 or b.mean <= 0:
        return None
    mean, n = a.mean / b.mean, min(a.n, b.n)
    ends = a.low, a.high, b.low, b.high
    if any(end is None or end <= 0 for end in ends):
        return Estimate(mean, n, None, None, None, varied)
    log = difference(_log(a), _log(b))
    assert log.low is not None
    assert log.high is not None
    sem = None if log.sem is None else mean * log.sem
    pooled = weighted(log.pooled, mean)
    return Estimate(mean, n, sem, math.exp(log.low), math.exp(log.high), varied, log.freedom, pooled)


MEANS = "means"


def ratio_of_means(a: Sequence[Estimate], b: Sequence[Estimate], spread: Spread | None) -> Estimate | None:
    """Ratio of the means of two configurations' runs; None where a run is not positive.

    Its interval is that of the difference of the means of logarithms: it has ends also where few runs say how much
    runs differ. Without an interval where that is not known of both: of a single run it is `spread`, relative to
    the mean, that says so.

    Raises:
        ValueError: no runs.
    """
    if any(run.mean <= 0 for run in (*a, *b)):
        return None
    value = fmean(run.mean for run in a) / fmean(run.mean for run in b)
    n = min(len(a), len(b))
    if spread is None and n < 2:
        return Estimate(value, n, None, None, None, MEANS)
    one, other = (mean_of_runs([_log_of_run(run) for run in runs], spread, 1.0) for runs in (a, b))
    log = difference(one, other)
    assert log.sem is not None
    assert log.freedom is not None
    # Satterthwaite's freedom is that of variances as they were found: too much where a spread of one or two degrees
    # came out small, and 95 % would be 90 %
    freedom = log.freedom if spread is None else min(log.freedom, spread.freedom)
    half = t_quantile(freedom) * log.sem
    low, high = value * math.exp(-half), value * math.exp(half)
    return Estimate(value, n, value * log.sem, low, high, MEANS, freedom)


def differ(a: Estimate, b: Estimate) -> bool:
    """Test whether two values differ significantly: the 95 % interval of their ratio excludes 1."""
    quotient = ratio(a, b)
    if quotient is None or quotient.low is None or quotient.high is None:
        return False
    return not quotient.low <= 1 <= quotient.high


class Answer(StrEnum):
    """What is known of a ratio of costs."""

    LESS = "less"
    MORE = "more"
    SAME = "no significant difference"
    UNKNOWN = "not known"

    @classmethod
    def of(cls, value: Estimate | None) -> Answer:
        """By the 95 % interval of a ratio: whether it excludes 1; not known without an interval."""
        if value is None or value.low is None or value.high is None:
            return cls.UNKNOWN
        return cls.LESS if value.high < 1 else cls.MORE if value.low > 1 else cls.SAME


def scaled(value: Estimate, factor: float) -> Estimate:
    """Estimate times a constant; a negative factor swaps the ends of its interval."""
    low, high = (None if end is None else end * factor for end in (value.low, value.high))
    sem = None if value.sem is None else value.sem * abs(factor)
    low, high = (low, high) if factor >= 0 else (high, low)
    pooled = weighted(value.pooled, factor)
    return replace(value, mean=value.mean * factor, sem=sem, low=low, high=high, pooled=pooled)


def shifted(value: Estimate, by: float) -> Estimate:
    """Estimate plus a constant."""
    low, high = (None if end is None else end + by for end in (value.low, value.high))
    return replace(value, mean=value.mean + by, low=low, high=high)


def _log(value: Estimate) -> Estimate:
    """The logarithm of a positive estimate with a positive interval; its standard error is the relative one."""
    assert value.low is not None
    assert value.high is not None
    sem = None if value.sem is None else value.sem / value.mean
    low, high, pooled = math.log(value.low), math.log(value.high), weighted(value.pooled, 1 / value.mean)
    return replace(value, mean=math.log(value.mean), sem=sem, low=low, high=high, pooled=pooled)


def _log_of_run(run: Estimate) -> Estimate:
    """The logarithm of a run's mean, with its relative standard error."""
    sem = None if run.sem is None else run.sem / run.mean
    return replace(run, mean=math.log(run.mean), sem=sem, low=None, high=None)


def _sem(a: Estimate, b: Estimate) -> tuple[float | None, float | None]:
    """Standard error of a sum or difference and its degrees of freedom (Welch and Satterthwaite).

    Shares v and w of the variance that come of one pooled spread are one share, v + w: beside v² + w², over the
    spread's degrees of freedom, there is 2 v w.
    """
    if a.sem is None or b.sem is None:
        return None, None
    parts = [Part(v.sem**2, freedom_of(v)) for v in (a, b) if v.sem is not None]
    sem, freedom = math.hypot(a.sem, b.sem), welch_satterthwaite(parts)
    both = [(v / sem**2, b.pooled[s] / sem**2, s) for s, v in a.pooled.items() if s in b.pooled and sem > 0]
    return sem, 1 / (1 / freedom + math.fsum(2 * v * w / s.freedom for v, w, s in both)) if both else freedom
