"""Crossover of fixed and per-unit costs: which of several models is cheapest at which volume. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import difference, ratio


@dataclass(frozen=True)
class LinearCost:
    """A fixed cost (training, J) and a cost per unit (inference, J per unit)."""

    name: str
    fixed: Estimate
    per_unit: Estimate

    def total_j(self, units: float) -> float:
        return self.fixed.mean + units * self.per_unit.mean


@dataclass(frozen=True)
class Crossover:
    """The volume beyond which the total cost of `after` is below that of `before`, with its 95 % interval.

    `high` is None where the difference per unit may be zero; both ends where an estimate has no interval.
    """

    before: str
    after: str
    units: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Segment:
    """`name` costs least from `from_units` to the next segment; `crossover` is None for the first."""

    name: str
    from_units: float
    crossover: Crossover | None


def crossover(before: LinearCost, after: LinearCost) -> Crossover | None:
    """The break-even volume, Δfixed / Δper unit; None unless `after` has the higher fixed and the lower unit cost.

    Its interval is that of the ratio; where the fixed costs have none (a single training), they are taken as exact
    and it is that of the difference per unit.
    """
    fixed = difference(after.fixed, before.fixed)
    per_unit = difference(before.per_unit, after.per_unit)
    if fixed.mean <= 0 or per_unit.mean <= 0:
        return None
    units = fixed.mean / per_unit.mean
    if fixed.low is not None and fixed.low > 0 and per_unit.low is not None and per_unit.low > 0:
        both = ratio(fixed, per_unit)
        assert both is not None
        return Crossover(before.name, after.name, units, both.low, both.high)
    if fixed.low is not None or per_unit.high is None:
        return Crossover(before.name, after.name, units, None, None)
    high = fixed.mean / per_unit.low if per_unit.low is not None and per_unit.low > 0 else None
    return Crossover(before.name, after.name, units, fixed.mean / per_unit.high, high)


def lower_envelope(costs: Sequence[LinearCost]) -> tuple[Segment, ...]:
    """The models of least total cost by rising volume: the lower envelope of fixed + units · per unit."""
    if not costs:
        return ()
    now = min(costs, key=lambda c: (c.fixed.mean, c.per_unit.mean, c.name))
    segments = [Segment(now.name, 0.0, None)]
    while True:
        later = [(crossed, c) for c in costs if (crossed := crossover(now, c)) is not None]
        if not later:
            return tuple(segments)
        # at equal volumes the one with the least slope stays lowest
        crossed, now = min(later, key=lambda pair: (pair[0].units, pair[1].per_unit.mean))
        segments.append(Segment(now.name, crossed.units, crossed))
