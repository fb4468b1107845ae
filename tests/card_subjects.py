"""What a card is about, from runs in memory or on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulebench.cards.subject import Subject, choose
from joulebench.records.model import Manifest
from joulebench.reporting.summary import Summary
from joulebench.results.run import Run
from tests.run_factory import RunBuilder

#: A grid and a building whose product is easy: 240 J × 1.5 × 100 g/kWh are 0.01 g.
GRID = {
    "name": "generic_cpu",
    "title": "Any CPU",
    "country": "FRA",
    "grid_intensity_g_per_kwh": {"value": 100.0, "source": "a made-up grid"},
    "pue": {"value": 1.5, "source": "a made-up building"},
}


def subject_of(built: RunBuilder, trial: int | None = None, **manifest: Any) -> Subject:
    """The subject of a run that was never written, so that its manifest may hold what no file can."""
    made = Manifest.model_construct(**{**dict(built.manifest()), **manifest})
    run = Run(made, built.task, built.trials, built.entries, built.scores)
    return choose(Summary(run), trial)


def leaves(tree: object) -> list[object]:
    """Every value of nested mappings and lists."""
    if isinstance(tree, Mapping):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, list):
        return [leaf for value in tree for leaf in leaves(value)]
    return [tree]
