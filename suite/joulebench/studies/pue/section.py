"""The report's section on PUE and grid: facility energy, carbon, and effect on ranking and frontier. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import ABSENT, number, percent, si
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Column, Table
from joulebench.presentation.units import plain
from joulebench.presentation.words import listed
from joulebench.results.run import Run
from joulebench.spec.hardware import carbon_g
from joulebench.studies.base import Study
from joulebench.studies.pue.analysis import Pue, Range, Subject, pue

PROOF = (
    "One factor on every joule, be it the PUE or the grid's carbon intensity, cannot change the ranking by energy "
    "(a < b exactly when c·a < c·b) or the frontier; factors that differ between domains can."
)
SHOWN_CHANGES = 4
#: A range narrower than this is shown as none.
MIN_RANGE = 2e-3


class PueStudy(Study[Pue]):
    """Effect of PUE (data-centre overhead) and grid on rankings and frontier."""

    name = "pue"

    def analyse(self, run: Run) -> Pue | None:
        return pue(run)

    def section(self, result: Pue, run: Run) -> Section:
        return Section(
            name="pue",
            title="PUE and grid",
            answer=_answer(result),
            sentences=_sentences(result),
            tables=tuple(t for t in (_frontier(result), _effects(result), _sensitivities(result)) if t.rows),
            rows=tuple(_row(result, s) for s in result.subjects),
        )


def _answer(pue: Pue) -> str:
    """Effect of the PUE on the ranking, and the scenario by domain that changes it most."""
    effect = "changes nothing" if not pue.constant.changes else f"moves {pue.constant.moved} configurations"
    text = (
        f"A PUE of {number(pue.pue)} on every joule {effect} in the ranking and the frontier of "
        f"{len(pue.subjects)} configurations"
    )
    others = [e for e in pue.effects[1:] if e.changes]
    if len(pue.families) < 2:
        return f"{text}; only {pue.families[0].upper()} joules are known, so no factors by domain can be compared."
    if not others:
        return f"{text}; neither does that PUE on one domain alone, nor counting one domain only."
    worst = min(others, key=lambda e: 1.0 if e.kendall is None else e.kendall)
    return (
        f"{text}; factors that differ between domains can: with {worst.scenario.name} the rank of {worst.moved} "
        f"changes (Kendall's τ {_tau(worst.kendall)}), {len(worst.entered)} enter the frontier and "
        f"{len(worst.left)} leave it."
    )


def _sentences(pue: Pue) -> tuple[str, ...]:
    """Why one factor changes nothing, which PUE and grid intensity are used, and how to read near ties."""
    which = f"The PUE of {number(pue.pue)} is applied here, once"
    if pue.is_example:
        which = f"No PUE is given (--pue), so the world average of ECOpt, {number(pue.pue)}, is an example"
    carbon = "No carbon is stated, as no grid intensity is given (--grid-intensity)."
    if pue.grid_intensity_g_per_kwh is not None:
        intensity = number(pue.grid_intensity_g_per_kwh)
        carbon = f"Carbon is joules × PUE × {intensity} g CO2e/kWh: one more factor on every joule."
    near = (
        "Configurations that nearly tie swap ranks at factors close to 1; where their intervals overlap, such a "
        "swap is not significant."
    )
    return PROOF, f"{which}; the records hold metered joules.", carbon, *((near,) if pue.sensitivities else ())


def _frontier(pue: Pue) -> Table:
    """The frontier with its IT and facility energy, and carbon where the grid intensity is known."""
    families = (f.upper() for f in pue.families)
    titles = ("Frontier", *families, "IT energy (metered)", "Facility energy", "Carbon (CO2e)")
    unit = f"J/{plain(pue.unit)}"
    rows = []
    for s in pue.frontier:
        facility_j, carbon_g = _facility(pue, s)
        carbon = ABSENT if carbon_g is None else si(carbon_g, f"g/{plain(pue.unit)}")
        domains = (Cell(si(s.by_family[f], unit)) for f in pue.families)
        rows.append((Cell(s.label), *domains, Cell(si(s.energy_j, unit)), Cell(si(facility_j, unit)), Cell(carbon)))
    return Table.of(f"The frontier, gross, with PUE {number(pue.pue)}", titles, rows)


def _facility(pue: Pue, subject: Subject) -> tuple[float, float | None]:
    """Joules and g CO2e per unit of work, PUE included."""
    facility_j = pue.pue * subject.energy_j
    intensity = pue.grid_intensity_g_per_kwh
    return facility_j, None if intensity is None else carbon_g(facility_j, intensity)


def _effects(pue: Pue) -> Table:
    titles = ("Factors", "Kendall's τ", "Spearman's ρ", "Ranks changed", "Least energy", "Enter", "Leave")
    rows = tuple(
        (
            Cell(e.scenario.name),
            Cell(_tau(e.kendall)),
            Cell(_tau(e.spearman)),
            Cell(f"{e.moved} of {len(pue.subjects)}"),
            Cell("the same" if e.least == pue.least else e.least),
            Cell(listed(e.entered, SHOWN_CHANGES, joint="; ") or "none"),
            Cell(listed(e.left, SHOWN_CHANGES, joint="; ") or "none"),
        )
        for e in pue.effects
    )
    columns = tuple(Column(t, numeric=i in (1, 2, 3)) for i, t in enumerate(titles))
    return Table("Ranking by energy and frontier, compared with metered joules", columns, rows)


def _tau(value: float | None) -> str:
    return ABSENT if value is None else number(value, 3)


def _sensitivities(pue: Pue) -> Table:
    titles = ("Factor on", "Share of energy", "Same ranking", "Same least energy")
    rows = tuple(
        (Cell(f"{s.family.upper()} joules"), Cell(percent(s.share)), Cell(_range(s.order)), Cell(_range(s.least)))
        for s in pue.sensitivities
    )
    return Table.of("Factors on one domain that leave the ranking unchanged", titles, rows)


def _range(factors: Range) -> str:
    if factors.high is not None and factors.high - factors.low < MIN_RANGE:
        return "hardly any: some tie already"
    low = f"from {number(factors.low, 4)}" if factors.at_low else "from 0"
    return f"{low} to {number(factors.high, 4)}" if factors.high is not None else f"{low} on"


def _row(pue: Pue, subject: Subject) -> dict[str, object]:
    facility_j, carbon_g = _facility(pue, subject)
    per = pue.unit
    return {
        "configuration": subject.label,
        "on_frontier": subject.label in {s.label for s in pue.frontier},
        **{f"{f}_j_per_{per}": energy_j for f, energy_j in subject.by_family.items()},
        f"j_per_{per}": subject.energy_j,
        f"building_j_per_{per}": facility_j,
        f"g_co2e_per_{per}": carbon_g,
        **{e.scenario.name: e.scenario.of(subject) for e in pue.effects[1:]},
    }
