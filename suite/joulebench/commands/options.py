"""Options and arguments that several commands share, with the same help text everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.errors import InputError
from joulebench.host.files import write_whole

if TYPE_CHECKING:
    from joulebench.spec.parameters import Value

_OUT = "Where to write: a folder for runs and comparisons, a file for a card or table."

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")]

OutOption = Annotated[Path, typer.Option("--out", help=_OUT)]
OutIfGivenOption = Annotated[Path | None, typer.Option("--out", help=_OUT)]
AllowBusyOption = Annotated[
    bool,
    typer.Option("--allow-busy", help="Take what was measured beside other work on the machine; reports say so."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file --out if it exists.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data set: a folder or an archive.")]
HardwareOption = Annotated[
    str | None,
    typer.Option(
        "--hardware",
        help="Hardware profile, by name or file; default: this host's. On a cluster also several: A,B,…",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray", metavar="ADDRESS", help="Address of a Ray cluster: `auto` on one of its nodes, or HOST:PORT."
    ),
]
ReplayOption = Annotated[
    str | None,
    typer.Option("--replay", help="Dry run: joules from a power trace (CSV `t_s,cpu,…`) or constant watts."),
]
PueOption = Annotated[
    float | None, typer.Option("--pue", help="Power usage effectiveness (PUE) of the building, applied to carbon.")
]
GridOption = Annotated[
    float | None, typer.Option("--grid-intensity", help="Carbon intensity of the grid, in g CO2e/kWh.")
]
PowerOption = Annotated[
    bool,
    typer.Option("--set-power-limit", help="Let the task set the GPU's power limit; it is restored afterwards."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="name=value: fix a parameter (run), or fill a field of the card (card)."),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit with code 1 where a check would only warn.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No live progress.")]


def assignments(option: list[str] | None) -> dict[str, Value]:
    """Parse every `--set name=value`; a later one replaces an earlier one.

    Raises:
        InputError: one has no name or no `=`.
    """
    return dict(_assignment(text) for text in option or [])


def _assignment(text: str) -> tuple[str, Value]:
    """Parse `name=value`; the value is JSON if it parses as a scalar, else text."""
    import json

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InputError(f"--set: must be name=value (got '{text}')")
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return name, value
    return name, parsed if isinstance(parsed, bool | int | float | str) else value


def write_out(path: Path, text: str, force: bool) -> None:
    """Write the file `--out`; an existing one is replaced only with `--force`.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    content = text.encode(errors="replace")
    try:
        if force and path.is_file() and not path.is_symlink():
            write_whole(path, content)  # atomic: the old file stays until all is written
        else:
            with path.open("wb" if force else "xb") as file:  # a pipe or device is written to, not replaced
                file.write(content)
    except FileExistsError:
        raise InputError(f"--out: {path} exists; choose another file, or --force to replace it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
