"""Command `joulebench export`: trials as CSV or to MLflow."""

from __future__ import annotations

from typing import Annotated

import typer

from joulebench.commands.options import ForceOption, OutIfGivenOption, RunArgument, write_out


def export(
    run: RunArgument,
    out: OutIfGivenOption = None,
    force: ForceOption = False,
    mlflow: Annotated[
        str | None,
        typer.Option(help="Write the trials to an MLflow store instead: sqlite:///FILE, a folder or a URL."),
    ] = None,
) -> None:
    """Write a run's trials as CSV: parameters, objectives, standard errors.

    They are printed, or written to --out; the workload `table` reads such a file.
    """
    from joulebench.records.folder import RunFolder
    from joulebench.reporting.export_csv import trials_csv
    from joulebench.results.run import Run

    if mlflow is not None:
        from rich.console import Console
        from rich.progress import track

        from joulebench.reporting.mlflow_export import export_mlflow

        console = Console(stderr=True)
        print(export_mlflow(RunFolder.open(run), mlflow, lambda every: track(every, "trials", console=console)))
        if out is None:
            return
    text = trials_csv(Run.of(RunFolder.open(run)))
    if out is None:
        print(text, end="")
    else:
        write_out(out, text, force)
