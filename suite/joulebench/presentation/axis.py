"""Axes of a figure: title, unit, scale and ticks. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

DECADE = 10.0
#: A logarithmic axis with a smaller ratio of its ends has ticks at 2 and 5 too.
LABELLED_SPAN = 500.0


@dataclass(frozen=True)
class Axis:
    """One axis; values are divided by `factor` so that its unit is readable.

    `title` is the quantity with its unit, `detail` a note on it for a line of its own.
    """

    name: str | None  # of the parameter or objective; None: of an order, such as the trials'
    title: str
    factor: float = 1.0
    log: bool = False
    ticks: tuple[float, ...] = ()  # of a logarithmic axis: decades, and 2 and 5 between them if it is short
    ends: tuple[float, float] | None = None  # where it begins and ends; else as the points are
    detail: str = ""

    @property
    def full_title(self) -> str:
        """`inference energy, mJ/sample (gross, cpu + ram)`."""
        return f"{self.title} ({self.detail})" if self.detail else self.title


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Ticks of a logarithmic axis from below `low` to above `high`."""
    steps = (1.0, 2.0, 5.0) if high / low < LABELLED_SPAN else (1.0,)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    return tuple(float(f"{step}e{decade}") for decade in decades for step in steps)
