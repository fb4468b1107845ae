"""Sampling of sensors between reads: background sampler, raw counters that wrap or fail, time integrals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from joulebench.errors import MeterError
from joulebench.records.model import Fault, FaultKind

# A counter of a part that draws power moves. Two missed updates may be the driver's delay; with a third it is
# stuck, and may lose what it did not count: no more than this goes unnoticed. This is for updates every 100 ms.
STUCK_S = 0.3
# A sampler runs 20 times a second and more. Where it did not for so long, the process stood still (stopped, paused,
# suspended), and what power did is not known.
LONG_GAP_S = 1.0
UPDATE_S = 0.1  # the slowest counter's update period: what it shows is at most this much older than the read


class Sampler(Protocol):
    """Calls a function at regular times until it is stopped."""

    period_s: float  # may be set before it is started

    def start(self, sample: Callable[[], None]) -> None: ...

    def check(self) -> None:
        """Raise MeterError if the sampler is not running any more."""
        ...

    def integrals(self) -> dict[str, float]:
        """CPU seconds that sampling took so far, as the integral of the condition `<meter>_sampling_cpus`."""
        ...

    def stop(self) -> None: ...


class ThreadSampler:
    """Daemon thread that calls `sample` every `period_s` seconds; late calls are not made up for.

    It ends at the first exception, which the next `check` raises: a dead sampler must not look like a sensor that
    stands still.
    """

    def __init__(self, name: str, period_s: float) -> None:
        self._name = name
        self.period_s = period_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._cpu_s = 0.0

    def start(self, sample: Callable[[], None]) -> None:
        self._stopping.clear()
        self._error = None
        self._cpu_s = 0.0
        self._thread = threading.Thread(target=self._run, args=(sample,), name=self._name, daemon=True)
        self._thread.start()

    def _run(self, sample: Callable[[], None]) -> None:
        try:
            while not self._stopping.wait(self.period_s):
                sample()
                self._cpu_s = time.thread_time()
        except BaseException as error:  # handed on to the thread that reads
            self._error = error

    def check(self) -> None:
        """Raise if the thread has ended.

        Raises:
            MeterError: it died, with the reason, or was never started.
        """
        if self._error is not None:
            reason = f"{type(self._error).__name__}: {self._error}"
            raise MeterError(f"{self._name}: the sampling thread died ({reason}); its joules cannot be trusted")
        if self._thread is None or not self._thread.is_alive():
            raise MeterError(f"{self._name}: the sampling thread is not running")

    def integrals(self) -> dict[str, float]:
        return {f"{self._name.removeprefix('joulebench-')}_sampling_cpus": self._cpu_s}

    def stop(self) -> None:
        """End the thread; waits a moment for it, never for a driver that hangs."""
        thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1.0)


class CounterTrack:
    """Joules and updates of one raw counter, with the first fault since the last `take_fault`.

    A counter that falls is taken to have wrapped where it has a range and the power this implies is plausible;
    otherwise it was reset. One that rises by more than its part can have used is at fault as well; neither such a
    fall nor such a rise is counted. So is one that stands still for `stuck_s` while its part draws power: what it
    did not count is lost. One that was not seen for `LONG_GAP_S` counts on, and says so.

    Args:
        unit_j: joules of one count.
        range_counts: value after which it starts at 0 again; None for one that does not wrap.
        max_power_w: more than this its part cannot draw, as a mean over `update_s`.
        update_s: its update period.
        stuck_s: time that it may stand still.
    """

    def __init__(
        self,
        unit_j: float,
        range_counts: int | None = None,
        max_power_w: float = 2000.0,
        update_s: float = UPDATE_S,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._update_s, self.stuck_s = update_s, stuck_s
        self._unit_j = unit_j
        self._range = range_counts
        self._max_power_w = max_power_w
        self._raw: int | None = None
        # when it was last read, last seen to change, and last seen to change or to have no reason to
        self._seen_s = self._changed_s = self._moved_s = 0.0
        self._fault: Fault | None = None
        self.energy_j = 0.0
        self.updates = 0

    def observe(self, now_s: float, raw: int, draws_power: bool = True) -> None:
        """Take the counter's value at `now_s`; `draws_power`: whether standing still would be wrong."""
        if self._raw is None:
            self._raw, self._seen_s, self._changed_s, self._moved_s = raw, now_s, now_s, now_s
            return
        unseen_s, self._seen_s = now_s - self._seen_s, now_s
        if self._range is not None and unseen_s * self._max_power_w > self._range * self._unit_j:
            self._note(
                FaultKind.SAMPLING_GAP, f"was not read for {unseen_s:.0f} s and may have wrapped more than once"
            )
        elif unseen_s > LONG_GAP_S:
            self._note(FaultKind.SAMPLING_GAP, f"was not read for {unseen_s:.1f} s")
        if raw == self._raw:
            if not draws_power:
                self._moved_s = now_s
            elif now_s - self._moved_s > self.stuck_s:
                self._note(
                    FaultKind.COUNTER_STUCK,
                    f"stood still for more than {self.stuck_s:.2g} s while its part drew power",
                )
            return
        self.energy_j += self._increase(self._raw, raw, now_s - self._changed_s) * self._unit_j
        self._raw, self._changed_s, self._moved_s = raw, now_s, now_s
        self.updates += 1

    def _increase(self, before: int, raw: int, seconds: float) -> int:
        """Counts from one value to the next; 0 where no power explains them."""
        counts = raw - before
        if counts < 0 and self._range is not None:
            counts += self._range
        if 0 <= counts * self._unit_j <= self._max_power_w * (seconds + self._update_s):
            return counts
        change_j = (raw - before) * self._unit_j
        if change_j < 0:
            self._note(FaultKind.COUNTER_RESET, f"went back by {-change_j:.3g} J: it was reset")
        else:
            text = (
                f"went up by {change_j:.3g} J in {seconds:.2g} s, of which {self._max_power_w:.4g} W explain a part"
            )
            self._note(FaultKind.IMPOSSIBLE_POWER, text)
        return 0

    def _note(self, kind: FaultKind, text: str) -> None:
        self._fault = self._fault or Fault(kind=kind, text=text)

    def take_fault(self) -> Fault | None:
        """Fault since the last call; None without one."""
        fault, self._fault = self._fault, None
        return fault


class PowerIntegral:
    """Energy from samples of power by the trapezoidal rule, and the time in gaps between them."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._counted_s = 0.0
        self._fault: Fault | None = None
        self.energy_j = 0.0
        self.samples = 0
        self.unseen_s = 0.0  # time in gaps longer than LONG_GAP_S

    def add(self, now_s: float, watts: float, min_gap_s: float = 0.0) -> None:
        """Take a sample; one sooner than `min_gap_s` after the last counted one refines, but is not counted."""
        if self._last is not None:
            last_s, last_w = self._last
            gap_s = now_s - last_s
            self.energy_j += gap_s * (last_w + watts) / 2
            if gap_s > LONG_GAP_S:
                self.unseen_s += gap_s
                self._fault = Fault(kind=FaultKind.SAMPLING_GAP, text=f"was not sampled for {gap_s:.1f} s")
        if self._last is None or now_s - self._counted_s >= min_gap_s:
            self.samples += 1
            self._counted_s = now_s
        self._last = (now_s, watts)

    def take_fault(self) -> Fault | None:
        """Fault since the last call; None without one."""
        fault, self._fault = self._fault, None
        return fault


class HeldIntegral:
    """Time integral of a condition, each sample held until the next."""

    def __init__(self, now_s: float, value: float) -> None:
        self._total = 0.0
        self._since_s, self._value = now_s, value

    def set(self, now_s: float, value: float) -> None:
        self._total, self._since_s, self._value = self.at(now_s), now_s, value

    def at(self, now_s: float) -> float:
        return self._total + max(0.0, now_s - self._since_s) * self._value
