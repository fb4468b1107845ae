"""Joules over time from samples of a power or of an energy counter, and what is wrong with them. Pure.

The rules are those of the other meters, for meters that are asked once a second rather than 25 times: what was not
seen for three intervals is a gap, a counter that went back was reset, one that stands still is stuck, and no part
draws more than it can. What is at fault is said, and never filled in.

At a window's edge the last sample is some time old. From it the power goes on that was read last (of a counter: its
mean since the update before, for one update at most), which is exact where power is steady. Once a later sample
shows what the energy was at the edge, a window whose start was wrong by more than `EDGE_SHARE` of its joules is at
fault.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from joulebench.records.model import Fault, FaultKind

#: A meter is asked every `interval_s`. What it read is unknown where it was not seen for this many of them (and for
#: `MIN_GAP_S`).
GAP_PERIODS, MIN_GAP_S = 3, 1.0
#: A counter is stuck that stood still for this many of its usual updates; before some are known, for so long.
STUCK_UPDATES, STUCK_UNKNOWN_S = 3, 120.0
#: One that moves by its smallest step alone waits for that energy: a part that is switched on draws this at least.
MIN_DRAW_W = 1.0
#: Share of a window's joules by which its start may be wrong.
EDGE_SHARE = 0.01
_KEPT = 9  # updates that a usual one is taken from

_Energy = Callable[[float], float]  # joules at a time


class Stretch(NamedTuple):
    """Mean power over a stretch of time, at its middle."""

    at_s: float
    watts: float


class _Edge(NamedTuple):
    """A window's edge: the joules that were told there, and those that later samples showed."""

    at_s: float
    told_j: float
    shown_j: float | None = None


class Track:
    """Joules since the first sample.

    Args:
        is_power: samples are of power; else of an energy counter.
        size: watts or joules of one unit of the samples.
        interval_s: how often it is asked.
        max_w: more than this its part cannot draw.
        wraps_at: value after which a counter starts at 0 again; None for one that does not.
        delay_s: by how much its values are behind, where that is known.
    """

    def __init__(
        self,
        *,
        is_power: bool,
        size: float,
        interval_s: float,
        max_w: float,
        wraps_at: float | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._is_power, self._size, self._max_w = is_power, size, max_w
        self._wraps_at, self._delay_s, self._interval_s = wraps_at, delay_s, interval_s
        self.gap_s = max(MIN_GAP_S, GAP_PERIODS * interval_s)
        self._seen_s: float | None = None  # when the last sample was taken
        self._value = 0.0  # and what it was, in W or in the counter's unit
        self._point = (0.0, 0.0)  # when energy was last known, and what it was
        self._watts, self._most_j = 0.0, math.inf  # at which it goes on from there, for at most so much
        self._steps: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # seconds and joules of the last updates
        self._smallest = math.inf  # change of the samples that was seen, in W or J
        self._edge: _Edge | None = None
        self._told_j = 0.0
        self._why = ""
        self._faults: dict[FaultKind, str] = {}
        self.updates = 0

    def add(self, asked_s: float, value: float, taken_s: float | None = None) -> Stretch | None:
        """Take a sample; one that is no newer than the last is none.

        Args:
            asked_s: when it was asked for; `taken_s`: when it was taken, if the meter says so. Both by the clock
                that windows are cut by.

        Returns:
            The power since the last sample or update, where this one tells it.
        """
        at_s = (asked_s if taken_s is None else taken_s) - self._delay_s
        if self._seen_s is not None and at_s <= self._seen_s:
            self._why = "its values are no newer"
            return None
        if (problem := self._implausible(value)) is not None:
            self._note(problem.kind, problem.text)
            self._why = problem.text
            return None
        first, gap_s = self._seen_s is None, at_s - (at_s if self._seen_s is None else self._seen_s)
        if gap_s > self.gap_s:
            self._note(FaultKind.SAMPLING_GAP, f"was not sampled for {gap_s:.1f} s{self._because()}")
        self._seen_s, self._why = at_s, ""
        if first:
            self._value, self._point = value, (at_s, 0.0)
            self._watts = value * self._size if self._is_power else 0.0
            return Stretch(at_s, self._watts) if self._is_power else None
        return self._add_power(at_s, value) if self._is_power else self._add_count(at_s, value)

    def miss(self, why: str) -> None:
        """Note why there was no sample; its time becomes a gap if it lasts."""
        self._why = why

    def _implausible(self, value: float) -> Fault | None:
        """Why a sample is no reading: no number, nothing, or more than its part can draw."""
        if not math.isfinite(value):
            return Fault(kind=FaultKind.NO_NUMBER, text="reads no number")
        if self._is_power and value * self._size > self._max_w:
            text = f"reads {value * self._size:.4g} W, and {self._max_w:g} W are the most that it can"
            return Fault(kind=FaultKind.IMPOSSIBLE_POWER, text=text)
        if value < 0 or (self._is_power and value == 0):
            unit = "W" if self._is_power else "J"
            return Fault(kind=FaultKind.IMPOSSIBLE_READING, text=f"reads {value * self._size:.4g} {unit}")
        return None

    def _add_power(self, at_s: float, value: float) -> Stretch:
        began_s, energy_j = self._point
        watts, before_w = value * self._size, self._watts
        if watts != before_w:
            self._smallest = min(self._smallest, abs(watts - before_w))
        self._settle(at_s, lambda t: energy_j + _ramp_j(t - began_s, at_s - began_s, before_w, watts))
        self._steps.append((at_s - began_s, 0.0))
        self._point = (at_s, energy_j + (at_s - began_s) * (before_w + watts) / 2)
        self._value, self._watts = value, watts
        self.updates += 1
        return Stretch(at_s, watts)

    def _add_count(self, at_s: float, value: float) -> Stretch | None:
        began_s, energy_j = self._point
        seconds = at_s - began_s
        if value == self._value:
            if seconds > self._patience_s():
                self._note(FaultKind.COUNTER_STUCK, f"stood still for {seconds:.3g} s")
            return None
        step_j = self._step_j(value, seconds)
        self._value = value
        if step_j is None:
            self._point, self._watts, self._edge = (at_s, energy_j), 0.0, None
            self._steps.clear()
            return None
        watts = step_j / seconds
        self._settle(at_s, lambda t: energy_j + watts * (t - began_s))
        self._smallest = min(self._smallest, step_j, *self._differences(step_j))
        self._steps.append((seconds, step_j))
        self._point, self._watts, self._most_j = (at_s, energy_j + step_j), watts, step_j
        self.updates += 1
        return Stretch((began_s + at_s) / 2, watts)

    def _step_j(self, value: float, seconds: float) -> float | None:
        """Joules from the counter's last value to this one; None where no power explains them, which is noted."""
        step = value - self._value
        if step < 0 and self._wraps_at is not None:
            step += self._wraps_at
        step_j = step * self._size
        if 0 <= step_j <= self._max_w * (seconds + self._interval_s):
            return step_j
        if value < self._value:
            back_j = (self._value - value) * self._size
            self._note(FaultKind.COUNTER_RESET, f"went back by {back_j:.3g} J: it was reset")
        else:
            text = f"went up by {step_j:.3g} J in {seconds:.2g} s, of which {self._max_w:.4g} W explain a part"
            self._note(FaultKind.IMPOSSIBLE_POWER, text)
        return None

    def _differences(self, step_j: float) -> list[float]:
        """How much this step differs from the last one, if it does by more than rounding."""
        change_j = abs(step_j - self._steps[-1][1]) if self._steps else 0.0
        return [change_j] if change_j > 1e-6 * step_j else []

    def _patience_s(self) -> float:
        """How long a counter may stand still."""
        if len(self._steps) < 3:
            return STUCK_UNKNOWN_S
        if median(j for _, j in self._steps) <= 2 * self._smallest:  # it moves when there is a step to show
            return max(self._smallest / MIN_DRAW_W, self.gap_s)
        return max(STUCK_UPDATES * median(s for s, _ in self._steps), self.gap_s)

    def _settle(self, at_s: float, energy_j: _Energy) -> None:
        """Keep what the energy was at the last edge, once a sample after it tells."""
        edge = self._edge
        if edge is not None and edge.shown_j is None and at_s >= edge.at_s:
            self._edge = edge._replace(shown_j=energy_j(edge.at_s))

    def read(self, now_s: float) -> tuple[float, int, Fault | None]:
        """Joules now, the number of samples or updates so far, and what went wrong since the last read."""
        began_s, energy_j = self._point
        ahead_s = min(max(0.0, now_s - began_s), self._delay_s + max(self.gap_s, self.update_s or 0.0))
        ahead_j = min(self._watts * ahead_s, self._most_j)
        told_j = max(self._told_j, energy_j + ahead_j)  # a counter only grows: what was too much comes off later
        if self._seen_s is not None and (age_s := now_s - self._seen_s - self._delay_s) > self.gap_s:
            self._note(FaultKind.SAMPLING_GAP, f"has had no new value for {age_s:.1f} s{self._because()}")
        if self._edge is not None and self._edge.shown_j is not None:
            off_j, window_j = abs(self._edge.shown_j - self._edge.told_j), told_j - self._edge.told_j
            if off_j > EDGE_SHARE * window_j:
                text = f"changed at the window's start, which it knows to {off_j:.3g} J of {window_j:.3g} J"
                self._note(FaultKind.FEW_UPDATES, text)
        self._edge, self._told_j = _Edge(now_s, told_j), told_j
        fault = Fault.joined(Fault(kind=kind, text=text) for kind, text in self._faults.items())
        self._faults = {}
        return told_j, self.updates, fault

    def _note(self, kind: FaultKind, text: str) -> None:
        self._faults.setdefault(kind, text)

    def _because(self) -> str:
        return f" ({self._why})" if self._why else ""

    @property
    def started(self) -> bool:
        """Whether it has had a sample."""
        return self._seen_s is not None

    @property
    def why(self) -> str:
        """Why there was no sample the last time; empty if there was."""
        return self._why

    @property
    def latest(self) -> float:
        """The last sample, in watts or joules."""
        return self._value * self._size

    @property
    def update_s(self) -> float | None:
        """Usual seconds between updates; None before there are any."""
        return median(s for s, _ in self._steps) if self._steps else None

    @property
    def resolution(self) -> float | None:
        """Smallest change that was seen, in watts or joules; None before there is any."""
        return self._smallest if math.isfinite(self._smallest) else None


def _ramp_j(seconds: float, of_s: float, first_w: float, last_w: float) -> float:
    """Joules of the first `seconds` of `of_s`, in which power goes from one value to the other on a line."""
    return seconds * (first_w + (last_w - first_w) * seconds / of_s / 2)
