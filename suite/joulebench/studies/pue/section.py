"""The report's section on the building: the frontier under a PUE and a grid, and what that changes. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import ABSENT, number, percent, si
from joulebench.presentation.section import Section, csv_of
from joulebench.presentation.table import Cell, Column, Table
from joulebench.presentation.units import plain
from joulebench.results.run import Run
from joulebench.stats.constants import JOULES_PER_KWH
from joulebench.studies.base import Study
from joulebench.studies.pue.analysis import Pue, Range, Slack, Subject, Verdict, pue

PROOF = (
    "One factor on every joule, be it the PUE or the grid's intensity, cannot change who takes less (a < b exactly "
    "when c·a < c·b), nor what is on the frontier; factors that differ between domains can."
)
SHOWN_CHANGES = 4
#: Factors so close together are one to a reader.
LEVEL = 2e-3


class PueStudy(Study[Pue]):
    """Effect of PUE (data-centre overhead) and grid on rankings and frontier."""

    name = "pue"

    def analyse(self, run: Run) -> Pue | None:
        return pue(run)

    def section(self, result: Pue, run: Run) -> Section:
        return pue_section(result)


def pue_section(pue: Pue) -> Section:
    """Everything the report says of it."""
    return Section(
        name="pue",
        title="With the building and the grid",
        answer=answer(pue),
        verdict=None,
        sentences=sentences(pue),
        plots=(),
        tables=tuple(t for t in (_members(pue), _verdicts(pue), _slacks(pue)) if t.rows),
        csv=csv_of([_row(pue, s) for s in pue.subjects]),
    )


def answer(pue: Pue) -> str:
    """What the PUE does to the ranking, and which factors on single domains would do more."""
    n = len(pue.subjects)
    stays = "changes nothing" if not pue.constant.changes else f"moves {pue.constant.moved} configurations"
    text = (
        f"A PUE of {number(pue.pue)} on every joule {stays} in the ranking and the frontier of {n} configurations"
    )
    others = [v for v in pue.verdicts[1:] if v.changes]
    if len(pue.families) < 2:
        return f"{text}; only {pue.families[0].upper()} joules are known, so nothing can scale apart."
    if not others:
        return f"{text}, nor does any factor between 1 and it on one domain alone or counting one domain only."
    worst = min(others, key=lambda v: 1.0 if v.kendall is None else v.kendall)
    come, go = len(worst.entered), len(worst.left)
    return (
        f"{text}; where domains scale apart they can change: with {worst.scenario.name} {worst.moved} change places"
        f" (Kendall's τ {_tau(worst.kendall)}), {come} enter the frontier and {go} leave it."
    )


def sentences(pue: Pue) -> tuple[str, ...]:
    """Why, with which PUE, and what a reader may take from the scenarios."""
    parts = (PROOF, _which(pue), _carbon(pue), _near(pue))
    return tuple(part for part in parts if part)


def _which(pue: Pue) -> str:
    if pue.is_example:
        return (
            f"No PUE is given for this run (--pue), so {number(pue.pue)}, the world's average as ECOpt has it, "
            "stands as an example; the records hold joules at the meters only."
        )
    return f"The PUE of {number(pue.pue)} is applied here, once; the records hold joules at the meters only."


def _carbon(pue: Pue) -> str | None:
    if pue.grid_intensity_g_per_kwh is None:
        return "Without a grid intensity (--grid-intensity) no carbon is stated."
    intensity = number(pue.grid_intensity_g_per_kwh)
    return f"Carbon is joules × PUE × {intensity} g CO2e/kWh: one more factor on every joule."


def _near(pue: Pue) -> str | None:
    if not pue.slacks:
        return None
    return (
        "Configurations that are nearly level change places at factors close to 1; where their intervals overlap "
        "that is chance, not the building."
    )


def _members(pue: Pue) -> Table:
    """The frontier with its joules outside the meter, and carbon where the grid is known."""
    columns = [Column("Frontier"), *(Column(f.upper(), True) for f in pue.families)]
    columns += [Column("At the meters", True), Column("Of the building", True), Column("Carbon (CO2e)", True)]
    unit = f"J/{plain(pue.unit)}"
    rows = []
    for s in pue.members:
        facility_j, carbon_g = _facility(pue, s)
        carbon = ABSENT if carbon_g is None else si(carbon_g, f"g/{plain(pue.unit)}")
        domains = (Cell(si(s.by_family[f], unit)) for f in pue.families)
        rows.append((Cell(s.label), *domains, Cell(si(s.energy_j, unit)), Cell(si(facility_j, unit)), Cell(carbon)))
    return Table(f"The frontier, gross, with PUE {number(pue.pue)}", tuple(columns), tuple(rows))


def _facility(pue: Pue, subject: Subject) -> tuple[float, float | None]:
    facility_j = pue.pue * subject.energy_j
    intensity = pue.grid_intensity_g_per_kwh
    return facility_j, None if intensity is None else facility_j / JOULES_PER_KWH * intensity


def _verdicts(pue: Pue) -> Table:
    titles = ("Factors", "Kendall's τ", "Spearman's ρ", "Change places", "Takes the least", "Enter", "Leave")
    columns = tuple(Column(t, numeric=i in (1, 2, 3)) for i, t in enumerate(titles))
    rows = tuple(_verdict_row(pue, v) for v in pue.verdicts)
    return Table("Ranking by energy and frontier, against the joules as they are", columns, rows)


def _verdict_row(pue: Pue, v: Verdict) -> tuple[Cell, ...]:
    least = "the same" if v.least == pue.least else v.least
    return (
        Cell(v.scenario.name),
        Cell(_tau(v.kendall)),
        Cell(_tau(v.spearman)),
        Cell(f"{v.moved} of {len(pue.subjects)}"),
        Cell(least),
        Cell(_some(v.entered)),
        Cell(_some(v.left)),
    )


def _tau(value: float | None) -> str:
    return ABSENT if value is None else number(value, 3)


def _some(labels: tuple[str, ...]) -> str:
    more = f", … ({len(labels) - SHOWN_CHANGES} more)" if len(labels) > SHOWN_CHANGES else ""
    return "; ".join(labels[:SHOWN_CHANGES]) + more or "none"


def _slacks(pue: Pue) -> Table:
    titles = ("Factor on", "Its share", "No two change places", "The same takes the least")
    columns = tuple(Column(t, numeric=i > 0) for i, t in enumerate(titles))
    return Table("How far one domain may scale apart", columns, tuple(_slack_row(s) for s in pue.slacks))


def _slack_row(slack: Slack) -> tuple[Cell, ...]:
    return (
        Cell(f"{slack.family.upper()} joules"),
        Cell(percent(slack.share)),
        Cell(_words(slack.order)),
        Cell(_words(slack.least)),
    )


def _words(span: Range) -> str:
    if span.high is not None and span.high - span.low < LEVEL:
        return "hardly any: some are level already"
    low = f"from {number(span.low, 4)}" if span.at_low else "from 0"
    return f"{low} to {number(span.high, 4)}" if span.high is not None else f"{low} on"


def _row(pue: Pue, subject: Subject) -> dict[str, object]:
    facility_j, carbon_g = _facility(pue, subject)
    members = {s.label for s in pue.members}
    per = pue.unit
    return {
        "configuration": subject.label,
        "on_frontier": subject.label in members,
        **{f"{f}_j_per_{per}": energy_j for f, energy_j in subject.by_family.items()},
        f"j_per_{per}": subject.energy_j,
        f"building_j_per_{per}": facility_j,
        f"g_co2e_per_{per}": carbon_g,
        **{v.scenario.name: v.scenario.of(subject) for v in pue.verdicts[1:]},
    }
