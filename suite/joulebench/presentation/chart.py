"""Interactive plots as JSON for plotly.js; the page's script sets their colours for light, dark and print.

It is written here, byte for byte as the package plotly writes it: that takes 60 MB, and a second to import.
"""

from __future__ import annotations

import json
import math
from html import escape
from typing import Any

from markupsafe import Markup

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number
from joulebench.presentation.plots import Bars, Hover, Plot, Series
from joulebench.text import short, visible

#: Okabe and Ito's colours, distinguishable with any colour vision; legible on white and on dark.
_COLOURS = ("#56b4e9", "#009e73", "#cc79a7", "#8a8f98", "#0072b2", "#b8a900")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon")
_QUIET, _ACCENT = "#8a8f98", "#d55e00"


#: plotly's template `none`; its own default is 7 kB a chart, and another in each of its versions.
_TEMPLATE = {"data": {"scatter": [{"type": "scatter"}]}}


def interactive(plot: Plot) -> Markup:
    """JSON of a plot, escaped for use inside a script element."""
    layout = {
        "template": _TEMPLATE,
        "xaxis": _axis(plot.x),
        "yaxis": _axis(plot.y),
        "margin": {"l": 8, "r": 12, "t": 30, "b": 8},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)"},
        "hoverlabel": {"align": "left"},
        "font": {"family": "system-ui, sans-serif"},
    }
    traces = [_plain(_trace(plot, series, index)) | {"type": "scatter"} for index, series in enumerate(plot.series)]
    text = json.dumps({"data": traces, "layout": _plain(layout)}, allow_nan=False, separators=(",", ":"))
    for character in "<>&/":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _plain(value: Any) -> Any:
    """`value` with its keys in order, and without those of no value; null for a number that is none."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value) if value[key] is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _axis(axis: Axis) -> dict[str, Any]:
    detail = f"\n({axis.detail})" if axis.detail else ""  # two lines fit a narrow screen
    layout: dict[str, Any] = {
        "title": {"text": escape(visible(axis.title + detail)).replace("\n", "<br>"), "standoff": 15},
        "automargin": True,
        "zeroline": False,
        "ticks": "",  # none beside the grid, though the page gives them a colour
    }
    if axis.log:
        layout |= {"type": "log", "tickvals": axis.ticks, "ticktext": [number(t) for t in axis.ticks]}
    if axis.ends:
        layout["range"] = [math.log10(end) if axis.log else end for end in axis.ends]
    return layout


def _trace(plot: Plot, series: Series, index: int) -> dict[str, Any]:
    crowded, name = plot.crowded(series), escape(short(series.name))
    marker: dict[str, Any] = {"symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 4 if crowded else 8}
    colour, width = _COLOURS[index % len(_COLOURS)], 1.5
    if series.role == "accent":
        colour, width = _ACCENT, 2.0
        marker = {"symbol": "circle", "size": 10, "line": {"width": 1.5, "color": "#ffffff"}}
    elif series.dashed or series.role == "quiet":
        colour, marker["symbol"] = _QUIET, "x"
    dash, shape = "dash" if series.dashed else "solid", series.line if isinstance(series.line, str) else "linear"
    trace: dict[str, Any] = {
        "x": series.x,
        "y": series.y,
        "name": name,
        "showlegend": None if series.named else False,
        "mode": _mode(plot, series),
        "line": {"color": colour, "width": width, "dash": dash, "shape": shape},
        "marker": {"color": colour, **marker},
        "error_x": None if crowded else _bars(series.x_bars, colour),
        "error_y": None if crowded else _bars(series.bars, colour),
    }
    if series.hover:
        return trace | {
            "hovertext": [_hover(lines) for lines in series.hover],
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
    values = f"%{{x:.5g}}: %{{y:.5g}}<extra>{name}</extra>"
    if not series.labels:
        return trace | {"hovertemplate": values}
    return trace | {
        "text": [escape(short(label)) for label in series.labels],
        "textposition": [" ".join(place) for place in plot.label_places(series)],
        "textfont": {"size": 11},
        "cliponaxis": False,
        "hovertemplate": f"<b>%{{text}}</b><br>{values}",
    }


def _mode(plot: Plot, series: Series) -> str:
    if series.dashed or not series.marked:
        return "lines"
    beside = "+text" if series.labels and plot.labelled else ""
    return f"{'lines+' if series.line else ''}markers{beside}"


def _bars(lengths: Bars | None, colour: str) -> dict[str, Any] | None:
    if lengths is None:
        return None
    below, above = lengths
    return {
        "type": "data", "symmetric": False, "arrayminus": below, "array": above,
        "color": colour, "thickness": 1.2, "width": 3,
    }  # fmt: skip


def _hover(lines: Hover) -> str:
    bold = ((f"<b>{escape(short(head))}</b>" if head else "", escape(short(text))) for head, text in lines)
    return "<br>".join(" ".join(filter(None, parts)) for parts in bold)
