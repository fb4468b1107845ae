"""Command `joulebench gate`: the energy gate of continuous integration."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench import extras
from joulebench.commands.options import (
    HardwareOption,
    OutOption,
    QuietOption,
    ReplayOption,
    StrictOption,
    refuse_unused,
    write_out,
)
from joulebench.commands.printing import say
from joulebench.errors import InputError, unwritable
from joulebench.host.files import claim_folder

if TYPE_CHECKING:
    from joulebench.gate.interleave import Observer
    from joulebench.gate.workflow import Result

REFERENCE = "tests/regression"


#: By what is done: options that it does not read, and why.
_UNUSED = {
    "files": (
        ("update_baseline", "replace", "sessions", "tests", "form", "minutes", "hardware", "replay", "out"),
        "nothing is measured where two files are compared",
    ),
    "baseline": (
        ("replace", "sessions", "rerun", "minutes"),
        "not read where a session is compared with a baseline",
    ),
    "against": (("replace", "sessions", "rerun"), "cannot be combined with --against"),
    "update": (
        (
            "threshold",
            "metric",
            "require_energy",
            "strict",
            "minutes",
            "rerun",
            "out",
            "summary",
            "json_file",
            "badge",
        ),
        "nothing is judged with --update-baseline",
    ),
}


def gate(
    context: typer.Context,
    baseline: Annotated[
        Path | None,
        typer.Argument(help="Baseline or replicates: .jsonl, pytest-benchmark's .json, or a folder."),
    ] = None,
    current: Annotated[Path | None, typer.Argument(help="Replicates to judge; measured now by default.")] = None,
    against: Annotated[
        str | None, typer.Option(help="A commit to compare with; both are measured now, in turn.")
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Measure sessions and add them to this hardware's baseline.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the stored baseline.")] = False,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions to add to the baseline.")] = 1,
    rerun: Annotated[
        Path | None, typer.Option(help="Replicates of a rerun of CURRENT, if it contains none.")
    ] = None,
    tests: Annotated[str, typer.Option(help="Path of the benchmarks in the tree, for pytest.")] = REFERENCE,
    form: Annotated[
        str | None, typer.Option(help="quick or standard; default: standard with an accelerator.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1440.0,
            help="With --against: pairs of processes are added until all is decided, for at most so long; a rerun "
            "of what is found comes on top. Default: 5 (quick) or 60 (standard).",
        ),
    ] = None,
    limit_s: Annotated[
        float,
        typer.Option(
            "--limit", min=1.0, help="Seconds one process may take until it asks for its next turn to measure."
        ),
    ] = 3600.0,
    hardware: HardwareOption = None,
    replay: ReplayOption = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Smallest increase that is a regression: 0.02 is 2 %.")
    ] = 0.02,
    metric: Annotated[
        str, typer.Option(help="auto (measured energy, else processor time, else time), energy, processor or time.")
    ] = "auto",
    require_energy: Annotated[
        bool, typer.Option("--require-energy", help="Fail if a benchmark has no valid measured joules.")
    ] = False,
    strict: StrictOption = False,
    out: OutOption = Path("runs/regression"),
    summary: Annotated[Path | None, typer.Option(help="Append the result in Markdown to this file.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result for github-action-benchmark.")
    ] = None,
    badge: Annotated[Path | None, typer.Option(help="Write the outcome for a badge of shields.io.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Check in CI whether a change uses more energy.

    Exit code 1 for a regression above the threshold, with --strict also if the gate is undecided. Without
    arguments the working tree is measured and compared with this hardware's stored baseline.
    """
    from joulebench.gate import workflow
    from joulebench.gate.model import Settings
    from joulebench.gate.processes import Benchmarks
    from joulebench.host.clock import RealClock

    for option, file in (("--summary", summary), ("--json", json_file), ("--badge", badge)):
        if file is not None and not file.absolute().parent.is_dir():  # known before an hour of measuring
            raise InputError(f"{option}: {file}: there is no folder {file.parent}")
    _refuse_foreign("--json", json_file, {"name", "unit", "value"})
    _refuse_foreign("--badge", badge, {"schemaVersion", "label", "message"})
    _check(metric, ("auto", "energy", "processor", "time"), "--metric")
    _check(form, (None, "quick", "standard"), "--form")
    if against is not None and (baseline is not None or update_baseline):
        raise InputError("--against: cannot be combined with a baseline or --update-baseline")
    if update_baseline and current is not None:
        raise InputError("--update-baseline: cannot be combined with CURRENT")
    if require_energy and metric in ("processor", "time"):
        raise InputError(f"--require-energy: needs --metric auto or energy (got '{metric}')")
    use = "update" if update_baseline else "against" if against is not None else "files" if current else "baseline"
    refuse_unused(context, *_UNUSED[use])
    settings = Settings(
        threshold=threshold,
        metric=metric,  # type: ignore[arg-type]
        require_energy=require_energy,
        strict=strict,
    )
    benchmarks = Benchmarks(tests, form, hardware, replay, limit_s=limit_s)
    observe: Observer = (lambda _: None) if quiet else (lambda text: print(text, flush=True))
    if current is None:
        extras.require("gate", "gate")
    if update_baseline:
        print("\n".join(workflow.add_to_baseline(benchmarks, settings, sessions, replace, baseline, observe)))
        return
    if baseline is not None and current is not None:
        _publish(workflow.compare_files(baseline, current, settings, rerun), summary, json_file, badge)
        return
    try:
        folder = claim_folder(out / RealClock().utc()[:19].replace(":", "").replace("-", ""))
    except OSError as error:
        raise unwritable(out, error) from None
    say(f"records: {folder}")
    benchmarks = dataclasses.replace(benchmarks, keep=folder)
    if against is not None:
        result = workflow.against(against, benchmarks, settings, minutes, observe)
    else:
        result = workflow.against_baseline(benchmarks, settings, baseline, observe)
    _publish(result, summary, json_file, badge)


def _refuse_foreign(option: str, path: Path | None, keys: set[str]) -> None:
    """Refuse to replace a file that no gate wrote.

    Raises:
        InputError: `path` exists, and is no JSON object with these keys, nor a list of such.
    """
    from joulebench.spec.reading import MAX_LOG_BYTES, read_json

    if path is None or not path.exists() or path.is_char_device() or path.is_fifo() or not path.stat().st_size:
        return
    try:
        found = read_json(path, MAX_LOG_BYTES, follow=True)
        ours = all(keys <= one.keys() for one in (found if isinstance(found, list) else [found]))
    except (InputError, AttributeError):
        ours = False
    if not ours:
        raise InputError(f"{option}: {path} exists and is no result of a gate; choose another file")


def _publish(result: Result, summary: Path | None, json_file: Path | None, badge: Path | None) -> None:
    """Print the result, write its files, and exit with code 1 if the gate is not passed."""
    from joulebench.gate.report import action_json, badge_json, headline, markdown, status

    text = markdown(result)
    print(text)
    if summary is not None:
        try:
            with summary.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise unwritable(summary, error) from None
    for path, text in ((json_file, action_json(result)), (badge, badge_json(result))):
        if path is not None:
            write_out(path, text, force=True)
    print(headline(result))
    if status(result) == "failed":
        raise typer.Exit(1)


def _check(given: str | None, allowed: tuple[str | None, ...], option: str) -> None:
    from joulebench.errors import did_you_mean

    if given not in allowed:
        names = [name for name in allowed if name is not None]
        raise InputError(f"{option}: '{given}'{did_you_mean(str(given), names)} (allowed: {', '.join(names)})")
