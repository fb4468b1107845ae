"""FLOPs of a training as a table's cell. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import ABSENT, count, number, si
from joulebench.presentation.table import Cell
from joulebench.results.training_flops import TrainingFlops


def training_cell(trained: TrainingFlops | None, unit: str) -> Cell:
    """FLOPs of a training; below it the units trained, FLOPs of one, and how they compare with a forward pass."""
    if trained is None:
        return Cell(ABSENT)
    least, most = min(trained.each), max(trained.each)
    units = ", ".join(dict.fromkeys(count(n) for n in trained.units))
    details = [f"{units} {unit}s × {si(trained.per_unit, '')}"]
    details += [f"{number(trained.of_forward, 3)} × forward"] if trained.of_forward else []
    details += [f"{si(least, '')} … {si(most, '')}"] if least < most else []
    return Cell(("≥ " if trained.missed else "") + si(trained.mean, ""), tuple(details))
