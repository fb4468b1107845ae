"""A run of any length on disk, in the shape that the harness writes: for what takes long, and what takes memory."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joulebench.records.folder import RunFolder
from joulebench.records.model import SCHEMA, LedgerEntry
from joulebench.spec.task import Task
from tests.run_factory import ENERGY, OBJECTIVES, RunBuilder, lines, make_task

EPOCHS = 10
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONDITIONS = {
    "cpu_utilisation": 0.998379, "own_load_cpus": 1.87756, "other_load_cpus": 0.119199,
    "memory_used_bytes": 3319244704.600865,
}  # fmt: skip


def write_long_run(path: Path, trials: int, epochs: int = EPOCHS, basis: str = "gross") -> RunFolder:
    """A finished search: trained networks with two metered domains, five windows of inference each, idle power
    every ten trials, one trial in fifty out of memory, the default run twice and every other configuration once.

    Lines are written as plain JSON, one trial at a time, so that writing takes no memory.
    """
    task = make_task(
        {**OBJECTIVES, "samples_per_j": {"goal": "maximize", "reference": 0.0, **ENERGY, "basis": basis}},
        parameters={
            "width": {"type": "int", "low": 1, "high": 2000, "default": 8},
            "pool": {"type": "choice", "values": [True, False], "default": True},
            "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-1, "default": 1e-3, "scale": "log"},
            "batch_size": {"type": "fixed", "value": 64},
        },
    )
    clock = _Clock(task)
    folder = RunFolder.claim(path, RunBuilder(task).manifest())
    with folder.trials_path.open("w", encoding="utf-8") as file:
        for number in range(trials):
            file.write(json.dumps(_trial(clock, number, trials, epochs), separators=(",", ":")) + "\n")
    begin = clock.window("data", 1.5)
    entries = [
        LedgerEntry.model_validate({"session": 0, "event": "start", "windows": [begin]}),
        LedgerEntry.model_validate({"session": 0, "event": "end", "ending": "done"}),
    ]
    lines(folder.ledger_path, entries)
    return folder


class _Clock:
    """Lays windows end to end; joules are 60 W and 20 W, 30 W and 20 W where the process is idle."""

    def __init__(self, task: Task) -> None:
        self.task, self.now_s = task, 0.0

    def window(self, phase: str, seconds: float, units: int = 0, wobble: float = 0.0, **fields: Any) -> dict:
        start_s, self.now_s = self.now_s, self.now_s + seconds
        moment = START + timedelta(seconds=start_s)
        cpu_w = (30.0 if phase == "idle" else 60.0) * (1 + wobble)
        return {
            "phase": phase,
            "start_utc": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "start_s": start_s,
            "end_s": self.now_s,
            "units": units,
            "steps": units // 64,
            "readings": [
                {"domain": "ram", "energy_j": 20.0 * seconds, "source": "ram_model", "kind": "estimated"},
                {"domain": "cpu", "energy_j": cpu_w * seconds, "source": "rapl_package", "kind": "measured"},
            ],
            "conditions": CONDITIONS,
            **fields,
        }


def _trial(clock: _Clock, number: int, trials: int, epochs: int) -> dict[str, Any]:
    share = number / max(1, trials - 1)
    rate = 10 ** (-5 + 4 * share)
    params = (
        {} if number < 2 else {"width": 1 + (7919 * number) % 2000, "pool": number % 2 == 0, "learning_rate": rate}
    )
    units = round(20000 * 10 ** (-1.6 * share) * (1 + 0.25 * math.sin(9 * number)))
    accuracy = 0.6 + 0.36 * share**0.5 + 0.02 * math.sin(5 * number)
    out = number % 50 == 17
    return {
        "schema_version": SCHEMA, "trial": number, "session": 0,
        "stage": "search" if number >= trials // 5 else "init",
        "origin": "qnehvi", "params": clock.task.resolve(params), "seed": number,
        "status": "oom" if out else "ok",
        **({"error": "RuntimeError: out of memory. Tried to allocate 2.00 GiB (cnn.py:12)"} if out else {}),
        "metrics": {} if out else {"val_accuracy": accuracy, "val_loss": 1 - accuracy},
        "costs": {"parameters": 3 * units, "macs": 1000 * units, "flops": 2000 * units,
                  "peak_memory_bytes": 4096 * units},
        "epochs": [] if out else [
            {"index": i, "units": 1200, "metrics": {"val_accuracy": accuracy * (1 - 0.5**i)}} for i in range(epochs)
        ],
        "unit": {} if out else {"inference": "sample"},
        "windows": _failed(clock) if out else _windows(clock, number, units, epochs),
    }  # fmt: skip


def _failed(clock: _Clock) -> list[dict[str, Any]]:
    return [clock.window(phase, 0.1) for phase in ("propose", "build", "failed", "record")]


def _windows(clock: _Clock, number: int, units: int, epochs: int) -> list[dict[str, Any]]:
    found = [clock.window("propose", 0.2), clock.window("build", 0.1)]
    for _ in range(epochs):
        found += [clock.window("train", 3.0, 1200), clock.window("validate", 0.3), clock.window("record", 0.001)]
    found.append(clock.window("score", 0.1))
    if number % 10 == 0:
        found.append(clock.window("settle", 0.5))
        found += [clock.window("idle", 0.5, wobble=0.01 * math.sin(number + i)) for i in range(4)]
    found += [clock.window("count", 0.1), clock.window("warmup", 0.5, units // 2, of="inference")]
    found += [clock.window("inference", 1.0, units, 0.005 * math.sin(3 * number + 7 * i)) for i in range(5)]
    return [*found, clock.window("release", 0.01), clock.window("record", 0.05)]
