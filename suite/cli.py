"""Commands: parse, call, print. `joulebench --help` lists them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.errors import InputError

if TYPE_CHECKING:
    from suite.record import RunFolder
    from suite.task import Task, Value

INTERRUPTED = 130

app = typer.Typer(
    name="joulebench",
    help="Energy and quality of machine-learning models: measured, searched, compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

OutOption = Annotated[Path, typer.Option("--out", help="Folder for run folders.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data set: a folder or an archive.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; one line a trial.")]


def main() -> None:
    """The command `joulebench`: bad input is one line and exit code 2, Ctrl-C is 130; never a traceback."""
    try:
        app()
    except InputError as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}", 2)
    except (KeyboardInterrupt, SystemExit) as stop:  # typer turns Ctrl-C into SystemExit(130)
        if isinstance(stop, KeyboardInterrupt) or stop.code == INTERRUPTED:
            _fail("interrupted; finished trials are kept: `joulebench resume RUN` continues", INTERRUPTED)
        raise


def _fail(message: str, code: int) -> None:
    print(f"joulebench: {message}", file=sys.stderr)
    sys.exit(code)


@app.command()
def tasks() -> None:
    """List the tasks, their budgets and their objectives."""
    from suite.catalog import find_task, task_files

    for name in task_files():
        task = find_task(name)
        budgets = ", ".join(task.budgets) or "one"
        print(f"{name:<18} {task.title}")
        print(f"{'':<18} objectives: {', '.join(task.objectives)}; budgets: {budgets}")


@app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Task files; all when absent.")] = None,
) -> None:
    """Check task and hardware profile files; exit code 2 if one of them is broken."""
    from suite.catalog import profile_files, task_files
    from suite.hardware import load_profile
    from suite.task import load_task

    broken = 0
    known = set(profile_files().values())
    for path in paths or [*task_files().values(), *profile_files().values()]:
        try:
            is_profile = path in known or path.parent.name == "hardware_profiles"
            print(f"{path}: ok ({(load_profile if is_profile else load_task)(path).title})")
        except InputError as error:
            broken += 1
            print(f"joulebench: {error}", file=sys.stderr)
    if broken:
        raise typer.Exit(2)


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="A task's name, or the path of its TOML file.")],
    budget: Annotated[str | None, typer.Option(help="quick, standard, paper, …: see `joulebench tasks`.")] = None,
    hardware: Annotated[str | None, typer.Option(help="Hardware profile; found by itself when absent.")] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 0,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Fix a parameter: name=value.")] = None,
    trials_from: Annotated[Path | None, typer.Option(help="Measure another run's configurations.")] = None,
    replay: Annotated[
        str | None,
        typer.Option(help="Dry run: joules from a power trace (CSV `t_s,cpu,…`) or constant watts."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Run a task and write its report."""
    from suite import study
    from suite.plan import plan
    from suite.progress import observer

    chosen = plan(
        task,
        budget=budget,
        hardware=hardware,
        data=data,
        seed=seed,
        overrides=dict(_assignment(text) for text in sets or []),
        replay=replay,
        trials_from=trials_from,
    )
    _announce(chosen.task, chosen.budget, chosen.profile.name)
    with observer(quiet) as observe:
        folder = study.start(chosen, out=out, observer=observe)
    _report(folder)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    data: DataOption = None,
    quiet: QuietOption = False,
) -> None:
    """Continue a stopped run where it was."""
    from suite import study
    from suite.progress import observer

    with observer(quiet) as observe:
        folder = study.resume(run, data=data, observer=observe)
    _report(folder)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Write a run's report anew from its records."""
    from suite.record import RunFolder

    _report(RunFolder.open(run))


@app.command()
def wall(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    log: Annotated[Path, typer.Argument(help="The wall meter's log: CSV with columns utc and watts.")],
) -> None:
    """Put a wall meter's log beside a run: the report then gives the ratio of wall to software energy."""
    from suite.record import RunFolder
    from suite.wall import import_log

    folder = RunFolder.open(run)
    found = import_log(folder, log)
    print(f"wall / software: {found.ratio:.4g} over {found.covered_s:.0f} s, {found.windows} windows")
    _report(folder)


def _report(folder: RunFolder) -> None:
    from suite.reporting import write_report

    written = write_report(folder)
    print(written.headline)
    print(f"report: {written.page}")


def _announce(task: Task, budget: str | None, hardware: str) -> None:
    data = f"{task.dataset.name}" if task.dataset else "no data set"
    size = task.space_size
    print(f"{task.title}: task {task.name} v{task.version}, budget {budget or 'none'}, data {data}, on {hardware}")
    print(f"search space: {f'{size:,} configurations' if size else 'continuous'}; digest {task.digest}")
    if budget == "quick":
        print("quick narrows the space and the windows: its results do not compare with the published study")


def _assignment(text: str) -> tuple[str, Value]:
    import json

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InputError(f"--set: must read name=value (got '{text}')")
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return name, value
    return name, parsed if isinstance(parsed, bool | int | float | str) else value


if __name__ == "__main__":
    main()
