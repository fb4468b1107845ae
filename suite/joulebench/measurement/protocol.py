"""Measurement protocol: contiguous windows on one timeline, idle baseline, warm-up, repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from joulebench.host.clock import Clock
from joulebench.meters.base import Meter, difference
from joulebench.records.model import Fault, FaultKind, Window
from joulebench.results.energy import phase_energy
from joulebench.results.validity import MIN_COUNTER_UPDATES, invalidity
from joulebench.spec.task import Protocol
from joulebench.workloads.base import Phase

ALL_DOMAINS = ("gpu", "cpu", "ram")
IDLE_WINDOWS = 4
MARGIN = 1.05  # windows are planned this much longer than the minimum
MAX_STEPS = 2**20


class Timeline:
    """Timeline of contiguous windows: every joule falls in exactly one.

    `cut(phase)` ends the window since the last cut and names its phase.
    """

    def __init__(
        self,
        meter: Meter,
        clock: Clock,
        synchronize: Callable[[], None] = lambda: None,
        node: str | None = None,
    ) -> None:
        self.clock = clock
        self.node = node
        self._meter = meter
        self.synchronize = synchronize  # waits until the device has done all its work
        self._windows: list[Window] = []

    def start(self) -> None:
        """Start the meter and the first window."""
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

    def cut(
        self,
        phase: str,
        *,
        units: int = 0,
        steps: int = 0,
        of: str | None = None,
        step_s: tuple[float, ...] = (),
    ) -> Window:
        """Synchronise the device, end the current window as `phase`, and begin the next."""
        self.synchronize()
        utc, start_s, counters, integrals = self._utc, self._start_s, self._counters, self._integrals
        self._mark()
        readings, fault = difference(counters, self._counters)
        if missing := self._domains - {r.domain for r in readings if r.role == "primary"}:
            # without it the sum would be smaller and the configuration look better than it is
            text = f"no reading of {', '.join(sorted(missing))}"
            fault = fault or Fault(kind=FaultKind.MISSING_READING, text=text)
        window = Window(
            phase=phase,
            of=of,
            start_utc=utc,
            start_s=start_s,
            end_s=self._start_s,
            units=units,
            steps=steps,
            step_s=step_s,
            readings=readings,
            fault=fault,
            conditions=self._means(integrals, self._start_s - start_s),
            node=self.node,
        )
        self._windows.append(window)
        return window

    def _means(self, before: Mapping[str, float], seconds: float) -> dict[str, float]:
        if seconds <= 0:
            return {}
        return {n: round((v - before[n]) / seconds, 6) for n, v in self._integrals.items() if n in before}

    @property
    def pending(self) -> tuple[Window, ...]:
        """The windows since the last `take`."""
        return tuple(self._windows)

    def take(self) -> tuple[Window, ...]:
        """The windows since the last `take`, to be recorded."""
        windows, self._windows = tuple(self._windows), []
        return windows


def cool_down(timeline: Timeline, protocol: Protocol) -> None:
    """Wait for `cooldown_s` after training, so that its heat does not affect the measurement."""
    if protocol.cooldown_s > 0:
        timeline.clock.sleep(protocol.cooldown_s)
        timeline.cut("cooldown")


def measure_idle(timeline: Timeline, protocol: Protocol) -> None:
    """Measure the idle process with its model resident, as the baseline for net energy."""
    if protocol.idle_s <= 0:
        return
    timeline.clock.sleep(protocol.idle_s / IDLE_WINDOWS)
    timeline.cut("settle")
    for _ in range(IDLE_WINDOWS):
        timeline.clock.sleep(protocol.idle_s / IDLE_WINDOWS)
        timeline.cut("idle")


def measure_phase(
    timeline: Timeline, name: str, phase: Phase, protocol: Protocol, domains: Sequence[str] = ALL_DOMAINS
) -> list[Window]:
    """Warm up, then repeat windows until the 95 % half-width is small enough or `max_repeats` are valid.

    Windows that came out invalid stay in the record and are repeated, short ones with more steps; no more than
    `max_repeats` times. The half-width is of gross energy over `domains`.

    Raises:
        ValueError: the phase's step takes no time.
    """
    phase.prepare()
    timeline.cut("prepare", of=name)
    step_s = _warm_up(timeline, name, phase, protocol)
    steps = min(MAX_STEPS, max(1, math.ceil(protocol.window_s * MARGIN / step_s)))
    windows: list[Window] = []
    valid = 0
    while valid < protocol.max_repeats and len(windows) - valid < protocol.max_repeats:
        each_s = _timed(timeline, phase, steps) if phase.timed else _repeat(phase, steps)
        window = timeline.cut(name, units=steps * phase.units, steps=steps, step_s=each_s)
        windows.append(window)
        valid += invalidity(window, protocol) is None
        steps = _long_enough(steps, window, protocol)
        if valid >= protocol.repeats and _narrow(windows, name, protocol, domains):
            break
    return windows


def _repeat(phase: Phase, steps: int) -> tuple[float, ...]:
    step = phase.step
    for _ in range(steps):
        step()
    return ()


def _timed(timeline: Timeline, phase: Phase, steps: int) -> tuple[float, ...]:
    """Run `steps` synchronised steps; the seconds of each, to 7 significant digits."""
    seconds, last_s = [], timeline.clock.now_s()
    for _ in range(steps):
        phase.step()
        timeline.synchronize()
        now_s = timeline.clock.now_s()
        seconds.append(float(f"{now_s - last_s:.7g}"))
        last_s = now_s
    return tuple(seconds)


def _warm_up(timeline: Timeline, name: str, phase: Phase, protocol: Protocol) -> float:
    """Run for at least `warmup_s` and until step time is stable, or for `max_warmup_s`; seconds a step.

    Steps are timed in chunks that double until one is long enough to be timed.
    """
    clock, steps, done = timeline.clock, 1, 0
    start_s = last_s = clock.now_s()
    paces: list[float] = []
    while True:
        _repeat(phase, steps)
        timeline.synchronize()
        now_s = clock.now_s()
        chunk_s, last_s = now_s - last_s, now_s
        done += steps
        if chunk_s >= protocol.window_s / 10:
            paces.append(chunk_s / steps)
            spent_s = now_s - start_s
            if spent_s >= protocol.warmup_s and (
                _settled(paces, protocol.settled_rel) or spent_s >= protocol.max_warmup_s
            ):
                break
        else:
            steps *= 2
        if steps > MAX_STEPS:
            raise ValueError(f"phase '{name}': a step takes no time; nothing can be charged to it")
    timeline.cut("warmup", of=name, units=done * phase.units, steps=done)
    return paces[-1]


def _settled(paces: list[float], tolerance: float) -> bool:
    """Whether the last three step times agree within `tolerance`."""
    last = paces[-3:]
    return len(last) == 3 and max(last) <= (1 + tolerance) * min(last)


def _long_enough(steps: int, window: Window, protocol: Protocol) -> int:
    """Steps for the next window: more if this one had too little time or too few counter updates."""
    updates = [r.counter_updates for r in window.readings if r.role == "primary" and r.counter_updates is not None]
    short = max(
        protocol.window_s / max(window.duration_s, protocol.window_s / 10),
        min(10.0, MIN_COUNTER_UPDATES / max(1, min(updates, default=MIN_COUNTER_UPDATES))),
    )
    return steps if short <= 1 else min(MAX_STEPS, max(steps + 1, math.ceil(steps * short * MARGIN)))


def _narrow(windows: list[Window], name: str, protocol: Protocol, domains: Sequence[str]) -> bool:
    energy = phase_energy(windows, name, domains, protocol)
    half_width = energy.rel_half_width if energy else None
    return half_width is not None and half_width <= protocol.target_rel_ci
