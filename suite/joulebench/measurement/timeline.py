"""Timeline of a run: contiguous windows, each with the joules that the meters read in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from joulebench.host.clock import Clock
from joulebench.host.user_code import end_copy
from joulebench.meters.base import Counter, Meter, difference
from joulebench.records.model import Fault, FaultKind, Window


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
        self._pid = os.getpid()
        self._held: dict[tuple[str, str, str], Fault] = {}  # faults that were read within the window

    def start(self) -> None:
        """Start the meter and the first window."""
        self._meter.start()
        self._mark()
        self._domains = {counter.domain for counter in self._counters if counter.role == "primary"}

    def stop(self) -> None:
        self._meter.stop()

    def give_up_device(self) -> None:
        """Wait for the device no more: it has failed, and the meters have not."""
        self.synchronize = lambda: None

    def describe(self) -> list[dict[str, str]]:
        return self._meter.describe()

    def _mark(self) -> None:
        # conditions after counters: what a meter notices as it is read belongs to the window that ends here
        self._utc, self._start_s, self._counters = self.clock.utc(), self.clock.now_s(), self._read()
        self._integrals = self._meter.integrals()

    def _read(self) -> tuple[Counter, ...]:
        held, self._held = self._held, {}
        counters = self._meter.read()
        return tuple(replace(c, fault=c.fault or held.get(c.key)) for c in counters) if held else counters

    def peek(self) -> tuple[Counter, ...]:
        """Read the counters within a window; a fault that this read clears stays with the window."""
        counters = self._read()
        self._held = {c.key: c.fault for c in counters if c.fault is not None}
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
        """Synchronise the device, end the current window as `phase`, and begin the next.

        A copy of this process that a model forked ends here: it has no meters, and the run is not its own.
        """
        end_copy(self._pid)
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

    def adopt(self, windows: Sequence[Window]) -> None:
        """Take windows that another process measured since the last cut, in place of this one's reading of it."""
        self._windows += windows
        self._mark()

    @property
    def pending(self) -> tuple[Window, ...]:
        """The windows since the last `take`."""
        return tuple(self._windows)

    def take(self) -> tuple[Window, ...]:
        """The windows since the last `take`, to be recorded."""
        windows, self._windows = tuple(self._windows), []
        return windows
