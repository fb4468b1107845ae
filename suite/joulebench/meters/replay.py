"""Meter that replays a power trace against any clock, for tests and dry runs without hardware."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from pathlib import Path

from joulebench.errors import InputError
from joulebench.host.clock import Clock, VirtualClock
from joulebench.meters.base import Counter


@dataclass(frozen=True)
class PowerTrace:
    """Power of one domain over time, linear between points and constant beyond them.

    `times_s` rise strictly; `watts` are not negative.
    """

    domain: str
    times_s: tuple[float, ...]
    watts: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times_s or len(self.times_s) != len(self.watts):
            raise ValueError(f"{self.domain}: a trace needs as many times as watts, and at least one")
        if any(b <= a for a, b in zip(self.times_s, self.times_s[1:], strict=False)):
            raise ValueError(f"{self.domain}: times must rise")
        if not all(isfinite(w) and w >= 0 for w in self.watts) or not all(map(isfinite, self.times_s)):
            raise ValueError(f"{self.domain}: watts must be finite and not negative")
        pieces = [
            (t1 - t0) * (w0 + w1) / 2
            for t0, t1, w0, w1 in zip(self.times_s, self.times_s[1:], self.watts, self.watts[1:], strict=False)
        ]
        object.__setattr__(self, "_energy_j", tuple(accumulate(pieces, initial=0.0)))

    def energy_j(self, t: float) -> float:
        """Integral of power from the first point to `t` (negative before it), by the trapezoidal rule."""
        energies: tuple[float, ...] = self._energy_j  # type: ignore[attr-defined]
        i = bisect_right(self.times_s, t) - 1
        if i < 0:
            return (t - self.times_s[0]) * self.watts[0]
        elapsed = t - self.times_s[i]
        if i == len(self.times_s) - 1:
            return energies[i] + elapsed * self.watts[i]
        slope = (self.watts[i + 1] - self.watts[i]) / (self.times_s[i + 1] - self.times_s[i])
        return energies[i] + elapsed * (self.watts[i] + slope * elapsed / 2)


class ReplayMeter:
    """Energy of recorded or synthetic traces; the trace's time 0 is the run's."""

    def __init__(self, traces: Sequence[PowerTrace], clock: Clock, origin: str) -> None:
        self._traces = tuple(traces)
        self._clock = clock
        self._origin = origin
        self._start_s: float | None = None

    def start(self) -> None:
        # a virtual clock begins at 0 and goes on where a stopped run stood: there the trace's time is the clock's
        self._start_s = 0.0 if isinstance(self._clock, VirtualClock) else self._clock.now_s()

    def read(self) -> tuple[Counter, ...]:
        if self._start_s is None:
            raise RuntimeError("the replay meter was not started")
        elapsed = self._clock.now_s() - self._start_s
        return tuple(
            Counter(trace.domain, trace.energy_j(elapsed) - trace.energy_j(0.0), "replay", "estimated")
            for trace in self._traces
        )

    def integrals(self) -> dict[str, float]:
        return {}

    def stop(self) -> None:
        self._start_s = None

    def describe(self) -> list[dict[str, str]]:
        line = {"source": "replay", "kind": "estimated", "method": f"replay of {self._origin}"}
        return [{"domain": t.domain, **line} for t in self._traces]


def load_traces(spec: str) -> list[PowerTrace]:
    """Traces from a number of watts (one constant `cpu` trace) or a CSV file `t_s,<domain>,<domain>…`.

    Raises:
        InputError: neither a number nor a readable trace file.
    """
    try:
        watts = float(spec)
    except ValueError:
        return _read_csv(Path(spec))
    if not isfinite(watts) or watts <= 0:
        raise InputError(f"--replay: watts must be above 0 (got {spec})")
    return [PowerTrace("cpu", (0.0,), (watts,))]


def _read_csv(path: Path) -> list[PowerTrace]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--replay: '{path}' is neither watts nor a readable CSV file ({error})") from None
    if len(rows) < 2 or len(rows[0]) < 2 or rows[0][0] != "t_s":
        raise InputError(f"{path}: a trace has a header 't_s,<domain>,…' and at least one row")
    for domain in rows[0][1:]:
        if domain.split(":")[0] not in ("cpu", "ram", "gpu"):
            raise InputError(f"{path}: unknown domain '{domain}' (allowed: cpu, ram, gpu:0, gpu:1, …)")
    try:
        columns = list(zip(*([float(cell) for cell in row] for row in rows[1:] if row), strict=True))
        if len(columns) != len(rows[0]):
            raise ValueError("rows and header differ in length")
        return [PowerTrace(d, columns[0], c) for d, c in zip(rows[0][1:], columns[1:], strict=True)]
    except ValueError as error:
        raise InputError(f"{path}: not a power trace: {error}") from None
