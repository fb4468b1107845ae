"""Interactive charts: a figure as plotly's JSON, with what it shows in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number

if TYPE_CHECKING:
    from plotly import graph_objects as go

#: Okabe and Ito's colours, told apart by readers with any colour vision; legible on white and on dark.
STAGE_COLOURS = ("#56b4e9", "#009e73", "#cc79a7", "#8a8f98", "#0072b2", "#b8a900")


STAGE_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")


@dataclass(frozen=True)
class Chart:
    """A figure for the page: plotly's JSON, and what it shows in words."""

    id: str
    caption: str
    alt: str
    json: str


def as_json(figure: go.Figure) -> str:
    """JSON that cannot end the script element it stands in; the same bytes whether or not orjson is installed."""
    text: str = figure.to_json(engine="json")
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def layout(x: Axis, y: Axis) -> go.Layout:
    """A bare layout: colours and fonts are the page's, set by its script for light and dark."""
    from plotly import graph_objects as go

    def axis(shown: Axis) -> dict[str, Any]:
        found: dict[str, Any] = {
            "title": {"text": _wrapped(shown.title), "standoff": 15},
            "automargin": True,
            "zeroline": False,
            "ticks": "",  # none beside the grid, though the page gives them a colour
        }
        if shown.log:
            found |= {"type": "log", "tickvals": shown.ticks, "ticktext": [number(t) for t in shown.ticks]}
        if shown.ends:
            found["range"] = [math.log10(end) if shown.log else end for end in shown.ends]
        return found

    return go.Layout(
        template="none",  # None would be plotly's own: 7 kB a chart, and another in each of its versions
        xaxis=axis(x),
        yaxis=axis(y),
        margin={"l": 8, "r": 12, "t": 30, "b": 8},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        modebar={"bgcolor": "rgba(0,0,0,0)"},
        hoverlabel={"align": "left"},
        font={"family": "system-ui, sans-serif"},
    )


def _wrapped(title: str) -> str:
    """An axis title on two lines, so that it fits a narrow screen."""
    head, bracket, rest = title.partition(" (")
    return f"{escape(head)}<br>({escape(rest)}" if bracket else escape(title)
