"""The report's section on the building: the frontier under a PUE and a grid, and what that changes. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import ABSENT, number, percent, si
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Column, Table
from joulebench.presentation.units import plain
from joulebench.records.model import Manifest
from joulebench.results.cost import search_cost
from joulebench.results.ledger import balance
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
        return pue(run.task, run.trials, *site_of(run.manifest))

    def section(self, result: Pue, run: Run) -> Section:
        return pue_section(result)


def site_of(manifest: Manifest) -> tuple[float | None, float | None]:
    """PUE and grid intensity (g CO2e/kWh) as the run, or whoever reports it, gave them."""
    cost = search_cost(balance([], []), manifest.hardware)
    return (
        cost.pue.value if cost.pue and cost.pue.value >= 1 else None,
        cost.intensity_g_per_kwh.value if cost.intensity_g_per_kwh else None,
    )


def pue_section(found: Pue) -> Section:
    """Everything the report says of it."""
    return Section(
        name="pue",
        title="With the building and the grid",
        answer=answer(found),
        verdict=None,
        sentences=sentences(found),
        plots=(),
        tables=tuple(t for t in (_members(found), _verdicts(found), _slacks(found)) if t.rows),
        rows=tuple(_row(found, s) for s in found.subjects),
    )


def answer(found: Pue) -> str:
    """What the PUE does to the ranking, and which factors on single domains would do more."""
    n = len(found.subjects)
    stays = "changes nothing" if not found.constant.changes else f"moves {found.constant.moved} configurations"
    text = (
        f"A PUE of {number(found.pue)} on every joule {stays} in the ranking and the frontier of {n} configurations"
    )
    others = [v for v in found.verdicts[1:] if v.changes]
    if len(found.families) < 2:
        return f"{text}; only {found.families[0].upper()} joules are known, so nothing can scale apart."
    if not others:
        return f"{text}, nor does any factor between 1 and it on one domain alone or counting one domain only."
    worst = min(others, key=lambda v: 1.0 if v.kendall is None else v.kendall)
    come, go = len(worst.entered), len(worst.left)
    return (
        f"{text}; where domains scale apart they can change: with {worst.scenario.name} {worst.moved} change places"
        f" (Kendall's τ {_tau(worst.kendall)}), {come} enter the frontier and {go} leave it."
    )


def sentences(found: Pue) -> tuple[str, ...]:
    """Why, with which PUE, and what a reader may take from the scenarios."""
    parts = (PROOF, _which(found), _carbon(found), _near(found))
    return tuple(part for part in parts if part)


def _which(found: Pue) -> str:
    if found.is_example:
        return (
            f"No PUE is given for this run (--pue), so {number(found.pue)}, the world's average as ECOpt has it, "
            "stands as an example; the records hold joules at the meters only."
        )
    return f"The PUE of {number(found.pue)} is applied here, once; the records hold joules at the meters only."


def _carbon(found: Pue) -> str | None:
    if found.grid_intensity_g_per_kwh is None:
        return "Without a grid intensity (--grid-intensity) no carbon is stated."
    intensity = number(found.grid_intensity_g_per_kwh)
    return f"Carbon is joules × PUE × {intensity} g CO2e/kWh: one more factor on every joule."


def _near(found: Pue) -> str | None:
    if not found.slacks:
        return None
    return (
        "Configurations that are nearly level change places at factors close to 1; where their intervals overlap "
        "that is chance, not the building."
    )


def _members(found: Pue) -> Table:
    """The frontier with its joules outside the meter, and carbon where the grid is known."""
    columns = [Column("Frontier"), *(Column(f.upper(), True) for f in found.families)]
    columns += [Column("At the meters", True), Column("Of the building", True), Column("Carbon (CO2e)", True)]
    unit = f"J/{plain(found.unit)}"
    rows = []
    for s in found.members:
        facility_j, carbon_g = _facility(found, s)
        carbon = ABSENT if carbon_g is None else si(carbon_g, f"g/{plain(found.unit)}")
        domains = (Cell(si(s.by_family[f], unit)) for f in found.families)
        rows.append((Cell(s.label), *domains, Cell(si(s.energy_j, unit)), Cell(si(facility_j, unit)), Cell(carbon)))
    return Table(f"The frontier, gross, with PUE {number(found.pue)}", tuple(columns), tuple(rows))


def _facility(found: Pue, subject: Subject) -> tuple[float, float | None]:
    facility_j = found.pue * subject.energy_j
    intensity = found.grid_intensity_g_per_kwh
    return facility_j, None if intensity is None else facility_j / JOULES_PER_KWH * intensity


def _verdicts(found: Pue) -> Table:
    titles = ("Factors", "Kendall's τ", "Spearman's ρ", "Change places", "Takes the least", "Enter", "Leave")
    columns = tuple(Column(t, numeric=i in (1, 2, 3)) for i, t in enumerate(titles))
    rows = tuple(_verdict_row(found, v) for v in found.verdicts)
    return Table("Ranking by energy and frontier, against the joules as they are", columns, rows)


def _verdict_row(found: Pue, v: Verdict) -> tuple[Cell, ...]:
    least = "the same" if v.least == found.least else v.least
    return (
        Cell(v.scenario.name),
        Cell(_tau(v.kendall)),
        Cell(_tau(v.spearman)),
        Cell(f"{v.moved} of {len(found.subjects)}"),
        Cell(least),
        Cell(_some(v.entered)),
        Cell(_some(v.left)),
    )


def _tau(value: float | None) -> str:
    return ABSENT if value is None else number(value, 3)


def _some(labels: tuple[str, ...]) -> str:
    more = f", … ({len(labels) - SHOWN_CHANGES} more)" if len(labels) > SHOWN_CHANGES else ""
    return "; ".join(labels[:SHOWN_CHANGES]) + more or "none"


def _slacks(found: Pue) -> Table:
    titles = ("Factor on", "Its share", "No two change places", "The same takes the least")
    columns = tuple(Column(t, numeric=i > 0) for i, t in enumerate(titles))
    return Table("How far one domain may scale apart", columns, tuple(_slack_row(s) for s in found.slacks))


def _slack_row(found: Slack) -> tuple[Cell, ...]:
    return (
        Cell(f"{found.family.upper()} joules"),
        Cell(percent(found.share)),
        Cell(_words(found.order)),
        Cell(_words(found.least)),
    )


def _words(found: Range) -> str:
    if found.high is not None and found.high - found.low < LEVEL:
        return "hardly any: some are level already"
    low = f"from {number(found.low, 4)}" if found.at_low else "from 0"
    return f"{low} to {number(found.high, 4)}" if found.high is not None else f"{low} on"


def _row(found: Pue, subject: Subject) -> dict[str, object]:
    facility_j, carbon_g = _facility(found, subject)
    members = {s.label for s in found.members}
    per = found.unit
    return {
        "configuration": subject.label,
        "on_frontier": subject.label in members,
        **{f"{f}_j_per_{per}": energy_j for f, energy_j in subject.by_family.items()},
        f"j_per_{per}": subject.energy_j,
        f"building_j_per_{per}": facility_j,
        f"g_co2e_per_{per}": carbon_g,
        **{v.scenario.name: v.scenario.of(subject) for v in found.verdicts[1:]},
    }
