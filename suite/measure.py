"""The measurement protocol: touching windows on one timeline, idle baseline, warm-up, repeats.

Nothing here knows a vendor or a task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from suite.clock import Clock
from suite.energy import invalidity, phase_energy
from suite.meters.base import Meter, difference
from suite.record import Window
from suite.task import Protocol
from suite.workloads.base import Phase

ALL_DOMAINS = ("gpu", "cpu", "ram")
IDLE_WINDOWS = 4
MARGIN = 1.05  # windows are planned this much longer than the minimum
MAX_STEPS = 2**20


class Timeline:
    """Cuts a run's time into windows that touch, so that every joule falls in exactly one.

    `cut(phase)` says what everything since the last cut was.
    """

    def __init__(self, meter: Meter, clock: Clock, synchronize: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self._meter = meter
        self._synchronize = synchronize
        self._windows: list[Window] = []

    def start(self) -> None:
        """Start the meter; the first window begins."""
        self._meter.start()
        self._mark()
        self._domains = {counter.domain for counter in self._counters if counter.role == "primary"}

    def stop(self) -> None:
        self._meter.stop()

    def describe(self) -> list[dict[str, str]]:
        return self._meter.describe()

    def _mark(self) -> None:
        self._integrals = self._meter.integrals()
        self._utc, self._start_s, self._counters = self.clock.utc(), self.clock.now_s(), self._meter.read()

    def cut(self, phase: str, *, units: int = 0, steps: int = 0, of: str | None = None) -> Window:
        """End the current window with the device settled, name it, and begin the next."""
        self._synchronize()
        utc, start_s, counters, integrals = self._utc, self._start_s, self._counters, self._integrals
        self._mark()
        readings, fault = difference(counters, self._counters)
        if missing := self._domains - {r.domain for r in readings if r.role == "primary"}:
            # without it the sum would be smaller and the configuration look better than it is
            fault = fault or f"no reading of {', '.join(sorted(missing))}"
        window = Window(
            phase=phase,
            of=of,
            start_utc=utc,
            start_s=start_s,
            end_s=self._start_s,
            units=units,
            steps=steps,
            readings=readings,
            fault=fault,
            conditions=self._means(integrals, self._start_s - start_s),
        )
        self._windows.append(window)
        return window

    def _means(self, before: Mapping[str, float], seconds: float) -> dict[str, float]:
        if seconds <= 0:
            return {}
        return {n: round((v - before[n]) / seconds, 6) for n, v in self._integrals.items() if n in before}

    def synchronize(self) -> None:
        """Wait until the device has done all it was asked to."""
        self._synchronize()

    def take(self) -> tuple[Window, ...]:
        """The windows since the last `take`, to be recorded."""
        windows, self._windows = tuple(self._windows), []
        return windows


@dataclass(frozen=True)
class _Pace:
    """How long one step takes, as last seen."""

    step_s: float

    def steps_for(self, seconds: float) -> int:
        return min(MAX_STEPS, max(1, math.ceil(seconds / self.step_s)))


def measure_idle(timeline: Timeline, protocol: Protocol) -> None:
    """The settled process with its model resident, in windows of its own: the baseline for net energy."""
    if protocol.idle_s <= 0:
        return
    timeline.clock.sleep(protocol.idle_s / IDLE_WINDOWS)
    timeline.cut("settle")
    for _ in range(IDLE_WINDOWS):
        timeline.clock.sleep(protocol.idle_s / IDLE_WINDOWS)
        timeline.cut("idle")


def measure_phase(timeline: Timeline, name: str, phase: Phase, protocol: Protocol) -> list[Window]:
    """Warm up, then repeat windows until the 95 % half-width is small enough or `max_repeats` are valid.

    Windows that came out invalid stay in the record and are repeated, short ones with more steps; no more than
    `max_repeats` times.

    Raises:
        ValueError: the phase's step takes no time.
    """
    phase.prepare()
    timeline.cut("prepare", of=name)
    pace = _warm_up(timeline, name, phase, protocol)
    steps = pace.steps_for(protocol.window_s * MARGIN)
    windows: list[Window] = []
    valid = 0
    while valid < protocol.max_repeats and len(windows) - valid < protocol.max_repeats:
        _repeat(phase, steps)
        window = timeline.cut(name, units=steps * phase.units, steps=steps)
        windows.append(window)
        valid += invalidity(window, protocol) is None
        if window.duration_s < protocol.window_s:
            steps = _longer(steps, window, protocol)
        if valid >= protocol.repeats and _narrow(windows, name, protocol):
            break
    return windows


def _repeat(phase: Phase, steps: int) -> None:
    step = phase.step
    for _ in range(steps):
        step()


def _warm_up(timeline: Timeline, name: str, phase: Phase, protocol: Protocol) -> _Pace:
    """Run for `warmup_s`, in chunks that double until one is long enough to tell the pace from."""
    clock, steps, done = timeline.clock, 1, 0
    start_s = chunk_s = clock.now_s()
    while True:
        _repeat(phase, steps)
        timeline.synchronize()
        now_s = clock.now_s()
        chunk_s, previous_s = now_s - chunk_s, now_s
        done += steps
        long_enough = chunk_s >= protocol.window_s / 10
        if long_enough and now_s - start_s >= protocol.warmup_s:
            break
        if not long_enough:
            steps *= 2
        if steps > MAX_STEPS:
            raise ValueError(f"phase '{name}': a step takes no time; nothing can be charged to it")
        chunk_s = previous_s
    timeline.cut("warmup", of=name, units=done * phase.units, steps=done)
    return _Pace(chunk_s / steps)


def _longer(steps: int, window: Window, protocol: Protocol) -> int:
    factor = protocol.window_s * MARGIN / max(window.duration_s, protocol.window_s / 10)
    return min(MAX_STEPS, max(steps + 1, math.ceil(steps * factor)))


def _narrow(windows: list[Window], name: str, protocol: Protocol) -> bool:
    energy = phase_energy(windows, name, ALL_DOMAINS, protocol)
    half_width = energy.j_per_unit.rel_half_width if energy else None
    return half_width is not None and half_width <= protocol.target_rel_ci
