"""Trials in an MLflow store while a run goes: a process of its own writes each one before the next begins."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from joulebench.errors import InputError, described
from joulebench.extras import require
from joulebench.host.process import ChildProcess, TimeLimitError
from joulebench.records.folder import RunFolder
from joulebench.reporting.mlflow_export import Live, export_mlflow, without_login
from joulebench.runner.events import Event, Observer

#: How long the run waits for a trial to be written (the first time also for the process to start), and at its end.
START_S, TRIAL_S, END_S = 120.0, 20.0, 600.0
#: How long the process may go on, once the run has been interrupted or killed, to mark it in the store as killed.
KILLED_S = 10


class LiveLog:
    """Writer of a run's trials to an MLflow store, each once its record is on the disk.

    The store's client lives in a child process that works only while the run waits for it, between two trials: no
    measured window holds any of it, and its time and joules are in the ledger's account `record`. (On a cluster
    that holds for all machines but the driver's own, where a worker may be measuring.) A store that fails, or that
    takes too long, is given up with one line, and the run goes on without it. A run that is interrupted, or whose
    process dies, is KILLED in the store: the process that writes to it sees that nobody asks any more.
    """

    def __init__(self, uri: str) -> None:
        """
        Raises:
            InputError: MLflow is not installed.
        """
        require("--mlflow", "mlflow")
        self._uri = uri
        self._child: ChildProcess | None = None
        self._pipes: tuple[IO[str], IO[str]] | None = None
        self._folders: dict[Path, RunFolder] = {}
        self._given_up = False

    def beside(self, observe: Observer) -> Observer:
        """An observer that passes every event on, and writes a trial when its result comes."""

        def see(event: Event) -> None:
            observe(event)
            if event.kind == "result" and event.folder is not None and not self._given_up:
                self._folders[event.folder.path] = event.folder
                if (why := self._asked("trial", event.folder, TRIAL_S)) is not None:
                    observe(Event("note", self._failed(why)))

        return see

    def finish(self) -> Iterator[str]:
        """Bring every run up to date with its scores and report; yields a line for each."""
        for folder in self._folders.values():
            if not self._given_up:
                why = self._asked("run", folder, END_S)
                yield f"mlflow: {folder.path.name} is in the store" if why is None else self._failed(why)

    def _failed(self, why: str) -> str:
        self._given_up = True
        self.close()
        return f"--mlflow: {why}; the run goes on without it: `joulebench export RUN --mlflow URI` writes it later"

    def _asked(self, what: str, folder: RunFolder, limit_s: float) -> str | None:
        """Have a trial or the whole run written; returns why it was not."""
        limit_s += START_S if self._child is None else 0.0
        try:
            child, (asks, answers) = self._started()
            with child.limited(limit_s):
                print(json.dumps([what, self._uri, str(folder.path.resolve())]), file=asks, flush=True)
                answer = answers.readline()
        except TimeLimitError:
            return f"no answer from the store within {limit_s:g} s"
        except (InputError, OSError) as error:
            return str(error)
        return json.loads(answer) if answer else "the process that writes to the store has ended"

    def _started(self) -> tuple[ChildProcess, tuple[IO[str], IO[str]]]:
        if self._child is None or self._pipes is None:
            with ExitStack() as undo:
                asked, asks, answers, answered = *os.pipe(), *os.pipe()
                theirs = (undo.enter_context(open(asked)), undo.enter_context(open(answered, "w")))  # noqa: PTH123
                self._pipes = (open(asks, "w"), open(answers))  # noqa: PTH123, SIM115
                fds = tuple(file.fileno() for file in theirs)
                words = [sys.executable, "-P", "-m", __name__, *map(str, fds)]
                self._child = ChildProcess(words, log=Path(os.devnull), pass_fds=fds, grace_s=KILLED_S)
        return self._child, self._pipes

    def close(self, wait_s: float = 0.0) -> None:
        """End the process; does nothing where there is none.

        Args:
            wait_s: time that it has to mark the runs as killed that have not ended.
        """
        if self._child is not None and self._pipes is not None:
            if wait_s:
                with suppress(OSError, TimeLimitError):
                    self._pipes[0].close()
                    self._child.wait(wait_s)
            self._child.kill()
        for pipe in self._pipes or ():
            try:
                pipe.close()
            except OSError:  # what was not sent to a process that has ended
                continue
        self._child = self._pipes = None


def serve(asks: IO[str], answers: IO[str]) -> None:
    """Write what is asked for, line by line, until the asking process has ended; answer null or what failed.

    Runs that have not ended by then are marked as killed.
    """
    runs: dict[str, Live] = {}
    for line in asks:
        what, uri, path = json.loads(line)
        why = None
        try:
            folder = RunFolder.open(Path(path))
            if what == "run":
                export_mlflow(folder, uri)
                runs.pop(path, None)
            else:
                if path not in runs:
                    runs[path] = Live(folder, uri)
                runs[path].write_new()
        except Exception as error:
            why = without_login(described(error), uri)
        print(json.dumps(why), file=answers, flush=True)
    for live in runs.values():
        with suppress(Exception):  # nobody is there to be told
            live.mark_killed()


if __name__ == "__main__":
    with open(int(sys.argv[1])) as _asks, open(int(sys.argv[2]), "w") as _answers:  # noqa: PTH123
        serve(_asks, _answers)
