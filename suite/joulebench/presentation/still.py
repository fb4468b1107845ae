"""Still plots by matplotlib, as PNG and SVG: the same bytes from the same records."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number
from joulebench.presentation.plots import Plot, Series
from joulebench.text import short, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Those of the page, darker where a light one would not show on white paper.
_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#64748b", "#1e3a8a", "#8a7f00")
_MARKERS = ("o", "s", "D", "^", "P", "p")
_INK, _QUIET, _ACCENT = "#1f2937", "#94a3b8", "#d55e00"

#: Fixed so that ids in the SVG, and fonts, do not depend on the run or on the reader's own matplotlibrc.
_SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "joulebench",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "path.simplify": True,
    "text.parse_math": False,  # names may hold a $
}
#: Dates and versions would make every file differ.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def still(plots: Sequence[Plot], title: str, file_format: Literal["png", "svg"]) -> bytes:
    """One picture of all plots, one below the other, as the bytes of a file."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [4.8 if plot.tall else 3.6 for plot in plots]
    with style.context(["default", _SETTINGS]):
        figure = Figure(figsize=(7.2, sum(heights)), dpi=150, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        rows = figure.subplots(len(plots), squeeze=False, height_ratios=heights)[:, 0]
        for axes, plot in zip(rows, plots, strict=True):
            _draw(axes, plot)
        figure.suptitle(visible(title), fontsize=11, parse_math=False)
        stream = io.BytesIO()
        figure.savefig(stream, format=file_format, metadata=_METADATA[file_format])
    return stream.getvalue()


def _draw(axes: Axes, plot: Plot) -> None:
    axes.grid(True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(visible(plot.x.full_title), parse_math=False)
    detail = f"\n({plot.y.detail})" if plot.y.detail else ""  # no line longer than the axes are high
    axes.set_ylabel(visible(plot.y.title + detail), parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not plot.drawn:
        axes.text(0.5, 0.5, "no valid value", transform=axes.transAxes, ha="center", va="center", color=_INK)
        axes.set(xticks=[], yticks=[])
        return
    for index, series in enumerate(plot.series):
        axes.errorbar(series.x, series.y, **_look(plot, series, index))
        if plot.labelled and series.labels:
            _annotate(axes, plot, series)
    _scale(axes, plot.x, plot.y)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _annotate(axes: Axes, plot: Plot, series: Series) -> None:
    for (up, side), x, y, label in zip(plot.label_places(series), series.x, series.y, series.labels, strict=True):
        axes.annotate(
            short(label), (x, y), xytext=(4 if side == "right" else -4, 4 if up == "top" else -4),
            textcoords="offset points", ha="left" if side == "right" else "right",
            va="bottom" if up == "top" else "top", fontsize=7, color=_INK,
        )  # fmt: skip


def _look(plot: Plot, series: Series, index: int) -> dict[str, Any]:
    look: dict[str, Any] = {
        "xerr": series.x_bars,
        "yerr": series.bars,
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 5,
        "capsize": 2.0,
        "linestyle": "--" if series.dashed else "-" if series.line else "none",
        "linewidth": 1.2,
        "drawstyle": {"hv": "steps-post", "vh": "steps-pre"}.get(str(series.line), "default"),
        "label": short(series.name) if series.named else "_",
    }
    if series.role == "accent":
        edge = {"markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.8}
        look |= {"color": _ACCENT, "marker": "o", "linewidth": 1.6, "elinewidth": 1.0, "zorder": 4, **edge}
    elif series.dashed or series.role == "quiet":
        look |= {"color": _QUIET, "marker": "x"}
    if series.dashed or not series.marked:
        look["marker"] = None
    if plot.crowded(series):  # one picture of the points inside the figure, not an element for each
        look |= {"xerr": None, "yerr": None, "markersize": 2, "markeredgewidth": 0, "rasterized": True}
    return look


def _scale(axes: Axes, x: Axis, y: Axis) -> None:
    """Logarithmic scales where they are asked for, with the axis's own ticks and ends."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for shown, axis, set_scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if shown.log:
            set_scale("log", nonpositive="clip")
        if shown.ends:
            axis.set_view_interval(*shown.ends, ignore=True)
        if not shown.log:
            continue
        low, high = axis.get_view_interval()
        axis.set_major_locator(FixedLocator([t for t in shown.ticks if low <= t <= high]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axis.set_minor_locator(NullLocator())
