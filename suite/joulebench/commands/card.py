"""`joulebench card`."""

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
        int | None, typer.Option(help="Of this trial's configuration; when absent, the frontier's best in quality.")
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

    It goes to the terminal, or the file of --out. What is not known is absent or said to be so. With --pue or
    --grid-intensity the card is as for another site.
    """
    from joulebench.cards import make_card
    from joulebench.records.folder import RunFolder

    made = make_card(
        RunFolder.open(run),
        format,
        trial=trial,
        given=assignments(sets),
        pue=pue,
        grid_intensity_g_per_kwh=grid_intensity,
    )
    if out is None:
        print(made.text, end="")
        print(made.about, file=sys.stderr)
    else:
        write_out(out, made.text, force)
        print(f"{out}: {made.about}")
