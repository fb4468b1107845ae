"""Figures of searches: share of the best hypervolume against trials, joules and problem settings. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.presentation.axis import Axis, log_ticks
from joulebench.presentation.numbers import number, percent
from joulebench.presentation.plots import Plot, Series
from joulebench.stats.estimate import Estimate
from joulebench.studies.search_quality.analysis import SearchQuality
from joulebench.studies.search_quality.curves import SearchGroup

POINTS = 12  # of a curve: intervals of more would overlap


def plots(quality: SearchQuality) -> tuple[Plot, ...]:
    """Draw each problem at its base against trials and joules, then against each setting that varies."""
    made: list[Plot] = []
    for number_, variant in enumerate(quality.base_variants):
        groups = [group for group in quality.groups if group.variant == variant]
        made += [
            _by_trials(number_, quality.label(variant), groups),
            _by_joules(number_, quality.label(variant), groups, quality),
        ]
    problems = dict.fromkeys(c.problem for c in quality.variants)
    made += [
        _by_setting(quality, factor, problem, f"{i}-{factor}")
        for i, problem in enumerate(problems)
        for factor in quality.factors
    ]
    return tuple(plot for plot in made if plot.drawn)


def _by_trials(index: int, label: str, groups: Sequence[SearchGroup]) -> Plot:
    def points(group: SearchGroup) -> list[float]:
        steps = min(POINTS, group.length)
        return [float(round(group.length * (i + 1) / steps)) for i in range(steps)]

    series = tuple(_series(c.method, points(c), [c.after(int(n)) for n in points(c)]) for c in groups)
    alt = f"Share of the best hypervolume against trials, {label}: {_ends(groups)}."
    title = f"{label}: hypervolume by trials"
    return Plot(f"search-quality-trials-{index}", title, alt, Axis(None, "trials"), _share(label), series)


def _by_joules(index: int, label: str, groups: Sequence[SearchGroup], quality: SearchQuality) -> Plot:
    """Draw each method from the median joules of its first trial to its searches' median total."""
    metered = [group for group in groups if group.has_joules]
    series = []
    for group in metered:
        spent = [s.total_j or (0.0,) for s in group.searches]
        first, last = (
            sorted(values)[len(values) // 2] for values in ([s[0] for s in spent], [s[-1] for s in spent])
        )
        if 0 < first < last:
            grid = [first * (last / first) ** (i / (POINTS - 1)) for i in range(POINTS)]
            series.append(_series(group.method, grid, [group.within(energy_j) for energy_j in grid]))
    counts_trials = any(s.cost_j is not None for group in metered for s in group.searches)
    what = f"proposals ({quality.kind})" + (" and trials (as stated)" if counts_trials else "")
    places = [x for s in series for x in s.x]
    x = Axis(
        None,
        f"joules of proposals ({quality.kind}) and trials" if counts_trials else "joules of proposals",
        log=True,
        ticks=log_ticks(min(places), max(places)) if places else (),
        detail="as stated" if counts_trials else quality.kind or "",
    )
    alt = f"Share of the best hypervolume against joules of {what}, {label}."
    title = f"{label}: hypervolume by joules of {what}"
    return Plot(f"search-quality-joules-{index}", title, alt, x, _share(label), tuple(series))


def _by_setting(quality: SearchQuality, factor: str, problem: str, name: str) -> Plot:
    variants = quality.along(factor, problem)
    series = []
    for method in quality.methods:
        known = [(c, group) for c in variants if (group := quality.group(c, method)) is not None]
        at = [dict(c.settings)[factor] for c, _ in known]
        if len(known) > 1 and all(isinstance(value, int | float) for value in at):
            series.append(_series(method, [float(value) for value in at], [group.final for _, group in known]))
    others = ", ".join(f"{n} = {v}" for n, v in quality.base.items() if n != factor and n in quality.factors)
    title = f"{problem}: final hypervolume by {factor}" + (f" ({others})" if others else "")
    alt = f"Final share of the best hypervolume against {factor} for {len(series)} methods on {problem}."
    return Plot(f"search-quality-setting-{name}", title, alt, Axis(None, factor), _share(problem), tuple(series))


def _share(label: str) -> Axis:
    """Return the share's axis with the problem's name, which a still figure shows nowhere else."""
    return Axis(None, f"{label}: share of the best")


def _series(name: str, x: Sequence[float], medians: Sequence[Estimate]) -> Series:
    return Series(
        name,
        tuple(x),
        tuple(m.mean for m in medians),
        tuple(m.low for m in medians),
        tuple(m.high for m in medians),
        line=True,
    )


def _ends(groups: Sequence[SearchGroup]) -> str:
    return "; ".join(f"{c.method} ends at {percent(c.final.mean)} after {number(c.length)}" for c in groups)
