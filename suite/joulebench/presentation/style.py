"""Looks of a still figure: colours, fonts, and scaled axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET, ACCENT = "#1f2937", "#94a3b8", "#b45309"


#: Fixed so that ids in the SVG, and fonts, do not depend on the run or on the reader's own matplotlibrc.
SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "joulebench",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "path.simplify": True,
    "text.parse_math": False,  # names may hold a $
}


#: Dates and versions would make every file differ.
METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def scale_axes(axes: Axes, x: Axis, y: Axis) -> None:
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
