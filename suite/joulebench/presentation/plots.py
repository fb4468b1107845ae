"""Figures as data: series on two axes, drawn for the page by `chart` and for files by `still`. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from joulebench.presentation.axis import Axis

#: With more labels than this in a figure they would overlap, and are shown on hover alone.
MAX_LABELS = 20
#: With more points than this in a figure their intervals would overlap, and are not drawn.
MAX_BARS = 2000

#: Lengths of the intervals below and above each value.
Bars = tuple[tuple[float, ...], tuple[float, ...]]
#: Lines of a point's hover text, each a bold head and the text after it; either may be empty.
Hover = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Series:
    """Points in the axes' units; `low` and `high` are ends of intervals of y (None: no interval)."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    line: bool | Literal["hv", "vh"] = False  # joins the points; in steps, horizontal or vertical first
    dashed: bool = False  # a guide: a line without points, in quiet colour
    named: bool = True  # in the legend
    labels: tuple[str, ...] = ()  # of the points: on hover, and beside them where they are few
    x_low: tuple[float | None, ...] = ()  # ends of intervals of x
    x_high: tuple[float | None, ...] = ()
    role: Literal["plain", "accent", "quiet"] = "plain"  # accent: the main result; quiet: context
    marked: bool = True  # its points are drawn, not the line alone
    hover: tuple[Hover, ...] = ()  # of the points, in place of label, x and y

    @property
    def bars(self) -> Bars | None:
        """Of y; None where no value has an interval."""
        return _bars(self.y, self.low, self.high)

    @property
    def x_bars(self) -> Bars | None:
        """Of x; None where no value has an interval."""
        return _bars(self.x, self.x_low, self.x_high)


def _bars(values: Sequence[float], low: Sequence[float | None], high: Sequence[float | None]) -> Bars | None:
    ends = zip(values, low or values, high or values, strict=True)
    lengths = [(0.0 if a is None else max(0.0, v - a), 0.0 if b is None else max(0.0, b - v)) for v, a, b in ends]
    if not any(map(any, lengths)):
        return None
    below, above = zip(*lengths, strict=True)
    return below, above


@dataclass(frozen=True)
class Plot:
    """One pair of axes with its series; `alt` describes it for readers who do not see it."""

    id: str
    caption: str
    alt: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    tall: bool = False

    @property
    def drawn(self) -> bool:
        return any(s.x for s in self.series)

    @property
    def labelled(self) -> bool:
        """Whether the points' labels are few enough to stand beside them."""
        return 0 < sum(len(s.labels) for s in self.series) <= MAX_LABELS

    def crowded(self, series: Series) -> bool:
        """Whether the figure has too many points to draw the intervals of `series`; never for an accent."""
        others = (len(s.x) for s in self.series if s.marked and not s.dashed and s.role != "accent")
        return series.role != "accent" and sum(others) > MAX_BARS

    def label_places(self, series: Series) -> list[tuple[Literal["top", "bottom"], Literal["left", "right"]]]:
        """Place of each point's label: alternately above and below it, towards the figure's middle."""
        every = [x for s in self.series for x in s.x]
        low, high = min(every), max(every)
        middle = math.sqrt(low * high) if self.x.log and low > 0 else (low + high) / 2
        return [
            ("top" if turn % 2 == 0 else "bottom", "right" if x <= middle else "left")
            for turn, x in enumerate(series.x)
        ]
