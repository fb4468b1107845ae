"""Options and arguments that several commands share, with the same help text everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.errors import InputError, unwritable
from joulebench.host.files import write_whole
from joulebench.spec.reading import read_text
from joulebench.spec.toml import MAX_BYTES

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
ForceOption = Annotated[bool, typer.Option("--force", help="Replace the whole file --out if it exists.")]
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
GpusOption = Annotated[
    int | None,
    typer.Option(
        "--gpus", min=2, help="Run trials beside each other on this many equal GPUs of this machine, one on each."
    ),
]
ReplayOption = Annotated[
    str | None,
    typer.Option("--replay", help="Dry run: joules from a power trace (CSV `t_s,cpu,…`) or constant watts."),
]
FromOption = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="FOLDER",
        help="Where code and files that a record names may be taken from, beside the current folder and "
        "PYTHONPATH: a folder, or the name of an installed package.",
    ),
]
MeterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--meter",
        help="A meter of your own: a live meter's TOML file (a URL or command to ask); for a run also a plug-in's "
        "name, or package.module:function.",
    ),
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
    typer.Option(
        "--set",
        help="name=value: fix a parameter, or set a field such as dataset.train (run); fill a field (card).",
    ),
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit with code 1 where a check would only warn.")]
MlflowOption = Annotated[
    str | None,
    typer.Option("--mlflow", help="An MLflow store to write the trials to: sqlite:///FILE, a folder or a URL."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No live progress.")]


def refuse_unused(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that were given although this use of the command does not read them.

    Args:
        names: of the command's parameters in Python.

    Raises:
        InputError: one was given.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise InputError(f"{parameter.opts[0]}: {why}")


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


def write_out(path: Path, text: str, force: bool, merge: Callable[[str], str] | None = None) -> None:
    """Write the file `--out`; an existing one is replaced only with `--force`.

    Args:
        merge: puts the text into that of a Markdown file that exists (or the empty text), instead.

    Raises:
        InputError: the file exists, or cannot be read, merged or written.
    """
    try:
        if merge is not None and path.suffix.lower() == ".md":
            before = read_text(path, MAX_BYTES, follow=True) if path.exists() and not force else ""
            write_whole(path.resolve(), merge(before).encode(errors="replace"))
            return
        content = text.encode(errors="replace")
        if force and path.is_file() and not path.is_symlink():
            write_whole(path, content)  # atomic: the old file stays until all is written
        else:
            with path.open("wb" if force else "xb") as file:  # a pipe or device is written to, not replaced
                file.write(content)
    except FileExistsError:
        raise InputError(f"--out: {path} exists; choose another file, or --force to replace it") from None
    except OSError as error:
        raise unwritable(path, error) from None
    except InputError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise InputError(f"--out: {path}: {why}; --force replaces the whole file") from None
