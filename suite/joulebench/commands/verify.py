"""Command `joulebench verify`: recheck published sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    reports: Annotated[Path, typer.Argument(help="Folder of published sets, or a part of it.")] = Path("reports"),
) -> None:
    """Recheck published sets and reproduce their reports.

    Exit code 1 if anything differs.
    """
    from joulebench.publishing.index import stale_index
    from joulebench.publishing.verifying import verify as verify_sets

    wrong = 0
    for published in verify_sets(reports):
        print(f"{published.path}: {'; '.join(published.problems) or 'ok'}")
        wrong += bool(published.problems)
    if stale := stale_index(reports):
        print(f"{reports}: {', '.join(stale)}: not up to date with these sets; `joulebench publish` rewrites it")
    if wrong or stale:
        raise typer.Exit(1)
