"""Records made by hand: valid as the harness would write them, with numbers a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.records.model import Fault, FaultKind, Reading, TrialRecord, Window
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task

ENERGY: dict[str, Any] = {"phase": "inference", "domains": ["cpu", "ram"], "basis": "gross"}
UTC = "2026-01-01T00:00:00Z"


def make_task(
    parameters: Mapping[str, Any],
    stages: Mapping[str, Any],
    objectives: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Task:
    """A task over `parameters`: accuracy (from 0.1) against samples per joule, if no objectives are given."""
    default = {
        "val_accuracy": {"goal": "maximize", "reference": 0.1},
        "samples_per_j": {"goal": "maximize", "reference": 0.0, **ENERGY},
    }
    given = {"name": "made", "title": "Made for a test", "workload": "function", **fields}
    protocol = {"window_s": 1.0, "repeats": 2, "max_repeats": 5}
    return Task.model_validate(
        {
            "protocol": protocol,
            **given,
            "parameters": dict(parameters),
            "stages": dict(stages),
            "objectives": dict(objectives or default),
        }
    )


def fault(text: str) -> Fault:
    """What a meter found wrong with a window."""
    return Fault(kind=FaultKind.UNCLASSIFIED, text=text)


def make_windows(
    task: Task, phase: str, j_per_unit: float, *, start_s: float = 0.0, windows: int = 5, spread: float = 0.0
) -> list[Window]:
    """Windows of a phase, each as long as the protocol asks; the joules are 80 % cpu and 20 % ram.

    `spread` is the relative half-range of joules over the windows; their mean is exact.
    """
    seconds, units, made = task.protocol.window_s, 1000, []
    for number in range(windows):
        lean = 2 * number / (windows - 1) - 1 if windows > 1 else 0.0
        energy_j = j_per_unit * units * (1 + spread * lean)
        readings = (
            Reading(domain="cpu", energy_j=0.8 * energy_j, source="rapl_package", kind="measured"),
            Reading(domain="ram", energy_j=0.2 * energy_j, source="ram_model", kind="estimated"),
        )
        begin = start_s + number * seconds
        made.append(
            Window(phase=phase, start_utc=UTC, start_s=begin, end_s=begin + seconds, units=units, readings=readings)
        )
    return made


def make_trial(
    task: Task,
    params: Params | None = None,
    metrics: Mapping[str, float] | None = None,
    j_per_unit: float = 0.01,
    *,
    trial: int = 0,
    stage: str = "default",
    origin: str = "default",
    status: str = "ok",
    phases: Sequence[str] | None = None,
    windows: int = 5,
    spread: float = 0.01,
    **fields: Any,
) -> TrialRecord:
    """A trial of `params` (completed with defaults) whose every phase costs `j_per_unit` on average.

    The phases are those the task's energy objectives name. A trial that is not ok has no windows.
    """
    named = [o.phase for o in task.objectives.values() if o.phase is not None] if phases is None else phases
    laid: list[Window] = []
    for phase in dict.fromkeys(named) if status == "ok" else ():
        start_s = laid[-1].end_s if laid else 0.0
        laid += make_windows(task, phase, j_per_unit, start_s=start_s, windows=windows, spread=spread)
    given: dict[str, Any] = {
        "trial": trial, "session": 0, "stage": stage, "origin": origin, "params": task.resolve(params or {}),
        "seed": 0, "status": status, "metrics": dict(metrics or {}), "windows": tuple(laid),
    }  # fmt: skip
    return TrialRecord.model_validate(given | fields)
