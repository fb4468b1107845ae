"""Decision on one benchmark from its pairs of processes, measured in turn. Pure.

`regressed`: the typical ratio or that of totals lies above 1 beyond doubt (corrected for the number of benchmarks
and for the two ratios), and its 95 % interval above the threshold. `passed`: the intervals of both lie below the
threshold, there have been enough processes to see one of a rare dear kind, and those that lie far off are not
mostly dear. `improved`: passed, and the typical ratio lies below 1 beyond doubt. Else `undecided`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.gate import statistics
from joulebench.gate.model import Settings
from joulebench.gate.verdict import Outcome, few_processes
from joulebench.stats import paired_ratio
from joulebench.stats.paired_ratio import LEVEL, Shift

#: p-value of the test on outlying processes. It is large, since all that it can do is to withhold a pass.
OUTLYING = 0.15


@dataclass(frozen=True)
class Pairs:
    """One benchmark in pairs of processes.

    Attributes:
        ratios: logarithm of current over baseline, typical of each pair's windows.
        baseline: mean per unit of each process.
        current: likewise.
    """

    ratios: Sequence[float]
    baseline: Sequence[float]
    current: Sequence[float]


@dataclass(frozen=True)
class Decision:
    """Outcome by the pairs so far; `total` where the ratio of totals, not the typical one, made it a regression."""

    outcome: Outcome
    reason: str = ""
    total: bool = False


def decide(pairs: Pairs, share: float, benchmarks: int, settings: Settings) -> Decision:
    """Decide at a look that has a share of the error probability.

    Args:
        benchmarks: their number in the gate; a false regression or improvement of any is a false one of the gate.
    """
    limit = math.log1p(settings.threshold)
    plain, sure = LEVEL * share, sure_level(benchmarks, settings) * share
    ratios, lower = pairs.ratios, [-ratio for ratio in pairs.ratios]
    total = paired_ratio.total(pairs.baseline, pairs.current, plain)
    if paired_ratio.chance(ratios, limit) <= plain and paired_ratio.chance(ratios, 0.0) <= sure:
        return Decision(Outcome.REGRESSED, "the typical process is dearer")
    if total.low > limit and paired_ratio.total(pairs.baseline, pairs.current, sure).low > 0:
        return Decision(Outcome.REGRESSED, "the total is dearer", total=True)
    if (few := statistics.pairs_without(settings.rare)) > len(ratios):
        return Decision(Outcome.UNDECIDED, few_processes(len(ratios), "pairs", few, settings.rare))
    if paired_ratio.chance(lower, -limit) > plain:
        return Decision(Outcome.UNDECIDED, "the interval of the typical ratio includes the threshold")
    if total.high > limit:
        return Decision(Outcome.UNDECIDED, "the interval of the ratio of totals includes the threshold")
    above, below = paired_ratio.outlying(ratios)
    if statistics.one_sided(above, below) <= OUTLYING:
        return Decision(Outcome.UNDECIDED, f"{above} outlying pairs are dearer, {below} cheaper")
    if paired_ratio.chance(lower, 0.0) <= sure and total.estimate < 0:
        return Decision(Outcome.IMPROVED, "the typical process is cheaper")
    return Decision(Outcome.PASSED)


def confirms(rerun: Pairs, found: Decision, settings: Settings) -> bool:
    """Whether the pairs of a rerun alone say the same: that their ratio lies on the same side."""
    ratio = alone(rerun, found).estimate
    return ratio > math.log1p(settings.threshold) if found.outcome is Outcome.REGRESSED else ratio < 0


def alone(rerun: Pairs, found: Decision) -> Shift:
    """The ratio of a rerun: the one that had been found to be dearer or cheaper."""
    if found.total:
        return paired_ratio.total(rerun.baseline, rerun.current, LEVEL)
    return paired_ratio.paired(rerun.ratios, LEVEL)


def sure_level(benchmarks: int, settings: Settings) -> float:
    """One-sided level of one claim of a gate: that the typical ratio of a benchmark, or the total, changed."""
    return statistics.family_level(2 * benchmarks, settings.false_alarms)
