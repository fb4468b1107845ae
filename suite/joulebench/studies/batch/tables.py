"""Every size of the sweep as a table, and as lines of a CSV file. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import ABSENT, number, octets, percent
from joulebench.presentation.section import estimate_cells
from joulebench.presentation.table import Cell, Column, Table, condensed, least, of_all, prefixed_cell, value_cell
from joulebench.presentation.units import plain
from joulebench.studies.batch.analysis import Batch, Size


def batch_table(batch: Batch) -> Table:
    """One row a size; the last where memory ended."""
    unit = plain(batch.unit)
    energy = (f"{unit}s/J, {batch.basis}", "Of the best", f"J per {unit}, gross", f"J per {unit}, net")
    titles = (batch.parameter, *energy, "p95", "Peak memory", "Trials")
    shown = [batch.sizes[i] for i in least([-s.efficiency.mean for s in batch.sizes])]
    rows = [_size_row(batch, s) for s in shown]
    if batch.wall is not None:
        need = batch.wall.need_bytes
        memory = Cell(ABSENT if need is None else f"> {octets(need)}")
        absent = (Cell(ABSENT),) * 4
        rows.append((Cell(number(batch.wall.smallest_oom)), Cell("out of memory"), *absent, memory, Cell(ABSENT)))
    columns = tuple(Column(t, numeric=True) for t in titles)
    some = of_all(len(shown), len(batch.sizes), "most efficient")
    caption = f"By {batch.parameter} ({batch.kind}, {' + '.join(batch.domains)}){some}"
    return condensed(Table(caption, columns, tuple(rows)))


def _size_row(batch: Batch, size: Size) -> tuple[Cell, ...]:
    best, cost, protocol = batch.best, size.cost, batch.run.task.protocol
    roles = [
        ("best", size is best),
        ("not told apart from the best", size in batch.ties),
        ("knee", size is batch.knee and size is not best),
        ("default", size is batch.default),
    ]
    details = tuple(word for word, holds in roles if holds)
    share = Cell(ABSENT if best is None else percent(size.efficiency.mean / best.efficiency.mean))
    limit = () if size.memory_share is None else (f"{percent(size.memory_share)} of limit",)
    return (
        Cell(number(size.size), details, "" if size.feasible else "breaks a constraint"),
        value_cell(size.efficiency, protocol, kind=size.kind or ""),
        share,
        prefixed_cell(cost.gross, "J", protocol),
        prefixed_cell(cost.net, "J", protocol),
        prefixed_cell(size.p95_s, "s", protocol),
        Cell(octets(size.memory_bytes), limit),
        Cell(", ".join(map(str, size.trials))),
    )


def csv_row(batch: Batch, size: Size) -> dict[str, object]:
    """A size with full precision."""
    unit, cost = batch.unit, size.cost
    return {
        "trials": " ".join(map(str, size.trials)),
        batch.parameter: size.size,
        **estimate_cells(f"{unit}s_per_j_{batch.basis}", size.efficiency),
        "kind": size.kind,
        **estimate_cells(f"j_per_{unit}_gross", cost.gross),
        **estimate_cells(f"j_per_{unit}_net", cost.net),
        **estimate_cells("p95_s", size.p95_s),
        "peak_memory_bytes": size.memory_bytes,
        "memory_limit_bytes": size.memory_limit_bytes,
        "feasible": size.feasible,
        "best": size is batch.best,
        "not_told_apart": size in batch.ties,
    }
