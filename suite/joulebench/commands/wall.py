"""`joulebench wall`."""

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
    """Put a wall meter's log beside a run.

    The report then gives the ratio of wall to software energy.
    """
    from joulebench.meters.wall_meter import import_log
    from joulebench.records.folder import RunFolder

    folder = RunFolder.open(run)
    found = import_log(folder, log)
    print(f"wall / software: {found.ratio:.4g} over {found.covered_s:.0f} s, {found.windows} windows")
    print_report(folder)
