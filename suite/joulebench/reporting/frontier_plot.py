"""Figures of the frontier and of the hypervolume over the trials. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, islice
from typing import Literal

from joulebench.presentation.axis import DECADE, Axis, log_ticks
from joulebench.presentation.numbers import number
from joulebench.presentation.plots import Hover, Plot, Series
from joulebench.presentation.series import estimates, pairs, reaching
from joulebench.presentation.table import show
from joulebench.presentation.units import bound, hypervolume_scale, quantile_name, scaled
from joulebench.presentation.words import domains
from joulebench.reporting.summary import Summary, TrialPoint
from joulebench.reporting.tables import outcome_cell
from joulebench.results.ledger import family
from joulebench.results.members import Member
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.spec.objectives import CARBON, energy_form
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, point

#: With more objectives than this, figures show each against the first, not every pair.
MAX_PAIRED = 3
MAX_HOVER_PARAMS = 16


def frontier_plots(summary: Summary) -> tuple[Plot, ...]:
    """Scatter plots of trials and frontier, one for each pair of objectives; a single objective over the trials."""
    task = summary.task
    names = list(task.objectives)
    if len(names) == 1:
        return (_frontier(summary, "frontier-1", None, names[0]),)
    chosen = list(combinations(names, 2)) if len(names) <= MAX_PAIRED else [(names[0], n) for n in names[1:]]
    # cost (energy, else latency) on x, quality on y
    turned = [sorted(pair, key=lambda name: _rank(task, name)) for pair in chosen]
    return tuple(_frontier(summary, f"frontier-{i}", x, y) for i, (x, y) in enumerate(turned, start=1))


#: What an energy objective is called by what it is stated in.
_WORDS = {CARBON: "carbon", "J·s": "energy-delay product", "J·s²": "energy-delay² product"}


def _rank(task: Task, name: str) -> int:
    objective = task.objectives[name]
    return 0 if objective.is_energy else 1 if objective.is_relative else 2


def _frontier(summary: Summary, ident: str, x_name: str | None, y_name: str) -> Plot:
    task = summary.task
    x, y = _axis(summary, x_name), _axis(summary, y_name)

    def at(item: TrialPoint | Member) -> tuple[Estimate, Estimate]:
        trial = item.trial if isinstance(item, TrialPoint) else item.trials[0]
        return item.outcomes[x_name].value if x_name else point(float(trial)), item.outcomes[y_name].value

    def series(name: str, items: Sequence[TrialPoint | Member]) -> Series:
        return replace(pairs(name, list(map(at, items)), x, y), hover=tuple(_hover(task, item) for item in items))

    usable = [trial for trial in summary.points if trial.outcomes]
    stages = dict.fromkeys(trial.stage for trial in usable)
    drawn = [series(f"stage {stage}", [t for t in usable if t.stage == stage]) for stage in stages]
    if summary.members:
        frontier = series("frontier" if len(task.objectives) > 1 else "best", summary.members)
        drawn.append(replace(frontier, role="accent", line=_steps(task, x_name, frontier.x)))
    caption = f"{y_name} against {x_name}" if x_name else f"{y_name} over trials"
    plot = Plot(ident, caption, "", x, y, tuple(drawn), tall=True)
    return replace(plot, alt=_alt(plot, [m.label for m in summary.members]))


def _steps(task: Task, x_name: str | None, places: Sequence[float]) -> Literal["hv", "vh", False]:
    """Step direction of the line along the dominated region; no line unless there are two objectives."""
    if x_name is None or len(task.objectives) != 2 or len(places) < 2:
        return False
    rightwards = places[0] <= places[-1]
    return "vh" if rightwards == (task.objectives[x_name].goal == "maximize") else "hv"


def _axis(summary: Summary, name: str | None) -> Axis:
    if name is None:
        return Axis(None, "trial")
    objective = summary.task.objectives[name]
    outcomes = [p.outcomes[name] for p in summary.points if p.outcomes]
    values = [o.value.mean for o in outcomes]
    factor, unit = scaled(name, max(map(abs, values), default=1.0), objective)
    better = "higher is better" if objective.goal == "maximize" else "lower is better"
    title, detail = (f"{name}, {unit}" if unit else name), better
    if objective.quantile is not None:
        title, detail = (
            f"{objective.phase} latency, {unit}",
            f"{quantile_name(objective.quantile)} of steps; {better}",
        )
    elif objective.is_energy:
        counted = {family(domain) for o in outcomes for domain in o.domains} or set(objective.domains or ())
        families = domains(d for d in EVERY_FAMILY if d in counted)
        what = _WORDS.get(energy_form(name).measure, "energy")
        title, detail = f"{objective.phase} {what}, {unit}", f"{objective.basis}, {families}; {better}"
    log = objective.is_relative and bool(values) and 0 < min(values) < max(values) / DECADE
    ticks = log_ticks(min(values) / factor, max(values) / factor) if log else ()
    return Axis(name, title, factor, log, ticks, detail=detail)


def _alt(plot: Plot, members: Sequence[str]) -> str:
    """Description of a frontier's figure, whose last series is the frontier, if there is one."""
    trials = [s for s in plot.series if s.role != "accent"]
    text = f"Scatter of {sum(len(s.x) for s in trials)} trials: {plot.y.full_title} against {plot.x.full_title}."
    if any(map(plot.crowded, trials)):
        text += " Only the frontier's intervals are drawn."
    if not members:
        return f"{text} There is no frontier."
    frontier = plot.series[-1]
    first, last = (f"{number(frontier.y[i], 3)} at {number(frontier.x[i], 3)}" for i in (0, -1))
    if len(members) == 1:
        return f"{text} The frontier is {members[0]}: {first}."
    ends = f"from {first} ({members[0]}) to {last} ({members[-1]})"
    return f"{text} The frontier has {len(members)} members, {ends}."


def _hover(task: Task, item: TrialPoint | Member) -> Hover:
    if isinstance(item, Member):
        lines = [(item.label, ""), ("", "on the frontier")]
    else:
        lines = [(f"trial {item.trial}", ""), ("", f"stage {item.stage}, from {item.origin}, {item.status}")]
        lines += [("breaks", f"{name} {bound(name, task.outcome_constraints[name])}") for name in item.breaks]
    for name, outcome in item.outcomes.items():
        cell = outcome_cell(name, task.objectives[name], outcome, task.protocol)
        lines += [
            (name, cell.text),
            *(("", text) for text in (cell.interval, *cell.details, cell.flag.upper()) if text),
        ]
    lines += [("", f"{name} = {show(value)}") for name, value in islice(item.params.items(), MAX_HOVER_PARAMS)]
    if (more := len(item.params) - MAX_HOVER_PARAMS) > 0:
        lines.append(("", f"… and {more} more parameters"))
    return tuple(lines)


def hypervolume_plot(summary: Summary) -> Plot | None:
    """Hypervolume after each trial of the search by its own values, with failed trials at zero, and that of the
    confirmed frontier after the last trial; None where no hypervolume is known."""
    known = summary.searched_hypervolume
    if not summary.complete or not known:
        return None
    trials, volumes = tuple(float(trial) for trial, _ in known), tuple(v for _, v in known)
    hover = tuple((("", f"after trial {trial}: {number(v, 5)}"),) for trial, v in known)
    series = [Series("hypervolume", trials, volumes, line="hv", role="accent", marked=False, hover=hover)]
    lost = [p for p in summary.points if p.status != "ok"]
    if lost:
        foot, at = (0.0,) * len(lost), tuple(float(p.trial) for p in lost)
        texts = tuple(((f"trial {p.trial}", p.status), ("", p.error or "no reason recorded")) for p in lost)
        series.append(Series("trial without a value", at, foot, role="quiet", hover=texts))
    alt = f"Hypervolume after each of {len(volumes)} trials; it ends at {number(volumes[-1])}."
    if scale := hypervolume_scale(summary.task):
        alt += f" {scale}"
    nats = "".join(f", {name} in nats (log scale)" for name in summary.task.log_scaled)
    y = reaching(Axis(None, "hypervolume", detail=f"product of objective units{nats}"), (0.0, *volumes))
    confirmed = summary.run.membership
    if confirmed is not None and confirmed.hypervolume is not None:
        last = [float(summary.points[-1].trial)]
        series.append(estimates("confirmed frontier", last, [confirmed.hypervolume], y))
        alt += f" That of the confirmed frontier is {number(confirmed.hypervolume.mean)}."
        y = reaching(y, (confirmed.hypervolume.mean, confirmed.hypervolume.high or 0.0))
    return Plot("hypervolume", "Hypervolume over trials", alt, Axis(None, "trial"), y, tuple(series))
