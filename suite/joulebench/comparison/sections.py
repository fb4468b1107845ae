"""A comparison's parts: values and ratios, ranks, frontiers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench.comparison.analysis import CONFIGURATIONS, RUNS, Against, Carried, Comparison
from joulebench.comparison.join import Joined, Machine
from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, count, interval, number, percent
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, pairs, value_axis
from joulebench.presentation.table import MAX_ROWS, Cell, Column, Table, condensed, first_column, of_all, value_cell
from joulebench.presentation.units import objective_unit, scaled
from joulebench.records.model import combined
from joulebench.results.outcome import Outcome
from joulebench.results.phase_runs import varied
from joulebench.spec.objectives import Objective
from joulebench.spec.parameters import Params

#: What joins configurations, for a reader who finds none in common.
HINT = "`joulebench run … --trials-from RUN` measures another run's configurations"


def objective_sections(comparison: Comparison) -> tuple[Section, ...]:
    """One for each objective: what it is on each machine, and the ratios."""
    return tuple(_objective(comparison, name) for name in comparison.joined.task.objectives)


def _objective(found: Comparison, name: str) -> Section:
    joined, pairs = found.joined, found.of(name)
    return Section(
        name=name,
        title=name,
        answer=" ".join(overall_sentence(joined, a) for a in pairs),
        verdict=None,
        sentences=_objective_sentences(joined, name, pairs),
        plots=tuple(p for a in pairs if (p := _scatter(joined, a)).drawn),
        tables=(_values_table(found, name),),
        rows=tuple(_value_rows(found, name)),
    )


def kind_of(joined: Joined, name: str) -> str:
    """`measured`, or `estimated` where any machine's joules are; empty for what is not energy."""
    if not joined.task.objectives[name].is_energy:
        return ""
    return combined(c.outcomes[name].kind for m in joined.machines for c in m.configurations.values())


def overall_sentence(joined: Joined, against: Against) -> str:
    """`b has 0.61 times a's samples_per_j (estimated; geometric mean over 24 configurations, …)`."""
    name, n = against.objective, len(against.each)
    if against.overall is None:
        return f"{against.base} and {against.machine} share no configuration with {name}; {HINT}."
    kind = kind_of(joined, name)
    ends = interval(against.overall)
    spread = (
        f"95 % interval over {CONFIGURATIONS} {ends}" if ends else "one configuration, no interval over several"
    )
    if against.is_ratio:
        words = f"{against.machine} has {number(against.overall.mean, 3)} times the {name} of {against.base}"
        mean = "geometric mean"
    else:
        words = f"{name} is {_signed(against.overall.mean)} on {against.machine} against {against.base}"
        mean = "mean"
    kind = f"{kind} energy; " if kind else ""
    return f"{words} ({kind}{mean} of {count(n)} shared {'configuration' if n == 1 else CONFIGURATIONS}; {spread})."


def _signed(value: float) -> str:
    text = number(abs(value), 3)
    return f"{text} lower" if value < 0 else f"{text} higher" if value > 0 else "the same"


def _objective_sentences(joined: Joined, name: str, pairs: Sequence[Against]) -> tuple[str, ...]:
    parts: list[str | None] = [_range_sentence(a) for a in pairs if a.is_ratio and len(a.each) > 1]
    parts += [_ranks_sentence(a) for a in pairs]
    parts += _domain_sentences(joined, name)
    if any(a.is_ratio for a in pairs):
        parts.append(_interval_sentence(pairs))
    return tuple(part for part in parts if part)


def _range_sentence(against: Against) -> str:
    ratios = against.each.values()
    means = [e.mean for e in ratios]
    clear = sum(e.low is not None and e.high is not None and not e.low <= 1 <= e.high for e in ratios)
    return (
        f"By configuration, {against.machine} over {against.base} goes from {number(min(means), 3)} to "
        f"{number(max(means), 3)}; for {clear} of {len(means)} the 95 % interval of the ratio leaves out 1."
    )


def _ranks_sentence(against: Against) -> str | None:
    ranks = against.ranks
    if ranks is None:
        return None
    ends = "" if ranks.low is None else f" [{number(ranks.low, 3)}, {number(ranks.high, 3)}]"
    words = f"with Spearman's ρ {number(ranks.value, 3)}{ends}, n = {ranks.n}"
    return f"{against.base} and {against.machine} rank configurations {words}."


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
    bare = [m.label for m in joined.machines if not m.has_accelerator]
    if "gpu" in domains and bare:
        parts.append(f"{', '.join(bare)}: no accelerator, so no GPU joules to add.")
    return parts


def _interval_sentence(pairs: Sequence[Against]) -> str:
    if all(e.varied == RUNS for a in pairs for e in a.each.values()):
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
    return varied(joined.task, [c.params for m in joined.machines for c in m.configurations.values()])


def _keys(joined: Joined) -> list[str]:
    """Shared configurations first, then the others, each once."""
    return list(dict.fromkeys((*joined.shared, *(k for m in joined.machines for k in m.configurations))))


def _values_table(comparison: Comparison, name: str) -> Table:
    joined = comparison.joined
    every = _keys(joined)
    keys = every[:MAX_ROWS]
    params = [_params(joined, key) for key in keys]
    first, labels = first_column(params, names_of(joined))
    pairs = comparison.of(name)
    columns = [Column(first), *(Column(m.label, numeric=True) for m in joined.machines)]
    columns += [Column(f"{a.machine} {'/' if a.is_ratio else '−'} {a.base}", numeric=True) for a in pairs]
    rows = []
    for text, key in zip(labels, keys, strict=True):
        values = [_value(m, key, name, joined.task.objectives[name]) for m in joined.machines]
        rows.append((Cell(text), *values, *(_ratio_cell(a, key) for a in pairs)))
    some = of_all(len(keys), len(every), "first, those shared before the others,")
    kind = kind_of(joined, name)
    caption = f"{name} by configuration{f' ({kind})' if kind else ''}{some}"
    return condensed(Table(caption, tuple(columns), tuple(rows)))


def _params(joined: Joined, key: str) -> Params:
    return next(m.configurations[key].params for m in joined.machines if key in m.configurations)


def _outcome(machine: Machine, key: str, name: str) -> Outcome | None:
    configuration = machine.configurations.get(key)
    return None if configuration is None else configuration.outcomes[name]


def _value(machine: Machine, key: str, name: str, objective: Objective) -> Cell:
    outcome = _outcome(machine, key, name)
    if outcome is None:
        return Cell("not run")
    factor, unit = scaled(name, outcome.value.mean, objective)
    return value_cell(outcome.value, machine.task.protocol, factor, unit, outcome.kind or "")


def _ratio_cell(against: Against, key: str) -> Cell:
    value = against.each.get(key)
    if value is None:
        return Cell(ABSENT)
    ends = interval(value) if value.low is not None else None
    return Cell(number(value.mean), interval=ends or "")


def _value_rows(comparison: Comparison, name: str) -> Iterator[dict[str, object]]:
    joined = comparison.joined
    for key in _keys(joined):
        row: dict[str, object] = {f"param_{n}": Exact(v) for n, v in _params(joined, key).items()}
        for machine in joined.machines:
            outcome = _outcome(machine, key, name)
            row |= estimate_cells(f"{machine.label} {name}", outcome.value if outcome else None)
            if joined.task.objectives[name].is_energy:
                row[f"{machine.label} kind"] = outcome.kind if outcome else None
        for a in comparison.of(name):
            what = "ratio" if a.is_ratio else "difference"
            row |= estimate_cells(f"{a.machine} to {a.base} {what}", a.each.get(key))
        yield row


def _scatter(joined: Joined, against: Against) -> Plot:
    """Each shared configuration: one machine across, the other up; equal on the diagonal."""
    name, objective = against.objective, joined.task.objectives[against.objective]
    base, machine = (
        next(m for m in joined.machines if m.label == side) for side in (against.base, against.machine)
    )
    sides = base.configurations, machine.configurations
    shared = [(sides[0][k].outcomes[name].value, sides[1][k].outcomes[name].value) for k in against.each]
    values = [v.mean for pair in shared for v in pair]
    x, y = (_machine_axis(values, name, objective, m.label, kind_of(joined, name)) for m in (base, machine))
    points = pairs("shared configurations", shared, x, y)
    ends = (min(values, default=0.0) / x.factor, max(values, default=0.0) / x.factor)
    diagonal = Series("equal on both", ends, ends, dashed=True)
    alt = f"{name} of {len(shared)} configurations on {against.machine} against {against.base}."
    caption = f"{name}: {against.machine} against {against.base}"
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
        plots=(_frontiers_plot(joined),),
        tables=(_frontiers_table(joined),),
        rows=tuple(_frontier_rows(found)),
    )


def _carried_sentence(carried: Carried) -> str:
    text = f"Of {carried.base}'s frontier of {carried.members}, {carried.kept} are on {carried.machine}'s"
    if carried.hypervolume_share is None:
        return f"{text}."
    return f"{text}; measured there they cover {percent(carried.hypervolume_share)} of its hypervolume."


def _frontiers_plot(joined: Joined) -> Plot:
    """Quality against what it takes: the first objective of each sort."""
    objectives = joined.task.objectives
    names = list(objectives)
    taken = next((n for n in names if objectives[n].is_energy), names[1])
    quality = next((n for n in names if n != taken), names[0])
    kind = kind_of(joined, taken)
    values = [c.outcomes[taken].value.mean for m in joined.machines for c in m.configurations.values()]
    unit = objective_unit(taken, objectives[taken])
    x = value_axis(values, unit, lambda u: f"{taken}, {u}", unit.startswith("J/"), detail=kind)
    y = Axis(quality, quality)
    series = []
    for machine in joined.machines:
        members = sorted(machine.run.frontier, key=lambda c: c.outcomes[taken].value.mean)
        at = [c.outcomes[taken].value.mean / x.factor for c in members]
        series.append(
            estimates(machine.label, at, [c.outcomes[quality].value for c in members], y, joined=len(names) == 2)
        )
    alt = f"{quality} against {taken}: " + ", ".join(f"{len(s.x)} on {s.name}" for s in series) + "."
    return Plot("frontiers", f"Frontiers: {quality} against {taken}", alt, x, y, tuple(series))


def _frontiers_table(joined: Joined) -> Table:
    keys = list(dict.fromkeys(c.key for m in joined.machines for c in m.run.frontier))
    first, labels = first_column([_params(joined, k) for k in keys], names_of(joined))
    rows = tuple(
        (Cell(text), *(Cell(_membership(m, key)) for m in joined.machines))
        for text, key in zip(labels, keys, strict=True)
    )
    columns = (Column(first), *(Column(m.label) for m in joined.machines))
    return Table("Members of any machine's frontier", columns, rows)


def _membership(machine: Machine, key: str) -> str:
    if any(c.key == key for c in machine.run.frontier):
        return "on the frontier"
    return "dominated" if key in machine.configurations else "not run"


def _frontier_rows(comparison: Comparison) -> Iterator[dict[str, object]]:
    for machine in comparison.joined.machines:
        for configuration in machine.run.frontier:
            row: dict[str, object] = {"machine": machine.label}
            row |= {f"param_{n}": Exact(v) for n, v in configuration.params.items()}
            for name, outcome in configuration.outcomes.items():
                row |= estimate_cells(name, outcome.value)
                if outcome.kind:
                    row[f"{name}_kind"] = outcome.kind
            yield row
