"""Section of a report: what one study adds in sentences, figures, tables and rows of data. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import Row
from joulebench.presentation.table import Table


@dataclass(frozen=True)
class Section:
    """`name` is the heading's id and the stem of the section's files; `verdict` is a gate's, None without one.

    `rows` are its data, written as CSV and in `report.json`; None for a section that has none, which is not the
    same as data without a row. `columns` come first in the CSV file, whether or not a row has them; the others
    follow as they appear.
    """

    name: str
    title: str
    answer: str
    verdict: bool | None = None
    sentences: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    rows: tuple[Row, ...] | None = None
    columns: tuple[str, ...] = ()

    @property
    def alt(self) -> str:
        return " ".join(plot.alt for plot in self.plots)
