"""Measurement protocol: cooling down, idle baseline, warm-up, windows until the interval is narrow enough."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import Counter
from joulebench.records.model import Fault, FaultKind, Window
from joulebench.results.energy import phase_energy
from joulebench.results.validity import MIN_TICKS, TICK_S, disturbance, idle_fault, judged, stretch
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
#: Before each window that is measured in turn with another process.
LEAD_IN_S = 0.01
#: Faults of a window that end when others do; it is worth waiting for that.
BY_OTHERS = (FaultKind.OTHER_LOAD, FaultKind.STOLEN_TIME, FaultKind.OTHER_GPU_PROCESS)
POLL_S = 0.25
#: Power of counters that are read between their moves is compared over spans of this length and more.
SPAN_S = 0.5
#: After training, temperature or power is compared over this many successive spans.
COOL_SPAN_S, COOL_SPANS = 1.0, 3
COOL_C, COOL_REL = 1.0, 0.02
_TEMPERATURE = re.compile(r"gpu:\d+_temperature_c")

#: Receives one line of text for the user.
Note = Callable[[str], None]


def no_note(_: str) -> None:
    """Ignore the note."""


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
        if valid >= protocol.repeats and (protocol.repeats == 1 or _narrow(windows, name, protocol, domains)):
            return windows
        if protocol.min_windows <= valid < protocol.repeats and enough(windows):
            return windows
        if (fault := faults[-1]) is None:
            continue
        if fault.kind is FaultKind.FEW_UPDATES:
            window_s *= _longer(windows[-1])
        if quiet.after(fault):
            work.warm_up()  # caches and clocks have cooled down meanwhile


def measure_in_turn(
    timeline: Timeline, name: str, phase: Phase, protocol: Protocol, turn: Callable[[int], None]
) -> list[Window]:
    """Warm up, then measure `protocol.repeats` windows, each in a turn that another process gives.

    None is repeated: the n-th window of one process is compared with the n-th of another.

    Args:
        turn: waits for the next turn; called with the number of turns that are still wanted. With 0 it waits until
            nobody measures any more.

    Raises:
        ValueError: the phase's step takes no time.
    """
    phase.prepare()
    timeline.cut("prepare", of=name)
    work, windows, window_s = _Work(timeline, name, phase, protocol), list[Window](), protocol.window_s
    turn(protocol.repeats + 1)
    timeline.cut("waiting")
    work.warm_up()
    for wanted in range(protocol.repeats, 0, -1):
        turn(wanted)
        work.lead_in()
        timeline.cut("waiting")
        steps, each_s = work.run(window_s)
        windows.append(timeline.cut(name, units=steps * phase.units, steps=steps, step_s=each_s))
        fault = judged(windows, name, protocol)[-1][1]
        if fault is not None and fault.kind is FaultKind.FEW_UPDATES:
            window_s *= _longer(windows[-1])
    turn(0)
    return windows


def measure_side_by_side(
    timeline: Timeline,
    name: str,
    phases: Sequence[Phase],
    protocol: Protocol,
    order: Callable[[list[int]], None],
    note: Note = no_note,
) -> list[list[Window]]:
    """Warm up each phase, then measure `protocol.repeats` rounds of windows, one of each phase a round.

    A round with an invalid window is measured once more, at the end: `protocol.max_repeats` rounds in all.

    Args:
        name: of all their windows.
        order: puts a round's phases into the order in which they are measured, in place.
        note: receives a line when it waits for others.

    Returns:
        The windows of each phase, one a round.

    Raises:
        ValueError: a phase's step takes no time.
    """
    works = []
    for phase in phases:
        phase.prepare()
        timeline.cut("prepare", of=name)
        works.append(_Work(timeline, name, phase, protocol))
        works[-1].warm_up()
    windows: list[list[Window]] = [[] for _ in phases]
    quiet, window_s, good = _QuietWait(timeline, name, protocol, note), protocol.window_s, 0
    for _ in range(protocol.max_repeats):
        turns = list(range(len(phases)))
        order(turns)
        for turn in turns:
            works[turn].lead_in()
            timeline.cut("waiting")
            steps, each_s = works[turn].run(window_s)
            units = steps * phases[turn].units
            windows[turn].append(timeline.cut(name, units=units, steps=steps, step_s=each_s))
        faults = [fault for own in windows if (fault := judged(own, name, protocol)[-1][1]) is not None]
        good += not faults
        if good == protocol.repeats:
            break
        if any(fault.kind is FaultKind.FEW_UPDATES for fault in faults):
            window_s *= max(_longer(own[-1]) for own in windows)
        if any(quiet.after(fault) for fault in faults):
            for work in works:
                work.warm_up()  # caches and clocks have cooled down meanwhile
    return windows


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

    def lead_in(self) -> None:
        """Run some steps outside of any window: another process has had the caches since the last one."""
        self._chunk(self._planned(LEAD_IN_S))

    def warm_up(self) -> None:
        """Run at least `warmup_s` and until pace and power have settled, or for `max_warmup_s` (0: not at all)."""
        protocol, clock = self._protocol, self._timeline.clock
        if protocol.max_warmup_s == 0:
            return
        begun_s, done = clock.now_s(), 0
        power = _PowerSpans(self._timeline, protocol.settled_rel)
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

    def __init__(self, timeline: Timeline, most_open: float) -> None:
        self._timeline, self._most = timeline, most_open
        self._watts: dict[str, list[float]] = {}
        self._open: dict[str, float] = {}  # most that a counter left open in a span, as a share of it
        self._begin()

    def _begin(self) -> None:
        self._start_s, counters = self._timeline.clock.now_s(), self._timeline.peek()
        self._counters = [c for c in counters if c.role == "primary" and c.kind == "measured"]

    def end(self) -> None:
        """End a span and begin the next; one that a counter cannot tell the power of goes on."""
        if not self._counters:
            return
        start_s, before, begun = self._start_s, {c.domain: c for c in self._counters}, self._counters
        self._begin()
        pairs = [(before[c.domain], c) for c in self._counters if c.domain in before and _is_reckoned(c)]
        if pairs and (self._start_s - start_s < SPAN_S or max(_open(a, b) for a, b in pairs) > self._most):
            self._start_s, self._counters = start_s, begun  # too short to tell: it goes on
            return
        for counter in self._counters:
            earlier = before.get(counter.domain)
            if earlier is None or self._start_s <= start_s:
                continue
            watts = (counter.energy_j - earlier.energy_j) / (self._start_s - start_s)
            self._watts.setdefault(counter.domain, []).append(watts)
            self._open[counter.domain] = max(_open(earlier, counter), self._open.get(counter.domain, 0.0))

    def settled(self, protocol: Protocol) -> bool:
        """Whether the last three powers of each domain agree, as far as its counter can tell."""
        if self._counters and not self._watts:
            return False
        for domain, watts in self._watts.items():
            if len(watts) < 3 or not _agree(watts[-3:], protocol.settled_rel + self._open[domain]):
                return False
        return True


def _is_reckoned(counter: Counter) -> bool:
    return counter.edge_sd_j is not None


def _open(start: Counter, end: Counter) -> float:
    """Share of the joules between two reads that the counter's steps leave open."""
    joules = end.energy_j - start.energy_j
    if start.edge_sd_j is not None and end.edge_sd_j is not None:
        return 2 * math.hypot(start.edge_sd_j, end.edge_sd_j) / joules if joules > 0 else math.inf
    if start.updates is None or end.updates is None:
        return 0.0
    return 1 / (end.updates - start.updates) if end.updates > start.updates else math.inf


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
    needed = max((stretch(r) for r in window.readings if r.role == "primary"), default=0.0)
    return max(1.0, min(10.0, MARGIN * needed))


def _narrow(windows: list[Window], name: str, protocol: Protocol, domains: Sequence[str]) -> bool:
    energy = phase_energy(windows, name, domains, protocol)
    half_width = energy.rel_half_width if energy else None
    return half_width is not None and half_width <= protocol.target_rel_ci
