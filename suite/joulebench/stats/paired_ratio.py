"""Ratios of what was measured in pairs, with confidence intervals, on logarithms. Pure.

Two things are measured in turn, and a coin says which comes first. Without a difference the sign of each pair's
difference is then random too, whatever the noise and its drift. The interval holds the shifts that Fisher's
randomisation test over all patterns of signs does not reject. Its statistic sums differences clipped at twice their
median size (Huber 1964), which limits the weight of outliers. That is the typical ratio. The ratio of totals, which
is what is paid, counts outliers in full; its interval is Student's t of what remains of each pair beside that
ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from joulebench.stats.estimate import Estimate, t_quantile

#: One-sided level of a 95 % interval.
LEVEL = 0.025
ROUNDS = "rounds"  # what a ratio of rounds is over
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


def ratio_of_rounds(rounds: Iterable[tuple[float | None, float | None]]) -> Estimate | None:
    """Typical ratio of the first to the second of each round, with its 95 % interval.

    Rounds in which either is not known, or not positive, are left out; None where none is left. Without an interval
    where there are too few (`paired`).
    """
    logs = [math.log(a / b) for a, b in rounds if a is not None and b is not None and a > 0 and b > 0]
    if not logs:
        return None
    shift = paired(logs, LEVEL)
    low, high = (math.exp(end) if math.isfinite(end) else None for end in (shift.low, shift.high))
    return Estimate(math.exp(shift.estimate), shift.n, None, low, high, ROUNDS)


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
