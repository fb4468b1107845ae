"""Cluster bootstrap intervals of quantiles: runs of one model are not independent of one another. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from joulebench.stats.estimate import Estimate

RESAMPLES = 1000
#: Fewer groups than this resample into themselves too often for an interval to mean anything.
MIN_GROUPS = 5


def quantile(values: Sequence[float], groups: Sequence[Hashable], share: float, varied: str) -> Estimate:
    """A quantile of `values` with the 95 % percentile interval of the bootstrap over groups (Efron 1979).

    Groups are drawn with replacement, each with all its values; `n` is the number of values. Without an interval
    where there are fewer than `MIN_GROUPS`. The draws have a seed of their own: the same values, the same interval.

    Raises:
        ValueError: no values, or not one group a value.
    """
    if not values or len(values) != len(groups):
        raise ValueError(f"{len(values)} values in {len(groups)} groups")
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    value = float(np.quantile(values, share))
    if len(index) < MIN_GROUPS:
        return Estimate(value, len(values), None, None, None, varied)
    order = np.argsort(values, kind="stable")
    ranked, owner = np.asarray(values, dtype=float)[order], np.asarray([index[g] for g in groups])[order]
    drawn = np.random.default_rng(0).multinomial(len(index), np.full(len(index), 1 / len(index)), size=RESAMPLES)
    below = np.cumsum(drawn[:, owner], axis=1)  # values drawn, up to each rank
    again = ranked[(below < share * below[:, -1:]).sum(axis=1)]
    low, high = (float(end) for end in np.quantile(again, (0.025, 0.975)))
    return Estimate(value, len(values), float(np.std(again)), low, high, varied)


def folds(groups: Sequence[Hashable], most: int) -> list[set[Hashable]]:
    """Cross-validation folds: the groups in `most` seeded random parts, or one each if there are fewer."""
    distinct = list(dict.fromkeys(groups))
    order = np.random.default_rng(0).permutation(len(distinct))
    count = min(most, len(distinct))
    return [{distinct[i] for i in order[start::count]} for start in range(count)]
