"""Command `joulebench wall`: import a wall meter's log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from joulebench.commands.options import RunArgument
from joulebench.commands.printing import print_report


def wall(
    run: RunArgument,
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="The wall meter's log: CSV with columns utc and watts.")
    ],
) -> None:
    """Add a wall meter's log to a run.

    The report then gives the ratio of wall to software energy.
    """
    from joulebench.meters.wall_meter import import_log
    from joulebench.records.folder import RunFolder

    folder = RunFolder.open(run)
    comparison = import_log(folder, log)
    covered = f"{comparison.covered_s:.0f} s, {comparison.windows} windows"
    print(f"wall / software: {comparison.ratio:.4g} over {covered}")
    print_report(folder)
