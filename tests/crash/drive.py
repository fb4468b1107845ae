"""Attacks, each in a fork of this process, which has everything imported: one takes a fraction of a second."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from joulebench.commands.main import main
from joulebench.presentation import pages
from joulebench.publishing import index
from joulebench.reporting import render
from joulebench.results import membership
from tests.crash.commands import COMMANDS, Command, leftovers
from tests.crash.faults import Faults, Kind

#: Nothing here depends on what a figure shows.
_FIGURES = {"png": b"\x89PNG\r\n\x1a\n...IEND\xaeB`\x82", "svg": b"<svg></svg>"}
#: Longest time for an attacked command, and for what it started to be gone.
LIMIT_S, GONE_S = 120.0, 5.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Ended:
    code: int  # negative: ended by that signal
    out: str
    err: str
    seconds: float


@dataclass
class Outcome:
    """What the attacks on a command showed: how many there were of each kind, and how many it stood."""

    command: str
    steps: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    stood: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def prepare(names: Iterable[str]) -> None:
    """Adopt the children of killed processes, do without what takes long, and import what these commands need."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for module in (pages, render, index):
        module.still = lambda plots, title, kind: _FIGURES[kind]
        for name in ("html_environment", "markdown_environment"):
            if hasattr(module, name):
                setattr(module, name, functools.cache(getattr(module, name)))
    membership.DRAWS = 20
    os.environ["JOULEBENCH_ALLOW_BUSY"] = "1"
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        for command in (command for command in COMMANDS if command.name in names):
            folder = Path(scratch, command.name)
            folder.mkdir()
            with contextlib.chdir(folder):
                command.prepare(folder, _called)
                _called(*command.words)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    gc.collect()
    gc.freeze()  # a fork has less to look through


def _called(*words: str) -> str:
    sys.argv = ["joulebench", *words]
    with contextlib.suppress(SystemExit):
        main()
    return ""


def forked(
    root: Path, words: Iterable[str], faults: Faults | None = None, kill_after_s: float | None = None
) -> Ended:
    """Call joulebench in a fork, in the folder `root`."""
    said = [root.parent / f"{root.name}.{name}" for name in ("out", "err")]
    began_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = _child(root, list(words), said, faults)
        finally:
            os._exit(code)
    limit_s = LIMIT_S if kill_after_s is None else kill_after_s
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() - began_s > limit_s:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    seconds = time.monotonic() - began_s
    code = os.waitstatus_to_exitcode(done[1])
    return Ended(code, *(path.read_text(errors="replace") for path in said), seconds)


def _child(root: Path, words: list[str], said: list[Path], faults: Faults | None) -> int:
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(root)
    sys.modules.pop("crash_model", None)  # of another folder, which is gone
    (root / "tmp").mkdir(exist_ok=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(root / "tmp")
    sys.argv = ["joulebench", *words]
    if faults is not None:
        faults.install()
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def running() -> list[str]:
    """What this process's children have left running, after a moment to end in."""
    until_s = time.monotonic() + GONE_S
    while True:
        left = psutil.Process().children(recursive=True)
        if not left:
            return []
        names = []
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended since
                if child.status() == psutil.STATUS_ZOMBIE and child.ppid() == os.getpid():
                    os.waitpid(child.pid, 0)
                names.append(" ".join(child.cmdline()))
        if time.monotonic() > until_s:
            return names
        time.sleep(0.005)


class Attacked:
    """A command with the state before it, to be attacked again and again."""

    def __init__(self, command: Command, scratch: Path) -> None:
        self.command = command
        self._before, self._root = scratch / "before", scratch / "root"
        self._before.mkdir()
        command.prepare(self._before, self._call_in(self._before))
        self.outcome = Outcome(command.name)
        faults = Faults(self._fresh(), 0, "kill")
        ended = forked(self._root, command.words, faults)
        assert ended.code == 0, f"{command.name}: {ended.err}"
        self.outcome.steps, self._seconds = faults.steps, ended.seconds
        self._expected = self._finished()

    def _fresh(self) -> Path:
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._before, self._root, symlinks=True)
        return self._root

    def _call_in(self, root: Path) -> Any:
        def call(*words: str) -> str:
            ended = forked(root, words)
            assert ended.code == 0, f"then {' '.join(words)}: exit code {ended.code}: {ended.err.strip()[-300:]}"
            return ended.out

        return call

    def _finished(self) -> Any:
        return self.command.finish(self._root, self._call_in(self._root))

    def at_step(self, step: int, kind: Kind) -> None:
        """Attack it at one step, and note what does not hold."""
        faults = Faults(self._fresh(), step, kind)
        ended = forked(self._root, self.command.words, faults)
        problem = None
        if faults.steps < step:
            problem = f"ended after {faults.steps} steps"
        elif kind == "kill" and ended.code != -signal.SIGKILL:
            problem = f"was not killed: {ended.code}"
        elif kind == "full" and (ended.code, len(ended.err.splitlines())) != (3, 1):
            problem = f"exit code {ended.code}: {ended.err.strip()[-300:]}"
        self._check(kind, f"at step {step}", ended, problem)

    def at_random(self, generator: random.Random) -> None:
        """Kill it after a random part of the time that it takes."""
        while True:  # until the kill strikes a working process
            self._fresh()
            after_s = generator.uniform(0, self._seconds)
            ended = forked(self._root, self.command.words, kill_after_s=after_s)
            if ended.code == -signal.SIGKILL:
                break
            self._seconds = ended.seconds  # the machine is less busy than before
        self._check("random", f"after {after_s:.3f} s", ended)

    def _check(self, kind: str, where: str, ended: Ended, problem: str | None = None) -> None:
        self.outcome.tried[kind] += 1
        try:
            assert problem is None, problem
            assert (left := running()) == [], f"left running: {left}"
            self.command.crashed(self._root, ended.out)
            final = self._finished()
            assert final == self._expected, f"ends as {_differing(final, self._expected)}"
            assert (files := leftovers(self._root)) == [], f"left: {files}"
        except Exception as error:
            self.outcome.problems.append(f"{kind} {where}: {type(error).__name__}: {str(error)[:400]}")
        else:
            self.outcome.stood[kind] += 1


def _differing(found: Any, expected: Any) -> str:
    if isinstance(found, dict):
        return ", ".join(sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k)))
    return f"{found!r:.200}, not {expected!r:.200}"


def attack(names: Iterable[str], every: int, kills: int, seed: int) -> Iterator[Outcome]:
    """Attack commands at every `every`-th step, beginning with a random one, and `kills` times at random."""
    generator = random.Random(seed)
    for command in COMMANDS:
        if command.name not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="joulebench-crash-") as scratch:
            attacked = Attacked(command, Path(scratch))
            kinds: tuple[Kind, ...] = ("kill", "full")
            for kind in kinds:
                for step in range(1 + generator.randrange(every), attacked.outcome.steps + 1, every):
                    attacked.at_step(step, kind)
            for _ in range(kills):
                attacked.at_random(generator)
            yield attacked.outcome
