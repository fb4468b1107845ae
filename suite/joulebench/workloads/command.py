"""Workload `command`: any program as what is measured, run from its start to its end.

Options:

    commands = { small = ["python", "infer.py", "--small"] }   # the words of each; parameter `command` chooses one
    units = 64                    # units of work that one run does, 1 by default
    unit = "image"                # their name, "run" by default
    warmup = 1                    # runs of each command that are not measured, before its first measured one; 0
    limit_s = 600.0               # a run that takes longer is killed, and fails its trial; no limit
    show_output = true            # else what programs print is kept for messages alone
    ignore_failure = true         # else a program that ends with another exit code than 0 fails its trial

A program runs in the current folder with this process's environment, without standard input. All that it starts is
measured with it, and ends with it. A record's commands are never run: `joulebench.runner.own_code` refuses them.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from joulebench.errors import InputError
from joulebench.host.process import ChildProcess, TimeLimitError
from joulebench.spec.parameters import Params
from joulebench.workloads.base import Context, Phase, Workload, check_values

if TYPE_CHECKING:
    from joulebench.spec.task import Task

PARAMETER, PHASE, UNIT = "command", "run", "run"


class CommandError(RuntimeError):
    """Program that failed: its exit code was not 0, a signal ended it, or it took too long."""


class Command(Workload):
    """Workload `command`: a step of its phase `run` is one run of the program."""

    needs_data = False
    uses_torch = False
    OPTIONS = ("commands", "units", "unit", "warmup", "limit_s", "show_output", "ignore_failure")
    #: Commands that have run in this process: they are warm.
    _warm: ClassVar[set[tuple[str, ...]]] = set()

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._options = _checked(context.options)
        self._words: tuple[str, ...] = ()
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def check_task(cls, task: Task) -> None:
        super().check_task(task)
        commands = _checked(task.options)["commands"]
        if PARAMETER not in task.parameters:
            raise InputError(f"parameters: the workload needs '{PARAMETER}', which chooses one of its commands")
        check_values(task, PARAMETER, commands)

    def build(self, params: Params) -> None:
        self._words = tuple(self._options["commands"][str(params[PARAMETER])])
        self._folder = tempfile.TemporaryDirectory(prefix="joulebench-command-")

    def phases(self) -> dict[str, Phase]:
        return {PHASE: Phase(self._run, self._options["units"], self._options["unit"], self._warm_up)}

    def _warm_up(self) -> None:
        if self._words not in self._warm:
            for _ in range(self._options["warmup"]):
                self._run()
            self._warm.add(self._words)

    def _run(self) -> None:
        """Run the program once.

        Raises:
            InputError: it cannot be started.
            CommandError: it failed, or took longer than its limit.
        """
        assert self._folder is not None, "build comes first"
        log = None if self._options["show_output"] else Path(self._folder.name) / "output"
        try:
            with ChildProcess(self._words, log=log) as process:
                code = process.wait(self._options["limit_s"])
                if code != 0 and not self._options["ignore_failure"]:
                    last = "" if log is None else f"; its last output: {process.last_line()}"
                    raise CommandError(f"{ending(code)}: {shlex.join(self._words):.200}{last}")
        except TimeLimitError as error:
            raise CommandError(str(error)) from None

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def ending(code: int) -> str:
    """How a program ended, by its exit code as Python has it: negative where a signal ended it."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def failure(error: str) -> str | None:
    """What a program failed of, from the error of its trial; None if no program failed."""
    if not error.startswith(begin := f"{CommandError.__name__}: "):
        return None
    return re.sub(r" \(\w+\.py:\d+\)$", "", error.removeprefix(begin))


def exit_code(error: str) -> int | None:
    """The exit code of a failed program, from the error of its trial, as a shell has it; None if it is none."""
    found = re.match(r"(signal|exit code) (\d+): ", failure(error) or "")
    return None if found is None else int(found[2]) + (128 if found[1] == "signal" else 0)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with their defaults.

    Raises:
        InputError: one that cannot be used, or a program that is not there.
    """
    commands = options.get("commands")
    if not isinstance(commands, Mapping) or not commands:
        raise InputError('options.commands: must be a table of commands, NAME = ["program", "argument", …]')
    for name, words in commands.items():
        where = f"options.commands.{name}"
        if not isinstance(words, list | tuple) or not words or not all(isinstance(w, str) for w in words):
            raise InputError(f"{where}: must be a list of words, the first of them a program (got {words!r})")
        if shutil.which(words[0]) is None:
            there = os.path.isfile(words[0])  # noqa: PTH113 (Path's own raises where a name cannot be one)
            raise InputError(
                f"{where}: '{words[0]}' is not executable (chmod +x, or name its interpreter)" if there
                else f"{where}: no program '{words[0]}' here or on PATH"
            )  # fmt: skip
    unit = options.get("unit", UNIT)
    if not isinstance(unit, str) or not re.fullmatch("[a-z][a-z_]*", unit):
        raise InputError(f"options.unit: must be a word of lower-case letters and _ (got {unit!r})")
    checked: dict[str, Any] = {"commands": commands, "unit": unit}
    for name, default, least in (("units", 1, 1), ("warmup", 0, 0)):
        value = options.get(name, default)
        if type(value) is not int or not least <= value <= 10**12:
            raise InputError(f"options.{name}: must be a whole number from {least} to 10^12 (got {value!r})")
        checked[name] = value
    for name in ("show_output", "ignore_failure"):
        checked[name] = options.get(name, False)
        if not isinstance(checked[name], bool):
            raise InputError(f"options.{name}: must be true or false (got {checked[name]!r})")
    limit_s = options.get("limit_s")
    if limit_s is not None and not (isinstance(limit_s, int | float) and 0 < limit_s <= 1e7):
        raise InputError(f"options.limit_s: must be seconds above 0 and at most 10000000 (got {limit_s!r})")
    return {**checked, "limit_s": limit_s}
