"""A part of the report that an analysis adds: sentences, figures, tables and a CSV file. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from suite.energy import Estimate
from suite.overlap import marked
from suite.record import LedgerEntry, Manifest, RunFolder, ScoreRecord, TrialRecord
from suite.reporting.plots import Plot
from suite.reporting.tables import Table
from suite.task import Task


@dataclass(frozen=True)
class Records:
    """A run's records as they were read: what an analysis starts from."""

    manifest: Manifest
    task: Task
    trials: Sequence[TrialRecord]
    entries: Sequence[LedgerEntry] = ()
    scores: Sequence[ScoreRecord] = ()

    @classmethod
    def of(cls, folder: RunFolder) -> Records:
        """Everything in a run folder.

        Raises:
            InputError: a record file is damaged, or of another schema version.
        """
        entries = folder.ledger()
        trials = marked(folder.trials(), entries)
        return cls(folder.manifest(), folder.task(), trials, entries, folder.scores())


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
