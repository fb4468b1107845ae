"""Figure of the total energy of several models against the volume of inference. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.series import value_axis
from joulebench.presentation.units import plain
from joulebench.studies.training_inference.crossover import LinearCost

#: More models than this would share colours and symbols.
MAX_SERIES = 6
CURVE_POINTS = 13
#: Volumes are drawn from this share of the least to this multiple of the greatest.
MARGIN = 30.0


def totals_plot(
    ident: str,
    caption: str,
    what: str,
    totals: Sequence[LinearCost],
    volumes: Sequence[float],
    unit: str,
    detail: str,
) -> Plot:
    """Lines of fixed + N · per unit over volumes N (above 0) around those given; `what` is the total in symbols."""
    low, high = min(volumes) / MARGIN, max(volumes) * MARGIN
    at = [low * (high / low) ** (i / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)]
    x = value_axis([low, high], "", lambda u: f"volume of inference, {f'{u} ' if u else ''}{plain(unit)}s")
    y = value_axis([c.total_j(n) for c in totals for n in at], "J", lambda u: f"{what}, {u}", detail=detail)
    places = tuple(n / x.factor for n in at)
    lines = tuple(Series(c.name, places, tuple(c.total_j(n) / y.factor for n in at), line=True) for c in totals)
    alt = f"Total energy against the volume of inference: {', '.join(c.name for c in totals)}."
    return Plot(ident, caption, alt, x, y, lines)
