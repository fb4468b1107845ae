"""Command `joulebench publish`: checked copies of runs under reports/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from joulebench.commands.options import AllowBusyOption


def publish(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, or sets published already.")],
    reports: Annotated[Path, typer.Option("--reports", help="Folder of published sets.")] = Path("reports"),
    allow_busy: AllowBusyOption = False,
) -> None:
    """Check runs and copy them, with their reports, under reports/.

    With several runs, their comparison is published too. --allow-busy publishes runs that other work on the machine
    disturbed, with a label. Exit code 1 if a run fails the checks.
    """
    from joulebench.publishing.copying import publish as publish_run
    from joulebench.publishing.copying import publish_comparison
    from joulebench.publishing.index import write_index

    placed = [publish_run(run, reports, allow_busy) for run in runs]
    if len(placed) > 1:
        placed.append(publish_comparison(placed, reports))
    write_index(reports)
    for path in placed:
        print(f"published: {path}")
