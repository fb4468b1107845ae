"""Energy per token and latency of every configuration as figures. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench.presentation.axis import Axis
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.series import along, estimates, value_axis
from joulebench.presentation.units import plain
from joulebench.stats.estimate import Estimate
from joulebench.studies.generation.analysis import PHASES, PREFILL, REQUEST, Generation, Generator

Read = Callable[[Generator], Estimate | None]


def figures(generation: Generation) -> tuple[Plot, ...]:
    """Two figures over the configurations; none of a single one, which the tables say all of."""
    if len(generation.points) < 2:
        return ()
    x, places = along([p.params for p in generation.points], generation.names)
    made = (_energy(generation, x, places), _latency(generation, x, places))
    return tuple(plot for plot in made if plot.drawn)


def _energy(generation: Generation, x: Axis, places: Sequence[float]) -> Plot:
    lines: list[tuple[str, Read]] = []
    for phase in PHASES:
        unit = next((plain(p.parts[phase].unit) for p in generation.points if phase in p.parts), None)
        if unit is not None:
            lines.append((f"{phase}, per {unit}", _gross(phase)))
    detail = f"{generation.kind}, {' + '.join(generation.domains)}"
    y, series = _drawn(generation, x, places, lines, "J", lambda unit: f"{unit} per unit, gross", detail)
    alt = f"Gross energy per token against {x.title}: {', '.join(name for name, _ in lines)}."
    return Plot("generation-energy", f"Energy per token by {x.title}", alt, x, y, series)


def _gross(phase: str) -> Read:
    return lambda p: p.parts[phase].gross if phase in p.parts else None


def _latency(generation: Generation, x: Axis, places: Sequence[float]) -> Plot:
    lines: list[tuple[str, Read]] = [
        ("request, p95", lambda p: p.parts[REQUEST].step_quantile(0.95) if REQUEST in p.parts else None),
        (
            "time to first token, p95",
            lambda p: p.parts[PREFILL].step_quantile(0.95) if PREFILL in p.parts else None,
        ),
        ("time per output token, p95", lambda p: p.per_token_s(lambda part: part.step_quantile(0.95))),
    ]
    y, series = _drawn(generation, x, places, lines, "s", lambda unit: f"latency, {unit}", "of steps")
    shown = [s for s in series if s.x]
    alt = f"95 % quantiles of latency against {x.title}: {', '.join(s.name for s in shown)}."
    return Plot("generation-latency", f"Latency by {x.title}", alt, x, y, series)


def _drawn(
    generation: Generation,
    x: Axis,
    places: Sequence[float],
    lines: Sequence[tuple[str, Read]],
    unit: str,
    title: Callable[[str], str],
    detail: str,
) -> tuple[Axis, tuple[Series, ...]]:
    """All lines on one axis, in the unit that suits them."""
    values = [(name, [read(p) for p in generation.points]) for name, read in lines]
    y = value_axis([v.mean for _, column in values for v in column if v is not None], unit, title, detail=detail)
    return y, tuple(estimates(name, places, column, y, x.name is not None) for name, column in values)
