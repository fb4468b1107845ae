"""The report's section on power caps: what each saves, at which slowdown, and where none matters. Pure."""

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
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import Study
from joulebench.studies.power_cap.analysis import TOLERANCES, UNTOUCHED, Cap, Choice, Curve, PowerCap, power_cap

#: A table of more settings than this is told by group; all are in the CSV file.
MOST_ROWS = 24
#: Curves that a figure can hold.
MOST_CURVES = 6
#: What the groups of a long table leave open.
INNER = "batch_size"


class PowerCapStudy(Study[PowerCap]):
    """Power caps of a GPU: energy saved and time lost at each cap."""

    name = "power_cap"

    def analyse(self, run: Run) -> PowerCap | None:
        return power_cap(run)

    def section(self, result: PowerCap, run: Run) -> Section:
        return power_cap_section(result)


def power_cap_section(caps: PowerCap) -> Section:
    """Everything the report says of it."""
    shown = _shown(caps)
    return Section(
        name="power_cap",
        title="Power caps",
        answer=answer(caps),
        verdict=None,
        sentences=sentences(caps),
        plots=tuple(p for p in (_plot(caps, shown, "energy"), _plot(caps, shown, "time")) if p.drawn),
        tables=(_groups_table(caps) if len(caps.curves) > MOST_ROWS else _curves_table(caps),),
        rows=tuple(_row(c, cap) for c in caps.curves for cap in c.caps),
    )


def answer(caps: PowerCap) -> str:
    """What the best cap saves at each tolerated slowdown: the median of the settings that a cap touches."""
    curves = caps.touched
    if not curves:
        return f"No cap matters in any of {len(caps.curves)} settings: power stays below the lowest one."
    parts = [f"{_saving(curves, t)} {_at(t)}" for t in TOLERANCES]
    text = f"Against the highest cap the best one saves {', '.join(parts)}"
    if len(curves) == 1:
        return f"{text}{_label(caps.kind)}."
    return f"{text}: medians of {len(curves)} settings, and the middle 90 % of them{_label(caps.kind)}."


def _saving(curves: Sequence[Curve], tolerance: float) -> str:
    """`10.5 % (3.02 % to 22.2 %)`."""
    savings = _savings(curves, tolerance)
    if len(savings) == 1:
        return percent(savings[0])
    low, middle, high = (float(q) for q in np.quantile(savings, (0.05, 0.5, 0.95)))
    return f"{percent(middle)} ({percent(low)} to {percent(high)})"


def _at(tolerance: float) -> str:
    return "with no slowdown" if tolerance == 0 else f"within {percent(tolerance)} more time"


def _label(kind: str | None) -> str:
    return f" ({kind})" if kind else " (the table's own joules)"


def _savings(curves: Sequence[Curve], tolerance: float) -> list[float]:
    return [c.choice(tolerance).saving for c in curves]


def sentences(caps: PowerCap) -> tuple[str, ...]:
    """What is compared, what is noise, where no cap matters, and quality."""
    parts = (_what(caps), _untouched(caps), _noise(caps), _quality(caps), _single(caps))
    return tuple(part for part in parts if part)


def _what(caps: PowerCap) -> str:
    return (
        f"Per setting, {caps.energy} and {caps.time} at each cap stand against those at the highest cap; the "
        "best cap is the one with the least energy among those within the tolerated slowdown. A cap changes clocks,"
        " not what is computed."
    )


def _untouched(caps: PowerCap) -> str | None:
    n = len(caps.curves) - len(caps.touched)
    if not n or not caps.touched:
        return None
    return (
        f"{n} of {len(caps.curves)} settings draw less than {percent(UNTOUCHED)} of the lowest cap, and as much "
        "under it as under the highest: no cap matters there, and they take no part in the medians."
    )


def _noise(caps: PowerCap) -> str | None:
    single = all(c.n < 2 for curve in caps.curves for c in (cap.energy_j for cap in curve.caps))
    once = "Every point was measured once and has no interval" if single else None
    if caps.noise is None:
        return f"{once}." if once else None
    told = (
        f"where no cap matters, energy still differs between caps by {percent(caps.noise)} (relative standard "
        "deviation, pooled): that is the noise of one measurement, and as the best of several is chosen, savings "
        "of about this size mean nothing"
    )
    return f"{once}; {told}." if once else f"{told[0].upper()}{told[1:]}."


def _quality(caps: PowerCap) -> str | None:
    names = sorted({n for c in caps.curves for cap in c.caps for n in cap.quality})
    if not names:
        return "Accuracy was not recorded with these runs."
    parts = []
    for name in names:
        moves = [m for c in caps.curves if (m := _spread(c, name)) is not None]
        if moves:
            parts.append(f"{name} differed by at most {number(max(moves), 3)} between the caps of a setting")
    return f"{'; '.join(parts)}." if parts else None


def _spread(curve: Curve, name: str) -> float | None:
    known = [cap.quality[name] for cap in curve.caps if name in cap.quality]
    return max(known) - min(known) if len(known) > 1 else None


def _single(caps: PowerCap) -> str | None:
    parts = [f"{caps.single} settings have one cap only"] if caps.single else []
    parts += [f"{caps.lost} trials have no value"] if caps.lost else []
    return f"Left out: {' and '.join(parts)}." if parts else None


def _curves_table(caps: PowerCap) -> Table:
    columns = [*(Column(n) for n in caps.names), Column("Highest cap", True), Column("Mean power", True)]
    columns += [Column(f"Best cap {_at(t)}", True) for t in TOLERANCES]
    rows = []
    for curve in caps.curves:
        values = dict(curve.setting)
        cells = [Cell(show(values[n])) for n in caps.names]
        cells += [Cell(f"{number(curve.highest.watts)} W"), Cell(f"{number(curve.highest.power_w, 3)} W")]
        rows.append((*cells, *(_choice_cell(c) for c in curve.choices)))
    return Table("The best cap by tolerated slowdown, against the highest", tuple(columns), tuple(rows))


def _choice_cell(choice: Choice) -> Cell:
    energy, time = choice.energy, choice.time
    details = [f"{percent(choice.saving)} saved", f"time × {number(time.mean, 3)}"]
    if energy.low is not None and energy.high is not None:
        details[0] += f" [{percent(1 - energy.high)}, {percent(1 - energy.low)}]"
    return Cell(f"{number(choice.cap.watts)} W", tuple(details))


def _groups_table(caps: PowerCap) -> Table:
    """Medians over batch sizes, with the ends, one row for each of the other parameters' values."""
    names = [n for n in caps.names if n != INNER]
    groups: dict[tuple[object, ...], list[Curve]] = {}
    for curve in caps.curves:
        groups.setdefault(tuple(dict(curve.setting)[n] for n in names), []).append(curve)
    columns = [*(Column(n) for n in names), Column("Settings", True), Column("No cap matters", True)]
    columns += [Column(f"Saved {_at(t)}", True) for t in TOLERANCES]
    rows = []
    for key, curves in groups.items():
        touched = [c for c in curves if not c.untouched]
        cells = [*(Cell(show(v)) for v in key), Cell(str(len(curves))), Cell(str(len(curves) - len(touched)))]
        rows.append((*cells, *(_group_cell(touched, t) for t in TOLERANCES)))
    caption = f"Median saving of the best cap over the settings it touches ({INNER} differs within a row)"
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
    """Settings from the one in which a cap saves the least to that in which it saves the most, evenly chosen."""
    ordered = sorted(caps.touched, key=lambda c: c.choice(TOLERANCES[-1]).saving)
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
        "no_cap_matters": curve.untouched,
        **{f"best_within_{t:g}": curve.choice(t).cap is cap for t in TOLERANCES},
        **cap.quality,
        "trials": cap.trials,
    }
