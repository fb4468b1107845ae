"""Efficiency, latency and memory against batch size as figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number, octets, seconds
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.series import along, estimates, reaching, value_axis
from joulebench.presentation.units import plain
from joulebench.studies.batch.analysis import Batch


def figures(batch: Batch) -> tuple[Plot, ...]:
    """Efficiency, and below it on the same sizes latency and memory; none of a single size."""
    if len(batch.sizes) < 2:
        return ()
    x, places = along([s.params for s in batch.sizes], (batch.parameter,))
    x = reaching(x, [*places, *([batch.wall.smallest_oom] if batch.wall else [])])
    made = (_efficiency(batch, x, places), _latency(batch, x, places), *_memory(batch, x, places))
    return tuple(plot for plot in made if plot.drawn)


def _efficiency(batch: Batch, x: Axis, places: tuple[float, ...]) -> Plot:
    unit = f"{plain(batch.unit)}s/J"
    detail = f"{batch.basis}, {batch.kind}, {' + '.join(batch.domains)}"
    values = [s.efficiency for s in batch.sizes]
    y = value_axis([v.mean for v in values], unit, lambda u: f"efficiency, {u}", prefixed=False, detail=detail)
    series = [estimates(f"{batch.phase}, {unit}", places, values, y, joined=True)]
    best = batch.best
    alt = f"Efficiency against {len(values)} sizes of {batch.parameter}."
    if best is not None:
        series.append(estimates("best", (best.size,), [best.efficiency], y))
        alt += f" The best is {number(best.size)} with {number(best.efficiency.mean)} {unit}."
    series += _wall(batch, [v.mean for v in values])
    return Plot("batch-efficiency", f"Efficiency by {batch.parameter}", alt, x, y, tuple(series))


def _wall(batch: Batch, values: list[float]) -> list[Series]:
    """A line where memory ends, over the height of the figure."""
    if batch.wall is None:
        return []
    at = batch.wall.smallest_oom
    return [Series(f"out of memory at {number(at)}", (at, at), (min(values), max(values)), dashed=True)]


def _latency(batch: Batch, x: Axis, places: tuple[float, ...]) -> Plot:
    values = [s.p95_s for s in batch.sizes]
    known = [v.mean for v in values if v is not None]
    detail = "p95 of steps; lower is better"
    y = value_axis(known, "s", lambda u: f"{batch.phase} latency, {u}", detail=detail)
    ends = f" from {seconds(min(known))} to {seconds(max(known))}" if known else ""
    alt = f"95 % quantile of the seconds a step takes{ends}."
    line = estimates("p95", places, values, y, joined=True)
    return Plot("batch-latency", f"Latency by {batch.parameter}", alt, x, y, (line,))


def _memory(batch: Batch, x: Axis, places: tuple[float, ...]) -> Iterator[Plot]:
    known = [(at, s.memory_bytes) for at, s in zip(places, batch.sizes, strict=True) if s.memory_bytes is not None]
    if not known:
        return
    gib = 2**30
    series = [Series("peak memory", tuple(a for a, _ in known), tuple(m / gib for _, m in known), line=True)]
    limit = next((s.memory_limit_bytes for s in batch.sizes if s.memory_limit_bytes is not None), None)
    if limit is not None:
        ends = (min(places), max([*places, *([batch.wall.smallest_oom] if batch.wall else [])]))
        series.append(Series(f"limit, {octets(limit)}", ends, (limit / gib,) * 2, dashed=True))
    wall = batch.wall
    if wall is not None and wall.need_bytes is not None:
        name = "out of memory: needs at least this"
        series.append(Series(name, (wall.smallest_oom,), (wall.need_bytes / gib,)))
    alt = f"Peak memory against {batch.parameter}, {octets(max(m for _, m in known))} at most."
    y = Axis(None, "peak memory, GiB")
    yield Plot("batch-memory", f"Memory by {batch.parameter}", alt, x, y, tuple(series))
