"""Efficiency, latency and memory against batch size as figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number, octets, seconds
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.series import along, estimates, reaching, value_axis
from joulebench.presentation.units import plain
from joulebench.studies.batch.analysis import Batch


def figures(found: Batch) -> tuple[Plot, ...]:
    """Efficiency, and below it on the same sizes latency and memory; none of a single size."""
    if len(found.sizes) < 2:
        return ()
    x, places = along([s.params for s in found.sizes], (found.parameter,))
    x = reaching(x, [*places, *([found.wall.smallest_oom] if found.wall else [])])
    made = (_efficiency(found, x, places), _latency(found, x, places), *_memory(found, x, places))
    return tuple(plot for plot in made if plot.drawn)


def _efficiency(found: Batch, x: Axis, places: tuple[float, ...]) -> Plot:
    unit = f"{plain(found.unit)}s/J"
    detail = f"{found.basis}, {found.kind}, {' + '.join(found.domains)}"
    values = [s.efficiency for s in found.sizes]
    y = value_axis([v.mean for v in values], unit, lambda u: f"efficiency, {u}", prefixed=False, detail=detail)
    series = [estimates(f"{found.phase}, {unit}", places, values, y, joined=True)]
    best = found.best
    alt = f"Efficiency against {len(values)} sizes of {found.parameter}."
    if best is not None:
        series.append(estimates("best", (best.size,), [best.efficiency], y))
        alt += f" The best is {number(best.size)} with {number(best.efficiency.mean)} {unit}."
    series += _wall(found, [v.mean for v in values])
    return Plot("batch-efficiency", f"Efficiency by {found.parameter}", alt, x, y, tuple(series))


def _wall(found: Batch, values: list[float]) -> list[Series]:
    """A line where memory ends, over the height of the figure."""
    if found.wall is None:
        return []
    at = found.wall.smallest_oom
    return [Series(f"out of memory at {number(at)}", (at, at), (min(values), max(values)), dashed=True)]


def _latency(found: Batch, x: Axis, places: tuple[float, ...]) -> Plot:
    values = [s.p95_s for s in found.sizes]
    known = [v.mean for v in values if v is not None]
    detail = "p95 of steps; lower is better"
    y = value_axis(known, "s", lambda u: f"{found.phase} latency, {u}", detail=detail)
    ends = f" from {seconds(min(known))} to {seconds(max(known))}" if known else ""
    alt = f"95 % quantile of the seconds a step takes{ends}."
    line = estimates("p95", places, values, y, joined=True)
    return Plot("batch-latency", f"Latency by {found.parameter}", alt, x, y, (line,))


def _memory(found: Batch, x: Axis, places: tuple[float, ...]) -> Iterator[Plot]:
    known = [(at, s.memory_bytes) for at, s in zip(places, found.sizes, strict=True) if s.memory_bytes is not None]
    if not known:
        return
    gib = 2**30
    series = [Series("peak memory", tuple(a for a, _ in known), tuple(m / gib for _, m in known), line=True)]
    limit = next((s.memory_limit_bytes for s in found.sizes if s.memory_limit_bytes is not None), None)
    if limit is not None:
        ends = (min(places), max([*places, *([found.wall.smallest_oom] if found.wall else [])]))
        series.append(Series(f"limit, {octets(limit)}", ends, (limit / gib,) * 2, dashed=True))
    wall = found.wall
    if wall is not None and wall.need_bytes is not None:
        name = "out of memory: needs at least this"
        series.append(Series(name, (wall.smallest_oom,), (wall.need_bytes / gib,)))
    alt = f"Peak memory against {found.parameter}, {octets(max(m for _, m in known))} at most."
    y = Axis(None, "peak memory, GiB")
    yield Plot("batch-memory", f"Memory by {found.parameter}", alt, x, y, tuple(series))
