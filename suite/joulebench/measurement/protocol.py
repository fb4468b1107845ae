"""Measurement protocol: contiguous windows on one timeline, idle baseline, warm-up, repeats."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from joulebench.host.clock import Clock
from joulebench.meters.base import Counter, Meter, difference
from joulebench.records.model import Fault, FaultKind, Window
from joulebench.results.energy import phase_energy
from joulebench.results.validity import MIN_COUNTER_UPDATES, MIN_TICKS, TICK_S, disturbance, idle_fault, judged
from joulebench.spec.task import Protocol
from joulebench.workloads.base import Phase

ALL_DOMAINS = ("gpu", "cpu", "ram")
IDLE_WINDOWS = 4
MAX_IDLE_WINDOWS = 3 * IDLE_WINDOWS  # spoiled ones included
MARGIN = 1.05  # of a window made longer for a counter that moves slowly
MAX_STEPS = 2**20
#: The clock is checked this often in a window, but not more often than every `MIN_CHUNK_S`: a GPU stands still for
#: some 10 µs at each check.
CHUNKS, MIN_CHUNK_S = 20, 0.025
#: Faults of a window that end when others do; it is worth waiting for that.
BY_OTHERS = (FaultKind.OTHER_LOAD, FaultKind.STOLEN_TIME, FaultKind.OTHER_GPU_PROCESS)
POLL_S = 0.25
#: After training, temperature or power is compared over this many successive spans.
COOL_SPAN_S, COOL_SPANS = 1.0, 3
COOL_C, COOL_REL = 1.0, 0.02
_TEMPERATURE = re.compile(r"gpu:\d+_temperature_c")

#: Receives one line of text for the user.
Note = Callable[[str], None]


def no_note(_: str) -> None:
    """Ignore the note."""


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
        self._held: dict[tuple[str, str, str], Fault] = {}  # faults that were read within the window

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
        # conditions after counters: what a meter notices as it is read belongs to the window that ends here
        self._utc, self._start_s, self._counters = self.clock.utc(), self.clock.now_s(), self._read()
        self._integrals = self._meter.integrals()

    def _read(self) -> tuple[Counter, ...]:
        held, self._held = self._held, {}
        counters = self._meter.read()
        return tuple(replace(c, fault=c.fault or held.get(_key(c))) for c in counters) if held else counters

    def peek(self) -> tuple[Counter, ...]:
        """Read the counters within a window; a fault that this read clears stays with the window."""
        counters = self._read()
        self._held = {_key(c): c.fault for c in counters if c.fault is not None}
        return counters

    @property
    def elapsed_s(self) -> float:
        """Seconds since the last cut."""
        return self.clock.now_s() - self._start_s

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
    """Wait after training, so that its heat does not affect the measurement.

    For `cooldown_s`, then until the GPUs' temperatures (where there are none, power) have settled, for at most
    `max_cooldown_s` in all.
    """
    if protocol.cooldown_s > 0:
        timeline.clock.sleep(protocol.cooldown_s)
        timeline.cut("cooldown")
    left_s = protocol.max_cooldown_s - protocol.cooldown_s
    spans: list[Window] = []
    while left_s > 0 and not _cooled(spans[-COOL_SPANS:]):
        timeline.clock.sleep(min(COOL_SPAN_S, left_s))
        spans.append(timeline.cut("cooldown"))
        left_s -= spans[-1].duration_s


def _cooled(spans: Sequence[Window]) -> bool:
    """Whether temperature, or where there is none power, is the same over spans that follow each other."""
    if len(spans) < COOL_SPANS:
        return False
    names = [n for n in spans[-1].conditions if _TEMPERATURE.fullmatch(n)]
    if names:
        series = [[s.conditions[n] for s in spans if n in s.conditions] for n in names]
        return all(max(celsius) - min(celsius) <= COOL_C for celsius in series)
    watts = [sum(r.energy_j for r in s.readings if r.role == "primary") / s.duration_s for s in spans]
    return _agree(watts, COOL_REL)


def measure_idle(timeline: Timeline, protocol: Protocol, note: Note = no_note) -> None:
    """Measure the idle process with its model resident, as the baseline for net energy.

    Spoiled windows stay in the record and are repeated within bounds. After a wait for others the baseline starts
    anew, so that its windows touch.
    """
    if protocol.idle_s <= 0:
        return
    span_s, quiet = protocol.idle_s / IDLE_WINDOWS, _QuietWait(timeline, "idle", protocol, note)
    timeline.clock.sleep(span_s)
    timeline.cut("settle")
    good = 0
    for _ in range(MAX_IDLE_WINDOWS):
        timeline.clock.sleep(span_s)
        fault = idle_fault(timeline.cut("idle"), protocol)
        good += fault is None
        if good == IDLE_WINDOWS:
            return
        if fault is not None and quiet.after(fault):
            good = 0


def measure_phase(
    timeline: Timeline,
    name: str,
    phase: Phase,
    protocol: Protocol,
    domains: Sequence[str] = ALL_DOMAINS,
    *,
    enough: Callable[[Sequence[Window]], bool] = lambda _: False,
    note: Note = no_note,
) -> list[Window]:
    """Warm up, then repeat windows until the 95 % half-width is small enough or `max_repeats` are valid.

    Windows that came out invalid stay in the record and are repeated, no more than `max_repeats` times. Where
    others disturbed them, it first waits until they are quiet. The half-width is of gross energy over `domains`.

    Args:
        enough: asked with the windows so far when `min_windows` are valid, and after every further one: whether
            they suffice although they are fewer than `repeats`.
        note: receives a line when it waits for others.

    Raises:
        ValueError: the phase's step takes no time.
    """
    phase.prepare()
    timeline.cut("prepare", of=name)
    work, quiet = _Work(timeline, name, phase, protocol), _QuietWait(timeline, name, protocol, note)
    work.warm_up()
    windows: list[Window] = []
    window_s = protocol.window_s
    while True:
        steps, each_s = work.run(window_s)
        windows.append(timeline.cut(name, units=steps * phase.units, steps=steps, step_s=each_s))
        faults = [fault for _, fault in judged(windows, name, protocol)]
        valid = faults.count(None)
        if max(valid, len(windows) - valid) >= protocol.max_repeats:
            return windows
        if valid >= protocol.repeats and _narrow(windows, name, protocol, domains):
            return windows
        if protocol.min_windows <= valid < protocol.repeats and enough(windows):
            return windows
        if (fault := faults[-1]) is None:
            continue
        if fault.kind is FaultKind.FEW_UPDATES:
            window_s *= _longer(windows[-1])
        if quiet.after(fault):
            work.warm_up()  # caches and clocks have cooled down meanwhile


class _Work:
    """Steps of a phase, run in chunks; after each the device has done all its work and the clock is checked.

    The number of steps follows the pace of the last chunk.
    """

    def __init__(self, timeline: Timeline, name: str, phase: Phase, protocol: Protocol) -> None:
        self._timeline, self._name, self._phase, self._protocol = timeline, name, phase, protocol
        self._chunk_s = min(protocol.window_s, max(protocol.window_s / CHUNKS, MIN_CHUNK_S))
        self._step_s = self._chunk_s  # as if one step took a chunk, until it is known

    def run(self, window_s: float) -> tuple[int, tuple[float, ...]]:
        """Run until `window_s` have passed since the last cut.

        Returns:
            The number of steps; of a timed phase also the seconds of each, to 7 significant digits.
        """
        timed, done, each_s, left_s = self._phase.timed, 0, [], window_s
        while left_s > 0:
            steps, took_s = self._chunk(1 if timed else self._planned(left_s))
            done += steps
            if timed:
                each_s.append(float(f"{took_s:.7g}"))
            left_s = window_s - self._timeline.elapsed_s
        return done, tuple(each_s)

    def warm_up(self) -> None:
        """Run for at least `warmup_s` and until pace and power have settled, or for `max_warmup_s`."""
        protocol, clock = self._protocol, self._timeline.clock
        begun_s, done = clock.now_s(), 0
        power = _PowerSpans(self._timeline)
        paces: list[float] = []
        while True:
            steps, took_s = self._chunk(self._planned(self._chunk_s))
            done += steps
            if took_s >= self._chunk_s / 2:
                paces.append(took_s / steps)
                power.end()
            spent_s = clock.now_s() - begun_s
            settled = len(paces) >= 3 and _agree(paces[-3:], protocol.settled_rel) and power.settled(protocol)
            if spent_s >= protocol.warmup_s and (settled or spent_s >= protocol.max_warmup_s):
                break
        self._timeline.cut("warmup", of=self._name, units=done * self._phase.units, steps=done)

    def _planned(self, left_s: float) -> int:
        """Steps of a chunk, or those that are left of a window."""
        return max(1, min(MAX_STEPS, math.ceil(min(left_s, self._chunk_s) / self._step_s)))

    def _chunk(self, steps: int) -> tuple[int, float]:
        """Run steps; their number and the seconds they took.

        Raises:
            ValueError: they took no time.
        """
        clock, step = self._timeline.clock, self._phase.step
        start_s = clock.now_s()
        for _ in range(steps):
            step()
        self._timeline.synchronize()
        took_s = clock.now_s() - start_s
        if took_s <= 0 and steps == MAX_STEPS:
            raise ValueError(f"phase '{self._name}': a step takes no time; nothing can be charged to it")
        # at most twice as many steps a second as before: one that seemed to take no time must not plan a million
        self._step_s = min(self._chunk_s, max(took_s / steps, self._step_s / 2))
        return steps, took_s


class _PowerSpans:
    """Power of measured counters over successive spans of a warm-up.

    The power of a model is left out: it follows load, which is known in ticks longer than a span resolves.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._watts: dict[str, list[float]] = {}
        self._updates: dict[str, int] = {}  # fewest in a span
        self._begin()

    def _begin(self) -> None:
        self._start_s, counters = self._timeline.clock.now_s(), self._timeline.peek()
        self._counters = [c for c in counters if c.role == "primary" and c.kind == "measured"]

    def end(self) -> None:
        """End a span and begin the next."""
        if not self._counters:
            return
        start_s, before = self._start_s, {c.domain: c for c in self._counters}
        self._begin()
        for counter in self._counters:
            earlier = before.get(counter.domain)
            if earlier is None or self._start_s <= start_s:
                continue
            watts = (counter.energy_j - earlier.energy_j) / (self._start_s - start_s)
            self._watts.setdefault(counter.domain, []).append(watts)
            if counter.updates is not None and earlier.updates is not None:
                moved = counter.updates - earlier.updates
                self._updates[counter.domain] = min(moved, self._updates.get(counter.domain, moved))

    def settled(self, protocol: Protocol) -> bool:
        """Whether the last three powers of each domain agree, as far as its counter's updates can tell."""
        for domain, watts in self._watts.items():
            updates = self._updates.get(domain)
            unresolved = 0.0 if updates is None else 1 / updates if updates > 0 else math.inf
            if len(watts) >= 3 and not _agree(watts[-3:], protocol.settled_rel + unresolved):
                return False
        return True


class _QuietWait:
    """Wait, for at most `max_quiet_wait_s`, until nobody else disturbs the machine."""

    def __init__(self, timeline: Timeline, name: str, protocol: Protocol, note: Note) -> None:
        self._timeline, self._name, self._protocol, self._note = timeline, name, protocol, note
        self._left_s = protocol.max_quiet_wait_s
        self._poll_s = max(POLL_S, MIN_TICKS * TICK_S / protocol.max_other_cpus)  # what the limit needs to show

    def after(self, fault: Fault) -> bool:
        """Wait if the fault is one that others caused; whether it waited."""
        if fault.kind not in BY_OTHERS or self._left_s < self._poll_s:
            return False
        self._note(f"{self._name}: {fault.text}; waiting up to {self._left_s:.3g} s until they are quiet")
        while self._left_s >= self._poll_s:  # a shorter span would pass for quiet
            self._timeline.clock.sleep(self._poll_s)
            span = self._timeline.cut("busy", of=self._name)
            self._left_s -= span.duration_s
            if disturbance(span, self._protocol) is None:
                return True
        self._note(f"{self._name}: not quiet after {self._protocol.max_quiet_wait_s:g} s; measuring all the same")
        return True


def _agree(values: Sequence[float], tolerance: float) -> bool:
    """Whether values agree within `tolerance`, relative to the smallest."""
    return max(values) <= (1 + tolerance) * min(values)


def _longer(window: Window) -> float:
    """How many times longer a window has to be for its slowest counter."""
    updates = [r.counter_updates for r in window.readings if r.role == "primary" and r.counter_updates is not None]
    return max(1.0, min(10.0, MARGIN * MIN_COUNTER_UPDATES / max(1, min(updates, default=MIN_COUNTER_UPDATES))))


def _key(counter: Counter) -> tuple[str, str, str]:
    return counter.domain, counter.source, counter.role


def _narrow(windows: list[Window], name: str, protocol: Protocol, domains: Sequence[str]) -> bool:
    energy = phase_energy(windows, name, domains, protocol)
    half_width = energy.rel_half_width if energy else None
    return half_width is not None and half_width <= protocol.target_rel_ci
