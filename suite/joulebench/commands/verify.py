"""Command `joulebench verify`: recheck published sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from joulebench.presentation.words import listed


def verify(
    reports: Annotated[Path, typer.Argument(help="Folder of published sets, or a part of it.")] = Path("reports"),
    signers: Annotated[
        Path | None,
        typer.Option("--signers", help="Allowed signers, as ssh-keygen and git use them; sets of others fail."),
    ] = None,
) -> None:
    """Recheck published sets and reproduce their reports.

    Exit code 1 if records or reports differ, or, with --signers, where a set is signed by none of them.
    """
    from joulebench.publishing.index import stale_index
    from joulebench.publishing.verifying import verify as verify_sets

    wrong = 0
    for published in verify_sets(reports, signers):
        says = list(published.problems)
        if published.outdated:
            intact = "" if says else "records intact; "
            files = listed(published.outdated, 3)
            says.append(f"{intact}report of another version ({files}); `publish --refresh` makes it anew")
        if not says:
            signed = "signature not checked: name --signers" if published.is_signed else "unsigned"
            says = [f"ok (signed by {published.signer})" if published.signer else f"ok ({signed})"]
        says += [f"digest not recorded: {', '.join(published.unrecorded)}"] if published.unrecorded else []
        if published.unknown_commit:
            says.append(f"commit {published.unknown_commit[:12]} is not in this checkout's history")
        print(f"{published.path}: {'; '.join(says)}")
        wrong += bool(published.problems or published.outdated)
    if stale := stale_index(reports):
        print(f"{reports}: {', '.join(stale)}: not up to date with these sets; `joulebench publish` rewrites it")
    if wrong or stale:
        raise typer.Exit(1)
