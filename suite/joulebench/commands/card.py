"""Command `joulebench card`: the energy card of a configuration."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.commands.options import (
    ForceOption,
    GridOption,
    OutIfGivenOption,
    PueOption,
    RunArgument,
    SetOption,
    assignments,
    refuse_unused,
    write_out,
)
from joulebench.commands.printing import say
from joulebench.errors import InputError

if TYPE_CHECKING:
    from joulebench.cards import Card


def card(
    context: typer.Context,
    run: RunArgument,
    trial: Annotated[
        int | None, typer.Option(help="Trial of the configuration; default: the frontier's best in quality.")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="hf (model hub), boamps, sci (ISO/IEC 21031), eu (GPAI form), or package.module:function."
        ),
    ] = "hf",
    sets: SetOption = None,
    pue: PueOption = None,
    grid_intensity: GridOption = None,
    out: OutIfGivenOption = None,
    force: ForceOption = False,
    benchmark: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/DATASET:TASK=METRIC",
            help="With --push: also `.eval_results/` for this benchmark of the hub, the value being this metric.",
        ),
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Commit the card to this model repository of the hub.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and list what would be written; write and upload nothing.")
    ] = False,
) -> None:
    """Write the energy card of one configuration of a run.

    It is printed, or written to --out; into a Markdown file that exists it is put between markers, the rest stays.
    Unknown values are absent or marked as unknown. --pue and --grid-intensity describe another site.
    """
    if out is None:
        refuse_unused(context, ("force",), "needs --out, the file to replace")
    if push is None:
        refuse_unused(context, ("benchmark", "dry_run"), "needs --push, the repository to write to")
    elif out is not None or format != "hf":
        raise InputError("--push: takes the card of --format hf, and no --out")
    from joulebench.cards import make_card
    from joulebench.cards.merging import merged
    from joulebench.records.folder import RunFolder

    given = assignments(sets)
    document = make_card(
        RunFolder.open(run),
        format,
        trial=trial,
        given=given,
        pue=pue,
        grid_intensity_g_per_kwh=grid_intensity,
    )
    if push is not None:
        _push(push, document, given, benchmark, dry_run)
    elif out is None:
        print(document.text, end="")
        print(document.about, file=sys.stderr)
    else:
        write_out(out, document.text, force, merge=lambda before: merged(before, document.text, given))
        say(f"{out}: {document.about}")


def _push(repo: str, document: Card, given: Collection[str], benchmark: str | None, dry_run: bool) -> None:
    from joulebench.cards.evaluation import evaluation
    from joulebench.cards.merging import merged
    from joulebench.cards.push import README, check_repo, push

    check_repo(repo)
    files = dict([evaluation(document.subject, benchmark)] if benchmark is not None else [])
    if not dry_run:
        push(repo, lambda before: merged(before, document.text, given), files)
    done = "would be committed; nothing was uploaded" if dry_run else "committed"
    say(f"{repo}: {', '.join((README, *files))} {done} ({document.about})")
