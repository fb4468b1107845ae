"""Statistics of the decision, beside the ratios of pairs (`joulebench.stats.paired_ratio`). Pure.

Pairs are judged while they come, at looks that share the error probability (Bonferroni): whatever the statistic is,
and however looks depend on one another, all of them together err no more often than one that had it all.

A stored baseline is compared by session, with the variance between sessions estimated from their spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from joulebench.stats.estimate import t_quantile
from joulebench.stats.paired_ratio import LEVEL, Shift

#: Share of the error probability that looks may have spent, at 1/5, 2/5, … of the budget: most is for the last.
SPENT_BY_LOOK = (0.05, 0.15, 0.30, 0.50, 1.0)
LOOKS = len(SPENT_BY_LOOK)
MAX_NEEDED = 10_000


def ratio_text(shift: Shift | None) -> str:
    """Format exp(shift) with its interval as `1.004 [0.991, 1.017]`; empty for None."""
    if shift is None:
        return ""
    if not math.isfinite(shift.half_width):
        return f"{math.exp(shift.estimate):.3f} [no interval]"
    return f"{math.exp(shift.estimate):.3f} [{math.exp(shift.low):.3f}, {math.exp(shift.high):.3f}]"


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
