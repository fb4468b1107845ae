"""Lag of an energy counter: how far its joules are behind the power that the same sensor gives at once. Pure.

Each move of a counter adds the joules of a span of time that lies in the past. Where power changes, the lag is what
the span has to be moved back by for integrated power to explain the moves, in least squares; at steady power every
lag explains them alike, and none is given.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

STEP_S = 0.005
MAX_LAG_S = 0.5
MIN_MOVES = 4
#: Lags whose squares are less than this multiple of the least ones may be the true one too.
ALIKE, LEAST = 4.0, 0.03
#: Joules of moves change where their standard deviation is more than this share of them; power explains them where
#: it leaves less than this share of that deviation open.
CHANGES, OPEN = 0.05, 0.05
#: A lag is known where those that may be the true one too span less than this.
KNOWN_S = 0.06


@dataclass(frozen=True)
class Lag:
    """Lag of a counter: the best one, and by how much it may be off."""

    lag_s: float
    off_s: float


def find_lag(moves: Sequence[tuple[float, float]], power: Sequence[tuple[float, float]]) -> Lag | None:
    """The lag that explains a counter's moves; None where power was too steady, or explains them with none.

    Args:
        moves: times at which the counter moved, s, and by how much, J; the first only says when the next one began.
        power: times and watts, at least from `MAX_LAG_S` before the moves that are to count.
    """
    integral = _integral(power)
    if len(integral) < 2:
        return None
    tried = [n * STEP_S for n in range(round(MAX_LAG_S / STEP_S) + 1)]
    spans = [(a[0], b[0], b[1]) for a, b in pairwise(moves) if a[0] - MAX_LAG_S >= integral[0][0]]
    if len(spans) < MIN_MOVES:
        return None
    joules = [j for _, _, j in spans]
    varied = sum((j - fmean(joules)) ** 2 for j in joules)
    if varied <= CHANGES**2 * sum(j**2 for j in joules):
        return None
    squares = [_squares(spans, integral, lag_s) for lag_s in tried]
    least = min(squares)
    if least > OPEN**2 * varied:
        return None
    # what power leaves open at best may be small by chance
    alike = [lag_s for lag_s, s in zip(tried, squares, strict=True) if s <= max(ALIKE * least, LEAST**2 * varied)]
    low_s, high_s = min(alike) - STEP_S, max(alike) + STEP_S
    if high_s - low_s > KNOWN_S or high_s > MAX_LAG_S:
        return None
    return Lag(tried[squares.index(least)], (high_s - low_s) / 2)


def _integral(power: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Joules up to each time, by the trapezoidal rule."""
    points, joules = list(power[:1] and [(power[0][0], 0.0)]), 0.0
    for (a_s, a_w), (b_s, b_w) in pairwise(power):
        joules += (b_s - a_s) * (a_w + b_w) / 2
        points.append((b_s, joules))
    return points


def _squares(
    spans: Sequence[tuple[float, float, float]], integral: Sequence[tuple[float, float]], lag_s: float
) -> float:
    """What power leaves open of the moves at this lag, with the scale between the sensors that suits it best."""
    drawn = [_at(integral, b_s - lag_s) - _at(integral, a_s - lag_s) for a_s, b_s, _ in spans]
    weight = sum(d**2 for d in drawn)
    scale = sum(d * joules for d, (_, _, joules) in zip(drawn, spans, strict=True)) / weight if weight > 0 else 0.0
    return sum((joules - scale * d) ** 2 for d, (_, _, joules) in zip(drawn, spans, strict=True))


def _at(integral: Sequence[tuple[float, float]], time_s: float) -> float:
    """Joules up to a time, linear between samples."""
    after = min(len(integral) - 1, max(1, bisect.bisect_left(integral, (time_s, float("-inf")))))
    (a_s, a_j), (b_s, b_j) = integral[after - 1], integral[after]
    return a_j + (b_j - a_j) * (time_s - a_s) / (b_s - a_s)
