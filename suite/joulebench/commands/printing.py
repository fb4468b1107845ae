"""Printing of a run's headline and the path of its report, for several commands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import typer

from joulebench.errors import IncompleteError

if TYPE_CHECKING:
    from joulebench.presentation.table import Table
    from joulebench.records.folder import RunFolder


def say(*lines: str) -> None:
    """Print each text on a line of its own, also one that holds line ends; the stream frees it of the rest."""
    for line in lines:
        print("".join(" " if c.isspace() else c for c in line))


def print_report(
    folder: RunFolder,
    *,
    pue: float | None = None,
    grid_intensity: float | None = None,
    studies: Sequence[str] = (),
    trusted: Collection[str] = (),
) -> bool:
    """Write a run's report and print its headline; returns False if the run failed its gate."""
    from joulebench.reporting import write_report

    written = write_report(
        folder, pue=pue, grid_intensity_g_per_kwh=grid_intensity, studies=studies, trusted=trusted
    )
    for line in dict.fromkeys((written.headline, *written.answers)):
        say(line)
    say(f"report: {written.page}")
    return written.passed is not False


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables as lines that fit the terminal, with an empty line after each."""
    from joulebench.presentation.plain_table import terminal_width, text_table

    for table in tables:
        print("\n".join(text_table(table, terminal_width())), end="\n\n")


def print_finished(folders: Sequence[RunFolder], *, begun: bool = True) -> None:
    """Report runs that have just finished; exit code 1 if one failed its gate, 3 if no trial of one has a value.

    The studies of the task's author are trusted, as its workload was: the user started the run.

    Args:
        begun: something was measured now; else the records may be anybody's, and their code is not imported.
    """
    passed = [print_report(folder, trusted=folder.task().analyses if begun else ()) for folder in folders]
    if not all(passed):
        raise typer.Exit(1)
    for folder in folders:
        trials = folder.trials()
        if trials and not any(trial.status == "ok" for trial in trials):
            last = trials[-1].error or trials[-1].status
            raise IncompleteError(f"{folder.path}: no trial has a value; the last: {last}")
