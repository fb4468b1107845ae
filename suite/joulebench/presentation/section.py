"""A part of the report that an analysis adds: sentences, figures, tables and a CSV file. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from joulebench.presentation.numbers import significant
from joulebench.presentation.plots import Plot
from joulebench.presentation.table import Table
from joulebench.stats.estimate import Estimate


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


def csv_of(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows by column name; the columns are those of all rows, in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(columns, [[row.get(name) for name in columns] for row in rows])


def estimate_cells(name: str, value: Estimate | None) -> dict[str, object]:
    """A mean, the ends of its interval and its n as four columns; empty where there is no value."""
    if value is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high", f"{name}_n"))
    return {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high, f"{name}_n": value.n}


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]], faithful: bool = False) -> str:
    """Lines of comma-separated values; an empty cell where there is no value.

    Decimals have six significant digits, and text that a spreadsheet would run as a formula begins with an
    apostrophe; `faithful` leaves both as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns if faithful else [inert(name) for name in columns])
    for row in rows:
        writer.writerow([_cell(value, faithful) for value in row])
    return text.getvalue()


def exact(value: object) -> object:
    """A setting, which is repeated as it was given: unlike a result it is not rounded."""
    return repr(value) if isinstance(value, float) else value


def inert(text: str) -> str:
    """Text that no spreadsheet takes for a formula; numbers stay as they are."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _cell(value: object, faithful: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value if faithful else significant(value))
    return str(value) if faithful else inert(str(value))
