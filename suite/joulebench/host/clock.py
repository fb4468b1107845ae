"""Clocks: the machine's own, and a virtual one for replay and tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds and the wall-clock time that belongs to them."""

    def now_s(self) -> float:
        """Seconds since an arbitrary origin; monotonic."""
        ...

    def utc(self) -> str:
        """The wall-clock time now, ISO 8601, UTC, microseconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class RealClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        return time.perf_counter()

    def utc(self) -> str:
        return _iso(datetime.now(UTC))

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


MAX_VIRTUAL_S = 1e11  # some 3,000 years: dates end in the year 9999


class VirtualClock:
    """Clock that advances only by `sleep`: replay finishes at once and repeats exactly."""

    def __init__(self, start_s: float = 0.0, epoch: datetime = datetime(2000, 1, 1, tzinfo=UTC)) -> None:
        self._now_s = start_s
        self._epoch = epoch

    def now_s(self) -> float:
        return self._now_s

    def utc(self) -> str:
        return _iso(self._epoch + timedelta(seconds=self._now_s))

    def sleep(self, seconds: float) -> None:
        if not (seconds >= 0 and self._now_s + seconds <= MAX_VIRTUAL_S):
            raise ValueError(f"cannot sleep {seconds} s")
        self._now_s += seconds
