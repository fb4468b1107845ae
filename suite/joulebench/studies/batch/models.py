"""Report section on batch size for several models: the optimum of each, whether one size serves all. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number, percent
from joulebench.presentation.plots import Plot
from joulebench.presentation.section import Section
from joulebench.presentation.series import along, estimates, reaching
from joulebench.presentation.table import Cell, Table, condensed, prefixed_cell, value_cell
from joulebench.presentation.units import plain
from joulebench.presentation.words import domains, listed
from joulebench.records.model import combined
from joulebench.stats.intervals import scaled
from joulebench.studies.batch.analysis import BatchSweep

MAX_NAMED = 8


def by_model(result: BatchSweep, rows: Sequence[Mapping[str, object]]) -> Section:
    """The section where the task sweeps several models; `rows` are those of all their sizes."""
    return Section(
        name="batch",
        title=f"Efficiency against {result.parameter}, by {_name(result)}",
        answer=_answer(result),
        sentences=tuple(filter(None, (_common(result), _edges(result), _repeats(result)))),
        plots=(_plot(result),),
        tables=(_table(result),),
        rows=tuple(rows),
    )


def _name(result: BatchSweep) -> str:
    return next(iter(result.model))


def _model(sweep: BatchSweep) -> str:
    return str(next(iter(sweep.model.values())))


def _answer(result: BatchSweep) -> str:
    unit, kind = plain(result.unit), combined(s.kind for s in result.models)
    best = []
    for sweep in result.models:
        if sweep.best is None:
            best.append(f"{_model(sweep)} none within the constraints")
            continue
        notes = [] if sweep.gain is None else [f"{number(sweep.gain.mean, 3)} times the smallest"]
        notes += [f"no different: {', '.join(number(s.size) for s in sweep.ties)}"] if sweep.ties else []
        aside = f" ({'; '.join(notes)})" if notes else ""
        best.append(f"{_model(sweep)} {number(sweep.best.size)}{aside}")
    return (
        f"Most efficient {result.parameter} of each of {len(best)} {_name(result)}s in {unit}s/J ({result.basis}, "
        f"{kind}): {listed(best, MAX_NAMED, joint='; ')}."
    )


def _common(result: BatchSweep) -> str:
    """Whether one size is the best, or no different from it, for every model."""
    sets = [{s.size for s in (m.best, *m.ties) if s is not None} for m in result.models]
    common = sorted(set.intersection(*sets))
    if common:
        sizes = ", ".join(number(size) for size in common)
        return f"One size serves every {_name(result)}: {sizes} is the best or not significantly different from it."
    return f"No size is the best, or not significantly different from it, for every {_name(result)}."


def _edges(result: BatchSweep) -> str | None:
    rising = [_model(s) for s in result.models if s.shape == "rising"]
    if not rising:
        return None
    return (
        f"Efficiency still rises at the largest size measured of {listed(rising, MAX_NAMED)}, so the optimum may "
        "lie beyond it."
    )


def _repeats(result: BatchSweep) -> str:
    if result.rsd is None:
        return "No configuration was run twice, so intervals are of windows within one run."
    return f"Runs of one configuration differed by {percent(result.rsd)} (relative standard deviation)."


def _table(result: BatchSweep) -> Table:
    unit, protocol = plain(result.unit), result.run.task.protocol
    rows = []
    for sweep in result.models:
        best, smallest = sweep.best, sweep.smallest
        if best is None or smallest is None:
            rows.append((Cell(_model(sweep)), Cell("breaks a constraint"), *(Cell("—"),) * 6))
            continue
        rows.append(
            (
                Cell(_model(sweep)),
                Cell(number(best.size)),
                Cell(", ".join(number(s.size) for s in sweep.ties) or "none"),
                value_cell(best.efficiency, protocol, kind=best.kind or ""),
                prefixed_cell(best.cost.gross, "J", protocol),
                value_cell(sweep.gain, protocol),
                Cell(sweep.shape),
                Cell(f"{len(sweep.sizes)}: {number(smallest.size)} to {number(sweep.sizes[-1].size)}"),
            )
        )
    titles = (
        _name(result), f"Best {result.parameter}", "No different", f"{unit}s/J, {result.basis}",
        f"J per {unit}, gross", "Over the smallest", "Course", "Sizes",
    )  # fmt: skip
    kind = combined(s.kind for s in result.models)
    places = sorted({d for s in result.models for d in s.domains})
    return condensed(Table.of(f"Optimum by {_name(result)} ({kind}, {domains(places)})", titles, rows, text=1))


def _plot(result: BatchSweep) -> Plot:
    """Draw each model's efficiency as a share of its best: models of any size then share an axis."""
    every = [s for sweep in result.models for s in sweep.sizes]
    x, places = along([s.params for s in every], (result.parameter,))
    y = Axis(
        None, "share of the model's best efficiency", detail=f"{result.basis}, {combined(s.kind for s in every)}"
    )
    series = []
    for sweep in result.models:
        top = sweep.peak
        assert top is not None
        shares = [scaled(s.efficiency, 1 / top.efficiency.mean) for s in sweep.sizes]
        series.append(estimates(_model(sweep), tuple(s.size for s in sweep.sizes), shares, y, joined=True))
    alt = f"Efficiency of {len(series)} {_name(result)}s against {result.parameter}, as a share of each one's best."
    title = f"Efficiency by {result.parameter} and {_name(result)}"
    return Plot("batch-models", title, alt, reaching(x, places), y, tuple(series))
