"""The statistics of the decision: ratios with intervals, on logarithms. Pure.

Two commits interleaved give differences of pairs. Where nothing changed, the two of a pair may be exchanged, so
their difference is symmetric whatever the noise is: Wilcoxon's signed-rank test is exact, and its interval (Hodges
and Lehmann 1963) bears outliers of almost a third of the pairs. A stored baseline is compared by session: the
difference between a session of now and one of then has the sessions' own variance, which only their spread tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, median

import numpy as np
from scipy import special

#: One-sided level of a 95 % interval: no interval of the gate is narrower.
WIDEST_LEVEL = 0.025
MAX_NEEDED = 10_000


@dataclass(frozen=True)
class Shift:
    """A difference of logarithms with its interval; infinite where so few values cannot tell."""

    estimate: float
    low: float
    high: float
    n: int
    level: float  # one-sided: how often either end may be beyond the truth

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def pseudo_median(values: Sequence[float]) -> float:
    """Hodges and Lehmann's estimate: the median of the means of all pairs, each value with itself included.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a location needs at least one value")
    return float(np.median(_walsh(values)))


def _walsh(values: Sequence[float]) -> np.ndarray:
    x = np.asarray(values, dtype=float)
    i, j = np.triu_indices(len(x))
    means: np.ndarray = np.sort((x[i] + x[j]) / 2)
    return means


def paired(differences: Sequence[float], level: float) -> Shift:
    """The shift of symmetric differences: Hodges and Lehmann's estimate, Wilcoxon's exact interval.

    Raises:
        ValueError: no differences.
    """
    means, n = _walsh(differences), len(differences)
    if n == 0:
        raise ValueError("a shift needs at least one difference")
    cut = _cut(n, level)
    low, high = (-math.inf, math.inf) if cut == 0 else (float(means[cut - 1]), float(means[-cut]))
    return Shift(float(np.median(means)), low, high, n, level)


@cache
def _cut(n: int, level: float) -> int:
    """The largest k with P(T < k) ≤ level, for T the sum of the ranks of positive signs among n fair ones."""
    ways = np.ones(1)
    for rank in range(1, n + 1):
        grown = np.zeros(len(ways) + rank)
        grown[: len(ways)] += ways / 2
        grown[rank:] += ways / 2
        ways = grown
    return int(np.searchsorted(np.cumsum(ways), level, side="right"))


def between_sessions(baseline: Sequence[float], current: Sequence[float], level: float) -> Shift:
    """The shift from sessions of a baseline to those of now, by Student's t with their pooled variance.

    With one session of now it is the interval of a prediction: the spread of the baseline's sessions says how far
    a session of now may lie from them though nothing changed.

    Raises:
        ValueError: fewer than two sessions of the baseline, or none of now.
    """
    k, m = len(baseline), len(current)
    if k < 2 or m < 1:
        raise ValueError("the spread between sessions needs two of the baseline, and one of now")
    centre, now = fmean(baseline), fmean(current)
    dof = k + m - 2
    squares = sum((v - centre) ** 2 for v in baseline) + sum((v - now) ** 2 for v in current)
    half = _t(dof, level) * math.sqrt(squares / dof * (1 / k + 1 / m))
    return Shift(now - centre, now - centre - half, now - centre + half, k, level)


def _t(dof: int, level: float) -> float:
    return float(special.stdtrit(dof, 1 - level))


def two_stage_level(benchmarks: int, false_alarms: float) -> float:
    """One-sided level of each of two independent stages that must both agree, for a family of benchmarks.

    By Bonferroni over the family, of the product of the two: benchmarks · level² ≤ false_alarms.
    """
    return min(WIDEST_LEVEL, math.sqrt(false_alarms / max(1, benchmarks)))


def one_stage_level(benchmarks: int, false_alarms: float) -> float:
    """One-sided level where a rerun shares what made the first stage wrong, and so adds no certainty."""
    return min(WIDEST_LEVEL, false_alarms / max(1, benchmarks))


def pairs_needed(shift: Shift, limit: float) -> int | None:
    """Pairs until the interval would leave `limit`, were the estimate right; None beyond `MAX_NEEDED`.

    The half-width falls as 1 / √n.
    """
    distance = abs(limit - shift.estimate)
    if not math.isfinite(shift.half_width):
        n = shift.n
        while _cut(n, shift.level) == 0:
            n += 1
        return n
    if distance == 0:
        return None
    needed = math.ceil(shift.n * (shift.half_width / distance) ** 2)
    return max(shift.n + 1, needed) if needed <= MAX_NEEDED else None


def sessions_needed(baseline: Sequence[float], current: Sequence[float], shift: Shift, limit: float) -> int | None:
    """Sessions of the baseline until the interval would leave `limit`, with their spread as it is; None if no
    number of them would do: the session of now stays one."""
    m = len(current)
    dof = len(baseline) + m - 2
    spread = shift.half_width / _t(dof, shift.level) / math.sqrt(1 / len(baseline) + 1 / m)
    for k in range(len(baseline) + 1, 201):
        if _t(k + m - 2, shift.level) * spread * math.sqrt(1 / k + 1 / m) < abs(limit - shift.estimate):
            return k
    return None


def log_median(values: Sequence[float]) -> float:
    """Logarithm of the median of positive values: one replicate's, whatever one window of it met.

    Raises:
        ValueError: no values, or one that is not positive.
    """
    return math.log(median(values))
