"""Costs that are paid once and for each unit of use: which of several models is cheapest at which volume. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import difference, ratio


@dataclass(frozen=True)
class Bill:
    """Joules paid once (training) and for each unit of use (inference)."""

    name: str
    once: Estimate
    each: Estimate

    def total_j(self, units: float) -> float:
        return self.once.mean + units * self.each.mean


@dataclass(frozen=True)
class Crossover:
    """The volume from which on `after` costs less in all than `before`, with the ends of its 95 % interval: no
    upper one where the difference per unit may be zero, neither where an estimate it needs has no interval."""

    before: str
    after: str
    units: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Stretch:
    """From `from_units` to the next stretch `name` costs least in all; `crossover` is None for the first."""

    name: str
    from_units: float
    crossover: Crossover | None


def crossover(before: Bill, after: Bill) -> Crossover | None:
    """Where `after`, dearer once and cheaper for each unit, begins to cost less; None where it is not so.

    With an interval on both differences that of their ratio; where what is paid once has none (a single training),
    it is taken as measured and the interval is that of the difference for each unit alone.
    """
    once, each = difference(after.once, before.once), difference(before.each, after.each)
    if once.mean <= 0 or each.mean <= 0:
        return None
    units = once.mean / each.mean
    if once.low is not None and once.low > 0 and each.low is not None and each.low > 0:
        both = ratio(once, each)
        assert both is not None
        return Crossover(before.name, after.name, units, both.low, both.high)
    if once.low is not None or each.high is None:
        return Crossover(before.name, after.name, units, None, None)
    high = once.mean / each.low if each.low is not None and each.low > 0 else None
    return Crossover(before.name, after.name, units, once.mean / each.high, high)


def cheapest(bills: Sequence[Bill]) -> tuple[Stretch, ...]:
    """The models that cost least in all, by rising volume: the lower envelope of their lines."""
    if not bills:
        return ()
    now = min(bills, key=lambda b: (b.once.mean, b.each.mean, b.name))
    stretches = [Stretch(now.name, 0.0, None)]
    while True:
        later = [(c, b) for b in bills if (c := crossover(now, b)) is not None]
        if not later:
            return tuple(stretches)
        # of those that cross at the same volume the one that rises least stays below the others
        crossed, now = min(later, key=lambda pair: (pair[0].units, pair[1].each.mean))
        stretches.append(Stretch(now.name, crossed.units, crossed))
