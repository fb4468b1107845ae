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
    write_out,
)


def card(
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

    It is printed, or written to --out. Unknown values are absent or marked as unknown. --pue and --grid-intensity
    describe another site.
    """
    from joulebench.cards import make_card
    from joulebench.records.folder import RunFolder

    document = make_card(
        RunFolder.open(run),
        format,
        trial=trial,
        given=assignments(sets),
        pue=pue,
        grid_intensity_g_per_kwh=grid_intensity,
    )
    if out is None:
        print(document.text, end="")
        print(document.about, file=sys.stderr)
    else:
        write_out(out, document.text, force)
        print(f"{out}: {document.about}")
