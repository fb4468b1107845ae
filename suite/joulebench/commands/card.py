"""Command `joulebench card`: the energy card of a configuration."""

from __future__ import annotations

import sys
from typing import Annotated

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
) -> None:
    """Write the energy card of one configuration of a run.

    It is printed, or written to --out; into a Markdown file that exists it is put between markers, the rest stays.
    Unknown values are absent or marked as unknown. --pue and --grid-intensity describe another site.
    """
    if out is None:
        refuse_unused(context, ("force",), "needs --out, the file to replace")
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
    if out is None:
        print(document.text, end="")
        print(document.about, file=sys.stderr)
    else:
        write_out(out, document.text, force, merge=lambda before: merged(before, document.text, given))
        say(f"{out}: {document.about}")
