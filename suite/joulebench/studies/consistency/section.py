"""The report's section on the consistency check: verdict, causes of the spread, net energy, advice. Pure."""

from __future__ import annotations

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import (
    ABSENT,
    NOT_MEASURED,
    interval,
    number,
    percent,
    prefix,
    rsd_words,
    sample_size,
    seconds,
    watts,
)
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Column, Table, worded_cell
from joulebench.presentation.words import STEADIER, ci, domains
from joulebench.results.consistency import Consistency, SourceSpread, WindowEnergy, consistency
from joulebench.results.run import Run
from joulebench.spec.task import Task
from joulebench.stats.dispersion import Rsd
from joulebench.studies.base import NEEDS_ENERGY, Study

#: Net energy of at most this share of gross is called near 0.
NEAR_ZERO = 0.10


class ConsistencyStudy(Study[Consistency]):
    """Consistency of the meter: spread and drift over windows of the same work, their causes, and the gate."""

    name = "consistency"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> Consistency | None:
        return consistency(run)

    def section(self, result: Consistency, run: Run) -> Section:
        parts = (_cause, _net, _drift, _other_load, _near_gate, _check_meters, _invalid, _advice)
        return Section(
            name="consistency",
            title="Consistency of the meter",
            answer=_answer(result),
            verdict=result.passed,
            sentences=tuple(text for part in parts if (text := part(result)) is not None),
            plots=_plots(result),
            tables=(_summary_table(result), _sources_table(result)),
            rows=tuple(_row(result, index, w) for index, w in enumerate(result.windows, 1)),
            columns=tuple(_row(result, 0, WindowEnergy(0.0, 0.0, 0, {}, {}, None))),  # of a run without windows too
        )


def _cause(check: Consistency) -> str | None:
    """Whether power or time varied, which make up the spread of joules."""
    if check.power_rsd is None or check.time_rsd is None:
        return None
    power, time = percent(check.power_rsd.value), percent(check.time_rsd.value)
    if not check.steady_power:
        return (
            f"Over the windows power varied by {power} and time per {check.unit} by {time} (relative standard "
            "deviations); both contribute to the spread of joules."
        )
    names = ", ".join(f"{s.domain} by {s.source}" for s in check.sources)
    if check.kind == "measured":
        return f"Power was steady ({power}; {names}), so the spread is that of time per {check.unit}, {time}."
    return (
        f"Estimated power was constant at {watts(check.power_w)} ({names}; it varied by {power}), as from a load "
        "model that is saturated. Joules are then seconds times that constant, so their spread is that of time per "
        f"{check.unit}, {time}: the repeatability of the computation, not of a meter."
    )


def _net(check: Consistency) -> str | None:
    net = check.net_share
    if check.rsd is None:
        return None
    if net is None or check.idle_w is None:
        return "Idle power is not known (no quiet baseline), so net energy cannot be given."
    base = (
        f"Idle power is {watts(check.idle_w.mean)} of {watts(check.power_w)} under load by the same meters, so net "
        f"energy is {percent(net.mean)} of gross{ci(net, percent)}."
    )
    if check.kind == "measured":
        return base
    low, high = (net.mean if end is None else end for end in (net.low, net.high))
    if abs(net.mean) <= NEAR_ZERO or low <= 0 <= high:
        return (
            f"{base} That is near 0 as the model's power hardly differs between idle and load, not because the "
            "work takes no energy: net joules of these sources are meaningless here."
        )
    return (
        f"{base} With estimated sources that share is the model's difference between idle and load, not a "
        "measurement of the work."
    )


def _drift(check: Consistency) -> str | None:
    if check.drift is None:
        return None
    drift = check.drift
    change = f"{percent(drift.relative)} (95 % interval {percent(drift.low)} to {percent(drift.high)})"
    if drift.shows:
        return (
            f"Joules per {check.unit} drifted by {change} from the first window to the last: the machine was not "
            "in a steady state, or its load changed. Warm up longer (protocol.warmup_s)."
        )
    return f"The drift from the first window to the last is not significant: {change}."


def _other_load(check: Consistency) -> str | None:
    cpus = [w.other_load_cpus for w in check.valid if w.other_load_cpus is not None]
    if not cpus:
        return None
    most, mean = number(max(cpus), 2), number(sum(cpus) / len(cpus), 2)
    return f"Other processes kept {mean} CPUs busy on average, {most} at most in one window."


def _near_gate(check: Consistency) -> str | None:
    if not check.close:
        return None
    return "The interval of the relative standard deviation contains the gate: a repeat may give the other verdict."


def _check_meters(check: Consistency) -> str | None:
    if not check.checks:
        return None
    parts = []
    models = {r.source for w in check.recorded for r in w.readings if r.role == "check" and r.kind == "estimated"}
    for second in check.checks:
        spread = "no spread" if second.rsd is None else percent(second.rsd.value)
        far = "" if second.rel_difference is None else percent(second.rel_difference)
        off = f", an error of the model of {far}" if second.source in models else f", {far} off the primary meter"
        off = off if far else ""
        parts.append(f"{second.source} on {second.domain} varied by {spread}{off}")
    return f"Check meters over the same windows: {'; '.join(parts)}."


def _invalid(check: Consistency) -> str | None:
    bad = [w.reason for w in check.windows if w.reason]
    if not bad:
        return None
    return f"{len(bad)} of {len(check.windows)} windows are invalid; the first: {bad[0]}."


def _advice(check: Consistency) -> str | None:
    if check.rsd is None or check.max_rsd is None or check.rsd.value < check.max_rsd:
        return None
    return (
        f"To pass: fix the machine's clocks where that is allowed, {STEADIER}. Until then, configurations that "
        "differ by less than this spread cannot be compared on this machine."
    )


def _summary_table(check: Consistency) -> Table:
    rows = []
    if check.j_per_unit is not None:
        factor, letter = prefix(check.j_per_unit.mean)
        details = tuple(d for d in (sample_size(check.j_per_unit), check.kind) if d)
        ends = interval(check.j_per_unit, factor) or ""
        rows.append(
            (
                Cell(f"Energy per {check.unit}, gross"),
                Cell(f"{number(check.j_per_unit.mean / factor)} {letter}J", details, interval=ends),
                _rsd_cell(check.rsd),
            )
        )
        valid = check.valid
        per_unit_s = sum(w.seconds for w in valid) / sum(w.units for w in valid)
        rows.append((Cell(f"Time per {check.unit}"), Cell(seconds(per_unit_s)), _rsd_cell(check.time_rsd)))
        rows.append(
            (Cell(f"Power, {domains(check.domains)}"), Cell(watts(check.power_w)), _rsd_cell(check.power_rsd))
        )
    columns = (Column("Over the valid windows"), Column("Mean", True), Column("Relative standard deviation", True))
    return Table("Spread of the windows", columns, tuple(rows))


def _rsd_cell(rsd: Rsd | None) -> Cell:
    if rsd is None:
        return Cell(ABSENT)
    return worded_cell(percent, rsd.value, rsd.low, rsd.high, (f"n = {rsd.n} windows",))


def _sources_table(check: Consistency) -> Table:
    titles = ("Domain", "Source", "Kind", "Share", "Power under load", "Variation", "Idle power", "Load − idle")
    return Table.of("Power by meter", titles, (_source_row(s) for s in check.sources), text=3)


def _source_row(source: SourceSpread) -> tuple[Cell, ...]:
    idle = source.idle_w
    return (
        Cell(source.domain),
        Cell(source.source),
        Cell(source.kind),
        Cell(percent(source.share)),
        Cell(watts(source.power_w)),
        Cell(ABSENT if source.rsd is None else percent(source.rsd.value)),
        Cell(NOT_MEASURED if idle is None else watts(idle.mean)),
        Cell(ABSENT if idle is None else watts(source.power_w - idle.mean)),
    )


def _plots(check: Consistency) -> tuple[Plot, ...]:
    valid = check.valid
    if not valid or check.j_per_unit is None or check.rsd is None:
        return ()
    mean = check.j_per_unit.mean
    factor, letter = prefix(mean)
    numbers = tuple(float(i) for i, w in enumerate(check.windows, 1) if w.reason is None)
    ends, detail = (numbers[0], numbers[-1]), f"gross, {domains(check.domains)}"
    per_unit = [w.energy_j / w.units for w in valid]
    series = [
        Series(f"window ({check.kind})", numbers, tuple(v / factor for v in per_unit), line=True),
        Series("mean", ends, (mean / factor,) * 2, dashed=True),
    ]
    for sign, word in ((1, "+"), (-1, "−")):
        if check.max_rsd is not None:
            level = mean * (1 + sign * check.max_rsd) / factor
            series.append(Series(f"mean {word} {percent(check.max_rsd)}", ends, (level,) * 2, dashed=True))
    first = Plot(
        "consistency-windows",
        f"Joules per {check.unit} by window",
        f"{len(valid)} windows: energy per {check.unit} {number(mean / factor)} {letter}J on average, relative "
        f"standard deviation {rsd_words(check.rsd)}.",
        Axis(None, "window"),
        Axis(None, f"{check.phase} energy, {letter}J/{check.unit}", factor, detail=detail),
        tuple(series),
    )
    return first, _parts(check, numbers)


def _parts(check: Consistency, numbers: tuple[float, ...]) -> Plot:
    """Power and time per unit by window: the factors of the energy."""
    time = [w.seconds / w.units for w in check.valid]
    power = [w.energy_j / w.seconds for w in check.valid]
    series = tuple(
        Series(name, numbers, tuple(100 * (v / (sum(values) / len(values)) - 1) for v in values), line=True)
        for name, values in ((f"time per {check.unit}", time), (f"power ({check.kind})", power))
    )
    alt = "Deviation of power and of time per unit from their means, by window."
    return Plot(
        "consistency-parts",
        "Power and time by window",
        alt,
        Axis(None, "window"),
        Axis(None, "deviation from the mean, %"),
        series,
    )


def _row(check: Consistency, index: int, w: WindowEnergy) -> dict[str, object]:
    measured, unit = bool(w.by_domain) and w.units > 0 and w.seconds > 0, check.unit
    checks = sorted({key for window in check.windows for key in window.checks})
    return {
        "window": index, "start_s": w.start_s, "seconds": w.seconds, f"{unit}s": w.units,
        "joules": w.energy_j if measured else None,
        f"j_per_{unit}": w.energy_j / w.units if measured else None,
        f"s_per_{unit}": w.seconds / w.units if measured else None,
        "power_w": w.energy_j / w.seconds if measured else None,
        "kind": check.kind, "counts": w.reason is None, "reason": w.reason, "other_load_cpus": w.other_load_cpus,
        **{f"{d}_j": w.by_domain.get(d) for d in check.domains},
        **{f"check_{d}_{s}_j": w.checks.get((d, s)) for d, s in checks},
    }  # fmt: skip


def _answer(check: Consistency) -> str:
    """`PASS: joules per sample over 10 windows of inference differ by …`; without a gate, no verdict."""
    verdict = {True: "PASS: ", False: "FAIL: ", None: ""}[check.passed]
    gate = "" if check.max_rsd is None else f"the gate of {percent(check.max_rsd)}"
    if check.rsd is None:
        reasons = [*check.errors, *(w.reason for w in check.windows if w.reason)]
        why = reasons[0] if reasons else "no windows were measured"
        cannot = f", so {gate} cannot be judged" if gate else ""
        return f"{verdict}{len(check.valid)} valid windows of {len(check.windows)}{cannot}: {why}."
    against = {True: f", below {gate}", False: f", not below {gate}", None: ""}[check.passed]
    caveat = ""
    if check.kind == "estimated" and check.steady_power:
        caveat = " Estimated power was constant, so this is the spread of time, not of a meter."
    return (
        f"{verdict}joules per {check.unit} over {check.rsd.n} windows of {check.phase} have a relative standard "
        f"deviation of {rsd_words(check.rsd)}{against}; {check.kind}.{caveat}"
    )
