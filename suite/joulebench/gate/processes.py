"""Pytest processes that are alive together and measure in turn, window by window."""

from __future__ import annotations

import json
import os
import random
import select
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from joulebench.errors import InputError, unwritable
from joulebench.gate.files import read_replicates
from joulebench.gate.model import Replicate
from joulebench.host.files import make_folder, write_whole
from joulebench.host.process import ChildProcess, environment

NO_TESTS = 5  # pytest's exit code
#: glibc gives freed memory back to the kernel where the top of the heap is free, and takes it again at the next
#: step. Whether it is free depends on the heap's layout, which a process keeps for its life: the same training step
#: took from 240 to 420 µs a sample, alike within each process, and much of it was page faults. Here what was freed
#: is kept.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 30)}
POLL_S = 0.2  # between checks whether a process ended before it was ready


@dataclass(frozen=True)
class Benchmarks:
    """Energy benchmarks to run: pytest's path within a tree, and options of the plugin."""

    path: str
    form: str | None = None
    hardware: str | None = None
    replay: str | None = None
    keep: Path | None = None  # folder for the records of each process
    limit_s: float = 3600.0  # of one process, until it asks for its next turn

    def options(self) -> list[str]:
        given = {"--energy-form": self.form, "--energy-hardware": self.hardware, "--energy-replay": self.replay}
        return [word for name, value in given.items() if value is not None for word in (name, value)]


@dataclass(frozen=True)
class SessionPlace:
    """A process's place in its session."""

    session: str
    pair: int | None = None
    look: int = 0  # at which the pair is judged first
    rerun: bool = False

    def options(self) -> list[str]:
        pair = [] if self.pair is None else ["--energy-pair", str(self.pair)]
        return ["--energy-session", self.session, *pair, *(["--energy-rerun"] if self.rerun else [])]


def run_in_turn(
    trees: Sequence[Path], benchmarks: Benchmarks, place: SessionPlace, only: Sequence[str] = ()
) -> list[Replicate]:
    """Run the benchmarks of each tree in a process of its own; all live at once and measure windows in turn.

    All import and prepare in parallel. Then they warm up, and each measures a window, in an order drawn anew for
    every window; whoever is not at work waits without using the processor. So a machine that drifts, or changes its
    clock, does so for all of them.

    Raises:
        InputError: there are no benchmarks there, one of them failed, or a process took longer than its limit.
    """
    coin = random.Random(f"{place.session}/{place.pair}")
    with ExitStack() as ended:
        processes = [_Process(tree, benchmarks, place, only, ended) for tree in trees]
        for process in processes:
            process.wait()
        while asking := [process for process in processes if process.asks]:
            # in order of names, so that a benchmark which only one of them has keeps the others waiting
            name = min(process.asks for process in asking)
            _measure(name, [process for process in asking if process.asks == name], coin)
        return [process.result() for process in processes]


def _measure(name: str, processes: Sequence[_Process], coin: random.Random) -> None:
    """Give turns until each process has all that it wants for a benchmark; then let all go on at once."""
    while any(process.wants(name) for process in processes):
        for process in coin.sample(processes, len(processes)):
            if process.wants(name):
                process.give_turn()
                process.wait()
    waiting = [process for process in processes if process.asks == name]
    for process in waiting:
        process.give_turn()
    for process in waiting:
        process.wait()


class _Process:
    """One pytest process, with its tree first on the import path.

    It asks for turns through one pipe and waits for them on the other.

    Attributes:
        asks: the benchmark that it asks to measure; empty once it has ended.
    """

    def __init__(
        self, tree: Path, benchmarks: Benchmarks, place: SessionPlace, only: Sequence[str], ended: ExitStack
    ) -> None:
        if not (tree / benchmarks.path.split("::")[0]).exists():
            raise InputError(f"{tree}: no {benchmarks.path} in this commit")
        self._tree, self._benchmarks = tree, benchmarks
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="joulebench-")))
        self._written = folder / "benchmark.json"
        self.asks, self._wanted, self._unread = "", 0, b""
        self._asked, asked = os.pipe()
        given, self._given = os.pipe()
        ended.callback(os.close, self._asked)
        ended.callback(os.close, self._given)
        # without -P: the tree's own code comes first on the path, as where its author calls `python -m pytest`
        command = [
            sys.executable, "-m", "pytest", benchmarks.path, "-q", "--benchmark-enable",
            "-p", "no:cacheprovider", "-p", "no:hypothesispytest",  # a second of every process
            f"--benchmark-json={self._written}", f"--energy-turns={asked},{given}",
            *place.options(), *benchmarks.options(), *(word for name in only for word in ("--energy-only", name)),
        ]  # fmt: skip
        try:
            self._process = ended.enter_context(
                ChildProcess(
                    command, folder=tree, environment=_environment(tree), log=folder / "output.txt",
                    pass_fds=(asked, given),
                )
            )  # fmt: skip
        finally:
            os.close(asked)
            os.close(given)

    def wants(self, name: str) -> bool:
        """Whether it has windows of this benchmark left to measure."""
        return self.asks == name and self._wanted > 0

    def give_turn(self) -> None:
        with suppress(BrokenPipeError):  # it has ended
            os.write(self._given, b".")

    def wait(self) -> None:
        """Wait until the process asks for its next turn, or has ended.

        Raises:
            TimeLimitError: neither within its limit.
        """
        self.asks, self._wanted = "", 0
        with self._process.limited(self._benchmarks.limit_s):
            while b"\n" not in self._unread:
                # its children may hold the pipe open after its end
                if not select.select([self._asked], [], [], POLL_S)[0]:
                    if self._process.running:
                        continue
                    return
                if not (read := os.read(self._asked, 65536)):
                    return
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        self.asks, self._wanted = json.loads(line)

    def result(self) -> Replicate:
        """Wait until the process has ended, and read what it measured."""
        code, path = self._process.wait(self._benchmarks.limit_s), self._benchmarks.path
        if code == NO_TESTS:
            raise InputError(f"{path}: no test uses the fixture energy_benchmark")
        if code:
            message = _last_error(self._process.log_tail())
            raise InputError(f"{path} failed in {self._tree} (pytest's exit code {code}): {message}")
        replicate = read_replicates(self._written)[0]
        if self._benchmarks.keep is not None:
            stamp = replicate.started_utc.replace(":", "").replace("-", "")
            try:
                make_folder(self._benchmarks.keep)
                write_whole(self._benchmarks.keep / f"benchmark-{stamp}.json", self._written.read_bytes())
            except OSError as error:
                raise unwritable(self._benchmarks.keep, error) from None
        return replicate


def _environment(tree: Path) -> dict[str, str]:
    """This process's environment, with the code of `tree` first on the import path and `KEPT_MEMORY`.

    Folders of the user's working tree on the path (such as an editable install's) are replaced by those of `tree`;
    otherwise another commit would be measured with the working tree's code.
    """
    top = next((f for f in (Path.cwd(), *Path.cwd().parents) if (f / ".git").exists()), Path.cwd()).resolve()
    on_path = [Path(entry).resolve() for entry in sys.path if entry]
    installed = Path(sys.prefix).resolve()
    relative = [p.relative_to(top) for p in on_path if p.is_relative_to(top) and not p.is_relative_to(installed)]
    first = [folder for folder in (*(tree / path for path in relative), tree / "src", tree) if folder.is_dir()]
    kept = {name: value for name, value in KEPT_MEMORY.items() if name not in os.environ}
    return environment(
        without=("PYTEST_",), import_first=list(dict.fromkeys(first)), values=kept
    )  # PYTEST_: where this runs in one


def _last_error(output: str) -> str:
    """Return the last error line of pytest's output, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E  ", "ERROR", "FAILED"))]
    return (errors or lines or ["no output"])[-1][:300]
