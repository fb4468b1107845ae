"""Figures of analyses: described once, drawn twice, for the page (plotly) and for files (matplotlib)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from joulebench.presentation.axis import Axis
from joulebench.presentation.chart import STAGE_COLOURS, STAGE_SYMBOLS, Chart, as_json, layout
from joulebench.presentation.style import INK, METADATA, SETTINGS, scale_axes
from joulebench.presentation.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "pentagon": "p"}
#: Lighter colours of the page do not show on white paper: the stills' own, in the same order.
_STILL_COLOURS = ("#0072b2", "#009e73", "#b45309", "#64748b", "#cc79a7", "#8a7f00")

#: More labels than this would lie over one another: they are on hover alone.
MAX_LABELS = 20


@dataclass(frozen=True)
class Series:
    """Points in the axes' units, joined if `line`; `low` and `high` are ends of intervals (None: no interval)."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    line: bool = False
    dashed: bool = False  # a guide: a line without points, in quiet colour
    named: bool = True  # in the legend
    labels: tuple[str, ...] = ()  # of the points: on hover, and beside them where they are few


@dataclass(frozen=True)
class Plot:
    """One pair of axes with its series; `alt` says in words what it shows."""

    id: str
    caption: str
    alt: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]

    @property
    def drawn(self) -> bool:
        return any(s.x for s in self.series)

    @property
    def labelled(self) -> bool:
        """Whether the points' labels are few enough to stand beside them."""
        return 0 < sum(len(s.labels) for s in self.series) <= MAX_LABELS


def _places(plot: Plot, series: Series) -> list[tuple[str, str]]:
    """Where each point's label goes, by turns above and below it, and towards the figure's middle."""
    every = [x for s in plot.series for x in s.x]
    low, high = min(every), max(every)
    middle = math.sqrt(low * high) if plot.x.log and low > 0 else (low + high) / 2
    return [
        ("top" if turn % 2 == 0 else "bottom", "right" if x <= middle else "left")
        for turn, x in enumerate(series.x)
    ]


def interactive(plot: Plot) -> Chart:
    """The plot for the page."""
    from plotly import graph_objects as go  # like matplotlib, only when something is drawn: it takes a second

    figure = go.Figure(layout=layout(plot.x, plot.y))
    for index, series in enumerate(plot.series):
        colour = "#8a8f98" if series.dashed else STAGE_COLOURS[index % len(STAGE_COLOURS)]
        symbol = STAGE_SYMBOLS[index % len(STAGE_SYMBOLS)]
        below, above = _bars(series)
        figure.add_trace(
            go.Scatter(
                x=series.x,
                y=series.y,
                name=escape(visible(series.name)),
                showlegend=None if series.named else False,
                mode=_mode(series, beside=plot.labelled),
                text=[escape(visible(label)) for label in series.labels] or None,
                textposition=[" ".join(place) for place in _places(plot, series)] if series.labels else None,
                textfont={"size": 11},
                cliponaxis=False if series.labels else None,
                line={"color": colour, "width": 1.5, "dash": "dash" if series.dashed else "solid"},
                marker={"color": colour, "symbol": symbol, "size": 8},
                error_y={
                    "type": "data", "symmetric": False, "arrayminus": below, "array": above,
                    "visible": any(below + above), "color": colour, "thickness": 1.2, "width": 3,
                },
                hovertemplate=("<b>%{text}</b><br>" if series.labels else "")
                + f"%{{x:.5g}}: %{{y:.5g}}<extra>{escape(visible(series.name))}</extra>",
            )
        )  # fmt: skip
    return Chart(plot.id, plot.caption, plot.alt, as_json(figure))


def _mode(series: Series, beside: bool) -> str:
    if series.dashed:
        return "lines"
    return f"{'lines+' if series.line else ''}markers{'+text' if series.labels and beside else ''}"


def still(plots: Sequence[Plot], title: str, file_format: Literal["png", "svg"]) -> bytes:
    """The plots below one another in one picture; the same bytes from the same records."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(7.2, 3.6 * len(plots)), dpi=150, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        for axes, plot in zip(figure.subplots(len(plots), squeeze=False)[:, 0], plots, strict=True):
            _draw(axes, plot)
        figure.suptitle(visible(title), fontsize=11, parse_math=False)
        stream = io.BytesIO()
        figure.savefig(stream, format=file_format, metadata=METADATA[file_format])
    return stream.getvalue()


def _draw(axes: Axes, plot: Plot) -> None:
    axes.grid(True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(plot.x.title, parse_math=False)
    axes.set_ylabel(plot.y.title.replace(" (", "\n(", 1), parse_math=False)  # no longer than the axes are high
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not plot.drawn:
        axes.text(0.5, 0.5, "no valid value", transform=axes.transAxes, ha="center", va="center", color=INK)
        return
    for index, series in enumerate(plot.series):
        axes.errorbar(series.x, series.y, **_look(series, index))
        if plot.labelled and series.labels:
            _annotate(axes, plot, series)
    scale_axes(axes, plot.x, plot.y)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _annotate(axes: Axes, plot: Plot, series: Series) -> None:
    for (up, side), x, y, label in zip(_places(plot, series), series.x, series.y, series.labels, strict=True):
        axes.annotate(
            visible(label), (x, y), xytext=(4 if side == "right" else -4, 4 if up == "top" else -4),
            textcoords="offset points", ha="left" if side == "right" else "right",
            va="bottom" if up == "top" else "top", fontsize=7, color=INK,
        )  # fmt: skip


def _look(series: Series, index: int) -> dict[str, Any]:
    below, above = _bars(series)
    colour = "#94a3b8" if series.dashed else _STILL_COLOURS[index % len(_STILL_COLOURS)]
    return {
        "yerr": (below, above) if any(below + above) else None,
        "marker": None if series.dashed else _MARKERS[STAGE_SYMBOLS[index % len(STAGE_SYMBOLS)]],
        "linestyle": "--" if series.dashed else "-" if series.line else "none",
        "linewidth": 1.2,
        "markersize": 5,
        "color": colour,
        "capsize": 2.0,
        "label": visible(series.name) if series.named else "_",
    }


def _bars(series: Series) -> tuple[list[float], list[float]]:
    low = series.low or (None,) * len(series.y)
    high = series.high or (None,) * len(series.y)
    below = [0.0 if end is None else max(0.0, y - end) for y, end in zip(series.y, low, strict=True)]
    above = [0.0 if end is None else max(0.0, end - y) for y, end in zip(series.y, high, strict=True)]
    return below, above
