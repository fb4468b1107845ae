"""The report's section on proxies: which figures of a model tell its energy, and which do not. Pure."""

from __future__ import annotations

from joulebench.presentation.correlations import HOW, SYMBOLS, cell, coefficient, matrix
from joulebench.presentation.numbers import ABSENT, number, percent, si, watts
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, value_axis
from joulebench.presentation.table import Cell, Column, Table, label, prefixed_cell
from joulebench.presentation.units import plain
from joulebench.results.run import Run
from joulebench.spec.task import Task
from joulebench.stats.correlation import METHODS, Correlation, Method
from joulebench.studies.base import NEEDS_ENERGY, Study
from joulebench.studies.proxies.analysis import (
    FIGURES,
    STATIC,
    TARGETS,
    WEAK,
    Figure,
    Proxies,
    Reach,
    Subject,
    Target,
    proxies,
)

#: Power that moves less than this over the configurations makes joules a multiple of seconds.
SAME_POWER = 0.05
WORDS: dict[Figure, str] = {
    "parameters": "parameters", "macs": "MACs", "activations": "activations", "bytes_moved": "bytes moved",
    "runtime": "runtime",
}  # fmt: skip
UNITS: dict[Figure, str] = {"parameters": "", "macs": "", "activations": "", "bytes_moved": "B", "runtime": "s"}
TARGET_WORDS: dict[Target, str] = {"gross": "energy, gross", "net": "energy, net of idle", "runtime": "runtime"}


class ProxiesStudy(Study[Proxies]):
    """Proxies for energy: correlation of parameters, MACs, activations, bytes moved and runtime with joules."""

    name = "proxies"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> Proxies | None:
        return proxies(run)

    def section(self, result: Proxies, run: Run) -> Section:
        return proxies_section(result)


def proxies_section(proxies: Proxies) -> Section:
    """Everything the report says of it."""
    return Section(
        name="proxies",
        title="What predicts energy, and what does not",
        answer=answer(proxies),
        verdict=None,
        sentences=sentences(proxies),
        plots=tuple(
            _plot(proxies, f) for f in FIGURES if (reach := _reach(proxies, f)) is not None and reach.varies
        ),
        tables=(
            *_by_family(proxies),
            _pooled_table(proxies),
            _reach_table(proxies),
            *_per_figure(proxies),
            _subjects_table(proxies),
        ),
        rows=tuple(_row(proxies, s) for s in proxies.subjects),
    )


def answer(proxies: Proxies) -> str:
    """The best and the worst of the figures that are known before a run, in one sentence."""
    n, label_ = len(proxies.subjects), f"({proxies.kind} energy)"
    scope = f"Over {n} configurations" + (f" of {len(proxies.families)} families" if proxies.families else "")
    known = _ranked(proxies)
    if not known:
        return f"{scope} no figure's correlation with energy can be told {label_}."
    flat = [f for f in STATIC if (reach := _reach(proxies, f)) is not None and not reach.varies]
    energy, per = proxies.reach(lambda s: s.cost.gross.mean), plain(proxies.unit)
    (best, closest), (worst, loosest) = known[0], known[-1]
    text = f"{WORDS[best]} go with energy per {per} best ({coefficient(closest)})"
    if flat and energy is not None and energy.ratio is not None:
        names = " and ".join(WORDS[f] for f in flat)
        text += f", and {names} stay the same while it varies {number(energy.ratio, 3)} times"
    elif abs(loosest.value) >= WEAK and len(known) > 1:
        every = ", ".join(WORDS[f] for f, _ in known)
        ends = f"{coefficient(loosest)} ({WORDS[worst]}) to {coefficient(closest)} ({WORDS[best]})"
        text = f"all of {every} go with energy per {per}, from {ends}"
    elif len(known) > 1:
        text += f" and {WORDS[worst]} least ({coefficient(loosest)})"
    return f"{scope}, {text}; n = {closest.n} {label_}."


def _ranked(proxies: Proxies) -> list[tuple[Figure, Correlation]]:
    """Static figures by how closely they go with gross energy, closest first."""
    every = [(f, r) for f in STATIC if (r := proxies.of(f, "gross", "pearson")) is not None]
    return sorted(every, key=lambda pair: -abs(pair[1].value))


def _reach(proxies: Proxies, figure: Figure) -> Reach | None:
    return proxies.reach(lambda s: s.figures.get(figure))


def sentences(proxies: Proxies) -> tuple[str, ...]:
    """What the joules are, what the coefficients mean, and what was not known."""
    parts = (
        _basis(proxies),
        _runtime(proxies),
        _flat(proxies),
        _across(proxies),
        _net(proxies),
        HOW,
        _lost(proxies),
    )
    return tuple(part for part in parts if part)


def _basis(proxies: Proxies) -> str:
    kind = "measured" if proxies.kind == "measured" else "estimated, at least in part"
    return (
        f"Energy is joules per {plain(proxies.unit)} of {proxies.phase} over {' + '.join(proxies.domains)}, {kind}"
        f"; runtime is seconds per {plain(proxies.unit)} in the same windows. Each configuration counts once."
    )


def _runtime(proxies: Proxies) -> str | None:
    """Where power hardly moves, energy is time: the correlation with runtime is then no finding."""
    power, runtime = proxies.reach(lambda s: s.power_w), proxies.of("runtime", "gross", "pearson")
    if power is None or power.ratio is None or runtime is None:
        return None
    span = f"from {watts(power.low)} to {watts(power.high)}"
    if proxies.kind == "estimated":
        model = (
            "a model of load and constants gave the watts"
            if power.ratio - 1 > SAME_POWER
            else f"the model's watts hardly moved ({percent(power.ratio - 1)})"
        )
        return (
            f"Power went {span} between configurations: {model}, so estimated energy follows time by construction. "
            f"Its correlation with runtime ({coefficient(runtime)}) is no finding, and what the other figures show "
            "is how well they tell runtime on this machine."
        )
    return (
        f"Power went {span} between configurations; runtime, which must be measured too, goes with energy with "
        f"{coefficient(runtime)}."
    )


def _flat(proxies: Proxies) -> str | None:
    flat = [(f, reach) for f in STATIC if (reach := _reach(proxies, f)) is not None and not reach.varies]
    energy = proxies.reach(lambda s: s.cost.gross.mean)
    if not flat or energy is None or energy.ratio is None or len(proxies.subjects) < 2:
        return None
    names = " and ".join(f"{WORDS[f]} ({number(r.low, 9)} in every one)" for f, r in flat)
    return (
        f"Nothing can be told from {names}: energy per {plain(proxies.unit)} goes from {si(energy.low, 'J')} to "
        f"{si(energy.high, 'J')}, {number(energy.ratio, 3)} times ({proxies.kind})."
    )


def _across(proxies: Proxies) -> str | None:
    """A figure may order each family well and still mislead between families."""
    if len(proxies.families) < 2:
        return None
    worst: tuple[Figure, float] | None = None
    for figure in STATIC:
        rates = [
            v for family in proxies.families if (v := proxies.joules_per(figure, family)) is not None and v > 0
        ]
        if len(rates) > 1 and (worst is None or max(rates) / min(rates) < worst[1]):
            worst = figure, max(rates) / min(rates)
    if worst is None:
        return None
    figure, times = worst
    return (
        f"Between families the joules for one unit of a figure differ, least for {WORDS[figure]}: there still "
        f"{number(times, 3)} times between the medians of the cheapest and the dearest family."
    )


def _net(proxies: Proxies) -> str:
    shares = [s.cost.net.mean / s.cost.gross.mean for s in proxies.subjects if s.cost.net is not None]
    if not shares:
        return "Net energy is absent: idle power is not known (no quiet baseline)."
    text = f"Net energy is from {percent(min(shares))} to {percent(max(shares))} of gross"
    if len(shares) < len(proxies.subjects):
        text += f", known for {len(shares)} of {len(proxies.subjects)} configurations"
    if min(shares) <= 0:
        text += "; it is not above 0 throughout: its sources do not tell idle from load, so no coefficients follow"
    elif proxies.kind == "estimated":
        text += "; with estimated sources that is their own difference between idle and load, not a measurement"
    return f"{text}."


def _lost(proxies: Proxies) -> str | None:
    return f"{proxies.lost} of {proxies.trials} trials have no value and are left out." if proxies.lost else None


def _by_family(proxies: Proxies) -> tuple[Table, ...]:
    """Figures against families, for the values and for the ranks: nothing without families."""
    if not proxies.families:
        return ()
    columns = [("", "All"), *((f, f) for f in proxies.families)]
    shown: tuple[Method, ...] = ("pearson", "spearman")
    rows = [(f, WORDS[f]) for f in FIGURES]
    per = f"gross energy per {plain(proxies.unit)} ({proxies.kind})"

    def with_energy(method: Method) -> Table:
        def read(figure: Figure, family: str) -> Correlation | None:
            return proxies.of(figure, "gross", method, family or None)

        return matrix(f"{SYMBOLS[method]} with {per}", rows, columns, read, WEAK)

    return tuple(with_energy(method) for method in shown)


def _pooled_table(proxies: Proxies) -> Table:
    columns = (Column("Figure"), Column("With"), *(Column(SYMBOLS[m], numeric=True) for m in METHODS))
    rows = []
    for figure in FIGURES:
        for target in TARGETS:
            values = [proxies.of(figure, target, method) for method in METHODS]
            if any(v is not None for v in values):
                kind = (proxies.kind,) if target != "runtime" else ()
                rows.append((Cell(WORDS[figure]), Cell(TARGET_WORDS[target], kind), *(cell(v) for v in values)))
    return Table("All configurations together, nothing masked", columns, tuple(rows))


def _reach_table(proxies: Proxies) -> Table:
    rows = [(WORDS[f], UNITS[f], _reach(proxies, f)) for f in FIGURES]
    energy = f"energy per {plain(proxies.unit)}, gross ({proxies.kind})"
    rows.append((energy, "J", proxies.reach(lambda s: s.cost.gross.mean)))
    columns = tuple(Column(t, numeric=i > 0) for i, t in enumerate(("", "Least", "Most", "Most / least")))
    made = tuple((Cell(words), *_ends(reach, unit)) for words, unit, reach in rows if reach is not None)
    return Table("How far each goes over the configurations", columns, made)


def _ends(reach: Reach, unit: str) -> tuple[Cell, Cell, Cell]:
    ratio = ABSENT if reach.ratio is None else number(reach.ratio)
    return Cell(si(reach.low, unit, 4)), Cell(si(reach.high, unit, 4)), Cell(ratio)


def _per_figure(proxies: Proxies) -> tuple[Table, ...]:
    if not proxies.families:
        return ()
    units = {"parameters": "parameter", "macs": "MAC", "activations": "activation", "bytes_moved": "byte",
             "runtime": "second"}  # fmt: skip
    columns = (Column("Family"), Column("Configurations", numeric=True),
               *(Column(f"J per {units[f]}", numeric=True) for f in FIGURES))  # fmt: skip
    rows = []
    for family in proxies.families:
        rates = (proxies.joules_per(f, family) for f in FIGURES)
        n = sum(s.family == family for s in proxies.subjects)
        rows.append((Cell(family), Cell(str(n)), *(Cell(ABSENT if v is None else si(v, "J")) for v in rates)))
    caption = (
        f"Joules per {plain(proxies.unit)} for one unit of a figure, median of each family (gross, {proxies.kind})"
    )
    return (Table(caption, columns, tuple(rows)),)


def _subjects_table(proxies: Proxies) -> Table:
    per, protocol = plain(proxies.unit), proxies.run.task.protocol
    titles = ("Configuration", *(WORDS[f].capitalize() if f != "macs" else "MACs" for f in STATIC),
              f"Time per {per}", f"Energy per {per}, gross", "net")  # fmt: skip
    columns = tuple(Column(t, numeric=i > 0) for i, t in enumerate(titles))
    rows = tuple(
        (
            Cell(label(s.params, s.names)),
            *(Cell(ABSENT if f not in s.figures else si(s.figures[f], UNITS[f], 4)) for f in STATIC),
            prefixed_cell(s.cost.unit_s, "s", protocol),
            prefixed_cell(s.cost.gross, "J", protocol),
            Cell(ABSENT) if s.cost.net is None else prefixed_cell(s.cost.net, "J", protocol),
        )
        for s in proxies.subjects
    )
    return Table(f"Configurations ({proxies.kind} energy)", columns, rows)


def _plot(proxies: Proxies, figure: Figure) -> Plot:
    """Energy against one figure, a series for each family."""
    shown = [s for s in proxies.subjects if figure in s.figures]
    per = "" if figure == "parameters" else f" per {plain(proxies.unit)}"
    x_axis = value_axis(
        [s.figures[figure] for s in shown], UNITS[figure], lambda u: f"{WORDS[figure]}{per}{f', {u}' if u else ''}"
    )
    y_axis = value_axis(
        [s.cost.gross.mean for s in shown],
        "J",
        lambda u: f"{proxies.phase} energy, {u}/{plain(proxies.unit)}",
        detail=f"gross, {proxies.kind}, {' + '.join(proxies.domains)}",
    )
    series = tuple(
        estimates(
            family or f"configurations ({proxies.kind})",
            [s.figures[figure] / x_axis.factor for s in shown if s.family == family],
            [s.cost.gross for s in shown if s.family == family],
            y_axis,
        )
        for family in (proxies.families or (None,))
    )
    value = proxies.of(figure, "gross", "pearson")
    told = f"; {coefficient(value)}" if value else ""
    alt = f"Energy per {plain(proxies.unit)} against {WORDS[figure]} for {len(shown)} configurations{told}."
    return Plot(f"proxies-{figure}", f"Energy against {WORDS[figure]}", alt, x_axis, y_axis, series)


def _row(proxies: Proxies, subject: Subject) -> dict[str, object]:
    cost = subject.cost
    return {
        "trials": subject.trials,
        **{f"param_{name}": Exact(value) for name, value in subject.params.items()},
        **{name: subject.figures.get(name) for name in STATIC},
        **estimate_cells(f"s_per_{proxies.unit}", cost.unit_s),
        **estimate_cells(f"j_per_{proxies.unit}_gross", cost.gross),
        **estimate_cells(f"j_per_{proxies.unit}_net", cost.net),
        "kind": cost.kind,
    }
