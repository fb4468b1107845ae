"""Command `joulebench gate`: the energy gate of continuous integration."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.commands.options import HardwareOption, OutOption, QuietOption, ReplayOption, StrictOption
from joulebench.errors import InputError

if TYPE_CHECKING:
    from joulebench.gate.interleave import Observer
    from joulebench.gate.workflow import Result

REFERENCE = "tests/regression"


def gate(
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
    pairs: Annotated[
        int | None, typer.Option(min=10, help="Processes per commit; default: 18 (quick) or 20 (standard).")
    ] = None,
    hardware: HardwareOption = None,
    replay: ReplayOption = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Smallest increase that is a regression: 0.02 is 2 %.")
    ] = 0.02,
    metric: Annotated[str, typer.Option(help="auto (measured energy, else time), energy or time.")] = "auto",
    require_energy: Annotated[
        bool, typer.Option("--require-energy", help="Fail if a benchmark has no valid measured joules.")
    ] = False,
    strict: StrictOption = False,
    out: OutOption = Path("runs/regression"),
    summary: Annotated[Path | None, typer.Option(help="Append the result in Markdown to this file.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result for github-action-benchmark.")
    ] = None,
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

    _check(metric, ("auto", "energy", "time"), "--metric")
    _check(form, (None, "quick", "standard"), "--form")
    if against is not None and (baseline is not None or update_baseline):
        raise InputError("--against: cannot be combined with a baseline or --update-baseline")
    if update_baseline and current is not None:
        raise InputError("--update-baseline: cannot be combined with CURRENT")
    if require_energy and metric == "time":
        raise InputError("--require-energy: needs --metric auto or energy (got 'time')")
    settings = Settings(
        threshold=threshold,
        metric=metric,  # type: ignore[arg-type]
        require_energy=require_energy,
        strict=strict,
    )
    benchmarks = Benchmarks(tests, form, hardware, replay)
    observe: Observer = (lambda _: None) if quiet else (lambda text: print(text, flush=True))
    if update_baseline:
        print("\n".join(workflow.add_to_baseline(benchmarks, settings, sessions, replace, baseline, observe)))
        return
    if baseline is not None and current is not None:
        _publish(workflow.compare_files(baseline, current, settings, rerun), summary, json_file)
        return
    folder = out / RealClock().utc()[:19].replace(":", "").replace("-", "")
    print(f"records: {folder}")
    benchmarks = dataclasses.replace(benchmarks, keep=folder)
    if against is not None:
        result = workflow.against(against, benchmarks, settings, pairs, observe)
    else:
        result = workflow.against_baseline(benchmarks, settings, baseline, observe)
    _publish(result, summary, json_file)


def _publish(result: Result, summary: Path | None, json_file: Path | None) -> None:
    """Print the result, write its files, and exit with code 1 if the gate is not passed."""
    from joulebench.gate.report import action_json, headline, markdown, passed

    text = markdown(result)
    print(text)
    if summary is not None:
        with summary.open("a", encoding="utf-8") as file:
            file.write(text)
    if json_file is not None:
        json_file.write_text(action_json(result), encoding="utf-8")
    print(headline(result))
    if not passed(result):
        raise typer.Exit(1)


def _check(given: str | None, allowed: tuple[str | None, ...], option: str) -> None:
    from joulebench.errors import did_you_mean

    if given not in allowed:
        names = [name for name in allowed if name is not None]
        raise InputError(f"{option}: '{given}'{did_you_mean(str(given), names)} (allowed: {', '.join(names)})")
