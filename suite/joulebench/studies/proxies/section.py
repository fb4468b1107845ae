"""Report section on proxies: correlation of model figures with energy. Pure."""

from __future__ import annotations

from joulebench.presentation.correlations import HOW, SYMBOLS, cell, coefficient, matrix, rounded
from joulebench.presentation.numbers import ABSENT, number, percent, si, watts
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, value_axis
from joulebench.presentation.table import Cell, Table, label, prefixed_cell
from joulebench.presentation.units import plain
from joulebench.presentation.words import domains, kind, left_out
from joulebench.results.power_curve import has_load_model
from joulebench.results.run import Run
from joulebench.spec.task import NARROWED, Task
from joulebench.stats.correlation import METHODS, Correlation, Method
from joulebench.studies.base import NEEDS_ENERGY, Study
from joulebench.studies.proxies.analysis import (
    TARGETS,
    WEAK,
    Proxies,
    Proxy,
    Range,
    Subject,
    Target,
    proxies,
)

#: Power is treated as constant if it varies by less than this share over the configurations.
SAME_POWER = 0.05
WORDS: dict[Proxy, str] = {
    "parameters": "parameters", "macs": "MACs", "flops": "FLOPs", "activations": "activations",
    "bytes_moved": "bytes moved", "utilisation": "utilisation", "runtime": "runtime",
}  # fmt: skip
#: None: a share.
UNITS: dict[Proxy, str | None] = {
    "parameters": "", "macs": "", "flops": "", "activations": "", "bytes_moved": "B", "utilisation": None,
    "runtime": "s",
}  # fmt: skip
TARGET_WORDS: dict[Target, str] = {"gross": "energy, gross", "net": "energy, net of idle", "runtime": "runtime"}


class ProxiesStudy(Study[Proxies]):
    """Proxies for energy: model figures, utilisation and runtime against joules, beside published results."""

    name = "proxies"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> Proxies | None:
        return proxies(run)

    def section(self, result: Proxies, run: Run) -> Section:
        per = plain(result.unit)
        sentences = (
            f"Energy is joules per {per} of {result.phase} over {domains(result.domains)}, {kind(result.kind)}; "
            f"runtime is seconds per {per} in the same windows. Each configuration counts once.",
            _runtime(result),
            _constant(result),
            _between_families(result),
            _net(result),
            _utilisation(result),
            _published(result),
            HOW,
            left_out(result.left_out, result.trials),
        )
        return Section(
            name="proxies",
            title="Correlation of proxies with energy",
            answer=_answer(result),
            sentences=tuple(filter(None, sentences)),
            plots=tuple(_plot(result, f) for f in result.known if (span := result.range_of(f)) and span.varies),
            tables=(
                *_by_family(result),
                *_published_table(result),
                _pooled_table(result),
                _range_table(result),
                *_per_proxy(result),
                _subjects_table(result),
            ),
            rows=tuple(_row(result, s) for s in result.subjects),
        )


def _answer(proxies: Proxies) -> str:
    """Name the proxies with the highest and the lowest correlation."""
    label_, per, ranked = f"({proxies.kind} energy)", plain(proxies.unit), proxies.ranked
    families = f" of {len(proxies.families)} families" if proxies.families else ""
    scope = f"Over {len(proxies.subjects)} configurations{families},"
    if not ranked:
        return f"{scope} no proxy's correlation with energy is defined {label_}."
    (best, closest), (worst, loosest) = ranked[0], ranked[-1]
    energy, n = proxies.energy_j, closest.n
    text = f"{WORDS[best]} correlate best with energy per {per} ({coefficient(closest)})"
    if proxies.constant and energy.ratio is not None:
        names = " and ".join(WORDS[f] for f in proxies.constant)
        text += f"; {names} are constant while energy varies {number(energy.ratio, 3)} times"
    elif abs(loosest.value) >= WEAK and len(ranked) > 1:
        every = ", ".join(WORDS[f] for f, _ in ranked)
        ends = f"{coefficient(loosest)} ({WORDS[worst]}) to {coefficient(closest)} ({WORDS[best]})"
        text = f"all of {every} correlate with energy per {per}, from {ends}"
    elif len(ranked) > 1:
        text += f" and {WORDS[worst]} worst ({coefficient(loosest)})"
    return f"{scope} {text}; n = {n} {label_}."


def _runtime(proxies: Proxies) -> str | None:
    """At nearly constant power, energy is proportional to time, so its correlation with runtime is no result."""
    power, runtime = proxies.power_w, proxies.of("runtime", "gross", "pearson")
    if power.ratio is None or runtime is None:
        return None
    text = f"Power ranged from {watts(power.low)} to {watts(power.high)} between configurations"
    if proxies.kind != "estimated":
        return f"{text}; runtime, which must be measured too, correlates with energy with {coefficient(runtime)}."
    model = (
        "it is modelled from load and constants"
        if power.ratio - 1 > SAME_POWER
        else f"modelled power hardly varied ({percent(power.ratio - 1)})"
    )
    return (
        f"{text}: {model}, so estimated energy follows time by construction. Its correlation with runtime "
        f"({coefficient(runtime)}) is therefore no result, and correlations with other proxies only show how well "
        "they predict runtime on this machine."
    )


def _constant(proxies: Proxies) -> str | None:
    energy = proxies.energy_j
    if not proxies.constant or energy.ratio is None or len(proxies.subjects) < 2:
        return None
    names = " and ".join(f"{WORDS[f]} ({number(value, 9)})" for f, value in proxies.constant.items())
    return (
        f"Constant in every configuration: {names}; energy per {plain(proxies.unit)} ranges from "
        f"{si(energy.low, 'J')} to {si(energy.high, 'J')}, {number(energy.ratio, 3)} times ({proxies.kind})."
    )


def _between_families(proxies: Proxies) -> str | None:
    """Find the proxy whose joules per unit differ least between families."""
    spreads = []
    for proxy in proxies.static:
        rates = [v for family in proxies.families if (v := proxies.joules_per(proxy, family))]
        if len(rates) > 1:
            spreads.append((max(rates) / min(rates), WORDS[proxy]))
    if not spreads:
        return None
    times, name = min(spreads, key=lambda spread: spread[0])
    return (
        f"Energy per unit of a proxy differs between families, least for {name}: {number(times, 3)} times between "
        "the families with the lowest and the highest median."
    )


def _net(proxies: Proxies) -> str:
    shares = [s.cost.net.mean / s.cost.gross.mean for s in proxies.subjects if s.cost.net is not None]
    if not shares:
        return "Net energy is absent: idle power is not known (no quiet baseline)."
    text = f"Net energy is from {percent(min(shares))} to {percent(max(shares))} of gross"
    if len(shares) < len(proxies.subjects):
        text += f", known for {len(shares)} of {len(proxies.subjects)} configurations"
    if min(shares) <= 0:
        text += "; as it is not always above 0, its sources do not register the load and it has no coefficients"
    elif proxies.kind == "estimated":
        text += "; with estimated sources that is the model's difference between idle and load, not a measurement"
    return f"{text}."


def _utilisation(proxies: Proxies) -> str | None:
    if "utilisation" not in proxies.known:
        return None
    if proxies.run.device == "gpu":
        return "Utilisation is the share of time with a kernel on the GPU (NVML), mean over the same windows."
    text = "Utilisation is that of all CPUs by the kernel's ticks, mean over the same windows"
    return f"{text}; estimated CPU watts are computed from it." if has_load_model(proxies.run) else f"{text}."


def _published(proxies: Proxies) -> str | None:
    """Say which published coefficients lie in the interval here, and what each of the two is over."""
    published = proxies.run.task.published
    if published is None:
        return None
    by_place: dict[bool | None, list[str]] = {}
    for b in proxies.beside:
        by_place.setdefault(b.within, []).append(f"{WORDS[b.proxy]} {rounded(b.published)}")
    places = {True: "within the 95 % interval here", False: "outside of it", None: "no interval here"}
    found = "; ".join(f"{text}: {', '.join(by_place.get(place, ['none']))}" for place, text in places.items())
    budget = proxies.run.manifest.budget
    narrowed = f" The budget {budget} narrows the search, so the two need not agree." if budget in NARROWED else ""
    secondary = ", from a secondary source" if published.secondary else ""
    return (
        f"Published Pearson r of proxies with energy ({published.source}{secondary}; {published.sample}), "
        f"{found}; n = {len(proxies.subjects)} configurations, of all trials with a value ({proxies.kind} energy)."
        f"{narrowed}"
    )


def _published_table(proxies: Proxies) -> tuple[Table, ...]:
    if not proxies.beside:
        return ()
    ends = {True: "inside", False: "outside", None: "no interval"}
    factor = proxies.flops_per_mac
    macs = () if factor is None else (f"{number(factor)} × MACs",)
    rows = [
        (
            Cell(WORDS[b.proxy], macs if b.proxy == "flops" else ()),
            Cell(rounded(b.published)),
            cell(b.here),
            Cell(ends[b.within]),
        )
        for b in proxies.beside
    ]
    caption = (
        f"Pearson r with energy per {plain(proxies.unit)}, published beside this run's (gross, {proxies.kind})"
    )
    return (Table.of(caption, ("Proxy", "Published", "Here", "Published value in the interval"), rows),)


def _by_family(proxies: Proxies) -> tuple[Table, ...]:
    """Write Pearson and Spearman tables of proxies by family; none without families."""
    if not proxies.families:
        return ()
    columns = [("", "All"), *((f, f) for f in proxies.families)]
    rows = [(f, WORDS[f]) for f in proxies.known]
    per = f"gross energy per {plain(proxies.unit)} ({proxies.kind})"

    def with_energy(method: Method) -> Table:
        def read(proxy: Proxy, family: str) -> Correlation | None:
            return proxies.of(proxy, "gross", method, family or None)

        return matrix(f"{SYMBOLS[method]} with {per}", rows, columns, read, WEAK)

    return with_energy("pearson"), with_energy("spearman")


def _pooled_table(proxies: Proxies) -> Table:
    rows = []
    for proxy in proxies.known:
        for target in TARGETS:
            values = [proxies.of(proxy, target, method) for method in METHODS]
            if any(v is not None for v in values):
                kind = (proxies.kind,) if target != "runtime" else ()
                rows.append((Cell(WORDS[proxy]), Cell(TARGET_WORDS[target], kind), *(cell(v) for v in values)))
    titles = ("Proxy", "With", *(SYMBOLS[m] for m in METHODS))
    return Table.of("All configurations together, all coefficients shown", titles, rows, text=2)


def _range_table(proxies: Proxies) -> Table:
    rows: list[tuple[str, str | None, Range | None]]
    rows = [(WORDS[f], UNITS[f], proxies.range_of(f)) for f in proxies.known]
    energy = f"energy per {plain(proxies.unit)}, gross ({proxies.kind})"
    rows.append((energy, "J", proxies.energy_j))
    cells = tuple(
        (
            Cell(words),
            Cell(_words(span.low, unit)),
            Cell(_words(span.high, unit)),
            Cell(ABSENT if span.ratio is None else number(span.ratio)),
        )
        for words, unit, span in rows
        if span is not None
    )
    return Table.of("Range over the configurations", ("", "Smallest", "Largest", "Largest / smallest"), cells)


def _words(value: float, unit: str | None) -> str:
    return percent(value) if unit is None else si(value, unit, 4)


def _per_proxy(proxies: Proxies) -> tuple[Table, ...]:
    if not proxies.families:
        return ()
    units = {"parameters": "parameter", "macs": "MAC", "flops": "FLOP", "activations": "activation",
             "bytes_moved": "byte", "runtime": "second"}  # fmt: skip
    shown: list[Proxy] = [f for f in proxies.known if f in units]
    rows = []
    for family in proxies.families:
        rates = (proxies.joules_per(f, family) for f in shown)
        n = sum(s.family == family for s in proxies.subjects)
        rows.append((Cell(family), Cell(str(n)), *(Cell(ABSENT if v is None else si(v, "J")) for v in rates)))
    caption = f"Joules per {plain(proxies.unit)} per unit of a proxy, median of each family (gross, {proxies.kind})"
    return (Table.of(caption, ("Family", "Configurations", *(f"J per {units[f]}" for f in shown)), rows),)


def _subjects_table(proxies: Proxies) -> Table:
    per, protocol = plain(proxies.unit), proxies.run.task.protocol
    shown = [f for f in proxies.known if f != "runtime"]
    titles = ("Configuration", *(f"{WORDS[f][0].upper()}{WORDS[f][1:]}" for f in shown),
              f"Time per {per}", f"Energy per {per}, gross", "net")  # fmt: skip
    rows = tuple(
        (
            Cell(label(s.params, s.names)),
            *(Cell(ABSENT if f not in s.figures else _words(s.figures[f], UNITS[f])) for f in shown),
            prefixed_cell(s.cost.unit_s, "s", protocol),
            prefixed_cell(s.cost.gross, "J", protocol),
            Cell(ABSENT) if s.cost.net is None else prefixed_cell(s.cost.net, "J", protocol),
        )
        for s in proxies.subjects
    )
    return Table.of(f"Configurations ({proxies.kind} energy)", titles, rows)


def _plot(proxies: Proxies, proxy: Proxy) -> Plot:
    """Draw energy against one proxy, one series per family."""
    shown = [s for s in proxies.subjects if proxy in s.figures]
    per = "" if proxy in ("parameters", "utilisation") else f" per {plain(proxies.unit)}"
    x_axis = value_axis(
        [s.figures[proxy] for s in shown],
        UNITS[proxy] or "",
        lambda u: f"{WORDS[proxy]}{per}{f', {u}' if u else ''}",
        prefixed=UNITS[proxy] is not None,
    )
    y_axis = value_axis(
        [s.cost.gross.mean for s in shown],
        "J",
        lambda u: f"{proxies.phase} energy, {u}/{plain(proxies.unit)}",
        detail=f"gross, {proxies.kind}, {domains(proxies.domains)}",
    )
    series = tuple(
        estimates(
            family or f"configurations ({proxies.kind})",
            [s.figures[proxy] / x_axis.factor for s in shown if s.family == family],
            [s.cost.gross for s in shown if s.family == family],
            y_axis,
        )
        for family in (proxies.families or (None,))
    )
    value = proxies.of(proxy, "gross", "pearson")
    correlation = f"; {coefficient(value)}" if value else ""
    alt = f"Energy per {plain(proxies.unit)} against {WORDS[proxy]} for {len(shown)} configurations{correlation}."
    return Plot(f"proxies-{proxy}", f"Energy against {WORDS[proxy]}", alt, x_axis, y_axis, series)


def _row(proxies: Proxies, subject: Subject) -> dict[str, object]:
    cost = subject.cost
    return {
        "trials": subject.trials,
        **{f"param_{name}": Exact(value) for name, value in subject.params.items()},
        **{name: subject.figures.get(name) for name in proxies.known if name != "runtime"},
        **estimate_cells(f"s_per_{proxies.unit}", cost.unit_s),
        **estimate_cells(f"j_per_{proxies.unit}_gross", cost.gross),
        **estimate_cells(f"j_per_{proxies.unit}_net", cost.net),
        "kind": cost.kind,
    }
