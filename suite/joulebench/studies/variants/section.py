"""The report's section on configurations beside each other: the joules of each, and ratios to the default. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import ABSENT, number, prefix, ratio_percent, sample_size, seconds, watts
from joulebench.presentation.rows import Exact, Row, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Column, Table, condensed, first_column, value_cell, worded_cell
from joulebench.presentation.words import ci, domains, plural
from joulebench.records.model import combined
from joulebench.results.run import Run
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import Answer
from joulebench.studies.base import NEEDS_ENERGY, Study
from joulebench.studies.variants.analysis import Variant, Variants, variants


class VariantsStudy(Study[Variants]):
    """Configurations beside each other: joules, time and power of each, and ratios to the default."""

    name = "variants"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> Variants | None:
        return variants(run)

    def section(self, result: Variants, run: Run) -> Section:
        tables = [_domains_table(result)]
        if len(result.each) > 1:
            tables.insert(0, _variants_table(result))
        return Section(
            name="variants",
            title="Beside each other" if len(result.each) > 1 else "By domain",
            answer=_answer(result),
            sentences=_sentences(result),
            tables=tuple(tables),
            rows=tuple(_row(v) for v in result.each),
        )


def _name(variant: Variant) -> str:
    """What sets it apart: the value where one parameter differs, or where there is one alone."""
    names = variant.run.varied or [*variant.params][:1]
    return first_column([variant.params], names)[1][0]


def _answer(result: Variants) -> str:
    """The default's joules; where there are others, which differ from it, and by how much."""
    base = result.default.phase
    factor, letter = prefix(base.gross.mean)
    energy = f"{number(base.gross.mean / factor)} {letter}J per {base.unit}"
    text = f"{_name(result.default)}: {energy}{ci(base.gross, lambda v: number(v / factor))}, {base.kind}"
    others = [f"{_name(v)}: {_difference(v)}" for v in result.each[1:]]
    return "; ".join([text, *others]) + "."


def _difference(variant: Variant) -> str:
    value = variant.energy_ratio
    match variant.answer:
        case Answer.LESS | Answer.MORE:
            assert value is not None
            return f"{variant.answer}, {ratio_percent(value.mean)} of that{ci(value, ratio_percent)}"
        case Answer.SAME:
            assert value is not None
            return f"{variant.answer}, {ratio_percent(value.mean)}{ci(value, ratio_percent)}"
    known = "" if value is None else f" ({ratio_percent(value.mean)} so far)"
    return f"{variant.answer}{known}"


def _sentences(result: Variants) -> tuple[str, ...]:
    base = result.default.phase
    sentences = [
        f"Joules are gross, of {domains(base.domains)}; the table by domain also has what is net of idle power."
    ]
    if len(result.each) > 1:
        sentences.append(
            "Ratios are to the first row, over rounds in which each ran once, in random order; their intervals are "
            "those of a randomisation test, which needs 6 rounds."
            if result.in_rounds
            else "Ratios are to the first row, of means over runs that did not take turns: what changed on the "
            "machine meanwhile is in them."
        )
    if all(v.phase.gross.low is None for v in result.each):
        sentences.append("Each was measured once and has no interval.")
    if failed := sum(v.failed for v in result.each) + sum(len(c.trials) for c in result.unmeasured):
        sentences.append(f"Left out, as failed or without a valid window: {plural(failed, 'run')}.")
    return tuple(sentences)


def _variants_table(result: Variants) -> Table:
    factor, letter = prefix(result.default.phase.gross.mean)
    unit = result.default.phase.unit
    columns = (
        Column("Configuration"), Column(f"Energy, {letter}J/{unit}", True), Column("Ratio to the first", True),
        Column("Verdict"), Column(f"Time per {unit}", True), Column("Ratio of time", True), Column("Power", True),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(_name(v)),
            value_cell(v.phase.gross, v.run.task.protocol, factor, kind=v.phase.kind),
            _ratio_cell(v.energy_ratio),
            Cell(ABSENT if v is result.default else str(v.answer)),
            worded_cell(seconds, v.phase.unit_s.mean, v.phase.unit_s.low, v.phase.unit_s.high),
            _ratio_cell(v.time_ratio),
            Cell(watts(v.phase.power_w)),
        )
        for v in result.each
    )
    return condensed(Table("Configurations beside each other", columns, rows))


def _ratio_cell(value: Estimate | None) -> Cell:
    if value is None:
        return Cell(ABSENT)
    return worded_cell(lambda v: number(v, 4), value.mean, value.low, value.high, (sample_size(value),))


def _domains_table(result: Variants) -> Table:
    unit = result.default.phase.unit
    several = len(result.each) > 1
    titles = (*(("Configuration",) if several else ()), "Domain", "Kind", "Source", "Gross", "Net of idle")
    factor, letter = prefix(result.default.phase.gross.mean)
    rows = []
    for variant in result.each:
        protocol = variant.run.task.protocol
        for part in variant.domains:
            cells = [
                Cell(part.domain), Cell(part.gross.kind), Cell(", ".join(part.sources)),
                value_cell(part.gross, protocol, factor), value_cell(part.net, protocol, factor),
            ]  # fmt: skip
            rows.append((*((Cell(_name(variant)),) if several else ()), *cells))
    caption = f"Energy by domain, {letter}J/{unit}"
    return Table.of(caption, titles, rows, text=4 if several else 3)


def _row(variant: Variant) -> Row:
    phase = variant.phase
    return {
        **{name: Exact(value) for name, value in variant.params.items()},
        "unit": phase.unit,
        "kind": combined([part.gross.kind for part in variant.domains]),
        **estimate_cells("gross_j", phase.gross),
        **estimate_cells("net_j", phase.net),
        **estimate_cells("time_s", phase.unit_s),
        "power_w": phase.power_w,
        **estimate_cells("energy_ratio", variant.energy_ratio),
        **estimate_cells("time_ratio", variant.time_ratio),
        "answer": str(variant.answer) if variant.energy_ratio is not None else None,
        "failed": variant.failed,
    }
