"""How long a step takes: quantiles over the steps of a phase's valid windows, with intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from joulebench.records.model import Window
from joulebench.results.energy import invalidity
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate

CONFIDENCE = 0.95
STEPS = "steps within a run"


def latency(windows: Iterable[Window], phase: str, quantile: float, protocol: Protocol) -> Estimate | None:
    """A quantile of the seconds that a step of `phase` took; None where no valid window kept its steps' times."""
    seconds = [
        s for w in windows if w.phase == phase and w.step_s and invalidity(w, protocol) is None for s in w.step_s
    ]
    return quantile_of(seconds, quantile) if seconds else None


def quantile_of(values: Sequence[float], quantile: float) -> Estimate:
    """The quantile (linear between order statistics) and its distribution-free 95 % interval.

    The ends are the order statistics x_(l), x_(u) with P(l ≤ B < u) ≥ 0.95 for B ~ Binomial(n, quantile)
    (David & Nagaraja, "Order Statistics", 2003, section 7.1). Where n is too small for the upper or the lower one
    there is no interval. Steps are taken as independent.

    Raises:
        ValueError: no values.
    """
    from scipy.stats import binom  # importing it takes a second, and few runs ask for a latency

    if not values:
        raise ValueError("a quantile needs at least one value")
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    tail = (1 - CONFIDENCE) / 2
    low_rank = int(binom.ppf(tail, n, quantile))  # P(B < low_rank) ≤ tail
    high_rank = int(binom.ppf(1 - tail, n, quantile)) + 1  # P(B ≥ high_rank) ≤ tail
    known = low_rank >= 1 and high_rank <= n
    return Estimate(
        mean=float(np.quantile(ordered, quantile)),
        n=n,
        sem=None,
        low=float(ordered[low_rank - 1]) if known else None,
        high=float(ordered[high_rank - 1]) if known else None,
        varied=STEPS,
    )
