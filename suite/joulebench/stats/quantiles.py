"""Quantiles with distribution-free intervals by order statistics; values may be infinite. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from joulebench.stats.estimate import Estimate

TAIL = 0.025  # of a 95 % interval


def quantile_of(values: Sequence[float], share: float, varied: str) -> Estimate:
    """Quantile (linear between order statistics) and its distribution-free 95 % interval.

    The ends are the order statistics x_(l), x_(u) with P(l ≤ B < u) ≥ 0.95 for B ~ Binomial(n, share)
    (David & Nagaraja, "Order Statistics", 2003, section 7.1). Where n is too small for the upper or the lower one
    there is no interval. Values are taken as independent; infinite ones (a level not reached) take part in the
    order.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("a quantile needs at least one value")
    ordered = np.sort(np.asarray(values, dtype=float))
    at = share * (n - 1)
    around = ordered[math.floor(at)], ordered[math.ceil(at)]
    # of these two alone: next to infinity NumPy finds NaN
    value = sum(around) if np.isinf(around).any() else np.quantile(around, at % 1)
    lower, upper = _ranks(n, share)
    known = lower >= 1 and upper <= n
    low, high = (float(ordered[lower - 1]), float(ordered[upper - 1])) if known else (None, None)
    return Estimate(float(value), n, None, low, high, varied)


@lru_cache(maxsize=4096)
def _ranks(n: int, share: float) -> tuple[int, int]:
    """l and u, counted from 1; beyond 1 … n where n is too small.

    `scipy.stats.quantile_test` has the same interval, in ten times the time of this without the cache.
    """
    from scipy.stats import binom  # importing it takes a second, and few runs ask for a quantile

    lower, upper = binom.ppf((TAIL, 1 - TAIL), n, share)  # P(B < l) ≤ TAIL and P(B ≥ u) ≤ TAIL
    return int(lower), int(upper) + 1
