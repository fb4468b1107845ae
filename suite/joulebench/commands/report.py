"""Command `joulebench report`: write a run's report from its records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from joulebench.commands.options import GridOption, PueOption, RunArgument
from joulebench.commands.printing import print_report
from joulebench.errors import InputError


class Report(typer.core.TyperCommand):
    """The command; with several runs or --out, its error refers to `compare`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not any(text.partition("=")[0] == "--out" for text in args):
            rest = super().parse_args(ctx, args)
            if not rest:
                return rest
        raise InputError(
            "report: needs one run folder and writes into it; to compare several use `joulebench compare RUN RUN…`"
        )


def report(
    run: RunArgument,
    pue: PueOption = None,
    grid_intensity: GridOption = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Run whose frontier to add to the figures; its records are copied.")
    ] = None,
    study: Annotated[
        list[str] | None,
        typer.Option(help="A study to add: its name, or package.module:Class, which is imported and run."),
    ] = None,
) -> None:
    """Write a run's report again from its records.

    --pue and --grid-intensity describe another site; the report then shows their effect on the ranking.
    """
    from joulebench.records.folder import RunFolder

    folder = RunFolder.open(run)
    if overlay is not None:
        from joulebench.results.reference_frontier import keep_reference

        keep_reference(folder, overlay)
    print_report(folder, pue=pue, grid_intensity=grid_intensity, studies=study or ())
