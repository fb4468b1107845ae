"""Models that do what a harness must survive, and what each of their trials ends as.

`python -m tests.hostile_workloads [FOLDER]` runs all of them in child processes and prints the table.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from joulebench import Epoch, Phase, Workload
from joulebench.records.folder import RunFolder
from joulebench.runner.local import run
from joulebench.workloads.base import InfeasibleError

ACCURACY = 0.5


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(BaseException):
    pass


def throw(error: BaseException) -> Callable[[Any], None]:
    def act(_: Any) -> None:
        raise error

    return act


def fork(_: Any) -> None:
    os.fork()  # and both go on


def close_files(_: Any) -> None:
    os.closerange(3, 256)


def exit_in_thread(_: Any) -> None:
    thread = threading.Thread(target=os._exit, args=(0,))
    thread.start()
    thread.join()


def starve(_: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    bytearray(1 << 40)


def deep(model: Any) -> None:
    deep(model)


def leave_thread(_: Any) -> None:
    threading.Thread(target=time.sleep, args=(600,), name="left-behind").start()


def leave_process(model: Any) -> None:
    model.child = subprocess.Popen(["sleep", "600"])


def settings(_: Any) -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(1 + torch.get_num_threads())
    np.seterr(all="raise")
    warnings.simplefilter("error")
    os.environ.pop("PATH", None)
    os.chdir(tempfile.gettempdir())
    sys.setrecursionlimit(5000)
    gc.disable()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def gone_folder(_: Any) -> None:
    os.chdir(tempfile.mkdtemp())
    Path.cwd().rmdir()


def print_much(_: Any) -> None:
    for _n in range(200):
        print("x" * 100_000)


def close_output(_: Any) -> None:
    sys.stdout.close()
    sys.stderr.close()


@dataclass(frozen=True)
class Case:
    """What a model does: `at` which call, and the status of its trial; `ends`: it ends or hangs its process."""

    at: str
    act: Callable[[Any], Any] | None = None
    status: str = "failed"
    ends: bool = False
    value: Any = None  # returned there


def metric(value: Any, status: str = "failed") -> Case:
    return Case("evaluate", status=status, value={"accuracy": value})


def phase(step: Callable[[Any], None], units: Any = 8, status: str = "failed") -> Case:
    return Case("phases", status=status, value=(step, units))


CASES: dict[str, Case] = {
    "os._exit(0)": Case("build", lambda _: os._exit(0)),
    "os._exit(3) in a window": phase(lambda _: os._exit(3)),
    "sys.exit(0)": Case("build", throw(SystemExit(0))),
    "raises a BaseException": Case("build", throw(Odd("odd"))),
    "raises KeyboardInterrupt": Case("train", throw(KeyboardInterrupt())),
    "raises GeneratorExit": Case("train", throw(GeneratorExit())),
    "raises StopIteration in training": Case("train", throw(StopIteration())),
    "raises an ExceptionGroup": Case("build", throw(BaseExceptionGroup("many", [Odd(), ValueError("x")]))),
    "an exception that cannot be printed": Case("build", throw(UnprintableError())),
    "an exception of 1 MB": Case("build", throw(ValueError("x" * 1_000_000))),
    "control characters in an exception": Case("build", throw(ValueError("\x1b[2J\x07\u202e\nnext"))),
    "half a character in an exception": Case("build", throw(ValueError("\ud83d"))),
    "recurses without end": Case("build", deep),
    "raises MemoryError": Case("build", throw(MemoryError()), "oom"),
    "lowers its memory limit, then runs out": Case("build", starve, "oom"),
    "says it is infeasible": Case("build", throw(InfeasibleError("no such size")), "infeasible"),
    "changes its parameters": Case("params", status="ok"),
    "changes its options": Case("options", status="ok"),
    "a metric that is NaN": metric(math.nan),
    "a metric that is infinite": metric(math.inf),
    "a metric that is text": metric("high"),
    "a metric that is None": metric(None),
    "a metric that is a tensor": metric(torch.tensor([0.1, 0.2])),
    "a metric of 400 digits": metric(10**400),
    "a metric that is complex": metric(1j),
    "a metric's name that is no text": Case("evaluate", value={7: 0.5, "accuracy": 0.5}),
    "metrics that are a list": Case("evaluate", value=["accuracy", 0.5]),
    "metrics that are None": Case("evaluate", value=None),
    "an epoch that is no Epoch": Case("train", value="epoch"),
    "an epoch of -5 samples": Case("train", value=Epoch(0, -5)),
    "an epoch of NaN samples": Case("train", value=Epoch(0, math.nan)),  # type: ignore[arg-type]
    "an epoch whose metrics are no numbers": Case("train", value=Epoch(0, 8, {"loss": "low"})),  # type: ignore[dict-item]
    "an epoch with a NaN loss": Case("train", status="ok", value=Epoch(0, 8, {"loss": math.nan})),
    "phases that are no mapping": Case("phases", value=["inference"]),
    "a step of 0 samples": phase(lambda m: m.context.clock.sleep(0.01), 0),
    "a step of -8 samples": phase(lambda m: m.context.clock.sleep(0.01), -8),
    "a step of NaN samples": phase(lambda m: m.context.clock.sleep(0.01), math.nan),
    "a step that exits": phase(throw(SystemExit(1))),
    "a step that is no function": phase(7),  # type: ignore[arg-type]
    "outcomes that raise": Case("outcomes", throw(ValueError("no"))),
    "a standard error that is NaN": Case("standard_errors", status="ok", value={"accuracy": math.nan}),
    "a count that raises": Case("costs", throw(ValueError("no")), "ok"),
    "weights that raise": Case("state", throw(ValueError("no"))),
    "weights that cannot be saved": Case("state", status="ok", value=lambda: None),
    "closing raises": Case("close", throw(ValueError("no"))),
    "changes settings of torch, numpy and Python": Case("build", settings, "ok"),
    "deletes its working directory": Case("build", gone_folder, "ok"),
    "prints 20 MB": Case("build", print_much, "ok"),
    "closes the output": Case("build", close_output, "ok"),
    "leaves a thread running": Case("build", leave_thread, "ok"),
    "leaves a process running": Case("build", leave_process, "ok"),
    "forks, and both go on": Case("build", fork, "ok"),
    "raises on the test split": Case("test", throw(ValueError("no test")), "ok"),
    "NaN on the test split": Case("test", status="ok", value={"accuracy": math.nan}),
    "os._exit(0) on the test split": Case("test", lambda _: os._exit(0), "ok"),
    # from here on the process ends, or hangs
    "_exit(0) of C": Case("build", lambda _: ctypes.CDLL(None)._exit(0), ends=True),
    "_exit(3) of C in a window": Case("phases", value=(lambda _: ctypes.CDLL(None)._exit(3), 8), ends=True),
    "os._exit(0) in a thread": Case("build", exit_in_thread, ends=True),
    "aborts": Case("train", lambda _: os.abort(), ends=True),
    "reads address 0": Case("build", lambda _: ctypes.string_at(0), ends=True),
    "is killed": Case("build", lambda _: os.kill(os.getpid(), signal.SIGKILL), ends=True),
    "hangs in Python": Case("build", lambda _: time.sleep(3600), ends=True),
    "hangs and holds the interpreter": Case("train", lambda _: ctypes.PyDLL(None).sleep(3600), ends=True),
    "trains without end": Case("endless", ends=True),
    "closes all files": Case("build", close_files, ends=True),
    "_exit(0) of C on the test split": Case("test", lambda _: ctypes.CDLL(None)._exit(0), "ok", ends=True),
}
GOOD = "does its work"


class Hostile(Workload):
    """A tiny model that does its work, and in one call what its parameter `does` says."""

    needs_data = False
    replayable = True
    does = GOOD

    def _at(self, call: str, normal: Any = None) -> Any:
        case = CASES.get(self.does)
        if case is None or case.at != call:
            return normal
        if case.act is not None:
            case.act(self)
            return normal
        return case.value

    def build(self, params):
        self.does = params["does"]
        self._at("build")
        if self.does == "changes its parameters":
            params.clear()
        if self.does == "changes its options":
            self.context.options.clear()
        # what a trial before it may have changed
        clean = torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled() and "PATH" in os.environ
        self.clean = (clean and self.context.options == {"left": "alone"}) or self.does == "changes its options"
        self.model = torch.nn.Linear(4, 2)

    def train(self):
        while self.does == "trains without end":
            yield Epoch(0, 8)
        self.context.clock.sleep(0.1)
        yield self._at("train", Epoch(0, 8, {"loss": 1.0}))

    def evaluate(self, split):
        metrics = {"accuracy": ACCURACY}
        return self._at("test", metrics) if split == "test" else self._at("evaluate", metrics)

    def outcomes(self):
        self._at("outcomes")
        return {"clean": float(self.clean)}

    def standard_errors(self):
        return self._at("standard_errors", {})

    def costs(self):
        self._at("costs")
        return super().costs()

    def phases(self):
        def normal(_):
            self.context.clock.sleep(0.01)

        given = self._at("phases", (normal, 8))
        if not isinstance(given, tuple):
            return given
        step, units = given
        return {"inference": Phase(lambda: step(self), units=units)}

    def state(self):
        return self._at("state", super().state())

    def close(self):
        self._at("close")
        super().close()


class LoadsInProcesses(Hostile):
    """Harmless: its data come from two worker processes, as torch's loader forks them."""

    def train(self):
        data = torch.utils.data.TensorDataset(torch.arange(64.0))
        batches = [b for (b,) in torch.utils.data.DataLoader(data, batch_size=16, num_workers=2)]
        self.total = float(torch.cat(batches).sum())
        self.context.clock.sleep(0.1)
        yield Epoch(0, 64, {"loss": 1.0})

    def outcomes(self):
        return {"total": self.total}


class Overwrites(Hostile):
    """Writes into the data that all trials share; its metric `mean` is that of the images it was given."""

    needs_data = True

    def build(self, params):
        super().build(params)
        x = self.context.data.train.x
        self.mean = float(x.mean())
        if params["does"] != GOOD:
            x.mul_(0.0)
            x.requires_grad_(True)

    def outcomes(self):
        return {"mean": self.mean}


TASK = """
name = "hostile"
title = "Models that do what a harness must survive"
workload = "tests.hostile_workloads:Hostile"
options.left = "alone"
max_consecutive_failures = 1000
[dataset]
name = "digits"
validation = 300
[parameters]
does = {{ type = "choice", values = {values}, default = "{good}" }}
[objectives.val_accuracy]
goal = "maximize"
reference = 0.0
[objectives.samples_per_j]
goal = "maximize"
reference = 0.0
phase = "inference"
domains = ["cpu"]
basis = "gross"
[confirm]
repeats = 0
[protocol]
isolate = {isolate}
max_trial_s = {limit_s}
[stages.all]
method = "grid"
"""


def hostile_task(folder: Path, names: list[str], isolate: bool, limit_s: float) -> Path:
    """Write the task that runs each of `names` once, and at the end a model that does its work."""
    import json

    path = folder / "hostile.toml"
    values = json.dumps([*names, GOOD])
    path.write_text(TASK.format(values=values, good=GOOD, isolate=str(isolate).lower(), limit_s=limit_s))
    return path


def main() -> int:
    """Run every case in a child process and print what each ended as."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch)
        path = hostile_task(folder, list(CASES), isolate=True, limit_s=40.0)
        done = run(str(path), out=folder / "runs", replay="100", observer=lambda event: None)
        records = RunFolder.open(done.path)
        scores = {score.trial: score for score in records.scores()}
        wrong = 0
        print("| what the model does | its trial | why |\n| --- | --- | --- |")
        for trial in records.trials():
            name = str(trial.params["does"])
            score = scores.get(trial.trial)
            why = trial.error or (score.error if score is not None else None) or ""
            wrong += trial.status != (CASES[name].status if name in CASES else "ok")
            print(f"| {name} | {trial.status} | {why[:150]} |")
        print(f"\n{len(CASES)} hostile models, {wrong} ended as not expected")
        return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
