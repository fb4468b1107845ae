"""Medians and their intervals by order statistics: no distribution is assumed, and infinity is a value. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Median:
    """A median of n values and its 95 % interval; without ends for fewer than 6, which allow none."""

    value: float
    low: float | None
    high: float | None
    n: int


def median(values: Sequence[float]) -> Median:
    """The median, and from the k-th smallest value to the k-th largest, where k is the largest that leaves at most
    2.5 % in each tail: P(Binomial(n, ½) < k) ≤ 0.025. Covers at least 95 % whatever the distribution.

    Infinite values (a level not reached) take part in the order.

    Raises:
        ValueError: no values.
    """
    ordered, n = sorted(values), len(values)
    if not ordered:
        raise ValueError("a median needs at least one value")
    lower, upper = ordered[(n - 1) // 2], ordered[n // 2]
    middle = lower if lower == upper else (lower + upper) / 2
    k, below = 0, 0
    while (below := below + math.comb(n, k)) <= 0.025 * 2**n:
        k += 1
    return Median(middle, ordered[k - 1] if k else None, ordered[n - k] if k else None, n)
