"""Statistics of the decision: ratios with confidence intervals, on logarithms. Pure.

Two commits measured in turn give a difference for each pair of processes. A coin says which of two windows comes
first, so without a change the sign of a difference is random too, whatever the noise and its drift. The interval
holds the shifts that Fisher's randomisation test over all patterns of signs does not reject. Its statistic sums
differences clipped at twice their median size (Huber 1964), which limits the weight of outliers. That is the
typical ratio. The ratio of totals, which is what is paid, counts outliers in full; its interval is Student's t of
what remains of each pair beside that ratio.

Pairs are judged while they come, at looks that share the error probability (Bonferroni): whatever the statistic is,
and however looks depend on one another, all of them together err no more often than one that had it all.

A stored baseline is compared by session, with the variance between sessions estimated from their spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from joulebench.stats.estimate import t_quantile

#: One-sided level of a 95 % interval.
LEVEL = 0.025
#: Share of the error probability that looks may have spent, at 1/5, 2/5, … of the budget: most is for the last.
SPENT_BY_LOOK = (0.05, 0.15, 0.30, 0.50, 1.0)
LOOKS = len(SPENT_BY_LOOK)
MAX_NEEDED = 10_000
FAR = 4.0  # standard deviations from the median
MEDIAN_TO_SD = 1.4826  # of the normal distribution
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


def chance(differences: Sequence[float], shift: float) -> float:
    """Probability that differences lie above `shift` as far as these do, were it their true one: one-sided p-value.

    Of the same test as the interval of `paired`. Below: of the negated differences above `-shift`.

    Raises:
        ValueError: no differences.
    """
    if not differences:
        raise ValueError("a test needs at least one difference")
    values = np.asarray(differences, dtype=float)
    middle = float(np.median(values))
    return _tail(_signed(values - shift, CUT * float(np.median(np.abs(values - middle)))))


def total(baseline: Sequence[float], current: Sequence[float], level: float) -> Shift:
    """Estimate the logarithm of the ratio of two totals of paired values, with Student's t interval.

    The standard error is that of `current − ratio · baseline` (Cochran 1977, 6.4); infinite with too few pairs.

    Raises:
        ValueError: no pairs, or values that are not positive.
    """
    before, now = np.asarray(baseline, dtype=float), np.asarray(current, dtype=float)
    n = len(before)
    if n == 0 or not (before > 0).all() or not (now > 0).all():
        raise ValueError("a ratio of totals needs pairs of positive values")
    ratio = float(now.sum() / before.sum())
    estimate = math.log(ratio)
    if n < 2 or 0.5**n > level:  # no more is claimed of few pairs than the randomisation test may claim
        return Shift(estimate, -math.inf, math.inf, n, level)
    rest = (now - ratio * before) / now.mean()
    half = t_quantile(n - 1, level) * math.sqrt(float((rest**2).sum()) / (n - 1) / n)
    return Shift(estimate, estimate - half, estimate + half, n, level)


def outlying(differences: Sequence[float]) -> tuple[int, int]:
    """Count the differences that lie far above their median, and those that lie far below it.

    Far: by `FAR` of the standard deviation that the median size of the others suggests.
    """
    values = np.asarray(differences, dtype=float)
    off = values - np.median(values)
    far = FAR * MEDIAN_TO_SD * float(np.median(np.abs(off)))
    return int((off > far).sum()), int((off < -far).sum())


def one_sided(above: int, below: int) -> float:
    """Probability of so many above, or more, of those that lie far off, if either side is as likely (sign test)."""
    n = above + below
    return math.fsum(math.comb(n, k) for k in range(above, n + 1)) / 2.0**n


def look_share(look: int, last: int) -> float:
    """Share of the error probability that a look has, if `last` was the one before it (0: none)."""
    return SPENT_BY_LOOK[look - 1] - (SPENT_BY_LOOK[last - 1] if last else 0.0)


def pairs_without(share: float) -> int:
    """Number of processes in which one of a kind that makes up `share` of them shows, in 95 % of cases."""
    return math.ceil(math.log(0.05) / math.log1p(-share))


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
