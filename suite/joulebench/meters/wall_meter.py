"""Wall meter log of a run: energy of the whole machine, against that of its software meters."""

from __future__ import annotations

import csv
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from joulebench.errors import InputError
from joulebench.host.files import write_whole
from joulebench.meters.replay import PowerTrace
from joulebench.records.folder import RunFolder
from joulebench.records.model import Window
from joulebench.results.energy import total_j
from joulebench.stats.estimate import Estimate, estimate

FILE = "wall.csv"
MAX_GAP_S = 10.0  # a log with a longer hole says nothing about what fell into it
MIN_WINDOW_S = 1.0  # shorter windows are lost in a wall meter's sampling


@dataclass(frozen=True)
class WallComparison:
    """Wall energy and software energy over the windows that the log covers."""

    windows: int
    covered_s: float
    wall_j: float
    software_j: float
    by_window: Estimate | None  # of the ratio, over measured windows of at least a second

    @property
    def ratio(self) -> float:
        return self.wall_j / self.software_j


def read_log(path: Path) -> PowerTrace:
    """Read a CSV log with columns `utc` (ISO 8601 with zone, or Unix seconds) and `watts`.

    Raises:
        InputError: one line with file, line and what is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    if not rows or not {"utc", "watts"} <= rows[0].keys():
        raise InputError(f"{path}: a wall meter's log has columns 'utc' and 'watts' and at least one row")
    times, watts = [], []
    for number, row in enumerate(rows, start=2):
        try:
            times.append(_unix(row["utc"] or ""))
            watts.append(float(row["watts"] or ""))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    try:
        return PowerTrace("wall", tuple(times), tuple(watts))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _unix(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(f"'{text}' has no time zone; write …Z for UTC") from None
        return moment.astimezone(UTC).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(f"'{text}' is not a time")
    return seconds


def import_log(folder: RunFolder, path: Path) -> WallComparison:
    """Copy a log into a run's folder, after checking that it covers some of the run.

    Raises:
        InputError: the log cannot be read, or its times and the run's do not meet.
    """
    trace = read_log(path)
    result = compare(_windows(folder), trace)
    if result is None:
        raise InputError(f"{path}: covers no window of {folder.path}; are its times in UTC?")
    lines = ["utc,watts", *(f"{t!r},{w!r}" for t, w in zip(trace.times_s, trace.watts, strict=True))]
    write_whole(folder.path / FILE, ("\n".join(lines) + "\n").encode())
    return result


def comparison(folder: RunFolder, windows: Iterable[Window] | None = None) -> WallComparison | None:
    """Compare wall and software energy of a run with a log in its folder; None without one.

    `windows` are the run's, where they have been read already.
    """
    path = folder.path / FILE
    if not path.is_file():
        return None
    return compare(_windows(folder) if windows is None else windows, read_log(path))


def _windows(folder: RunFolder) -> list[Window]:
    return [w for e in folder.ledger() for w in e.windows] + [w for t in folder.trials() for w in t.windows]


def compare(windows: Iterable[Window], trace: PowerTrace) -> WallComparison | None:
    """Compare both energies over the windows inside the log and outside its gaps; None without such windows."""
    holes = [(a, b) for a, b in pairwise(trace.times_s) if b - a > MAX_GAP_S]
    wall_j = software_j = covered_s = 0.0
    ratios: list[float] = []
    count = 0
    for window in windows:
        start = _unix(window.start_utc.replace("Z", "+00:00"))
        end = start + window.duration_s
        software = total_j([window])
        if software is None or software <= 0 or not _covered(start, end, trace.times_s, holes):
            continue
        wall = trace.energy_j(end) - trace.energy_j(start)
        wall_j, software_j, covered_s = wall_j + wall, software_j + software, covered_s + window.duration_s
        count += 1
        if window.steps and window.of is None and window.duration_s >= MIN_WINDOW_S:
            ratios.append(wall / software)
    if not count:
        return None
    spread = estimate(ratios, "measured windows") if len(ratios) >= 2 else None
    return WallComparison(count, covered_s, wall_j, software_j, spread)


def _covered(start: float, end: float, times: Sequence[float], holes: Sequence[tuple[float, float]]) -> bool:
    if start < times[0] or end > times[-1]:
        return False
    first = bisect_left(holes, (start, start))
    return not any(a < end and b > start for a, b in holes[max(0, first - 1) : first + 1])
