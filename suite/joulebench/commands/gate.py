"""`joulebench gate`: the energy gate of a continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.commands.options import HardwareOption, OutOption, QuietOption, ReplayOption, StrictOption
from joulebench.errors import InputError

if TYPE_CHECKING:
    from joulebench.gate.interleave import Observer
    from joulebench.gate.model import Settings
    from joulebench.gate.processes import Benchmarks
    from joulebench.gate.workflow import Result

REFERENCE = "tests/regression"


def gate(
    baseline: Annotated[
        Path | None,
        typer.Argument(help="A baseline, or replicates: .jsonl, pytest-benchmark's .json, or a folder."),
    ] = None,
    current: Annotated[Path | None, typer.Argument(help="Replicates to judge; measured now when absent.")] = None,
    against: Annotated[
        str | None, typer.Option(help="A commit: measured now, in turn with the working tree.")
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Measure a session and add it to this hardware's baseline.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Begin the baseline anew.")] = False,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions to add to the baseline.")] = 1,
    rerun: Annotated[
        Path | None, typer.Option(help="Replicates that confirm CURRENT, where it does not hold a rerun.")
    ] = None,
    tests: Annotated[str, typer.Option(help="Where the benchmarks are: pytest's path in the tree.")] = REFERENCE,
    form: Annotated[str | None, typer.Option(help="quick or standard; standard with an accelerator.")] = None,
    pairs: Annotated[
        int | None, typer.Option(min=10, help="Processes of each commit; 18 in quick form, 20 in standard.")
    ] = None,
    hardware: HardwareOption = None,
    replay: ReplayOption = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="What a regression exceeds: 0.02 is 2 %.")
    ] = 0.02,
    metric: Annotated[str, typer.Option(help="auto (measured energy, else time), energy or time.")] = "auto",
    require_energy: Annotated[
        bool, typer.Option("--require-energy", help="Fail where there are no valid measured joules.")
    ] = False,
    strict: StrictOption = False,
    out: OutOption = Path("runs/regression"),
    summary: Annotated[Path | None, typer.Option(help="Append the result in Markdown to this file.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result for github-action-benchmark.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Judge whether a change takes more energy: the gate of a CI.

    Exit code 1 for a regression above the threshold, and with --strict where the gate is undecided. Without
    arguments the working tree is measured and judged against this hardware's stored baseline.
    """
    from joulebench.gate.model import Settings
    from joulebench.gate.processes import Benchmarks

    _check(metric, ("auto", "energy", "time"), "--metric")
    _check(form, (None, "quick", "standard"), "--form")
    if against is not None and (baseline is not None or update_baseline):
        raise InputError("--against: measures both commits; give it neither a baseline nor --update-baseline")
    if update_baseline and current is not None:
        raise InputError("--update-baseline: measures a session; give it a baseline's file at most")
    if require_energy and metric == "time":
        raise InputError("--require-energy: goes with --metric auto or energy (got 'time')")
    settings = Settings(
        threshold=threshold,
        metric=metric,  # type: ignore[arg-type]
        require_energy=require_energy,
        strict=strict,
    )
    benchmarks = Benchmarks(tests, form, hardware, replay)
    observe: Observer = (lambda _: None) if quiet else (lambda text: print(text, flush=True))
    if update_baseline:
        from joulebench.gate.workflow import add_to_baseline

        print("\n".join(add_to_baseline(benchmarks, settings, sessions, replace, baseline, observe)))
        return
    result = _judged(baseline, current, rerun, against, benchmarks, settings, pairs, out, observe)
    _tell(result, summary, json_file)


def _judged(
    baseline: Path | None,
    current: Path | None,
    rerun: Path | None,
    against: str | None,
    benchmarks: Benchmarks,
    settings: Settings,
    pairs: int | None,
    out: Path,
    observe: Observer,
) -> Result:
    from dataclasses import replace

    from joulebench.gate import workflow
    from joulebench.host.clock import RealClock

    if baseline is not None and current is not None:
        return workflow.compare_files(baseline, current, settings, rerun)
    folder = out / RealClock().utc()[:19].replace(":", "").replace("-", "")
    print(f"records: {folder}")
    benchmarks = replace(benchmarks, keep=folder)
    if against is not None:
        return workflow.against(against, benchmarks, settings, pairs, observe)
    return workflow.against_baseline(benchmarks, settings, baseline, observe)


def _tell(result: Result, summary: Path | None, json_file: Path | None) -> None:
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
