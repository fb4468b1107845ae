"""Energy counters that move at regular times: what is seen of one at start, and its joules between its moves.

A counter shows the energy up to its last move, so a difference of two reads may be off by a whole update period of
power. Dead reckoning adds what was drawn since that move: integrated power, scaled to what the counter itself has
shown of late. When it moved is known better than a poll tells, because all moves lie on one grid of known period.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from joulebench.host.clock import Clock
from joulebench.meters.counter_lag import Lag, find_lag

WATCH_POLL_S = 0.002  # polls at start, to see when a counter moves
WATCH_S, MAX_WATCH_S = 1.5, 5.0  # a counter of 1 s moves five times in the longest watch
MOVES, FEW_MOVES = 12, 4  # enough moves, and enough from `WATCH_S` on
POWER_POLL_S = 0.01  # polls of the power beside it, for its lag
STILL_S = 2.5  # a counter that has not moved by then rests with its GPU
#: Prior standard deviation of the reckoned joules, relative, and what no number of moves makes it less than.
PRIOR_SD, LEAST_SD = 0.05, 0.005
#: Weight that each further move leaves to those before it.
FADING = 0.9
MIN_GAIN, MAX_GAIN = 0.5, 2.0  # a power sensor that is further off is none of this counter's part
#: A grid's period follows its moves by this share of what they are off, where these are known to this share of it.
LEARNING, LOCKED = 0.05, 0.25
FITTED = 32  # moves that a period is fitted to
#: How far moves are from the grid at first, and at most, as shares of the period.
FIRST_OFF, MAX_OFF = 0.002, 0.25
KEPT_S = 4.0  # of the integral of power
MAX_PHASE = 0.95  # of a period: a poll that comes later says nothing of where on the grid the move was
#: Polls are the golden section of the counter's period apart, or a whole part of it, so that they fall on all of
#: its phases in turn: within the meter's own period, and never more often than each `MIN_POLL_S`.
GOLDEN, MIN_POLL_S = 0.618, 0.031


@dataclass(frozen=True)
class CounterFacts:
    """What was seen of a counter while it was polled every 2 ms; None where it moved too seldom to tell.

    Attributes:
        period_s: time between two moves.
        longest_s: the longest time that it stood still.
        resolution_j: the largest step that all its moves are multiples of; None where they were all alike.
        watts: power by it.
        moved_s: when it last moved, to `WATCH_POLL_S`; None where that was seen later than it should have been.
        watched_s: for how long it was watched.
        lag: how far its joules are behind the power that is read at once; None where that was too steady to tell.
    """

    period_s: float | None = None
    longest_s: float | None = None
    resolution_j: float | None = None
    watts: float | None = None
    moved_s: float | None = None
    watched_s: float = 0.0
    lag: Lag | None = None

    def __str__(self) -> str:
        if self.period_s is None:
            return f"did not move in {self.watched_s:.1f} s, perhaps because the GPU is at rest"
        resolution = "" if self.resolution_j is None else f" in steps of {self.resolution_j:.3g} J"
        behind = ""
        if self.lag is not None:
            behind = f", {1000 * self.lag.lag_s:.0f} ± {1000 * self.lag.off_s:.0f} ms behind power"
        return f"moves every {self.period_s * 1000:.0f} ms{resolution}{behind}"


@dataclass(frozen=True)
class LearnedCounter:
    """What is known of a counter wherever in the run it is read; `on_module`: it counts more than its GPU."""

    facts: CounterFacts
    on_module: bool = False


@dataclass
class _Watched:
    read: Callable[[], int | None]
    power_w: Callable[[], float | None] | None = None
    last: int | None = None
    polled_s: float = -math.inf
    moved_s: float | None = None
    times_s: list[float] = field(default_factory=list)  # of moves
    steps: list[int] = field(default_factory=list)
    power: list[tuple[float, float]] = field(default_factory=list)

    def poll(self, now_s: float) -> None:
        raw = self.read()
        if raw is None:
            return
        if self.last is not None and raw != self.last:
            self.times_s.append(now_s)
            self.steps.append(raw - self.last)
            self.moved_s = now_s if now_s - self.polled_s <= 2 * WATCH_POLL_S else None
        self.last, self.polled_s = raw, now_s

    def poll_power(self, clock: Clock) -> None:
        if self.power_w is None or (self.power and clock.now_s() - self.power[-1][0] < POWER_POLL_S):
            return
        began_s, watts = clock.now_s(), self.power_w()
        if watts is None:
            self.power_w = None
        else:
            self.power.append(((began_s + clock.now_s()) / 2, watts))

    def is_known(self, spent_s: float) -> bool:
        moves = len(self.times_s)
        if moves == 0:
            return spent_s >= STILL_S
        # also where it moves often: its lag wants a stretch of power
        return (moves >= MOVES and self.power_w is None) or (spent_s >= WATCH_S and moves >= FEW_MOVES)

    def facts(self, unit_j: float, spent_s: float) -> CounterFacts:
        times_s, steps = self.times_s, self.steps
        if len(times_s) < FEW_MOVES or min(steps) < 0:
            return CounterFacts(watched_s=spent_s)
        gaps_s = [b - a for a, b in itertools.pairwise(times_s)]
        # over the whole watch: a poll's delay is shared by all gaps; by their median where moves were missed
        mean_s, median_s = (times_s[-1] - times_s[0]) / len(gaps_s), median(gaps_s)
        period_s = mean_s if abs(mean_s - median_s) < 2 * WATCH_POLL_S + 0.05 * median_s else median_s
        watts = sum(steps[1:]) * unit_j / (times_s[-1] - times_s[0])
        resolution_j = math.gcd(*steps) * unit_j if len(set(steps)) > 2 else None
        moves = [(time_s, step * unit_j) for time_s, step in zip(times_s, steps, strict=True)]
        lag = find_lag(moves, self.power)
        return CounterFacts(period_s, max(gaps_s), resolution_j, watts, self.moved_s, spent_s, lag)


def watch(
    counters: Sequence[Callable[[], int | None]],
    unit_j: float,
    clock: Clock,
    powers: Sequence[Callable[[], float | None]] = (),
) -> list[CounterFacts]:
    """Poll counters until each has moved often enough, for at most `MAX_WATCH_S`.

    Args:
        counters: functions that read the raw counters; None from one that cannot be read.
        unit_j: joules of one count.
        powers: for each counter, a function that reads the power of what it counts at once; None where it cannot.
    """
    beside = itertools.chain(powers, itertools.repeat(None))
    watched = [_Watched(read, power_w) for read, power_w in zip(counters, beside, strict=False)]
    start_s, spent_s = clock.now_s(), 0.0
    while spent_s < MAX_WATCH_S and not all(one.is_known(spent_s) for one in watched):
        for one in watched:
            one.poll(clock.now_s())
        for one in watched:
            one.poll_power(clock)
        clock.sleep(WATCH_POLL_S)
        spent_s = clock.now_s() - start_s
    return [one.facts(unit_j, spent_s) for one in watched]


def poll_s(facts: Sequence[CounterFacts], most_s: float) -> float:
    """Time between two polls of counters, at most `most_s`."""
    periods_s = [one.period_s for one in facts if one.period_s is not None]
    if not periods_s:
        return most_s
    golden_s = GOLDEN * min(periods_s)
    return max(MIN_POLL_S, golden_s / math.ceil(golden_s / most_s - 1e-9))


class UpdateGrid:
    """When a counter last moved, from polls that saw that it had.

    Each move lies between two polls. All moves lie on a grid of one period, to within how far they were seen to be
    off it, so that each narrows down where the next ones are.

    Args:
        period_s: of the grid; None until it is known, and then learned from the moves themselves.
        moved_s: time of a move, where one was seen to `WATCH_POLL_S`.
    """

    def __init__(self, period_s: float | None = None, moved_s: float | None = None) -> None:
        self.period_s = period_s
        self._high_s = math.nan if moved_s is None else moved_s
        self._low_s = self._high_s - WATCH_POLL_S
        self._off_s = FIRST_OFF * (period_s or 0.0)
        self._moves: deque[tuple[int, float]] = deque(
            maxlen=FITTED
        )  # number of a move, and the middle of its polls

    def moved(self, before_s: float, now_s: float) -> None:
        """Take a move between two polls."""
        if self.period_s is None:
            self._learn((before_s + now_s) / 2)
            self._low_s, self._high_s = before_s, now_s
            return
        low_s = max(before_s, now_s - self.period_s)
        # where it moves about as often as it is polled, the poll says all
        if math.isnan(self._low_s) or now_s - low_s > MAX_PHASE * self.period_s:
            self._low_s, self._high_s = low_s, now_s
            return
        before_mid_s = (self._low_s + self._high_s) / 2
        periods = max(1, round(((low_s + now_s) / 2 - before_mid_s) / self.period_s))
        self._moves.append((self._moves[-1][0] + periods if self._moves else 0, (low_s + now_s) / 2))
        reach_s = periods * self.period_s
        first_s, last_s = self._low_s + reach_s - self._off_s, self._high_s + reach_s + self._off_s
        inside = max(first_s, low_s), min(last_s, now_s)
        if inside[0] <= inside[1]:
            if last_s - first_s < LOCKED * self.period_s:  # of a wider span the poll's own place would be learned
                correction_s = (inside[0] + inside[1] - first_s - last_s) / 2
                self.period_s += LEARNING * correction_s / periods
            self._low_s, self._high_s = inside
            self._off_s = max(FIRST_OFF * self.period_s, 0.97 * self._off_s)
        else:  # off the grid: it is wider than was thought, or another one
            self._low_s, self._high_s = low_s, now_s
            self._off_s = min(2 * self._off_s, MAX_OFF * self.period_s)
            self._fit(now_s - low_s)

    def _learn(self, time_s: float) -> None:
        """Take a move of a grid whose period is not known yet, as if none were missed."""
        self._moves.append((len(self._moves), time_s))
        if len(self._moves) >= MOVES:
            self.period_s = _slope(self._moves)
            self._off_s = FIRST_OFF * self.period_s

    def _fit(self, poll_s: float) -> None:
        """Take the period of the last moves where it is another one by more than polls of this length explain."""
        if self.period_s is None or len(self._moves) < MOVES:
            return
        fitted_s = _slope(self._moves)
        if abs(fitted_s - self.period_s) > 3 * poll_s / len(self._moves) ** 1.5:
            self.period_s = fitted_s

    @property
    def last(self) -> tuple[float, float] | None:
        """Time of the last move, and by how much it may be off, s; None before the first."""
        if math.isnan(self._low_s):
            return None
        return (self._low_s + self._high_s) / 2, (self._high_s - self._low_s) / 2


def _slope(points: Sequence[tuple[int, float]]) -> float:
    """Slope of a line by least squares."""
    x, y = fmean(n for n, _ in points), fmean(t for _, t in points)
    return sum((n - x) * (t - y) for n, t in points) / sum((n - x) ** 2 for n, _ in points)


class DeadReckoning:
    """Joules drawn since a counter last moved.

    Args:
        facts: what was seen of the counter at start.
        most_s: no more than this is reckoned: a counter that stands still for longer is at fault.
    """

    def __init__(self, facts: CounterFacts, most_s: float) -> None:
        self.grid = UpdateGrid(facts.period_s, facts.moved_s)
        self._resolution_j = facts.resolution_j or 0.0
        self._most_s = most_s
        self._power: deque[tuple[float, float]] = deque()  # times, and the integral of power up to them, J
        self._moved_j: float | None = None  # the integral when the counter last moved
        self._counted_j = self._integrated_j = 0.0  # of the last moves, older ones fading
        self._weight, self._squares = 1.0, PRIOR_SD**2

    def power(self, now_s: float, integral_j: float, watts: float) -> None:
        """Take the integral of power up to now, and power now, taken to be what it was before the first."""
        if not self._power:
            self._power.append((now_s - KEPT_S, integral_j - watts * KEPT_S))
            self._moved_j = None if self.grid.last is None else integral_j - watts * (now_s - self.grid.last[0])
        self._power.append((now_s, integral_j))
        while now_s - self._power[0][0] > KEPT_S:
            self._power.popleft()

    def moved(self, before_s: float, now_s: float, increase_j: float) -> None:
        """Take a move of the counter between two polls, and what it has shown to be drawn up to it."""
        self.grid.moved(before_s, now_s)
        last, earlier_j = self.grid.last, self._moved_j
        self._moved_j = None if last is None else self._integral_at(last[0])
        if earlier_j is None or self._moved_j is None:
            return
        drawn_j = self._moved_j - earlier_j
        if drawn_j > 0 and increase_j > 0:
            off = increase_j / (self.gain * drawn_j) - 1
            self._weight = FADING * self._weight + 1
            self._squares = FADING * self._squares + min(1.0, off**2)
            self._counted_j = FADING * self._counted_j + increase_j
            self._integrated_j = FADING * self._integrated_j + drawn_j

    @property
    def gain(self) -> float:
        """Joules of the counter for each of integrated power."""
        if self._weight < 4 or self._integrated_j <= 0:  # after some moves the first one's part is small
            return 1.0
        return min(MAX_GAIN, max(MIN_GAIN, self._counted_j / self._integrated_j))

    def _integral_at(self, time_s: float) -> float | None:
        """Integral of power up to a time, linear between samples; None before the first."""
        later: tuple[float, float] | None = None
        for sample in reversed(self._power):
            if sample[0] <= time_s:
                if later is None:
                    return sample[1]
                share = (time_s - sample[0]) / (later[0] - sample[0]) if later[0] > sample[0] else 0.0
                return sample[1] + share * (later[1] - sample[1])
            later = sample
        return None

    def since_move(self, now_s: float, watts: float) -> tuple[float, float | None]:
        """Joules since the last move, and their standard deviation; 0 and None where nothing can be reckoned.

        The deviation holds how well the time of the move is known, how far power was from what the counter then
        showed, and the counter's resolution.
        """
        if self.grid.last is None or self._moved_j is None or not self._power:
            return 0.0, None
        moved_s, off_s = self.grid.last
        drawn_j = self.gain * max(0.0, self._power[-1][1] - self._moved_j)
        if now_s - moved_s > self._most_s:
            drawn_j *= self._most_s / (now_s - moved_s)
        relative = max(LEAST_SD, math.sqrt(self._squares / self._weight))
        timing_j = self.gain * watts * off_s / math.sqrt(3)
        return drawn_j, math.hypot(timing_j, relative * drawn_j, self._resolution_j / math.sqrt(12))
