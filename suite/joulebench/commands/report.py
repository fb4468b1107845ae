"""`joulebench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from joulebench.commands.options import GridOption, PueOption, RunArgument
from joulebench.commands.printing import print_report
from joulebench.errors import InputError


class Report(typer.core.TyperCommand):
    """The command, which refers to `compare` whoever gives it several runs or a folder for their comparison."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not any(text.partition("=")[0] == "--out" for text in args):
            rest = super().parse_args(ctx, args)
            if not rest:
                return rest
        raise InputError(
            "report: takes one run, and writes into its folder; `joulebench compare RUN RUN…` compares several"
        )


def report(
    run: RunArgument,
    pue: PueOption = None,
    grid_intensity: GridOption = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Lay another run's frontier over the figures; its records are kept beside.")
    ] = None,
    study: Annotated[
        list[str] | None,
        typer.Option(help="Another study of the records: its name, or package.module:Class, whose code then runs."),
    ] = None,
) -> None:
    """Write a run's report anew from its records.

    With --pue or --grid-intensity it is as for another site, and says what that does to the ranking.
    """
    from joulebench.records.folder import RunFolder

    folder = RunFolder.open(run)
    if overlay is not None:
        from joulebench.results.reference_frontier import keep_reference

        keep_reference(folder, overlay)
    print_report(folder, pue=pue, grid_intensity=grid_intensity, studies=study or ())
