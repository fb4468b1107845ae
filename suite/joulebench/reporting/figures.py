"""Still figures of the frontier: PNG and SVG, the same bytes from the same records."""

from __future__ import annotations

import io
from typing import Literal

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from joulebench.presentation.style import ACCENT, INK, METADATA, QUIET, SETTINGS, scale_axes
from joulebench.reporting.panels import Panel, Place, error, panels, place, with_bars
from joulebench.reporting.summary import Summary


def frontier_figure(summary: Summary, file_format: Literal["png", "svg"]) -> bytes:
    """The frontier with error bars, one panel for each pair of objectives."""
    shown = panels(summary)
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(7.2, 4.8 * len(shown)), dpi=150, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
            _draw(axes, summary, panel)
        task = summary.task
        budget = f", budget {summary.manifest.budget}" if summary.manifest.budget else ""
        # names hold only letters, digits and _; titles and parameters could hold mathtext, or glyphs not at hand
        figure.suptitle(f"{task.name} v{task.version}{budget}", fontsize=11, parse_math=False)
        stream = io.BytesIO()
        figure.savefig(stream, format=file_format, metadata=METADATA[file_format])
    return stream.getvalue()


def _draw(axes: Axes, summary: Summary, panel: Panel) -> None:
    axes.grid(True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(panel.x.title, parse_math=False)
    axes.set_ylabel(panel.y.title, parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    trials = [p for t in summary.points if (p := place(panel, "", t.trial, t.outcomes)) is not None]
    if not trials:
        axes.text(0.5, 0.5, "no usable trial", transform=axes.transAxes, ha="center", va="center", color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    if with_bars(len(trials)):
        _bars(axes, trials, QUIET, "trials", size=4)
    else:
        _points(axes, trials)
    if len(panel.line) > 1:
        x, y = zip(*panel.line, strict=True)
        style = "steps-pre" if panel.vertical_first else "steps-post"
        axes.plot(x, y, color=ACCENT, linewidth=1.4, drawstyle=style, zorder=3)
    _bars(axes, panel.members, ACCENT, "frontier" if len(summary.task.objectives) > 1 else "best", size=6)
    scale_axes(axes, panel.x, panel.y)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _bars(axes: Axes, places: list[Place] | tuple[Place, ...], colour: str, label: str, size: float) -> None:
    if not places:  # trials there are, and none is on the frontier
        return
    below_x, above_x = zip(*(error(p.x) for p in places), strict=True)
    below_y, above_y = zip(*(error(p.y) for p in places), strict=True)
    axes.errorbar(
        [p.x.mean for p in places],
        [p.y.mean for p in places],
        xerr=(below_x, above_x) if any(below_x + above_x) else None,
        yerr=(below_y, above_y) if any(below_y + above_y) else None,
        fmt="o",
        markersize=size,
        color=colour,
        ecolor=colour,
        elinewidth=1.0,
        capsize=2.0,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=label,
        zorder=2 if colour == QUIET else 4,
    )


def _points(axes: Axes, places: list[Place]) -> None:
    """Very many trials: one picture of their points inside the figure, not an element for each."""
    x, y = [p.x.mean for p in places], [p.y.mean for p in places]
    axes.plot(x, y, "o", markersize=2, color=QUIET, label="trials", markeredgewidth=0, rasterized=True, zorder=2)
