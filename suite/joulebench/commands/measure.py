"""Command `joulebench measure`: the joules of any program, or of several beside each other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from joulebench.commands.options import (
    AllowBusyOption,
    HardwareOption,
    MeterOption,
    OutOption,
    QuietOption,
    ReplayOption,
)
from joulebench.commands.printing import print_report, print_tables, say
from joulebench.errors import IncompleteError, InputError, ProgramError

if TYPE_CHECKING:
    from joulebench.records.folder import RunFolder
    from joulebench.runner.events import Event, Observer
    from joulebench.runner.plan import Plan
    from joulebench.spec.task import Task

#: Least seconds of a window with an accelerator, whose counters move every 0.1 s.
GPU_WINDOW_S = 1.0
#: The study that shows commands beside each other.
STUDY = "variants"


def measure(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PROGRAM [ARGUMENTS]...]", help="The program to measure, after `--`."),
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Option("--command", "-c", help="A command in one text, without a shell; several are compared."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Name of a command, in their order; by default its text.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=10_000, help="Measured runs of each command.")] = 10,
    warmup: Annotated[
        int, typer.Option(min=0, max=10_000, help="Runs of each command before, which do not count.")
    ] = 0,
    units: Annotated[int, typer.Option(min=1, help="Units of work that one run does.")] = 1,
    unit: Annotated[str, typer.Option(help="Name of the unit, such as image or token.")] = "run",
    limit_s: Annotated[
        float | None,
        typer.Option("--timeout", min=0.001, help="Seconds after which a run is killed and has failed."),
    ] = None,
    idle_s: Annotated[
        float,
        typer.Option(
            "--idle", min=0.0, help="Seconds of idling measured first, for net joules; 0: there are none."
        ),
    ] = 4.0,
    show_output: Annotated[bool, typer.Option("--show-output", help="Let programs print.")] = False,
    ignore_failure: Annotated[
        bool, typer.Option("--ignore-failure", help="Runs with another exit code than 0 count, too.")
    ] = False,
    hardware: HardwareOption = None,
    meter: MeterOption = None,
    replay: ReplayOption = None,
    allow_busy: AllowBusyOption = False,
    out: OutOption = Path("runs"),
    quiet: QuietOption = False,
) -> None:
    """Measure the joules of a program: `joulebench measure -- python infer.py`.

    Several, `-c "python a.py" -c "python b.py"`, run in turn in random order, and are compared. A program that
    fails ends it, with the program's exit code.
    """
    from joulebench.commands.progress import observer
    from joulebench.runner.plan import plan
    from joulebench.workloads.command import Command

    if not re.fullmatch("[a-z][a-z_]*", unit):
        raise InputError(f"--unit: '{unit}' (allowed: a word of lower-case letters and _)")
    commands = named([*([words] if words else []), *map(_split, command or [])], name or [])
    options: dict[str, Any] = {"units": units, "unit": unit, "warmup": warmup}
    options |= {"show_output": show_output, "ignore_failure": ignore_failure}
    options |= {} if limit_s is None else {"limit_s": limit_s}
    task = command_task(commands, repeats, options, idle_s)
    Command.check_task(task)  # before anything heavy is imported
    meters = tuple(meter or ())
    chosen = plan(task, hardware=hardware, meters=meters, replay=replay, allow_busy=allow_busy)
    if chosen.profile.kind == "gpu":
        protocol = chosen.task.protocol.model_copy(update={"window_s": GPU_WINDOW_S})
        chosen = replace(chosen, task=chosen.task.model_copy(update={"protocol": protocol}))
    with observer(quiet) as observe:
        folder = _measured(chosen, out, observe)
    _print(folder)
    trials = folder.trials()
    if not any(trial.status == "ok" for trial in trials):
        raise IncompleteError(f"{folder.path}: no run counts; the last: {trials[-1].error}")


def _measured(chosen: Plan, out: Path, observe: Observer) -> RunFolder:
    """Run it; what was measured before a failure or Ctrl-C is printed all the same.

    Raises:
        ProgramError: with the exit code of a program that failed.
        IncompleteError: it took too long.
    """
    from joulebench.runner import local
    from joulebench.workloads.command import exit_code, failure

    begun: list[RunFolder] = []

    def watch(event: Event) -> None:
        if event.folder is not None and not begun:
            begun.append(event.folder)
        observe(event)

    try:
        return local.start(chosen, out=out, observer=watch)
    except (IncompleteError, KeyboardInterrupt) as stop:
        if not begun or not (trials := begun[0].trials()):
            raise
        if any(trial.status == "ok" for trial in trials):
            _print(begun[0])
        error = trials[-1].error or ""
        if isinstance(stop, KeyboardInterrupt) or (said := failure(error)) is None:
            raise
        if (code := exit_code(error)) is None:
            raise IncompleteError(said) from None
        raise ProgramError(said, code) from None


def _print(folder: RunFolder) -> None:
    """Write the report, and print its table."""
    from joulebench.results.run import Run
    from joulebench.studies.base import load_study

    study, run = load_study(STUDY), Run.of(folder)
    if (result := study.analyse(run)) is not None:
        section = study.section(result, run)
        print_tables(section.tables)
        say(*section.sentences)
    print_report(folder)


def _split(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--command: {text!r}: {error}") from None
    if not words:
        raise InputError("--command: needs a program")
    return words


def named(commands: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, list[str]]:
    """Commands by their names, the first being what the others are compared with.

    Raises:
        InputError: there is none, two have one name, one is blank, or there are more names than commands.
    """
    if not commands:
        raise InputError("measure: needs a program, as in `joulebench measure -- python infer.py`")
    if len(names) > len(commands):
        raise InputError(f"--name: {len(names)} names for {len(commands)} commands")
    found: dict[str, list[str]] = {}
    for number, words in enumerate(commands):
        label = names[number] if number < len(names) else shlex.join(words)
        if not label.strip():
            raise InputError("--name: must not be blank")
        if label in found:
            raise InputError(f"--name: two commands are called '{label}'; give each a name of its own")
        found[label] = list(words)
    return found


def command_task(
    commands: Mapping[str, Sequence[str]], repeats: int, options: Mapping[str, Any], idle_s: float
) -> Task:
    """Task that measures commands in rounds, each once a round in random order.

    Args:
        options: those of the workload, without the commands.
        idle_s: seconds of the idle baseline.

    Raises:
        InputError: an option that cannot be used.
    """
    from joulebench.spec.task import Task
    from joulebench.spec.toml import validate
    from joulebench.workloads.command import PARAMETER, PHASE

    labels = list(commands)
    parameter: dict[str, Any] = {"type": "fixed", "value": labels[0]}
    if len(labels) > 1:
        parameter = {"type": "choice", "values": labels, "default": labels[0]}
    energy = {"phase": PHASE, "domains": ["gpu", "cpu", "ram"], "basis": "gross", "goal": "minimize"}
    definition = {
        "name": "measure",
        "title": "Energy of a command" if len(labels) == 1 else "Energy of commands",
        "description": "\n".join(shlex.join(words) for words in commands.values()),
        "workload": "command",
        "options": {**options, "commands": {label: list(words) for label, words in commands.items()}},
        "analyses": [STUDY],
        "parameters": {PARAMETER: parameter},
        "objectives": {f"j_per_{options.get('unit', 'run')}": energy},
        "stages": {
            "rounds": {
                "method": "points", "points": [{PARAMETER: label} for label in labels], "repeats": repeats,
                "order": "random",
            }
        },
        # a trial is one run, and has one window: the rounds are what is repeated
        "protocol": {
            "warmup_s": 0.0, "max_warmup_s": 0.0, "window_s": 0.05, "min_windows": 1, "repeats": 1,
            "max_repeats": 3, "idle_s": idle_s, "idle_every": 100, "control": False,
        },
        "confirm": {"repeats": 0},
        "max_consecutive_failures": 1,
    }  # fmt: skip
    return validate(Task, definition, "measure")
