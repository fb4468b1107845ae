"""`joulebench verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    reports: Annotated[Path, typer.Argument(help="What is published, or a part of it.")] = Path("reports"),
) -> None:
    """Recheck what is published and make its reports anew.

    Exit code 1 if anything does not come out the same.
    """
    from joulebench.publishing.index import stale_index
    from joulebench.publishing.verifying import verify as verify_sets

    wrong = 0
    for found in verify_sets(reports):
        print(f"{found.path}: {'ok' if not found.problems else '; '.join(found.problems)}")
        wrong += bool(found.problems)
    if stale := stale_index(reports):
        print(f"{reports}: {', '.join(stale)}: not the index of these sets; `joulebench publish` writes it")
    if wrong or stale:
        raise typer.Exit(1)
