"""Command `joulebench export`: trials as CSV or to MLflow."""

from __future__ import annotations

import sys

import typer

from joulebench.commands.options import (
    ForceOption,
    MlflowOption,
    OutIfGivenOption,
    RunArgument,
    refuse_unused,
    write_out,
)


def export(
    context: typer.Context,
    run: RunArgument,
    out: OutIfGivenOption = None,
    force: ForceOption = False,
    mlflow: MlflowOption = None,
) -> None:
    """Write a run's trials as CSV: parameters, objectives, standard errors.

    They are printed, or written to --out; the workload `table` reads such a file. With --mlflow they are written to
    that store instead, with everything else that is known of the run.
    """
    if out is None:
        refuse_unused(context, ("force",), "needs --out, the file to replace")
    from joulebench.records.folder import RunFolder
    from joulebench.reporting.export_csv import trials_csv
    from joulebench.results.run import Run

    if mlflow is not None:
        from rich.console import Console
        from rich.progress import track

        from joulebench.commands.streams import terminal
        from joulebench.reporting.mlflow_export import export_mlflow

        console = Console(file=terminal(sys.stderr))
        print(export_mlflow(RunFolder.open(run), mlflow, lambda every: track(every, "trials", console=console)))
        if out is None:
            return
    text = trials_csv(Run.of(RunFolder.open(run)))
    if out is None:
        print(text, end="")
    else:
        write_out(out, text, force)
