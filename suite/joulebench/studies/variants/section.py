"""The report's leading section: configurations beside each other, and their ratios to the default. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from joulebench.presentation.numbers import ABSENT, number, prefix, ratio_percent, sample_size
from joulebench.presentation.rows import Exact, Row, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.table import (
    Cell,
    Column,
    Table,
    condensed,
    first_column,
    label,
    least,
    of_all,
    value_cell,
    worded_cell,
)
from joulebench.presentation.units import plain
from joulebench.presentation.words import ci, domains, listed, plural
from joulebench.results.members import Target
from joulebench.results.run import Run
from joulebench.results.training_flops import TRAIN
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import Answer
from joulebench.stats.paired_ratio import ROUNDS
from joulebench.studies.base import Study
from joulebench.studies.variants.analysis import Between, Cost, Variant, Variants, variants

#: A run of more configurations and several objectives leads with them only where all of them were given.
FEW = 8
GIVEN = frozenset({"default", "points", "grid"})
#: Most rows of the leading table; its CSV file has all.
MOST = 20
#: Most configurations that the answer names one by one.
NAMED = 3


class VariantsStudy(Study[Variants]):
    """Configurations beside each other: joules, time, power and quality, and ratios to the default."""

    name = "variants"

    def fits(self, run: Run) -> bool:
        """Of two configurations or more: with one objective, up to eight, or where they were given, not sought."""
        task = run.task
        given = not task.has_frontier and all(stage.method in GIVEN for stage in task.stages.values())
        if not (len(task.objectives) == 1 or len(run.configurations) <= FEW or given):
            return False
        found = variants(run)
        return found is not None and len(found.each) > 1

    def analyse(self, run: Run) -> Variants | None:
        return variants(run)

    def section(self, result: Variants, run: Run) -> Section:
        several = len(result.each) > 1
        tables = [_variants_table(result, target) for target in result.targets] if several else []
        if not several or self.name in run.task.analyses:
            tables += [_domains_table(result, target) for target in result.targets if target.phase != TRAIN]
        return Section(
            name="variants",
            title="Beside each other" if several else "By domain",
            answer=_answer(result),
            sentences=tuple(_sentences(result, len(tables) > len(result.targets))),
            tables=tuple(table for table in tables if table.rows),
            rows=tuple(_row(v, t, cost) for t in result.targets for v, cost in _each(result, t)),
        )


def _each(result: Variants, target: Target) -> list[tuple[Variant, Cost]]:
    """The configurations that have joules of a phase, with them."""
    return [(v, cost) for v in result.each if (cost := v.costs.get(target)) is not None]


def _phase(target: Target) -> str:
    return "training" if target.phase == TRAIN else target.phase


def _name(variant: Variant) -> str:
    """What sets it apart: the value where one parameter differs, or where there is one alone."""
    names = variant.run.varied or [*variant.params][:1]
    return first_column([variant.params], names)[1][0]


def _named(variant: Variant) -> str:
    """The same in a sentence, where a number needs its parameter."""
    names = variant.run.varied
    alone = len(names) == 1 and not isinstance(variant.params.get(names[0]), str)
    return label(variant.params, names) if alone else _name(variant)


def _answer(result: Variants) -> str:
    """The default's joules of the first phase; then the others, which differ from it, and by how much."""
    target = result.targets[0]
    every = _each(result, target)
    shown = [(v, cost) for v, cost in every if v.configuration.default] or every[:1]
    (first, base), text = shown[0], ""
    factor, letter = prefix(base.gross.mean)
    energy = f"{number(base.gross.mean / factor)} {letter}J per {plain(target.unit)}"
    text = f"{_named(first)}: {energy}{ci(base.gross, lambda v: number(v / factor))}, {base.gross.kind}"
    others = [(v, cost) for v, cost in every if v is not first]
    if not first.configuration.default:
        return f"{text}; the default has no joules, so nothing is compared with it."
    if len(others) <= NAMED:
        return "; ".join([text, *(f"{_named(v)}: {_difference(cost)}" for v, cost in others)]) + "."
    answers = [cost.answer for _, cost in others]
    counts = ", ".join(f"{n} {answer}" for answer in Answer if (n := answers.count(answer)))
    best, cost = min(others, key=lambda each: each[1].gross.mean)
    text += f"; of {len(others)} others, against it: {counts}"
    return f"{text}; the least of them, {_named(best)}: {_difference(cost)}."


def _difference(cost: Cost) -> str:
    value = cost.energy_ratio
    match cost.answer:
        case Answer.LESS | Answer.MORE:
            assert value is not None
            return f"{cost.answer}, {ratio_percent(value.mean)} of that{ci(value, ratio_percent)}"
        case Answer.SAME:
            assert value is not None
            return f"{cost.answer}, {ratio_percent(value.mean)}{ci(value, ratio_percent)}"
    known = "" if value is None else f" ({ratio_percent(value.mean)} so far)"
    return f"{cost.answer}{known}"


def _sentences(result: Variants, by_domain: bool) -> Iterator[str]:
    every = [cost for v in result.each for cost in v.costs.values()]
    names = dict.fromkeys(name for cost in every for name in cost.gross.domains)
    also = "; the table by domain also has what is net of idle power" if by_domain else ""
    yield f"Joules are gross, of {domains(names)}{also}."
    if len(result.each) > 1:
        yield " ".join(_method(result))
    if all(cost.gross.low is None for cost in every):
        yield "Each was measured once and has no interval."
    if failed := sum(v.failed for v in result.each) + sum(len(c.trials) for c in result.unmeasured):
        yield f"Left out, as failed or without a valid window: {plural(failed, 'run')}."


def _method(result: Variants) -> Iterator[str]:
    """What the ratios are of, what their intervals hold, and what they do not."""
    if result.default is None:
        why = "has no valid window" if any(c.default for c in result.unmeasured) else "was not run"
        yield f"The default configuration {why}: there are no ratios and no differences."
        return
    if any(
        c.energy_ratio is None and c.time_ratio is not None for t in result.targets for _, c in _each(result, t)
    ):
        yield "Where a meter dropped out and runs count different domains, there is no ratio of joules."
    ratios = [(t, cost.energy_ratio) for t in result.targets for _, cost in _each(result, t)]
    known = [(t, ratio) for t, ratio in ratios if ratio is not None]
    if any(ratio.varied == ROUNDS for _, ratio in known):
        yield (
            "Ratios are to the default, over rounds in which each ran once, in random order; their intervals are "
            "those of a randomisation test."
        )
    means = dict.fromkeys(t for t, ratio in known if ratio.varied != ROUNDS)
    held = {between: [_phase(t) for t in means if result.between[t] is between] for between in Between}
    if means:
        yield (
            "Ratios of means are to the default, of runs that did not take turns 6 times or more: what changed on "
            "the machine meanwhile is in them."
        )
    for between, phases in held.items():
        if phases:
            yield f"{f'In {listed(phases, len(phases))}: ' if len(phases) < len(means) else ''}{_HELD[between]}"
    if any(ratio.low is None and result.between[t] is not Between.UNKNOWN for t, ratio in known):
        yield "A configuration with a single valid window has no interval of its ratio, and no verdict."
    with_interval = [ratio for _, ratio in known if ratio.low is not None]
    if len(with_interval) > 1:
        yield "Each verdict is by its own 95 % interval: of 20 ratios that are truly 1, one is called less or more."
    sought = any(stage.adapts for stage in result.run.task.stages.values())
    if with_interval and sought and result.run.confirmation is None:
        yield (
            "What a search chose by these values looks better here than it is: the least of many is, too, and only "
            "new runs say by how much."
        )


_HELD = {
    Between.REPEATED: (
        "Intervals of these ratios hold what runs of one configuration differ by, pooled over those repeated."
    ),
    Between.CONTROLS: (
        "Configurations were not repeated, or too few. Intervals of the ratios of joules hold what the control "
        "windows, the same work at several times of the run, differ by."
    ),
    Between.UNKNOWN: (
        "Too little was repeated to say what runs differ by: there is no interval, and no verdict. 2 runs of each "
        "give both, 6 in rounds narrower ones, by pairs (a stage of points with repeats)."
    ),
}


def _variants_table(result: Variants, target: Target) -> Table:
    every = _each(result, target)
    values = [cost.gross.mean if not v.configuration.default else 0.0 for v, cost in every]
    each = [every[i] for i in least(values, MOST)]
    unit, first = plain(target.unit), each[0][1]
    factor, letter = prefix(first.gross.mean)
    time, time_letter = prefix(first.unit_s.mean)
    arrows = {n: {"maximize": " ↑", "minimize": " ↓"}[o.goal] for n, o in result.run.task.objectives.items()}
    qualities = result.qualities if target is result.targets[0] else ()
    title, _ = first_column([], result.run.varied)
    columns = (
        Column(title), Column(f"Energy, {letter}J/{unit}", True), Column("Ratio to the default", True),
        Column("Verdict"),
        *(Column(title, True) for n in qualities for title in (f"{n}{arrows.get(n, '')}", f"Difference in {n}")),
        Column(f"Time, {time_letter}s/{unit}", True), Column("Ratio of time", True), Column("Power, W", True),
    )  # fmt: skip
    protocol = result.run.task.protocol
    rows = tuple(
        (
            _name_cell(v),
            value_cell(cost.gross, protocol, factor, kind=cost.gross.kind),
            _ratio_cell(cost.energy_ratio),
            Cell(ABSENT if cost.energy_ratio is None else str(cost.answer)),
            *(cell for name in qualities for cell in _quality_cells(v, name)),
            worded_cell(lambda s: number(s / time), cost.unit_s.mean, cost.unit_s.low, cost.unit_s.high),
            _ratio_cell(cost.time_ratio),
            Cell(number(cost.power_w)),
        )
        for v, cost in each
    )
    of = "" if target.objective is None and len(result.targets) == 1 else f", {_phase(target)}"
    shown = of_all(len(each), len(every), "with the least joules, and the default,")
    return condensed(Table(f"Configurations beside each other{of}{shown}", columns, rows))


def _name_cell(variant: Variant) -> Cell:
    details = ["the default"] if variant.configuration.default else []
    details += [] if variant.configuration.feasible else ["breaks a constraint"]
    return Cell(_name(variant), tuple(details))


def _ratio_cell(value: Estimate | None) -> Cell:
    if value is None:
        return Cell(ABSENT)
    of = sample_size(value) if value.varied == ROUNDS else f"of {value.varied}"
    return worded_cell(lambda v: number(v, 4), value.mean, value.low, value.high, (of,))


def _quality_cells(variant: Variant, name: str) -> tuple[Cell, Cell]:
    """The value, and the signed difference from the default's."""
    quality = variant.qualities.get(name)
    if quality is None:
        return Cell(ABSENT), Cell(ABSENT)
    value, less = quality.value, quality.difference
    cell = worded_cell(number, value.mean, value.low, value.high, (sample_size(value),))
    return cell, Cell(ABSENT) if less is None else worded_cell(_signed, less.mean, less.low, less.high)


def _signed(value: float) -> str:
    return f"+{number(value, 3)}" if value > 0 else number(value, 3)


def _domains_table(result: Variants, target: Target) -> Table:
    several, unit = len(result.each) > 1, plain(target.unit)
    titles = (*(("Configuration",) if several else ()), "Domain", "Kind", "Source", "Gross", "Net of idle")
    every = _each(result, target)
    factor, letter = prefix(every[0][1].gross.mean)
    protocol, rows = result.run.task.protocol, []
    for variant, _ in every:
        for part in variant.domains(target):
            cells = [
                Cell(part.domain), Cell(part.gross.kind), Cell(", ".join(part.sources)),
                value_cell(part.gross, protocol, factor), value_cell(part.net, protocol, factor),
            ]  # fmt: skip
            rows.append((*((Cell(_name(variant)),) if several else ()), *cells))
    return Table.of(f"Energy by domain, {letter}J/{unit}", titles, rows, text=4 if several else 3)


def _row(variant: Variant, target: Target, cost: Cost) -> Row:
    qualities: dict[str, float | None] = {}
    for name, quality in variant.qualities.items():
        qualities |= estimate_cells(name, quality.value)
        qualities |= estimate_cells(f"{name}_difference", quality.difference)
    return {
        **{name: Exact(value) for name, value in variant.params.items()},
        "phase": target.phase,
        "unit": target.unit,
        "default": variant.configuration.default,
        "kind": cost.gross.kind,
        **estimate_cells("gross_j", cost.gross),
        **estimate_cells("net_j", cost.net),
        **estimate_cells("time_s", cost.unit_s),
        "power_w": cost.power_w,
        **estimate_cells("energy_ratio", cost.energy_ratio),
        **estimate_cells("time_ratio", cost.time_ratio),
        "ratio_of": None if cost.energy_ratio is None else cost.energy_ratio.varied,
        "answer": None if cost.energy_ratio is None else str(cost.answer),
        **qualities,
        "failed": variant.failed,
    }
