"""A part of the report that an analysis adds: sentences, figures, tables and a CSV file. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from suite.reporting.plots import Plot
from suite.reporting.tables import Table


@dataclass(frozen=True)
class Section:
    """`name` is the heading's id and the stem of the section's files; `verdict` is a gate's, None without one."""

    name: str
    title: str
    answer: str
    verdict: bool | None
    sentences: tuple[str, ...]
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]
    csv: str

    @property
    def alt(self) -> str:
        return " ".join(plot.alt for plot in self.plots)


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lines of comma-separated values at full precision; an empty cell where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
