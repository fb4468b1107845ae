"""Energy of the whole machine by a wall meter's log, compared with that of a run's software meters.

A span of time that holds 20 samples of the log has about 5 % of its energy at most in each of its two interpolated
edges (half of that on average), wrong only as far as power changes there. So windows that touch are taken together
until they hold as many, whatever their phase; the scatter between such blocks gives the interval (batch means).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from joulebench.errors import InputError, unwritable
from joulebench.host.files import write_whole
from joulebench.meters.clock_offset import MAX_OFFSET_S, ClockOffset, Span, estimate_offset
from joulebench.meters.replay import PowerTrace
from joulebench.meters.wall_log import read_log, unix_s
from joulebench.records.folder import RunFolder
from joulebench.records.model import Kind, Window, combined
from joulebench.results.energy import total_j
from joulebench.stats.estimate import Estimate, estimate

LOG_FILE = "wall.csv"
MIN_SAMPLES = 20
#: A distance between samples of more periods than this is a hole: windows that it touches are left out.
MAX_PERIODS = 3
#: Windows touch, or do not overlap, within this: their times are read off a clock that is being set.
TOUCH_S = 0.1
#: A wall meter reads less than software only by error, and seldom more than this many times as much.
MAX_RATIO = 3.0
#: Times are recorded to a microsecond, so that a ratio is no surer than this.
ROUNDING = 1e-6
#: Ratios that a log has whose watts are kilowatts or milliwatts.
KILOWATTS, MILLIWATTS = (0.0008, 0.02), (800.0, 20_000.0)
ZONE_S, MAX_ZONE_S = 1800, 14 * 3600


@dataclass(frozen=True)
class WallComparison:
    """Wall energy and software energy over the same time.

    Attributes:
        windows: whose time holds enough samples, alone or with the windows that they touch.
        left_out: windows within the log's time that have too few samples, or fall into its holes.
        kind: of the software joules.
        ratio: of the energies; its interval, absent without scatter, holds that between blocks and the clock's.
        by_phase: the ratio of each working phase with spans of its own that hold enough samples.
    """

    windows: int
    left_out: int
    covered_s: float
    wall_j: float
    software_j: float
    kind: Kind
    period_s: float
    offset: ClockOffset
    ratio: Estimate
    by_phase: dict[str, Estimate]

    @property
    def below_software(self) -> bool:
        """Whether the wall reads less than software beyond noise (without an interval: 5 %, as of an edge)."""
        high = self.ratio.high
        return self.ratio.mean < 1 - 1 / MIN_SAMPLES if high is None else high < 1

    @property
    def implausible(self) -> bool:
        """Whether the ratio is below 1, within noise or not, or above `MAX_RATIO`."""
        return not 1 <= self.ratio.mean <= MAX_RATIO


def import_log(folder: RunFolder, path: Path, *, allow_below: bool = False) -> WallComparison:
    """Copy a log into a run's folder, after checking that it can be of that run.

    Args:
        allow_below: keep a log that reads less than software where software joules are estimated.

    Raises:
        InputError: the log cannot be read or compared, or reads less than software beyond noise.
    """
    trace = read_log(path)
    windows = [w for e in folder.ledger() for w in e.windows] + [w for t in folder.trials() for w in t.windows]
    try:
        result = compare(windows, trace)
        ratio = result.ratio.mean
        read = f"the wall meter read {ratio:.4g} times the joules of software"
        if MILLIWATTS[0] <= ratio <= MILLIWATTS[1]:
            raise InputError(f"{read}; are its watts milliwatts?")
        if result.below_software and not (allow_below and result.kind == "estimated"):
            why = "the log is not of this machine or of this time"
            if KILOWATTS[0] <= ratio <= KILOWATTS[1]:
                why = "are its watts kilowatts?"
            elif result.kind == "estimated":
                why += ", or the estimate is too high (--allow-below keeps the log)"
            raise InputError(f"{read}, and the whole machine takes no less than a part of it; {why}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    lines = ["utc,watts", *(f"{t!r},{w!r}" for t, w in zip(trace.times_s, trace.watts, strict=True))]
    try:
        write_whole(folder.path / LOG_FILE, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise unwritable(folder.path / LOG_FILE, error) from None
    return result


def compare_run(folder: RunFolder, windows: Iterable[Window]) -> WallComparison | InputError | None:
    """Compare wall and software energy of a run with a log in its folder; None without one.

    A log that cannot be compared gives the error that says why. `windows` are all of the run.
    """
    path = folder.path / LOG_FILE
    if not path.is_file():
        return None
    try:
        return compare(windows, read_log(path))
    except InputError as error:
        return error


@dataclass(frozen=True)
class _Piece:
    """A window on the run's clock in Unix seconds, with its software joules."""

    window: Window
    start_s: float
    end_s: float
    software_j: float

    @property
    def works(self) -> bool:
        return self.window.steps > 0 and self.window.of is None

    def touches(self, other: _Piece) -> bool:
        return abs(other.start_s - self.end_s) <= TOUCH_S


def compare(windows: Iterable[Window], trace: PowerTrace) -> WallComparison:
    """Compare both energies over the windows inside the log and outside its holes.

    Raises:
        InputError: the times do not meet, samples are too few, windows overlap, or the log follows the run's power
            at another offset than 0, but at none clearly.
    """
    pieces = list(_pieces(windows))
    if not pieces:
        raise InputError("no window of the run has joules of software")
    if len(trace.times_s) < MIN_SAMPLES:
        raise InputError(f"{len(trace.times_s)} samples are too few (at least {MIN_SAMPLES})")
    period_s = median(b - a for a, b in pairwise(trace.times_s))
    spans = [Span(p.start_s, p.end_s, p.software_j) for p in pieces]
    offset = estimate_offset(trace.times_s, trace.watts, spans)
    times = [t - offset.offset_s for t in trace.times_s]  # on the run's clock
    within = [p for p in pieces if p.start_s >= times[0] and p.end_s <= times[-1]]
    if not within:
        run = f"the run {_utc(spans[0].start_s)} to {_utc(spans[-1].end_s)}"
        hint = _time_zone(trace, spans, clear=True) or _time_zone(trace, spans, clear=False)
        raise InputError(
            f"covers no window of the run: it has {_utc(trace.times_s[0])} to {_utc(trace.times_s[-1])}, {run}; "
            f"{hint or 'are its times in UTC?'}"
        )
    if not offset.estimated:
        hint = _time_zone(trace, spans, clear=True)
        if hint or offset.excludes_zero:
            raise InputError(
                "its power clearly follows the run's at no one offset of its clock within "
                f"{MAX_OFFSET_S:.0f} s; {hint or 'is it of this machine, and its clock set?'}"
            )
    gaps = _Gaps(times)
    covered = [p for p in within if gaps.largest(p.start_s, p.end_s) <= MAX_PERIODS * period_s]
    blocks = list(_blocks(covered, gaps))
    if not blocks:
        longest_s = max((s[-1].end_s - s[0].start_s for s in _stretches(covered)), default=0.0)
        raise InputError(
            f"no part of the run holds {MIN_SAMPLES} samples of the log without a hole; they are {period_s:.3g} s "
            f"apart" + (f", and every {longest_s / MIN_SAMPLES:.2g} s would do" if longest_s else "")
        )
    used = [p for block in blocks for p in block]
    phases: dict[str, list[list[_Piece]]] = {}
    for span in _stretches([p for p in covered if p.works], by_phase=True):
        if gaps.enough(span):
            phases.setdefault(span[0].window.phase, []).append(span)
    kinds = [r.kind for p in used for r in p.window.readings if r.role == "primary"]
    return WallComparison(
        windows=len(used),
        left_out=len(within) - len(used),
        covered_s=sum(p.window.duration_s for p in used),
        wall_j=sum(_wall_j(p, trace, offset.offset_s) for p in used),
        software_j=sum(p.software_j for p in used),
        kind=combined(kinds),
        period_s=period_s,
        offset=offset,
        ratio=_ratio(blocks, trace, offset),
        by_phase={phase: _ratio(of, trace, offset) for phase, of in phases.items()},
    )


def _pieces(windows: Iterable[Window]) -> Iterator[_Piece]:
    """Windows with software joules, in the order of their times."""
    pieces = []
    for window in windows:
        software_j = total_j([window])
        if software_j is None or software_j <= 0 or not 0 < window.duration_s < math.inf:
            continue
        try:
            start_s = unix_s(window.start_utc)
        except (ValueError, OverflowError) as error:
            raise InputError(f"a window of the run: start_{error}") from None
        pieces.append(_Piece(window, start_s, start_s + window.duration_s, software_j))
    pieces.sort(key=lambda p: (p.start_s, p.end_s))
    for a, b in pairwise(pieces):
        if b.start_s < a.end_s - TOUCH_S:
            raise InputError(
                f"windows of the run overlap at {b.window.start_utc} (several trials or machines at once): a wall "
                "meter's joules cannot be divided between them"
            )
    return iter(pieces)


def _stretches(pieces: Sequence[_Piece], *, by_phase: bool = False) -> Iterator[list[_Piece]]:
    """Pieces that touch, one after the other."""
    stretch: list[_Piece] = []
    for piece in pieces:
        if stretch and not (
            stretch[-1].touches(piece) and (not by_phase or piece.window.phase == stretch[0].window.phase)
        ):
            yield stretch
            stretch = []
        stretch.append(piece)
    if stretch:
        yield stretch


class _Gaps:
    """Distances between a log's samples."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times = times

    def largest(self, start_s: float, end_s: float) -> float:
        """Between any two neighbouring samples of which time from `start_s` to `end_s` lies."""
        first = bisect_right(self._times, start_s, hi=len(self._times) - 1) - 1
        last = bisect_left(self._times, end_s)
        return max(b - a for a, b in pairwise(self._times[first : last + 1]))

    def enough(self, span: Sequence[_Piece]) -> bool:
        """Whether touching pieces hold enough samples, so close that an edge is at most 1/20 of the whole."""
        start_s, end_s = span[0].start_s, span[-1].end_s
        return end_s - start_s >= MIN_SAMPLES * self.largest(start_s, end_s)


def _blocks(covered: Sequence[_Piece], gaps: _Gaps) -> Iterator[list[_Piece]]:
    """Touching pieces in blocks of enough samples each; what remains of a stretch goes with its last block."""
    for stretch in _stretches(covered):
        blocks: list[list[_Piece]] = []
        block: list[_Piece] = []
        for piece in stretch:
            block.append(piece)
            if gaps.enough(block):
                blocks.append(block)
                block = []
        if blocks:
            blocks[-1].extend(block)
            yield from blocks


def _wall_j(piece: _Piece, trace: PowerTrace, offset_s: float) -> float:
    return trace.energy_j(piece.end_s + offset_s) - trace.energy_j(piece.start_s + offset_s)


def _edges_j(start_s: float, end_s: float, trace: PowerTrace, offset_s: float) -> float:
    """Largest error of the interpolated parts of a span, before its first sample and after its last, in joules."""
    times, watts = trace.times_s, trace.watts
    start, end = start_s + offset_s, end_s + offset_s
    first, last = max(bisect_left(times, start), 1), min(bisect_right(times, end), len(times) - 1)
    before = (times[first] - start) * abs(watts[first] - watts[first - 1])
    after = (end - times[last - 1]) * abs(watts[last] - watts[last - 1])
    return (before + after) / 2


def _ratio(blocks: Sequence[Sequence[_Piece]], trace: PowerTrace, offset: ClockOffset) -> Estimate:
    """Ratio of sums over blocks, its interval by linearisation (Cochran, Sampling Techniques, ch. 6).

    Wall joules W and software joules S of each block: the mean of R + (W − R·S) / mean(S) is R = ΣW / ΣS. Two
    errors that all blocks share are added: of the clock, and of the edges, where interpolation takes from a span
    that power steps up to and down from.
    """
    software = [sum(p.software_j for p in block) for block in blocks]
    total_software_j, mean_j = sum(software), sum(software) / len(software)

    def of_block(offset_s: float) -> list[float]:
        return [sum(_wall_j(p, trace, offset_s) for p in block) for block in blocks]

    wall = of_block(offset.offset_s)
    ratio = sum(wall) / total_software_j
    value = estimate([ratio + (w - ratio * s) / mean_j for w, s in zip(wall, software, strict=True)], "blocks")
    if value.low is None or value.high is None:
        return value
    ends = (offset.offset_s - offset.half_width_s, offset.offset_s + offset.half_width_s)
    clock = max(abs(sum(of_block(end)) / total_software_j - ratio) for end in ends)
    stretches = _stretches([p for block in blocks for p in block])
    edges = sum(_edges_j(s[0].start_s, s[-1].end_s, trace, offset.offset_s) for s in stretches) / total_software_j
    half = math.hypot((value.high - value.low) / 2, clock, edges)
    if half <= ROUNDING * ratio:  # nothing varies: that is no knowledge of how well the ratio is known
        return replace(value, sem=None, low=None, high=None)
    return replace(value, low=ratio - half, high=ratio + half)


def _time_zone(trace: PowerTrace, spans: Sequence[Span], *, clear: bool) -> str | None:
    """The shift by half-hours that explains a log's times: one with a clear offset, or the least that meets."""
    first_s, last_s = spans[0].start_s + MAX_OFFSET_S, spans[-1].end_s - MAX_OFFSET_S
    shifts = [s for k in range(ZONE_S, MAX_ZONE_S + 1, ZONE_S) for s in (k, -k)]
    meeting = [s for s in shifts if trace.times_s[0] - s <= first_s and trace.times_s[-1] - s >= last_s]
    if clear:
        fits = [(estimate_offset([t - s for t in trace.times_s], trace.watts, spans), s) for s in meeting]
        shift_s = max(((fit.correlation, s) for fit, s in fits if fit.estimated), default=(0.0, 0))[1]
    else:
        shift_s = meeting[0] if meeting else 0
    direction = "earlier" if shift_s > 0 else "later"
    return f"its times would fit {abs(shift_s) / 3600:g} h {direction}: a time zone?" if shift_s else None


def _utc(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"
