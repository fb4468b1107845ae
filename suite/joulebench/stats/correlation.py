"""Pearson's and Spearman's correlation coefficients with bootstrap intervals. Pure.

*pearson* is linear correlation of the values, which a few large ones dominate; *pearson_log* that of their
logarithms (base 10); *spearman* that of their ranks.

Intervals are percentile bootstraps (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13): pairs are
drawn again with replacement, seeded, and the 2.5 % and 97.5 % quantiles taken; draws in which either side does
not vary have no coefficient and are left out. They say how much the coefficient depends on which pairs there are,
not how well each was measured. `scipy.stats.bootstrap` of `pearsonr` draws the same pairs from the same seed; it
takes three to ten times as long, and has NaN for an interval with such a draw in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Method = Literal["pearson", "pearson_log", "spearman"]
METHODS: tuple[Method, ...] = get_args(Method)
RESAMPLES = 2000
SEED = 0
#: Of fewer pairs there is no coefficient: two always lie on a line.
MIN_PAIRS = 3
#: Of fewer pairs there is no interval: most draws would hold the same few. At true rank correlations of 0.98 and
#: 0.89 the interval held them in 43 and 75 % of samples of 5, 77 and 88 % of 7, 92 and 99 % of 10.
MIN_FOR_INTERVAL = 10
ROUNDING = 1e-12

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A coefficient over `n` pairs with its 95 % interval, which is absent for few pairs and for ±1."""

    method: Method
    value: float
    low: float | None
    high: float | None
    n: int


def correlation(x: Sequence[float], y: Sequence[float], method: Method) -> Correlation | None:
    """Correlation coefficient; None for fewer than three pairs, a side that does not vary, or undefined logarithms.

    Raises:
        ValueError: `x` and `y` differ in length.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} x but {len(y)} y")
    n = len(x)
    a, b = np.asarray(x, dtype=float)[None], np.asarray(y, dtype=float)[None]
    if n < MIN_PAIRS or not (_varies(a).all() and _varies(b).all()):
        return None
    if method == "pearson_log":
        if min(a.min(), b.min()) <= 0:
            return None
        a, b = np.log10(a), np.log10(b)
    value = float(_coefficients(a, b, method)[0])
    if n < MIN_FOR_INTERVAL or abs(value) > 1 - ROUNDING:  # in perfect order every draw is, too
        return Correlation(method, value, None, None, n)
    drawn = np.random.default_rng([SEED, n]).integers(0, n, (RESAMPLES, n))
    low, high = np.quantile(_coefficients(a[0][drawn], b[0][drawn], method), (0.025, 0.975))
    return Correlation(method, value, float(low), float(high), n)


def _varies(rows: _Array) -> NDArray[np.bool_]:
    varies: NDArray[np.bool_] = (rows != rows[:, :1]).any(axis=1)
    return varies


def _coefficients(a: _Array, b: _Array, method: Method) -> _Array:
    """One coefficient a row, of the rows in which both vary."""
    kept = _varies(a) & _varies(b)
    a, b = a[kept], b[kept]
    if method == "spearman":
        a, b = stats.rankdata(a, axis=1), stats.rankdata(b, axis=1)
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    coefficients: _Array = np.clip((a * b).sum(axis=1) / scale, -1.0, 1.0)
    return coefficients
