"""Interactive figures for the HTML report: plotly figures as JSON, coloured by the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from plotly import graph_objects as go

from joulebench.presentation.axis import Axis
from joulebench.presentation.chart import STAGE_COLOURS, STAGE_SYMBOLS, Chart, as_json, layout
from joulebench.presentation.findings import WIDE, is_wide
from joulebench.presentation.numbers import interval, number, sample_size
from joulebench.presentation.table import show
from joulebench.presentation.text import visible
from joulebench.presentation.units import bound, scaled
from joulebench.reporting.panels import Panel, Place, error, panels, place, with_bars
from joulebench.reporting.summary import Summary, TrialPoint
from joulebench.results.outcome import Outcome
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task

ACCENT = "#d55e00"
MAX_HOVER_PARAMS = 16
MAX_HOVER_TEXT = 80


def charts(summary: Summary) -> tuple[Chart, ...]:
    """The frontier's panels and, where there is one, hypervolume over trials; none without a usable trial."""
    found: list[Chart] = []
    if not summary.complete:
        return ()
    for position, panel in enumerate(panels(summary), start=1):
        caption = (
            f"{panel.y.name} over trials" if panel.x.name is None else f"{panel.y.name} against {panel.x.name}"
        )
        found.append(Chart(f"frontier-{position}", caption, panel.alt, as_json(_frontier(summary, panel))))
    volumes = [v for v in summary.hypervolume if v is not None]
    if volumes:
        alt = f"Hypervolume after each of {len(volumes)} trials; it ends at {number(volumes[-1])}."
        found.append(Chart("hypervolume", "Hypervolume over trials", alt, as_json(_hypervolume(summary))))
    return tuple(found)


def _frontier(summary: Summary, panel: Panel) -> go.Figure:
    figure = go.Figure(layout=layout(panel.x, panel.y))
    stages: dict[str, list[tuple[Place, TrialPoint]]] = {}
    for trial in summary.points:
        placed = place(panel, f"trial {trial.trial}", trial.trial, trial.outcomes)
        if placed is not None:
            stages.setdefault(trial.stage, []).append((placed, trial))
    bars = with_bars(sum(map(len, stages.values())))
    for index, (stage, members) in enumerate(stages.items()):
        texts = [
            _hover(summary.task, p.label, t.outcomes, t.params, _origin(t), _broken(summary, t)) for p, t in members
        ]
        colour, symbol = STAGE_COLOURS[index % len(STAGE_COLOURS)], STAGE_SYMBOLS[index % len(STAGE_SYMBOLS)]
        marker: dict[str, Any] = {"color": colour, "symbol": symbol, "size": 7 if bars else 4, "opacity": 0.85}
        figure.add_trace(_scatter([p for p, _ in members], texts, f"stage {_short(stage)}", marker, bars))
    if len(panel.line) > 1:
        x, y = zip(*panel.line, strict=True)
        line = {"color": ACCENT, "width": 2, "shape": "vh" if panel.vertical_first else "hv"}
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    texts = [
        _hover(summary.task, p.label, m.outcomes, m.params, "on the frontier")
        for p, m in zip(panel.members, summary.members, strict=True)
    ]
    if panel.members:
        marker = {"color": ACCENT, "size": 10, "line": {"width": 1.5, "color": "#ffffff"}}
        name = "frontier" if len(summary.task.objectives) > 1 else "best"
        figure.add_trace(_scatter(list(panel.members), texts, name, marker))
    return figure


def _origin(trial: TrialPoint) -> str:
    return f"stage {trial.stage}, from {trial.origin}, {trial.status}"


def _broken(summary: Summary, trial: TrialPoint) -> list[str]:
    bounds = summary.task.outcome_constraints
    return [f"<b>breaks</b> {escape(f'{name} {bound(name, bounds[name])}')}" for name in trial.breaks]


def _scatter(
    places: Sequence[Place], texts: Sequence[str], name: str, marker: Mapping[str, Any], bars: bool = True
) -> go.Scatter:
    drawn = places if bars else ()
    return go.Scatter(
        x=[p.x.mean for p in places],
        y=[p.y.mean for p in places],
        error_x=_bars([error(p.x) for p in drawn], marker["color"]),
        error_y=_bars([error(p.y) for p in drawn], marker["color"]),
        mode="markers",
        marker=dict(marker),
        name=name,
        text=list(texts),
        hovertemplate="%{text}<extra></extra>",
    )


def _bars(lengths: Sequence[tuple[float, float]], colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "arrayminus": [below for below, _ in lengths],
        "array": [above for _, above in lengths],
        "visible": any(below or above for below, above in lengths),
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }


def _hover(
    task: Task, label: str, outcomes: Mapping[str, Outcome], params: Params, origin: str, notes: Sequence[str] = ()
) -> str:
    lines = [f"<b>{escape(label)}</b>", _short(origin), *notes]
    for name, outcome in outcomes.items():
        factor, unit = scaled(name, outcome.value.mean, task.objectives[name])
        parts = [f"{number(outcome.value.mean / factor)} {unit}".rstrip(), interval(outcome.value, factor) or ""]
        extra = [sample_size(outcome.value), outcome.kind or ""]
        extra += [WIDE.upper()] if is_wide(outcome.value, task.protocol) else []
        lines.append(f"<b>{name}</b> {escape(' '.join(p for p in parts if p))}")
        lines.append(f"  {escape(', '.join(e for e in extra if e))}")
    shown = list(params.items())[:MAX_HOVER_PARAMS]
    lines += [_short(f"{name} = {show(value)}") for name, value in shown]
    if len(params) > len(shown):
        lines.append(f"… and {len(params) - len(shown)} more parameters")
    return "<br>".join(lines)


def _short(text: str) -> str:
    flat = " ".join(visible(text).split())
    return escape(flat if len(flat) <= MAX_HOVER_TEXT else f"{flat[:MAX_HOVER_TEXT]}…")


def _hypervolume(summary: Summary) -> go.Figure:
    trials = [p.trial for p in summary.points]
    figure = go.Figure(layout=layout(Axis(None, "trial"), Axis(None, "hypervolume (product of objective units)")))
    figure.add_trace(
        go.Scatter(
            x=trials,
            y=list(summary.hypervolume),
            mode="lines",
            line={"color": ACCENT, "width": 2, "shape": "hv"},
            name="hypervolume",
            hovertemplate="after trial %{x}: %{y:.5g}<extra></extra>",
        )
    )
    lost = [p for p in summary.points if p.status != "ok"]
    if lost:
        texts = [f"<b>trial {p.trial}</b>: {p.status}<br>{_short(p.error or 'no reason recorded')}" for p in lost]
        figure.add_trace(
            go.Scatter(
                x=[p.trial for p in lost],
                y=[0] * len(lost),
                mode="markers",
                marker={"symbol": "x", "size": 8, "color": "#8a8f98"},
                name="trial without a value",
                cliponaxis=False,
                text=texts,
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.update_layout(yaxis_rangemode="tozero")
    return figure
