"""Meter that replays a power trace against any clock, for tests and dry runs without hardware."""

from __future__ import annotations

import csv
import re
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
        """Integral of `replay_stretched`: the share of time before the first or after the last point of a trace.

        There its first or last watts were held. Absent where all traces are constant: they hold for ever.
        """
        spans = [(t.times_s[0], t.times_s[-1]) for t in self._traces if len(t.times_s) > 1]
        if not spans or self._start_s is None:
            return {}
        elapsed = self._clock.now_s() - self._start_s
        first, last = max(0.0, *(a for a, _ in spans)), max(0.0, min(b for _, b in spans))
        return {"replay_stretched": min(elapsed, first) + max(0.0, elapsed - max(first, last))}

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


#: What a column may be named; `gpu` alone is the one GPU of a machine.
_DOMAIN = re.compile(r"cpu|ram|gpu(:\d+)?")


def _read_csv(path: Path) -> list[PowerTrace]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--replay: '{path}' is neither watts nor a readable CSV file ({error})") from None
    (_, header), rows = lines[0] if lines else (0, []), lines[1:]
    if not rows or len(header) < 2 or header[0] != "t_s":
        raise InputError(f"{path}: a trace has a header 't_s,<domain>,…' and at least one row")
    _check_domains(path, header[1:])
    values = [_numbers(path, number, row, len(header)) for number, row in rows]
    times, *columns = zip(*values, strict=True)
    try:
        return [PowerTrace(domain, times, column) for domain, column in zip(header[1:], columns, strict=True)]
    except ValueError as error:
        raise InputError(f"{path}: not a power trace: {error}") from None


def _check_domains(path: Path, domains: Sequence[str]) -> None:
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            raise InputError(f"{path}: unknown domain '{domain[:40]}' (allowed: cpu, ram, gpu:0, gpu:1, …)")
        if domains.count(domain) > 1:
            raise InputError(f"{path}: two columns are named '{domain}'; their joules would be counted twice")
    if "gpu" in domains and (other := next((d for d in domains if d.startswith("gpu:")), None)):
        raise InputError(f"{path}: column 'gpu' beside '{other}': name each GPU by its number (gpu:0, gpu:1, …)")


def _numbers(path: Path, number: int, row: Sequence[str], columns: int) -> tuple[float, ...]:
    """Numbers of one line.

    Raises:
        InputError: it has another number of fields than the header, or one is no finite number.
    """
    if len(row) != columns:
        raise InputError(f"{path}, line {number}: {len(row)} fields, and the header has {columns}")
    try:
        values = tuple(map(float, row))
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {str(error)[:80]}") from None
    if not all(map(isfinite, values)):
        raise InputError(f"{path}, line {number}: '{','.join(row)[:80]}' is not all finite numbers")
    return values
