"""Commands on what was recorded: report, compare across machines, card, export, publish, verify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.errors import InputError, one_line

if TYPE_CHECKING:
    from joulebench.records.folder import RunFolder
    from joulebench.spec.parameters import Value


ForceOption = Annotated[bool, typer.Option("--force", help="Replace the file of --out where there is one.")]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="The run folder; several are compared.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of a comparison; beside the first run when absent.")
    ] = None,
    pue: Annotated[float | None, typer.Option(help="Of another building: carbon and rankings under it.")] = None,
    grid_intensity: Annotated[float | None, typer.Option(help="Of another grid, in g CO2e/kWh.")] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Lay another run's frontier over the figures; its records are kept beside.")
    ] = None,
) -> None:
    """Write a run's report anew from its records; of several runs, their comparison across machines."""
    from joulebench.records.folder import RunFolder

    folders = [RunFolder.open(run) for run in runs]
    if len(folders) == 1:
        if out is not None:
            raise InputError("--out: is for a comparison; a single run's report stands in its folder")
        if overlay is not None:
            from joulebench.results.reference_frontier import keep_overlay

            keep_overlay(folders[0], overlay)
        print_report(folders[0], pue=pue, grid_intensity=grid_intensity)
        return
    if any(given is not None for given in (pue, grid_intensity, overlay)):
        raise InputError("--pue, --grid-intensity, --overlay: are of one run's report; machines compare by joules")
    from joulebench.comparison.page import write_comparison

    written = write_comparison(folders, out)
    print(written.headline)
    print(f"report: {written.page}")


def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="The CSV file; the terminal when absent.")] = None,
    force: ForceOption = False,
    mlflow: Annotated[
        str | None,
        typer.Option(help="Write the trials to this MLflow store instead: sqlite:///FILE, a folder, a URL."),
    ] = None,
) -> None:
    """Write a run's trials as CSV: parameters, objectives and standard errors. The `table` workload reads it."""
    from joulebench.records.folder import RunFolder
    from joulebench.reporting.export_csv import trials_csv
    from joulebench.results.records import Records

    if mlflow is not None:
        from rich.console import Console
        from rich.progress import track

        from joulebench.reporting.mlflow_export import export_mlflow

        console = Console(stderr=True)
        print(export_mlflow(RunFolder.open(run), mlflow, lambda every: track(every, "trials", console=console)))
        if out is None:
            return
    text = trials_csv(Records.of(RunFolder.open(run)))
    if out is None:
        print(text, end="")
    else:
        write_out(out, text, force)


ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder of what is published.")]


def publish(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or sets published before.")],
    reports: ReportsOption = Path("reports"),
) -> None:
    """Check runs and copy them, with their reports, under reports/; several: and their comparison."""
    from joulebench.publishing.copying import publish as publish_run
    from joulebench.publishing.copying import publish_comparison
    from joulebench.publishing.index import write_index

    placed = [publish_run(run, reports) for run in runs]
    if len(placed) > 1:
        placed.append(publish_comparison(placed, reports))
    write_index(reports)
    for path in placed:
        print(f"published: {path}")


def verify(
    reports: Annotated[Path, typer.Argument(help="What is published, or a part of it.")] = Path("reports"),
) -> None:
    """Recheck what is published and make its reports anew; exit code 1 if anything does not come out the same."""
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


def card(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    trial: Annotated[
        int | None, typer.Option(help="Of this trial's configuration; when absent, the frontier's best in quality.")
    ] = None,
    format: Annotated[
        str, typer.Option(help="hf (model hub), boamps, sci (ISO/IEC 21031) or eu (GPAI documentation form).")
    ] = "hf",
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="A field that the records do not hold: name=value.")
    ] = None,
    pue: Annotated[float | None, typer.Option(help="Of another building.")] = None,
    grid_intensity: Annotated[float | None, typer.Option(help="Of another grid, in g CO2e/kWh.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file; the terminal when absent.")] = None,
    force: ForceOption = False,
) -> None:
    """Write the energy card of one configuration of a run; what is not known is absent or said to be so."""
    from joulebench.cards import make_card
    from joulebench.records.folder import RunFolder

    made = make_card(
        RunFolder.open(run),
        format,
        trial=trial,
        given=dict(assignment(text) for text in sets or []),
        pue=pue,
        grid_intensity_g_per_kwh=grid_intensity,
    )
    if out is None:
        print(made.text, end="")
        print(made.about, file=sys.stderr)
    else:
        write_out(out, made.text, force)
        print(f"{out}: {made.about}")


def wall(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    log: Annotated[Path, typer.Argument(help="The wall meter's log: CSV with columns utc and watts.")],
) -> None:
    """Put a wall meter's log beside a run: the report then gives the ratio of wall to software energy."""
    from joulebench.meters.wall_meter import import_log
    from joulebench.records.folder import RunFolder

    folder = RunFolder.open(run)
    found = import_log(folder, log)
    print(f"wall / software: {found.ratio:.4g} over {found.covered_s:.0f} s, {found.windows} windows")
    print_report(folder)


def print_report(
    folder: RunFolder, gated: bool = False, pue: float | None = None, grid_intensity: float | None = None
) -> None:
    """Write a run's report, print what it says in a sentence and where it is; exit code 1 if it missed its gate."""
    from joulebench.reporting import write_report

    written = write_report(folder, pue=pue, grid_intensity_g_per_kwh=grid_intensity)
    print(one_line(written.headline))
    print(f"report: {written.page}")
    if gated and written.passed is False:
        raise typer.Exit(1)


def write_out(path: Path, text: str, force: bool) -> None:
    """Write the file of `--out`; one that exists is somebody's, and stays unless `--force` is given.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"--out: {path} exists; choose another file, or --force to replace it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def assignment(text: str) -> tuple[str, Value]:
    """Name and value of `--set name=value`; the value as JSON has it, else as text."""
    import json

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InputError(f"--set: must read name=value (got '{text}')")
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return name, value
    return name, parsed if isinstance(parsed, bool | int | float | str) else value
