"""Which points stand against which in the figures, the same for still and interactive ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from joulebench.presentation.axis import DECADE, Axis, log_ticks
from joulebench.presentation.numbers import number
from joulebench.presentation.units import axis_title, scaled
from joulebench.reporting.summary import Summary
from joulebench.results.ledger import family
from joulebench.results.outcome import Outcome
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate

#: With more objectives than this, panels show each against the first instead of every pair.
MAX_PAIRED = 3
#: Of more usable trials than this a figure shows points alone: their intervals would cover one another, and the
#: hover text has them. The frontier keeps its own.
MAX_BARS = 2000


@dataclass(frozen=True)
class Place:
    """Where a point stands: its values on both axes, in the axes' units, with intervals."""

    label: str
    x: Estimate
    y: Estimate


@dataclass(frozen=True)
class Panel:
    """One pair of axes. `line` are the frontier's corners from left to right where a line makes sense: two
    objectives; `vertical_first` is how its steps go."""

    x: Axis
    y: Axis
    members: tuple[Place, ...]
    line: tuple[tuple[float, float], ...]
    alt: str

    @property
    def vertical_first(self) -> bool:
        return self.x.maximize


def panels(summary: Summary) -> tuple[Panel, ...]:
    """A panel for every pair of objectives (each against the first if there are many); one over the trials if
    there is one objective."""
    task = summary.task
    names = list(task.objectives)
    if len(names) == 1:
        return (_panel(summary, None, names[0]),)
    pairs = list(combinations(names, 2)) if len(names) <= MAX_PAIRED else [(names[0], n) for n in names[1:]]
    return tuple(_panel(summary, *_turn(task, pair)) for pair in pairs)


def place(panel: Panel, label: str, number_: int, outcomes: Mapping[str, Outcome]) -> Place | None:
    """A trial or configuration on the panel; None without a value."""
    if not outcomes:
        return None
    return Place(label, _on(panel.x, number_, outcomes), _on(panel.y, number_, outcomes))


def _on(axis: Axis, number_: int, outcomes: Mapping[str, Outcome]) -> Estimate:
    if axis.name is None:
        return Estimate(float(number_), 1, None, None, None, "")
    value = outcomes[axis.name].value
    low = None if value.low is None else value.low / axis.factor
    high = None if value.high is None else value.high / axis.factor
    return Estimate(value.mean / axis.factor, value.n, None, low, high, value.varied)


def _turn(task: Task, pair: tuple[str, str]) -> tuple[str, str]:
    """What it takes on x: energy, else time; quality on y."""
    a, b = pair
    first, second = (_rank(task, name) for name in pair)
    return (b, a) if second < first else (a, b)


def _rank(task: Task, name: str) -> int:
    objective = task.objectives[name]
    return 0 if objective.is_energy else 1 if objective.is_latency else 2


def _panel(summary: Summary, x_name: str | None, y_name: str) -> Panel:
    x, y = _axis(summary, x_name), _axis(summary, y_name)
    bare = Panel(x, y, (), (), "")
    placed = [place(bare, m.label, m.trials[0], m.outcomes) for m in summary.members]
    members = tuple(p for p in placed if p is not None)
    line: tuple[tuple[float, float], ...] = ()
    if len(summary.task.objectives) == 2:
        line = tuple(sorted((p.x.mean, p.y.mean) for p in members))
    return Panel(x, y, members, line, _alt(summary, x, y, members))


def _axis(summary: Summary, name: str | None) -> Axis:
    if name is None:
        return Axis(None, "trial")
    objective = summary.task.objectives[name]
    outcomes = [p.outcomes[name] for p in summary.points if p.outcomes]
    values = [o.value.mean for o in outcomes]
    positive = bool(values) and min(values) > 0
    log = (objective.is_energy or objective.is_latency) and positive and max(values) / min(values) > DECADE
    factor, unit = scaled(name, max(map(abs, values), default=1.0), objective)
    counted = {family(domain) for o in outcomes for domain in o.domains} or set(objective.domains or ())
    families = [d for d in EVERY_FAMILY if d in counted]
    title = axis_title(summary.task, name, unit, families)
    ticks = log_ticks(min(values) / factor, max(values) / factor) if log else ()
    return Axis(name, title, factor, log, objective.goal == "maximize", ticks)


def _alt(summary: Summary, x: Axis, y: Axis, members: Sequence[Place]) -> str:
    shown = sum(bool(p.outcomes) for p in summary.points)
    text = f"Scatter of {shown} trials: {y.title} against {x.title}."
    if not with_bars(shown):
        text += " Only the frontier's intervals are drawn."
    if not members:
        return f"{text} No trial is usable, so there is no frontier."
    first, last = members[0], members[-1]

    def at(p: Place) -> str:
        return f"{number(p.y.mean, 3)} at {number(p.x.mean, 3)}"

    if len(members) == 1:
        return f"{text} The frontier is {first.label}: {at(first)}."
    ends = f"from {at(first)} ({first.label}) to {at(last)} ({last.label})"
    return f"{text} The frontier has {len(members)} members, {ends}."


def with_bars(shown: int) -> bool:
    """Whether so many trials are drawn with their intervals."""
    return shown <= MAX_BARS


def error(value: Estimate) -> tuple[float, float]:
    """Lengths of the error bar below and above the mean; 0 where there is no interval."""
    below = 0.0 if value.low is None else value.mean - value.low
    above = 0.0 if value.high is None else value.high - value.mean
    return below, above
