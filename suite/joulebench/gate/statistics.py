"""Statistics of the decision: ratios with confidence intervals, on logarithms. Pure.

Interleaved commits give differences of pairs. The order within a pair is random, so without a change the sign of
a difference is random too, whatever the noise and its drift. The interval holds the shifts that Fisher's
randomisation test over all patterns of signs does not reject. Its statistic sums differences clipped at twice their
median size (Huber 1964), which limits the weight of outliers.

A stored baseline is compared by session, with the variance between sessions estimated from their spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
import numpy.typing as npt

from joulebench.stats.estimate import t_quantile

#: One-sided level of a 95 % interval.
LEVEL = 0.025
MAX_NEEDED = 10_000
CUT = 2.0  # times the median size of differences; 1.35 standard deviations where they are normal
PARTS = 16  # of the cut, to which differences are rounded
HALVINGS = 16

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shift:
    """A difference of logarithms with its confidence interval; infinite where there are too few values."""

    estimate: float
    low: float
    high: float
    n: int
    level: float  # one-sided error probability of either end

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def ratio_text(shift: Shift | None) -> str:
    """Format exp(shift) with its interval as `1.004 [0.991, 1.017]`; empty for None."""
    if shift is None:
        return ""
    if not math.isfinite(shift.half_width):
        return f"{math.exp(shift.estimate):.3f} [no interval]"
    return f"{math.exp(shift.estimate):.3f} [{math.exp(shift.low):.3f}, {math.exp(shift.high):.3f}]"


def pseudo_median(values: Sequence[float]) -> float:
    """Hodges-Lehmann estimate: the median of the means of all pairs, each value with itself included.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a location needs at least one value")
    x = np.asarray(values, dtype=float)
    i, j = np.triu_indices(len(x))
    return float(np.median((x[i] + x[j]) / 2))


def paired(differences: Sequence[float], level: float) -> Shift:
    """Estimate the shift of symmetric differences, with the randomisation test's interval.

    Raises:
        ValueError: no differences.
    """
    values = np.asarray(differences, dtype=float)
    n = len(values)
    if n == 0:
        raise ValueError("a shift needs at least one difference")
    middle = float(np.median(values))
    cut = CUT * float(np.median(np.abs(values - middle)))
    first, last = float(values.min()), float(values.max())
    estimate = _crossing(lambda shift: _signed(values - shift, cut).sum() <= 0, first, last)
    if 0.5**n > level:
        return Shift(estimate, -math.inf, math.inf, n, level)
    low = _crossing(lambda shift: _tail(_signed(values - shift, cut)) > level, first, estimate)
    high = _crossing(lambda shift: _tail(-_signed(values - shift, cut)) <= level, estimate, last)
    return Shift(estimate, low, high, n, level)


def _crossing(beyond: Callable[[float], bool], low: float, high: float) -> float:
    """Where `beyond`, false on the left and true on the right, becomes true, by halving."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return (low + high) / 2


def _signed(off: Floats, cut: float) -> Integers:
    """Differences in whole parts of the cut, none beyond it."""
    parts = np.sign(off) if cut == 0 else np.clip(off / cut, -1, 1)
    rounded: Integers = np.rint(parts * PARTS).astype(np.int64)
    return rounded


def _tail(signed: Integers) -> float:
    """The share of all patterns of signs whose sum is at least that of `signed`, by their generating function."""
    sizes = np.abs(signed)
    period = 2 * int(sizes.sum()) + 2
    waves = np.cos(np.outer(sizes, 2 * math.pi / period * np.arange(period // 2 + 1)))
    ways = np.fft.irfft(waves.prod(axis=0), period)  # of sum s at s, of −s at −s
    centred = np.roll(ways, period // 2 - 1)
    return float(centred[period // 2 - 1 + int(signed.sum()) :].sum())


def between_sessions(baseline: Sequence[float], current: Sequence[float], level: float) -> Shift:
    """Estimate the shift between baseline and current sessions, by Student's t with pooled variance.

    With one current session it is a prediction interval. (`scipy.stats.ttest_ind` has the same interval; it warns
    of identical sessions, as replayed ones are.)

    Raises:
        ValueError: fewer than two baseline sessions, or no current one.
    """
    k, m = len(baseline), len(current)
    if k < 2 or m < 1:
        raise ValueError(f"needs two baseline sessions and a current one (got {k} and {m})")
    centre, now = fmean(baseline), fmean(current)
    dof = k + m - 2
    squares = sum((v - centre) ** 2 for v in baseline) + sum((v - now) ** 2 for v in current)
    half = t_quantile(dof, level) * math.sqrt(squares / dof * (1 / k + 1 / m))
    return Shift(now - centre, now - centre - half, now - centre + half, k, level)


def family_level(benchmarks: int, false_alarms: float) -> float:
    """One-sided level for one of a family of benchmarks, by Bonferroni, so that an unchanged family has a false
    regression with a probability of at most `false_alarms`."""
    return min(LEVEL, false_alarms / max(1, benchmarks))


def pairs_needed(shift: Shift, limit: float) -> int | None:
    """Pairs needed until the interval excludes `limit`, if the estimate is right; None above `MAX_NEEDED`.

    The half-width falls as 1 / √n.
    """
    distance = abs(limit - shift.estimate)
    if not math.isfinite(shift.half_width):
        return math.ceil(-math.log2(shift.level))
    if distance == 0:
        return None
    needed = math.ceil(shift.n * (shift.half_width / distance) ** 2)
    return max(shift.n + 1, needed) if needed <= MAX_NEEDED else None


def sessions_needed(baseline: Sequence[float], current: Sequence[float], shift: Shift, limit: float) -> int | None:
    """Baseline sessions needed until the interval excludes `limit`, at the same spread; None above 200."""
    m = len(current)
    dof = len(baseline) + m - 2
    spread = shift.half_width / t_quantile(dof, shift.level) / math.sqrt(1 / len(baseline) + 1 / m)
    for k in range(len(baseline) + 1, 201):
        if t_quantile(k + m - 2, shift.level) * spread * math.sqrt(1 / k + 1 / m) < abs(limit - shift.estimate):
            return k
    return None


def log_median(values: Sequence[float]) -> float:
    """Logarithm of the median of positive values.

    Raises:
        ValueError: no values, or one that is not positive.
    """
    return math.log(median(values))
