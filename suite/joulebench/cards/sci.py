"""The SCI card: Software Carbon Intensity by ISO/IEC 21031, SCI = (E × I + M) per R, as far as its terms are known.

E is energy per functional unit in kWh, I the grid's intensity in g CO2e/kWh, M embodied emissions of the hardware
per functional unit in g CO2e, R the functional unit. M = TE × TS × RS: total embodied emissions, times the share of
the hardware's life that one unit takes, times the share of the hardware that is reserved. Source of the formulas:
the specification, https://github.com/Green-Software-Foundation/sci/blob/dev/SPEC.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joulebench.cards.subject import Subject, hardware_used, obtained, refuse_replay, source, training_computation
from joulebench.cards.values import NOT_KNOWN, checked, estimated, number_of, text_of, to_json
from joulebench.errors import InputError, did_you_mean
from joulebench.presentation.numbers import NOT_MEASURED
from joulebench.presentation.units import plain
from joulebench.results.energy import Energy
from joulebench.results.phase_runs import PhaseRuns
from joulebench.spec.parameters import Value
from joulebench.stats.constants import JOULES_PER_KWH
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import scaled, shifted

STANDARD = "ISO/IEC 21031"
FIELDS = ("phase", "embodied_kg", "lifetime_years", "resource_share")
SECONDS_PER_YEAR = 365 * 24 * 3600.0  # the specification's own year


@dataclass(frozen=True)
class Embodied:
    """M per functional unit, and what it was computed from."""

    g_per_unit: float
    embodied_kg: float
    lifetime_years: float
    resource_share: float


def sci_card(subject: Subject, given: Mapping[str, Value]) -> str:
    """E, I, M and R as JSON, and the score where all of them are known.

    `given`: `phase` (the functional unit is one unit of its work), and for M `embodied_kg` of the whole machine
    with `lifetime_years` and `resource_share` (0 … 1, the share of the machine that is reserved).

    Raises:
        InputError: another field or phase, M given in part, nothing measured, or joules that were replayed.
    """
    refuse_replay(subject, "sci")
    checked(given, FIELDS, "sci")
    phase = _phase(subject, given)
    work = subject.phase(phase)
    if work is None:
        raise InputError(f"E: the energy of phase '{phase}' was not measured, and the sci card requires it")
    embodied = _embodied(given, work)
    return to_json(
        {
            "standard": f"{STANDARD}: SCI = (E × I + M) per R",
            "sci": _score(subject, work.gross, embodied),
            "R": {"functional_unit": f"one {plain(work.unit)} of {phase}"},
            "E": _energy(subject, work.gross),
            "I": _intensity(subject),
            "M": _embodied_terms(embodied),
            "operational": _operational(subject, work.gross),
            "boundary": _boundary(subject, work.gross),
            "training (not in the score)": training_computation(subject),
            "labels": subject.labels or None,
            "source": source(subject),
        }
    )


def _phase(subject: Subject, given: Mapping[str, Value]) -> str:
    if (asked := text_of(given, "phase")) is not None:
        if asked not in subject.phases:
            have = ", ".join(subject.phases) or "none"
            raise InputError(
                f"--set phase: no phase '{asked}'{did_you_mean(asked, subject.phases)} (allowed: {have})"
            )
        return asked
    if subject.main_phase is None:
        raise InputError("E: no phase of this configuration was measured, and the sci card requires one")
    return subject.main_phase


def _embodied(given: Mapping[str, Value], work: PhaseRuns) -> Embodied | None:
    embodied_kg = number_of(given, "embodied_kg", 0)
    lifetime_years = number_of(given, "lifetime_years", 0)
    resource_share = number_of(given, "resource_share", 0, 1)
    parts = {"embodied_kg": embodied_kg, "lifetime_years": lifetime_years, "resource_share": resource_share}
    missing = [name for name, value in parts.items() if value is None]
    if len(missing) == len(parts):
        return None
    if embodied_kg is None or lifetime_years is None or resource_share is None:
        raise InputError(f"M needs all of {', '.join(parts)}; missing: {', '.join(missing)}")
    share_of_life = work.unit_s.mean / (lifetime_years * SECONDS_PER_YEAR)
    return Embodied(
        1000 * embodied_kg * share_of_life * resource_share, embodied_kg, lifetime_years, resource_share
    )


def _kwh(subject: Subject, joules: Energy) -> Estimate:
    """E: gross, because reserved hardware counts idle or not; PUE applied here, once."""
    fact = subject.summary.cost.pue
    return scaled(joules, (fact.value if fact else 1.0) / JOULES_PER_KWH)


def _energy(subject: Subject, joules: Energy) -> dict[str, Any]:
    fact = subject.summary.cost.pue
    return {
        **estimated(_kwh(subject, joules), "kWh per functional unit"),
        "basis": joules.basis,
        **obtained(joules),
        "pue": {"value": fact.value, "source": fact.source} if fact else "not given, so none applied",
    }


def _intensity(subject: Subject) -> dict[str, Any] | str:
    grid = subject.summary.cost.intensity_g_per_kwh
    if grid is None:
        return f"{NOT_KNOWN}: give --grid-intensity, or a run --country or a profile that states one"
    return {"value": grid.value, "unit": "g CO2e/kWh", "source": grid.source}


def _embodied_terms(embodied: Embodied | None) -> dict[str, Any] | str:
    if embodied is None:
        return f"{NOT_MEASURED}: give --set embodied_kg=…, lifetime_years=… and resource_share=…"
    return {
        "value": embodied.g_per_unit,
        "unit": "g CO2e per functional unit",
        "embodied_kg": embodied.embodied_kg,
        "lifetime_years": embodied.lifetime_years,
        "resource_share": embodied.resource_share,
        "source": "given with --set",
    }


def _operational(subject: Subject, joules: Energy) -> dict[str, Any] | str:
    grid = subject.summary.cost.intensity_g_per_kwh
    if grid is None:
        return "not computed: I is not known"
    return estimated(scaled(_kwh(subject, joules), grid.value), "g CO2e per functional unit (E × I)")


def _score(subject: Subject, joules: Energy, embodied: Embodied | None) -> dict[str, Any] | str:
    grid = subject.summary.cost.intensity_g_per_kwh
    missing = [name for name, term in (("I", grid), ("M", embodied)) if term is None]
    if grid is None or embodied is None:
        return f"not computed: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not known"
    score = shifted(scaled(_kwh(subject, joules), grid.value), embodied.g_per_unit)
    return {**estimated(score, "g CO2e per functional unit"), "interval": "of E alone; I and M are taken as exact"}


def _boundary(subject: Subject, joules: Energy) -> dict[str, Any]:
    return {
        "included": f"the running phase on {' + '.join(joules.domains)}",
        "excluded": "training, data staging, storage, network, power supply, mainboard and fans",
        "hardware": hardware_used(subject) or NOT_KNOWN,
    }
