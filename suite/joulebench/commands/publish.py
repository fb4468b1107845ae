"""Command `joulebench publish`: checked copies of runs under reports/."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from joulebench.commands.options import AllowBusyOption
from joulebench.commands.printing import say
from joulebench.errors import InputError
from joulebench.presentation.words import listed


def publish(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, or sets published already.")],
    reports: Annotated[Path, typer.Option("--reports", help="Folder of published sets.")] = Path("reports"),
    allow_busy: AllowBusyOption = False,
    allow_uncommitted: Annotated[
        bool,
        typer.Option("--allow-uncommitted", help="Publish runs whose own code is in no commit; reports say so."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check, and list what would be written; write and upload nothing."),
    ] = False,
    sign: Annotated[
        Path | None,
        typer.Option("--sign", metavar="KEY", help="SSH key to sign the records with."),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Make the reports of published sets anew; records stay as they are.")
    ] = False,
) -> None:
    """Check runs and copy them, with their reports, under reports/.

    Paths, names of users and hosts, addresses and secrets are taken out of all texts. With several runs, their
    comparison is published too. --allow-busy publishes runs that other work on the machine disturbed, with a label.
    Code of your own has to be in a commit as it ran.
    Exit code 1 if a run fails the checks.
    """
    from joulebench.publishing.copying import prepare, publish_comparison
    from joulebench.publishing.copying import publish as publish_run
    from joulebench.publishing.index import write_index
    from joulebench.publishing.verifying import refresh as refresh_sets

    if refresh:
        if dry_run or sign is not None or allow_busy or allow_uncommitted:
            raise InputError("--refresh: goes with no other option; it only makes reports anew")
        for run in runs:
            for path, names in refresh_sets(run):
                say(f"{path}: {'made anew: ' + listed(names, 3) if names else 'up to date'}")
        write_index(reports)
        return
    if dry_run:
        if sign is not None:
            raise InputError("--sign: nothing is written, and so nothing signed, with --dry-run")
        for run in runs:
            with tempfile.TemporaryDirectory() as scratch:
                ready = prepare(run, Path(scratch) / "run", allow_busy, allow_uncommitted)
            for change in ready.changes:
                say(f"{run}: {change.where}: {change.before!r} becomes {change.after!r}")
            place = reports / ready.task / ready.hardware / ready.date
            say(f"{run}: would be published as {place}, {len(ready.changes)} texts changed")
        return
    placed = [publish_run(run, reports, allow_busy, sign, allow_uncommitted) for run in runs]
    if len(placed) > 1:
        placed.append(publish_comparison(placed, reports, sign))
    write_index(reports)
    for path in placed:
        say(f"published: {path}")
