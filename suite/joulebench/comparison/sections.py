"""A comparison's sections on objectives (values, ratios, rank correlation) and on frontiers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench.comparison.analysis import (
    CONFIGURATIONS,
    RUNS,
    Comparison,
    FrontierTransfer,
    MachinePair,
)
from joulebench.comparison.join import Joined, Machine
from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, interval, number, percent
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, pairs, value_axis
from joulebench.presentation.table import (
    MAX_ROWS,
    Cell,
    Column,
    Table,
    condensed,
    first_column,
    of_all,
    value_cell,
)
from joulebench.presentation.units import hypervolume_scale, objective_unit, scaled
from joulebench.presentation.words import domains, plural
from joulebench.records.model import combined
from joulebench.results.outcome import Outcome
from joulebench.results.phase_runs import varied
from joulebench.spec.objectives import CARBON, Objective, energy_form
from joulebench.spec.parameters import Params

#: How to get configurations in common.
HINT = "`joulebench run … --trials-from RUN` measures another run's configurations"


def objective_sections(comparison: Comparison) -> tuple[Section, ...]:
    """Return a section for each objective: values on each machine, and ratios."""
    return tuple(_objective(comparison, name) for name in comparison.joined.task.objectives)


def _objective(comparison: Comparison, name: str) -> Section:
    joined, pairs = comparison.joined, comparison.of(name)
    return Section(
        name=name,
        title=name,
        answer=" ".join(overall_sentence(joined, a) for a in pairs),
        sentences=_objective_sentences(joined, name, pairs),
        plots=tuple(p for a in pairs if (p := _scatter(joined, a)).drawn),
        tables=(_values_table(comparison, name),),
        rows=tuple(_value_rows(comparison, name)),
    )


def kind_of(joined: Joined, name: str) -> str:
    """Return the kind of an energy objective over all machines; empty for other objectives."""
    if not joined.task.objectives[name].is_energy:
        return ""
    return combined(c.outcomes[name].kind for m in joined.machines for c in m.configurations.values())


def overall_sentence(joined: Joined, pair: MachinePair) -> str:
    """State `b has 0.61 times the samples_per_j of a (estimated energy; geometric mean of 24 …)`."""
    name, n = pair.objective, len(pair.each)
    if pair.overall is None:
        return f"{pair.base} and {pair.machine} share no configuration with {name}; {HINT}."
    kind = kind_of(joined, name)
    ends = interval(pair.overall)
    spread = (
        f"95 % interval over {CONFIGURATIONS} {ends}" if ends else "one configuration, no interval over several"
    )
    if pair.is_ratio:
        words = f"{pair.machine} has {number(pair.overall.mean, 3)} times the {name} of {pair.base}"
        mean = "geometric mean"
    else:
        words = f"{name} is {_signed(pair.overall.mean, pair.machine, pair.base)}"
        mean = "mean"
    kind = f"{kind} energy; " if kind else ""
    return f"{words} ({kind}{mean} of {plural(n, 'shared configuration')}; {spread})."


def _signed(difference: float, machine: str, base: str) -> str:
    if difference == 0:
        return f"the same on {machine} as on {base}"
    return f"{number(abs(difference), 3)} {'lower' if difference < 0 else 'higher'} on {machine} than on {base}"


def _objective_sentences(joined: Joined, name: str, pairs: Sequence[MachinePair]) -> tuple[str, ...]:
    parts: list[str | None] = [_range_sentence(a) for a in pairs if a.is_ratio and len(a.each) > 1]
    parts += [_ranks_sentence(a) for a in pairs]
    parts += _domain_sentences(joined, name)
    if any(a.is_ratio for a in pairs):
        parts.append(_interval_sentence(pairs))
    return tuple(part for part in parts if part)


def _range_sentence(pair: MachinePair) -> str:
    ratios = pair.each.values()
    means = [e.mean for e in ratios]
    clear = sum(e.low is not None and e.high is not None and not e.low <= 1 <= e.high for e in ratios)
    return (
        f"Ratios of single configurations, {pair.machine} over {pair.base}, range from {number(min(means), 3)} to "
        f"{number(max(means), 3)}; the 95 % interval excludes 1 for {clear} of {len(means)}."
    )


def _ranks_sentence(pair: MachinePair) -> str | None:
    ranks = pair.ranks
    if ranks is None:
        return None
    ends = "" if ranks.low is None else f" [{number(ranks.low, 3)}, {number(ranks.high, 3)}]"
    rho = f"Spearman's ρ = {number(ranks.value, 3)}{ends}, n = {ranks.n}"
    return f"Rank correlation of configurations between {pair.base} and {pair.machine}: {rho}."


def _domain_sentences(joined: Joined, name: str) -> list[str]:
    objective = joined.task.objectives[name]
    if not objective.is_energy:
        return []
    compared = joined.domains[name]
    parts = [
        f"Joules compared: {domains(compared)}, {objective.basis}."
        if compared
        else f"No domain of {name} is metered on every machine, so its energy cannot be compared."
    ]
    if energy_form(name).measure == CARBON:
        parts.append("Carbon is of each machine's own grid intensity and PUE.")
    for domain, machines in joined.left_out[name].items():
        parts.append(f"Left out: {domain}, which {' and '.join(machines)} does not meter in every window.")
    bare = [m.label for m in joined.machines if not m.has_accelerator]
    if "gpu" in compared and bare:
        parts.append(f"No accelerator, so no GPU joules: {', '.join(bare)}.")
    return parts


def _interval_sentence(pairs: Sequence[MachinePair]) -> str:
    if all(e.varied == RUNS for a in pairs for e in a.each.values()):
        return (
            "The interval of a configuration's ratio includes the variance between whole runs, pooled over the "
            "configurations that were run more than once on each machine."
        )
    return (
        "On at least one machine no configuration was run more than once: the intervals of these ratios include "
        "the variance of windows within a run only, and are too narrow for the ratio of two other runs."
    )


def names_of(joined: Joined) -> list[str]:
    """Return the parameters in which configurations of any machine differ."""
    return varied(joined.task, [c.params for m in joined.machines for c in m.configurations.values()])


def _keys(joined: Joined) -> list[str]:
    """Return the keys of all configurations, shared ones first."""
    return list(dict.fromkeys((*joined.shared, *(k for m in joined.machines for k in m.configurations))))


def _values_table(comparison: Comparison, name: str) -> Table:
    joined = comparison.joined
    every = _keys(joined)
    keys = every[:MAX_ROWS]
    params = [params_of(joined, key) for key in keys]
    first, labels = first_column(params, names_of(joined))
    pairs = comparison.of(name)
    ratios = (f"{a.machine} {'/' if a.is_ratio else '−'} {a.base}" for a in pairs)
    titles = (first, *(m.label for m in joined.machines), *ratios)
    rows = []
    for text, key in zip(labels, keys, strict=True):
        values = [_value(m, key, name, joined.task.objectives[name]) for m in joined.machines]
        rows.append((Cell(text), *values, *(_ratio_cell(a, key) for a in pairs)))
    some = of_all(len(keys), len(every), "first, those shared before the others,")
    kind = kind_of(joined, name)
    caption = f"{name} by configuration{f' ({kind})' if kind else ''}{some}"
    return condensed(Table.of(caption, titles, rows))


def params_of(joined: Joined, key: str) -> Params:
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


def _ratio_cell(pair: MachinePair, key: str) -> Cell:
    value = pair.each.get(key)
    if value is None:
        return Cell(ABSENT)
    ends = interval(value) if value.low is not None else None
    return Cell(number(value.mean), interval=ends or "")


def _value_rows(comparison: Comparison, name: str) -> Iterator[dict[str, object]]:
    joined = comparison.joined
    for key in _keys(joined):
        row: dict[str, object] = {f"param_{n}": Exact(v) for n, v in params_of(joined, key).items()}
        for machine in joined.machines:
            outcome = _outcome(machine, key, name)
            row |= estimate_cells(f"{machine.label} {name}", outcome.value if outcome else None)
            if joined.task.objectives[name].is_energy:
                row[f"{machine.label} kind"] = outcome.kind if outcome else None
        for a in comparison.of(name):
            what = "ratio" if a.is_ratio else "difference"
            row |= estimate_cells(f"{a.machine} to {a.base} {what}", a.each.get(key))
        yield row


def _scatter(joined: Joined, pair: MachinePair) -> Plot:
    """Draw each shared configuration: base on x, machine on y, equal on the diagonal."""
    name, objective = pair.objective, joined.task.objectives[pair.objective]
    base, machine = (next(m for m in joined.machines if m.label == side) for side in (pair.base, pair.machine))
    sides = base.configurations, machine.configurations
    shared = [(sides[0][k].outcomes[name].value, sides[1][k].outcomes[name].value) for k in pair.each]
    values = [v.mean for pair in shared for v in pair]
    x, y = (_machine_axis(values, name, objective, m.label, kind_of(joined, name)) for m in (base, machine))
    points = pairs("shared configurations", shared, x, y)
    ends = (min(values, default=0.0) / x.factor, max(values, default=0.0) / x.factor)
    diagonal = Series("equal on both", ends, ends, dashed=True)
    alt = f"{name} of {len(shared)} configurations on {pair.machine} against {pair.base}."
    caption = f"{name}: {pair.machine} against {pair.base}"
    ident = f"{name}-{joined.machines.index(base)}-{joined.machines.index(machine)}"
    return Plot(ident, caption, alt, x, y, (points, diagonal) if shared else ())


def _machine_axis(values: Sequence[float], name: str, objective: Objective, machine: str, kind: str) -> Axis:
    """Return an axis with the same scale for every machine; its label is the detail below the title."""
    unit, detail = objective_unit(name, objective), f"{machine}, {kind}" if kind else machine

    def title(with_prefix: str) -> str:
        return f"{name}, {with_prefix}" if with_prefix else name

    if objective.is_relative:
        return value_axis(values, unit, title, unit.startswith("J") or unit == "s", detail=detail)
    return Axis(name, title(unit), detail=detail)


def frontier_section(comparison: Comparison) -> Section | None:
    """Return the section on frontiers and their transfer; None with a single objective."""
    joined = comparison.joined
    if len(joined.task.objectives) < 2:
        return None
    return Section(
        name="frontiers",
        title="Frontiers",
        answer=" ".join(_transfer_sentence(t) for t in comparison.transfers)
        or "No configuration is shared, so frontiers cannot be transferred.",
        sentences=(
            "Only configurations that both machines ran count.",
            *filter(None, [hypervolume_scale(joined.task)]),
            *_provisional(joined),
        ),
        plots=(_frontiers_plot(joined),),
        tables=(_frontiers_table(joined),),
        rows=tuple(_frontier_rows(comparison)),
    )


def _provisional(joined: Joined) -> Iterator[str]:
    """Name the machines whose frontier no new runs confirmed."""
    if labels := [m.label for m in joined.machines if m.run.frontier and m.run.confirmation is None]:
        yield (
            f"Provisional: the frontier of {' and of '.join(labels)} was chosen by the values that are shown; not "
            "confirmed by new runs."
        )


def _transfer_sentence(transfer: FrontierTransfer) -> str:
    base, machine = transfer.base, transfer.machine
    text = (
        f"{transfer.kept} of {plural(transfer.members, 'configuration')} on {base}'s frontier "
        f"{'is' if transfer.kept == 1 else 'are'} also on {machine}'s"
    )
    if transfer.hypervolume_share is None:
        return f"{text}."
    share = percent(transfer.hypervolume_share)
    return (
        f"{text}; measured on {machine}, {base}'s frontier reaches {share} of the hypervolume of {machine}'s own."
    )


def _frontiers_plot(joined: Joined) -> Plot:
    """Draw quality against cost: the first energy objective on x, the first other one on y."""
    objectives = joined.task.objectives
    names = list(objectives)
    cost = next((n for n in names if objectives[n].is_energy), names[1])
    quality = next((n for n in names if n != cost), names[0])
    kind = kind_of(joined, cost)
    values = [c.outcomes[cost].value.mean for m in joined.machines for c in m.configurations.values()]
    unit = objective_unit(cost, objectives[cost])
    x = value_axis(values, unit, lambda u: f"{cost}, {u}", unit.startswith("J"), detail=kind)
    y = Axis(quality, quality)
    series = []
    for machine in joined.machines:
        members = sorted(machine.run.frontier, key=lambda c: c.outcomes[cost].value.mean)
        at = [c.outcomes[cost].value.mean / x.factor for c in members]
        series.append(
            estimates(machine.label, at, [c.outcomes[quality].value for c in members], y, joined=len(names) == 2)
        )
    alt = f"{quality} against {cost}: " + ", ".join(f"{len(s.x)} on {s.name}" for s in series) + "."
    return Plot("frontiers", f"Frontiers: {quality} against {cost}", alt, x, y, tuple(series))


def _frontiers_table(joined: Joined) -> Table:
    keys = list(dict.fromkeys(c.key for m in joined.machines for c in m.run.frontier))
    first, labels = first_column([params_of(joined, k) for k in keys], names_of(joined))
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
