"""What several commands print of a run: its report in a sentence, and where the page is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import typer

from joulebench.errors import IncompleteError, one_line

if TYPE_CHECKING:
    from joulebench.records.folder import RunFolder


def print_report(
    folder: RunFolder,
    *,
    pue: float | None = None,
    grid_intensity: float | None = None,
    studies: Sequence[str] = (),
    trusted: Collection[str] = (),
) -> bool:
    """Write a run's report and print it in a sentence; whether the run passed its gate, True where it has none."""
    from joulebench.reporting import write_report

    written = write_report(
        folder, pue=pue, grid_intensity_g_per_kwh=grid_intensity, studies=studies, trusted=trusted
    )
    print(one_line(written.headline))
    print(f"report: {written.page}")
    return written.passed is not False


def print_finished(folders: Sequence[RunFolder]) -> None:
    """Report runs that have just been carried out; exit code 1 if one of them missed its gate, 3 if all has failed.

    The user started them, so the studies of the task's author may run here, as its workload did.
    """
    passed = [print_report(folder, trusted=folder.task().analyses) for folder in folders]
    if not all(passed):
        raise typer.Exit(1)
    for folder in folders:
        trials = folder.trials()
        if trials and not any(trial.status == "ok" for trial in trials):
            last = trials[-1].error or trials[-1].status
            raise IncompleteError(f"{folder.path}: no trial has a value; the last: {last}")
