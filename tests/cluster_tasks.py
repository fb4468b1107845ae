"""Tasks that cluster tests run, and what their runs are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulebench.spec.task import Task
from tests.factories import ENERGY

#: Four CNNs of one layer on handwritten digits: real training, real meters, half a second each.
DIGITS = {
    "name": "few_digits", "title": "Digits", "workload": "cnn", "dataset": {"name": "digits", "validation": 300},
    "parameters": {
        "width": {"type": "int", "low": 1, "high": 4, "default": 2}, "depth": {"type": "fixed", "value": 1},
        "kernel": {"type": "fixed", "value": 3}, "pool": {"type": "fixed", "value": True},
        "batch_size": {"type": "fixed", "value": 64}, "learning_rate": {"type": "fixed", "value": 0.01},
        "epochs": {"type": "fixed", "value": 1},
    },
    "objectives": {
        "val_accuracy": {"goal": "maximize", "reference": 0.0},
        "samples_per_j": {
            "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["cpu", "ram"], "basis": "gross",
        },
    },
    "stages": {"all": {"method": "grid"}},
    "confirm": {"repeats": 0},
    "protocol": {
        "warmup_s": 0.05, "max_warmup_s": 0.1, "window_s": 0.1, "repeats": 2, "max_repeats": 20, "idle_s": 0.4,
    },
}  # fmt: skip


def cluster_task(function: str, stages: Mapping[str, Any], **fields: Any) -> Task:
    """Width against accuracy and energy, by a function of this package; not confirmed, unless `fields` say so."""
    return Task.model_validate(
        {
            "name": "toy",
            "title": "A trade-off",
            "workload": "function",
            "options": {"function": function},
            "parameters": {
                "width": {"type": "int", "low": 1, "high": 60, "default": 10},
                "kind": {"type": "choice", "values": ["a", "b"], "default": "a"},
            },
            "objectives": {
                "accuracy": {"goal": "maximize", "reference": 0.0},
                "samples_per_j": {"goal": "maximize", "reference": 0.0, **ENERGY, "domains": ["cpu"]},
            },
            "stages": dict(stages),
            "confirm": {"repeats": 0},
            **fields,
        }
    )  # fmt: skip


def gist(records: Any) -> list[tuple[Any, ...]]:
    """What does not depend on where and when a trial ran."""
    return [(r.trial, r.stage, r.origin, r.params, r.seed, r.status, r.metrics) for r in records]
