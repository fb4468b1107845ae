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
        Path,
        typer.Argument(
            metavar="LOG",
            help="The wall meter's log: CSV with columns utc (ISO 8601 with zone, or Unix seconds) and watts.",
        ),
    ],
    allow_below: Annotated[
        bool,
        typer.Option(
            "--allow-below",
            help="Keep a log that reads less than software, where that is estimated and may be too high.",
        ),
    ] = False,
) -> None:
    """Add a wall meter's log to a run.

    The report then gives the ratio of wall to software energy. The offset of the log's clock is estimated where the
    run's power varies enough; a log that reads less than software is refused.
    """
    from joulebench.meters.wall_comparison import MAX_RATIO, import_log
    from joulebench.presentation.words import plus_minus
    from joulebench.records.folder import RunFolder

    folder = RunFolder.open(run)
    comparison = import_log(folder, log, allow_below=allow_below)
    covered = f"{comparison.covered_s:.0f} s, {comparison.windows} windows ({comparison.left_out} left out)"
    print(f"wall / software: {plus_minus(comparison.ratio)} over {covered}; {comparison.offset.described}")
    if comparison.implausible:
        print(f"warning: wall / software is not between 1 and {MAX_RATIO:g}: see the report")
    print_report(folder)
