"""A comparison's parts: values and ratios, ranks, frontiers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.comparison.analysis import CONFIGURATIONS, RUNS, Against, Carried, Comparison
from joulebench.comparison.join import Joined, Machine
from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, count, interval, number, percent
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.section import Section, csv_of, estimate_cells, exact
from joulebench.presentation.series import estimates, pairs, value_axis
from joulebench.presentation.table import MAX_ROWS, Cell, Column, Table, condensed, first_column, of_all, value_cell
from joulebench.presentation.units import objective_unit, scaled
from joulebench.records.model import combined
from joulebench.results.outcome import Outcome
from joulebench.results.phase_cost import varied
from joulebench.spec.objectives import Objective
from joulebench.spec.parameters import Params
from joulebench.stats.correlation import Correlation

#: What joins configurations, for a reader who finds none in common.
HINT = "`joulebench run … --trials-from RUN` measures another run's configurations"


def objective_sections(found: Comparison) -> tuple[Section, ...]:
    """One for each objective: what it is on each machine, and the ratios."""
    return tuple(_objective(found, name) for name in found.joined.task.objectives)


def _objective(found: Comparison, name: str) -> Section:
    joined, mine = found.joined, [a for a in found.against if a.objective == name]
    return Section(
        name=name,
        title=name,
        answer=" ".join(overall_sentence(joined, a) for a in mine),
        verdict=None,
        sentences=_objective_sentences(joined, name, mine),
        plots=tuple(p for a in mine if (p := _scatter(joined, a)).drawn),
        tables=(_values_table(found, name),),
        csv=csv_of(_value_rows(found, name)),
    )


def kind_of(joined: Joined, name: str) -> str:
    """`measured`, or `estimated` where any machine's joules are; empty for what is not energy."""
    if not joined.task.objectives[name].is_energy:
        return ""
    kinds = {c.outcomes[name].kind for m in joined.machines for c in m.found.values()}
    return combined(kinds)


def overall_sentence(joined: Joined, found: Against) -> str:
    """`b has 0.61 times a's samples_per_j (estimated; geometric mean over 24 configurations, …)`."""
    name, n = found.objective, len(found.each)
    if found.overall is None:
        return f"{found.base} and {found.machine} share no configuration with {name}; {HINT}."
    kind = kind_of(joined, name)
    ends = interval(found.overall)
    spread = (
        f"95 % interval over {CONFIGURATIONS} {ends}" if ends else "one configuration, no interval over several"
    )
    if found.is_ratio:
        words = f"{found.machine} has {number(found.overall.mean, 3)} times the {name} of {found.base}"
        mean = "geometric mean"
    else:
        words = f"{name} is {_signed(found.overall.mean)} on {found.machine} against {found.base}"
        mean = "mean"
    kind = f"{kind} energy; " if kind else ""
    return f"{words} ({kind}{mean} of {count(n)} shared {'configuration' if n == 1 else CONFIGURATIONS}; {spread})."


def _signed(value: float) -> str:
    text = number(abs(value), 3)
    return f"{text} lower" if value < 0 else f"{text} higher" if value > 0 else "the same"


def _objective_sentences(joined: Joined, name: str, found: Sequence[Against]) -> tuple[str, ...]:
    parts: list[str | None] = [_range_sentence(a) for a in found if a.is_ratio and len(a.each) > 1]
    parts += [_ranks_sentence(a) for a in found]
    parts += _domain_sentences(joined, name)
    if any(a.is_ratio for a in found):
        parts.append(_interval_sentence(found))
    return tuple(part for part in parts if part)


def _range_sentence(found: Against) -> str:
    means = [e.mean for e in found.each.values()]
    clear = sum(e.low is not None and e.high is not None and not e.low <= 1 <= e.high for e in found.each.values())
    return (
        f"By configuration, {found.machine} over {found.base} goes from {number(min(means), 3)} to "
        f"{number(max(means), 3)}; for {clear} of {len(means)} the 95 % interval of the ratio leaves out 1."
    )


def _ranks_sentence(found: Against) -> str | None:
    return (
        f"{found.base} and {found.machine} rank configurations {ranks_in_words(found.ranks)}."
        if found.ranks
        else None
    )


def ranks_in_words(found: Correlation) -> str:
    """`with Spearman's ρ 0.98 [0.95, 0.99], n = 24`."""
    ends = "" if found.low is None else f" [{number(found.low, 3)}, {number(found.high, 3)}]"
    return f"with Spearman's ρ {number(found.value, 3)}{ends}, n = {found.n}"


def _domain_sentences(joined: Joined, name: str) -> list[str]:
    objective = joined.task.objectives[name]
    if not objective.is_energy:
        return []
    domains = joined.domains[name]
    parts = [
        f"Joules compared: {' + '.join(domains)}, {objective.basis}."
        if domains
        else f"No domain of {name} is metered on every machine, so nothing compares."
    ]
    for domain, machines in joined.left_out[name].items():
        parts.append(f"Left out: {domain}, which {' and '.join(machines)} does not meter in every window.")
    bare = [m.label for m in joined.machines if not m.run.has_accelerator]
    if "gpu" in domains and bare:
        parts.append(f"{', '.join(bare)}: no accelerator, so no GPU joules to add.")
    return parts


def _interval_sentence(found: Sequence[Against]) -> str:
    over_runs = all(e.varied == RUNS for a in found for e in a.each.values())
    if over_runs:
        return (
            "The interval of one configuration's ratio includes the spread between whole runs, pooled over the "
            "configurations that were run more than once on each machine."
        )
    return (
        "On at least one machine no configuration was run more than once: the intervals of these ratios know the "
        "spread of windows within a run only, and are too narrow for what another run would give."
    )


def names_of(joined: Joined) -> list[str]:
    """The parameters that tell the configurations of all machines apart."""
    return varied(joined.task, [c.params for m in joined.machines for c in m.found.values()])


def _keys(joined: Joined) -> list[str]:
    """Shared configurations first, then the others, each once."""
    return list(dict.fromkeys((*joined.shared, *(k for m in joined.machines for k in m.found))))


def _values_table(found: Comparison, name: str) -> Table:
    joined = found.joined
    every = _keys(joined)
    keys = every[:MAX_ROWS]
    params = [_params(joined, key) for key in keys]
    first, labels = first_column(params, names_of(joined))
    mine = [a for a in found.against if a.objective == name]
    columns = [Column(first), *(Column(m.label, numeric=True) for m in joined.machines)]
    columns += [Column(f"{a.machine} {'/' if a.is_ratio else '−'} {a.base}", numeric=True) for a in mine]
    rows = []
    for text, key in zip(labels, keys, strict=True):
        values = [_value(m, key, name, joined.task.objectives[name]) for m in joined.machines]
        rows.append((Cell(text), *values, *(_ratio_cell(a, key) for a in mine)))
    some = of_all(len(keys), len(every), "first, those shared before the others,")
    kind = kind_of(joined, name)
    caption = f"{name} by configuration{f' ({kind})' if kind else ''}{some}"
    return condensed(Table(caption, tuple(columns), tuple(rows)))


def _params(joined: Joined, key: str) -> Params:
    return next(m.found[key].params for m in joined.machines if key in m.found)


def _outcome(machine: Machine, key: str, name: str) -> Outcome | None:
    configuration = machine.found.get(key)
    return None if configuration is None else configuration.outcomes[name]


def _value(machine: Machine, key: str, name: str, objective: Objective) -> Cell:
    outcome = _outcome(machine, key, name)
    if outcome is None:
        return Cell("not run")
    factor, unit = scaled(name, outcome.value.mean, objective)
    return value_cell(outcome.value, machine.task.protocol, factor, unit, outcome.kind or "")


def _ratio_cell(found: Against, key: str) -> Cell:
    value = found.each.get(key)
    if value is None:
        return Cell(ABSENT)
    ends = interval(value) if value.low is not None else None
    return Cell(number(value.mean), (ends,) if ends else ())


def _value_rows(found: Comparison, name: str) -> list[dict[str, object]]:
    joined = found.joined
    mine = [a for a in found.against if a.objective == name]
    rows = []
    for key in _keys(joined):
        row: dict[str, object] = {f"param_{n}": exact(v) for n, v in _params(joined, key).items()}
        for machine in joined.machines:
            outcome = _outcome(machine, key, name)
            row |= estimate_cells(f"{machine.label} {name}", outcome.value if outcome else None)
            if joined.task.objectives[name].is_energy:
                row[f"{machine.label} kind"] = outcome.kind if outcome else None
        for a in mine:
            what = "ratio" if a.is_ratio else "difference"
            row |= estimate_cells(f"{a.machine} to {a.base} {what}", a.each.get(key))
        rows.append(row)
    return rows


def _scatter(joined: Joined, found: Against) -> Plot:
    """Each shared configuration: one machine across, the other up; equal on the diagonal."""
    name, objective = found.objective, joined.task.objectives[found.objective]
    base, machine = (next(m for m in joined.machines if m.label == side) for side in (found.base, found.machine))
    shared = [(base.found[k].outcomes[name].value, machine.found[k].outcomes[name].value) for k in found.each]
    values = [v.mean for pair in shared for v in pair]
    x, y = (_machine_axis(values, name, objective, m.label, kind_of(joined, name)) for m in (base, machine))
    points = pairs("shared configurations", shared, x, y)
    ends = (min(values, default=0.0) / x.factor, max(values, default=0.0) / x.factor)
    diagonal = Series("equal on both", ends, ends, dashed=True)
    alt = f"{name} of {len(shared)} configurations on {found.machine} against {found.base}."
    caption = f"{name}: {found.machine} against {found.base}"
    ident = f"{name}-{joined.machines.index(base)}-{joined.machines.index(machine)}"
    return Plot(ident, caption, alt, x, y, (points, diagonal) if shared else ())


def _machine_axis(values: Sequence[float], name: str, objective: Objective, machine: str, kind: str) -> Axis:
    """The same scale for every machine, which stands on a line of its own."""
    unit, detail = objective_unit(name, objective), f"{machine}, {kind}" if kind else machine

    def title(with_prefix: str) -> str:
        return f"{name}, {with_prefix}" if with_prefix else name

    if objective.is_energy or objective.is_latency:
        return value_axis(values, unit, title, unit.startswith("J/") or unit == "s", detail=detail)
    return Axis(name, title(unit), detail=detail)


def frontier_section(found: Comparison) -> Section | None:
    """The machines' frontiers in one figure, and what carries over; None with a single objective."""
    joined = found.joined
    if len(joined.task.objectives) < 2:
        return None
    return Section(
        name="frontiers",
        title="Frontiers",
        answer=" ".join(_carried_sentence(c) for c in found.carried)
        or "No frontier carries over: nothing is shared.",
        verdict=None,
        sentences=(
            "A frontier carries over as far as configurations chosen on one machine are the ones to choose on the "
            "other: the share is of hypervolume, among the configurations that both ran.",
        ),
        plots=(_frontiers_plot(found),),
        tables=(_frontiers_table(found),),
        csv=csv_of(_frontier_rows(found)),
    )


def _carried_sentence(found: Carried) -> str:
    text = f"Of {found.base}'s frontier of {found.members}, {found.kept} are on {found.machine}'s"
    if found.hypervolume_share is None:
        return f"{text}."
    return f"{text}; measured there they cover {percent(found.hypervolume_share)} of its hypervolume."


def _frontiers_plot(found: Comparison) -> Plot:
    """Quality against what it takes: the first objective of each sort."""
    joined = found.joined
    objectives = joined.task.objectives
    names = list(objectives)
    taken = next((n for n in names if objectives[n].is_energy), names[1])
    quality = next((n for n in names if n != taken), names[0])
    kind = kind_of(joined, taken)
    values = [c.outcomes[taken].value.mean for m in joined.machines for c in m.found.values()]
    unit = objective_unit(taken, objectives[taken])
    x = value_axis(values, unit, lambda u: f"{taken}, {u}", unit.startswith("J/"), detail=kind)
    y = Axis(quality, quality)
    series = []
    for machine in joined.machines:
        members = [machine.found[k] for k in found.frontiers[machine.label]]
        members.sort(key=lambda c: c.outcomes[taken].value.mean)
        at = [c.outcomes[taken].value.mean / x.factor for c in members]
        series.append(
            estimates(machine.label, at, [c.outcomes[quality].value for c in members], y, joined=len(names) == 2)
        )
    alt = f"{quality} against {taken}: " + ", ".join(f"{len(s.x)} on {s.name}" for s in series) + "."
    return Plot("frontiers", f"Frontiers: {quality} against {taken}", alt, x, y, tuple(series))


def _frontiers_table(found: Comparison) -> Table:
    joined = found.joined
    keys = list(dict.fromkeys(k for m in joined.machines for k in found.frontiers[m.label]))
    first, labels = first_column([_params(joined, k) for k in keys], names_of(joined))
    rows = tuple(
        (Cell(text), *(Cell(_membership(found, m, key)) for m in joined.machines))
        for text, key in zip(labels, keys, strict=True)
    )
    columns = (Column(first), *(Column(m.label) for m in joined.machines))
    return Table("Members of any machine's frontier", columns, rows)


def _membership(found: Comparison, machine: Machine, key: str) -> str:
    if key in found.frontiers[machine.label]:
        return "on the frontier"
    return "dominated" if key in machine.found else "not run"


def _frontier_rows(found: Comparison) -> list[dict[str, object]]:
    rows = []
    for machine in found.joined.machines:
        for key in found.frontiers[machine.label]:
            configuration = machine.found[key]
            row: dict[str, object] = {"machine": machine.label}
            row |= {f"param_{n}": exact(v) for n, v in configuration.params.items()}
            for name, outcome in configuration.outcomes.items():
                row |= estimate_cells(name, outcome.value)
                if outcome.kind:
                    row[f"{name}_kind"] = outcome.kind
            rows.append(row)
    return rows
