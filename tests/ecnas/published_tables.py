"""Published measurements as the analyses read them: EC-NAS-Bench's trainings (Bakhtiarifard et al., 2024; MIT).

One row is one training of a NAS-Bench-101 network on CIFAR-10, metered by CarbonTracker: energy at its start, after
some steps, and at the end, in kWh. The joules are the table's own, whatever the meter counted in; `gpu_w` and
`cpu_w` are means over the whole run, so no prediction made halfway may use them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from joulebench.errors import InputError
from joulebench.results.forecast import Segment, Training
from joulebench.studies.extrapolation.analysis import Case
from joulebench.studies.prediction.analysis import Sample
from tests.ecnas.nas_bench import NetworkCosts, adjacency, costs

JOULES_PER_KWH = 3.6e6
_NUMBERS = (
    "e0_kwh", "emid_kwh", "e4_kwh", "mid_steps", "steps", "tmid_s", "t4_s", "params", "gpu_w", "cpu_w", "val4",
)  # fmt: skip
_TEXTS = ("hash", "adj", "ops")


@dataclass(frozen=True)
class EcNasRun:
    """One training of the table, in joules and seconds; `model` is the hash of its architecture."""

    model: str
    startup_j: float
    mid_j: float
    end_j: float
    mid_steps: int
    steps: int
    mid_s: float
    end_s: float
    gpu_w: float
    cpu_w: float
    val_accuracy: float
    network: NetworkCosts


def read_ec_nas(path: Path) -> list[EcNasRun]:
    """The runs of a table.

    Raises:
        InputError: it cannot be read, lacks a column, or a row is no training: with the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    if not rows or (missing := sorted({*_NUMBERS, *_TEXTS} - rows[0].keys())):
        raise InputError(f"{path}: no EC-NAS table" + (f"; it lacks {', '.join(missing)}" if rows else ": no rows"))
    runs = []
    for line, row in enumerate(rows, start=2):
        try:
            runs.append(_run(row))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {line}: {error}") from None
    return runs


def _run(row: Mapping[str, str]) -> EcNasRun:
    number = {name: float(row[name]) for name in _NUMBERS}
    if not all(math.isfinite(v) for v in number.values()):
        raise ValueError("a number that is not finite")
    start_j, mid_j, end_j = (JOULES_PER_KWH * number[n] for n in ("e0_kwh", "emid_kwh", "e4_kwh"))
    mid_steps, steps = int(number["mid_steps"]), int(number["steps"])
    mid_s, end_s = number["tmid_s"], number["t4_s"]
    if not (0 <= start_j < mid_j < end_j and 0 < mid_steps < steps and 0 < mid_s < end_s):
        raise ValueError("energy, steps and time must grow from start to middle to end")
    bits, operations = row["adj"].removeprefix("b"), [int(op) for op in row["ops"].split(",")]
    network = costs(adjacency([bit == "1" for bit in bits]), operations)
    if network.parameters != number["params"]:
        raise ValueError(f"the cell has {network.parameters} parameters, the table says {number['params']:.0f}")
    return EcNasRun(
        row["hash"], start_j, mid_j, end_j, mid_steps, steps, mid_s, end_s,
        number["gpu_w"], number["cpu_w"], number["val4"], network,
    )  # fmt: skip


def cases(runs: Sequence[EcNasRun]) -> list[Case]:
    """Each run as a training of two segments: up to the middle, and the rest."""
    return [
        Case(
            r.model,
            Training(
                r.startup_j,
                0.0,
                (
                    Segment(r.mid_steps, r.mid_j - r.startup_j, r.mid_s),
                    Segment(r.steps - r.mid_steps, r.end_j - r.mid_j, r.end_s - r.mid_s),
                ),
            ),
        )
        for r in runs
    ]


def samples(runs: Sequence[EcNasRun]) -> list[Sample]:
    """Each architecture with its figures and the mean energy of its trainings."""
    groups: dict[str, list[EcNasRun]] = {}
    for run in runs:
        groups.setdefault(run.model, []).append(run)
    return [Sample(model, figures(own[0].network), fmean(r.end_j for r in own)) for model, own in groups.items()]


def figures(network: NetworkCosts) -> dict[str, float]:
    return {
        "parameters": float(network.parameters),
        "macs": float(network.macs),
        "activations": float(network.activations),
    }
