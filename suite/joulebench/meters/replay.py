"""Meter that replays a power trace against any clock, for tests and dry runs without hardware."""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from joulebench.errors import InputError
from joulebench.host.clock import Clock, VirtualClock
from joulebench.meters.base import Counter
from joulebench.spec.reading import MAX_LOG_BYTES, read_text

#: Column of the CPU load, and the condition of windows that it becomes.
LOAD = "cpu_utilisation"
MAX_W, MAX_S = 1e9, 1e12  # no machine takes a gigawatt, and no trace lasts for longer
SEPARATORS = "write 1234.5, without thousands separators and with a decimal point"


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
        if not all(0 <= w <= MAX_W for w in self.watts) or not all(abs(t) <= MAX_S for t in self.times_s):
            raise ValueError(f"{self.domain}: watts must lie within 0 … {MAX_W:g}, times within ± {MAX_S:g} s")
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
        share = elapsed / (self.times_s[i + 1] - self.times_s[i])  # a slope would overflow between close times
        return energies[i] + elapsed * (self.watts[i] + (self.watts[i + 1] - self.watts[i]) * share / 2)


class ReplayMeter:
    """Energy of recorded or synthetic traces; the trace's time 0 is the run's.

    A trace named `LOAD` is not of power: it is the CPU load beside the others, and a condition of the windows.
    """

    def __init__(
        self, traces: Sequence[PowerTrace], clock: Clock, origin: str, origin_s: float | None = None
    ) -> None:
        self._traces = tuple(t for t in traces if t.domain != LOAD)
        self._load = next((t for t in traces if t.domain == LOAD), None)
        self._clock = clock
        self._origin, self._origin_s = origin, origin_s
        self._start_s: float | None = None

    def start(self) -> None:
        # a virtual clock begins at 0 and goes on where a stopped run stood: there the trace's time is the clock's
        now_s = self._clock.now_s() if self._origin_s is None else self._origin_s
        self._start_s = 0.0 if isinstance(self._clock, VirtualClock) else now_s

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

        There its first or last watts were held. Absent where all traces are constant: they hold for ever. Beside
        it that of the load, where it is in the trace.
        """
        if self._start_s is None:
            return {}
        elapsed = self._clock.now_s() - self._start_s
        load = {} if self._load is None else {LOAD: self._load.energy_j(elapsed) - self._load.energy_j(0.0)}
        return load | self._stretched(elapsed)

    def _stretched(self, elapsed: float) -> dict[str, float]:
        spans = [(t.times_s[0], t.times_s[-1]) for t in self._traces if len(t.times_s) > 1]
        if not spans:
            return {}
        first, last = max(0.0, *(a for a, _ in spans)), max(0.0, min(b for _, b in spans))
        return {"replay_stretched": min(elapsed, first) + max(0.0, elapsed - max(first, last))}

    def stop(self) -> None:
        self._start_s = None

    def describe(self) -> list[dict[str, str]]:
        line = {"source": "replay", "kind": "estimated", "method": f"replay of {self._origin}"}
        return [{"domain": t.domain, **line} for t in self._traces]


def load_traces(spec: str) -> list[PowerTrace]:
    """Traces from a number of watts (one constant `cpu` trace) or a CSV file `t_s,<domain>,<domain>…`.

    A column `cpu_utilisation` is the load of all CPUs, 0 … 1, at the same times.

    Raises:
        InputError: neither a number nor a readable trace file.
    """
    try:
        watts = float(spec)
    except ValueError:
        return _read_csv(Path(spec))
    if not 0 < watts <= MAX_W:
        raise InputError(f"--replay: watts must be above 0 and at most {MAX_W:g} (got {spec})")
    return [PowerTrace("cpu", (0.0,), (watts,))]


#: What a column may be named beside `LOAD`; `gpu` alone is the one GPU of a machine.
_DOMAIN = re.compile(r"cpu|ram|gpu(:(0|[1-9]\d{0,3}))?", re.ASCII)


def _read_csv(path: Path) -> list[PowerTrace]:
    try:
        text = read_text(path, MAX_LOG_BYTES, follow=True)
        reader = csv.reader(io.StringIO(text, newline=""))
        lines = [(reader.line_num, row) for row in reader if row]
    except (InputError, csv.Error) as error:
        raise InputError(f"--replay: '{path}' is neither watts nor a readable CSV file ({error})") from None
    (_, header), rows = lines[0] if lines else (0, []), lines[1:]
    if not rows or len(header) < 2 or header[0] != "t_s":
        raise InputError(f"{path}: a trace has a header 't_s,<domain>,…' and at least one row")
    _check_domains(path, header[1:])
    values: list[tuple[float, ...]] = []
    for number, row in rows:
        try:
            values.append(_numbers(row, len(header)))
            if LOAD in header and not values[-1][header.index(LOAD)] <= 1:
                raise ValueError(f"{LOAD}: {shown(row[header.index(LOAD)])}; a load lies within 0 … 1")
            if len(values) > 1 and values[-1][0] <= values[-2][0]:
                raise ValueError(f"the time {shown(row[0])} is not after the one above it")
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    times, *columns = zip(*values, strict=True)
    return [PowerTrace(domain, times, column) for domain, column in zip(header[1:], columns, strict=True)]


def _check_domains(path: Path, domains: Sequence[str]) -> None:
    if set(domains) == {LOAD}:
        raise InputError(f"{path}: a trace needs a column of watts beside '{LOAD}'")
    for domain in domains:
        if domain != LOAD and not _DOMAIN.fullmatch(domain):
            raise InputError(f"{path}: unknown domain '{domain[:40]}' (allowed: cpu, ram, gpu:0, gpu:1, …, {LOAD})")
        if domains.count(domain) > 1:
            raise InputError(f"{path}: two columns are named '{domain}'; their joules would be counted twice")
    if "gpu" in domains and (other := next((d for d in domains if d.startswith("gpu:")), None)):
        raise InputError(f"{path}: column 'gpu' beside '{other}': name each GPU by its number (gpu:0, gpu:1, …)")


def _numbers(row: Sequence[str], columns: int) -> tuple[float, ...]:
    """Time and watts of one line.

    Raises:
        ValueError: it has another number of fields than the header, or one is no such number.
    """
    if len(row) != columns:
        raise ValueError(f"{len(row)} fields, and the header has {columns}")
    time_s = _number("t_s", row[0])
    if not abs(time_s) <= MAX_S:
        raise ValueError(f"t_s: {shown(row[0])} is not a time")
    return (time_s, *map(watts_of, row[1:]))


def _number(field: str, text: str) -> float:
    try:
        return float(text.replace("_", "?"))  # 1_000 is a number in Python alone
    except ValueError:
        hint = f"; {SEPARATORS}" if "," in text else ""
        raise ValueError(f"{field}: {shown(text)} is not a number{hint}") from None


def watts_of(text: str) -> float:
    """Power in watts.

    Raises:
        ValueError: it is no number, negative, or more than any machine draws.
    """
    watts = _number("watts", text)
    if not 0 <= watts <= MAX_W:
        raise ValueError(f"watts: {shown(text)}; watts must lie within 0 … {MAX_W:g}")
    return watts


def shown(text: str) -> str:
    """A field as messages quote it."""
    return f"'{text if len(text) <= 40 else text[:39] + '…'}'"
