"""The report's section on power caps: energy saved and time lost at each, and settings without effect. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, number, percent
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Column, Table, show
from joulebench.presentation.words import plural
from joulebench.results.run import Run
from joulebench.spec.parameters import Params
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import Study
from joulebench.studies.power_cap.analysis import (
    NO_EFFECT_BELOW,
    TOLERANCES,
    Cap,
    Choice,
    Curve,
    PowerCap,
    power_cap,
)

#: A table of more settings than this is grouped; all are in the CSV file.
MOST_ROWS = 24
#: Curves that a figure can hold.
MOST_CURVES = 6
#: The parameter that differs within a group.
INNER = "batch_size"


class PowerCapStudy(Study[PowerCap]):
    """Power caps of a GPU: energy saved and time lost at each cap."""

    name = "power_cap"

    def analyse(self, run: Run) -> PowerCap | None:
        return power_cap(run)

    def confirms(self, result: PowerCap, run: Run) -> list[Params]:
        """Of each setting where caps have an effect: the cap with least energy, its neighbours, the best within
        each tolerated slowdown, and the highest.

        None of a table's, whose joules were published and are not measured here.
        """
        chosen: list[Cap] = []
        for curve in result.affected if result.kind is not None else ():
            caps = curve.caps
            at = min(range(len(caps)), key=lambda i: caps[i].energy_j.mean)
            best = {caps.index(choice.cap) for choice in curve.choices}
            chosen += (cap for i, cap in enumerate(caps) if abs(i - at) <= 1 or i in best or cap is curve.highest)
        params = {t.trial: t.params for t in run.trials}
        return [params[cap.trials[0]] for cap in chosen]

    def section(self, result: PowerCap, run: Run) -> Section:
        shown = _shown(result)
        return Section(
            name="power_cap",
            title="Power caps",
            answer=_answer(result),
            sentences=_sentences(result),
            plots=tuple(p for p in (_plot(result, shown, "energy"), _plot(result, shown, "time")) if p.drawn),
            tables=(_groups_table(result) if len(result.curves) > MOST_ROWS else _curves_table(result),),
            rows=tuple(_row(c, cap) for c in result.curves for cap in c.caps),
        )


def _answer(caps: PowerCap) -> str:
    """Saving of the best cap at each tolerated slowdown: median over the settings where caps have an effect."""
    curves = caps.affected
    if not curves:
        return f"No cap has an effect in any of {len(caps.curves)} settings: power stays below the lowest one."
    savings = ", ".join(f"{_saving(curves, t)} {_at(t)}" for t in TOLERANCES)
    spread = "" if len(curves) == 1 else f": medians of {len(curves)} settings, with the middle 90 %"
    kind = caps.kind or "the table's own joules"
    return f"Compared with the highest cap the best one saves {savings}{spread} ({kind})."


def _saving(curves: Sequence[Curve], tolerance: float) -> str:
    """`10.5 % (3.02 % to 22.2 %)`."""
    savings = _savings(curves, tolerance)
    if len(savings) == 1:
        return percent(savings[0])
    low, middle, high = (float(q) for q in np.quantile(savings, (0.05, 0.5, 0.95)))
    return f"{percent(middle)} ({percent(low)} to {percent(high)})"


def _at(tolerance: float) -> str:
    return "with no slowdown" if tolerance == 0 else f"within {percent(tolerance)} more time"


def _savings(curves: Sequence[Curve], tolerance: float) -> list[float]:
    return [c.choice(tolerance).saving for c in curves]


def _sentences(caps: PowerCap) -> tuple[str, ...]:
    """What is compared, settings without effect, noise, quality, and what is left out."""
    parts = [
        f"Per setting, {caps.energy} and {caps.time} at each cap are compared with those at the highest cap; the "
        "best cap is the one with the least energy among those within the tolerated slowdown. A cap changes clocks,"
        " not what is computed."
    ]
    n, of = len(caps.curves) - len(caps.affected), len(caps.curves)
    if 0 < n < of:
        parts.append(
            f"{n} of {of} settings draw less than {percent(NO_EFFECT_BELOW)} of the lowest cap, and as much under "
            "it as under the highest: caps have no effect there, and these settings are not in the medians."
        )
    if all(cap.energy_j.n < 2 for curve in caps.curves for cap in curve.caps):
        parts.append("Every point was measured once and has no interval.")
    if caps.noise is not None:
        parts.append(
            f"Where caps have no effect, energy still differs between them by {percent(caps.noise)} (relative "
            "standard deviation, pooled). That is the noise of one measurement; as the best of several is chosen "
            "(winner's curse), savings of about this size are not significant."
        )
    parts.append(_quality(caps))
    left_out = [f"{plural(caps.single, 'setting')} with one cap only"] if caps.single else []
    left_out += [f"{plural(caps.lost, 'trial')} without a value"] if caps.lost else []
    parts.append(f"Left out: {' and '.join(left_out)}." if left_out else "")
    return tuple(part for part in parts if part)


def _quality(caps: PowerCap) -> str:
    """The largest difference of each metric of quality between the caps of a setting."""
    names = sorted({n for c in caps.curves for cap in c.caps for n in cap.quality})
    parts = []
    for name in names:
        values = [[cap.quality[name] for cap in c.caps if name in cap.quality] for c in caps.curves]
        ranges = [max(v) - min(v) for v in values if len(v) > 1]
        if ranges:
            parts.append(f"{name} differed by at most {number(max(ranges), 3)} between the caps of a setting")
    return f"{'; '.join(parts)}." if parts else "" if names else "Quality was not recorded with these runs."


def _curves_table(caps: PowerCap) -> Table:
    columns = [*(Column(n) for n in caps.names), Column("Highest cap", True), Column("Mean power", True)]
    columns += [Column(f"Best cap {_at(t)}", True) for t in TOLERANCES]
    rows = []
    for curve in caps.curves:
        values = dict(curve.setting)
        cells = [Cell(show(values[n])) for n in caps.names]
        cells += [Cell(f"{number(curve.highest.watts)} W"), Cell(f"{number(curve.highest.power_w, 3)} W")]
        rows.append((*cells, *(_choice_cell(c) for c in curve.choices)))
    return Table("The best cap by tolerated slowdown, compared with the highest", tuple(columns), tuple(rows))


def _choice_cell(choice: Choice) -> Cell:
    energy, time = choice.energy, choice.time
    details = [f"{percent(choice.saving)} saved", f"time × {number(time.mean, 3)}"]
    if energy.low is not None and energy.high is not None:
        details[0] += f" [{percent(1 - energy.high)}, {percent(1 - energy.low)}]"
    return Cell(f"{number(choice.cap.watts)} W", tuple(details))


def _groups_table(caps: PowerCap) -> Table:
    """Medians and ranges over batch sizes; a row for each combination of the other parameters' values."""
    names = [n for n in caps.names if n != INNER]
    groups: dict[tuple[object, ...], list[Curve]] = {}
    for curve in caps.curves:
        groups.setdefault(tuple(dict(curve.setting)[n] for n in names), []).append(curve)
    columns = [*(Column(n) for n in names), Column("Settings", True), Column("Without effect", True)]
    columns += [Column(f"Saved {_at(t)}", True) for t in TOLERANCES]
    rows = []
    for key, curves in groups.items():
        affected = [c for c in curves if not c.unaffected]
        cells = [*(Cell(show(v)) for v in key), Cell(str(len(curves))), Cell(str(len(curves) - len(affected)))]
        rows.append((*cells, *(_group_cell(affected, t) for t in TOLERANCES)))
    caption = f"Median saving of the best cap over the settings with an effect ({INNER} differs within a row)"
    return Table(caption, tuple(columns), tuple(rows))


def _group_cell(curves: Sequence[Curve], tolerance: float) -> Cell:
    if not curves:
        return Cell(ABSENT)
    savings = _savings(curves, tolerance)
    watts = [c.choice(tolerance).cap.watts for c in curves]
    return Cell(
        percent(median(savings)),
        (f"{percent(min(savings))} to {percent(max(savings))}", f"{number(min(watts))} to {number(max(watts))} W"),
    )


def _shown(caps: PowerCap) -> list[Curve]:
    """At most `MOST_CURVES` settings, evenly spaced from the least saving to the most."""
    ordered = sorted(caps.affected, key=lambda c: c.choice(TOLERANCES[-1]).saving)
    if len(ordered) <= MOST_CURVES:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (MOST_CURVES - 1))] for i in range(MOST_CURVES)]


def _plot(caps: PowerCap, curves: Sequence[Curve], what: str) -> Plot:
    series = tuple(
        Series(
            " ".join(show(dict(c.setting)[n]) for n in caps.names) or "the one setting",
            tuple(cap.watts for cap in c.caps),
            tuple(100 * (_read(cap, what).mean / _read(c.highest, what).mean) for cap in c.caps),
            line=True,
        )
        for c in curves
    )
    some = (
        f": {len(curves)} of {len(caps.curves)} settings, from the least saving to the most" if caps.names else ""
    )
    alt = f"{what.capitalize()} against the power cap, in per cent of that at the highest cap{some}."
    detail = caps.kind or "" if what == "energy" else ""
    y = Axis(None, f"{what}, % of the highest cap's", detail=detail)
    return Plot(
        f"power-cap-{what}", f"{what.capitalize()} by power cap{some}", alt, Axis(None, "power cap, W"), y, series
    )


def _read(cap: Cap, what: str) -> Estimate:
    return cap.energy_j if what == "energy" else cap.time_s


def _row(curve: Curve, cap: Cap) -> dict[str, object]:
    return {
        **{n: Exact(v) for n, v in curve.setting},
        "power_limit_w": Exact(cap.watts),
        **estimate_cells("energy_j", cap.energy_j),
        **estimate_cells("time_s", cap.time_s),
        "mean_power_w": cap.power_w,
        "on_frontier": cap.on_frontier,
        "no_cap_matters": curve.unaffected,
        **{f"best_within_{t:g}": curve.choice(t).cap is cap for t in TOLERANCES},
        **cap.quality,
        "trials": cap.trials,
    }
