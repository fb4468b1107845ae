"""Which sections a run's report has beside the frontier, in the task's order. Pure."""

from __future__ import annotations

from collections.abc import Callable

from joulebench.presentation.section import Section
from joulebench.results.ledger import balance
from joulebench.results.records import Records
from joulebench.results.reference_frontier import read_overlay
from joulebench.studies.batch.analysis import batch
from joulebench.studies.batch.section import batch_section
from joulebench.studies.consistency.analysis import consistency
from joulebench.studies.consistency.section import consistency_section
from joulebench.studies.extrapolation.analysis import extrapolation
from joulebench.studies.extrapolation.section import extrapolation_section
from joulebench.studies.generation.analysis import generation
from joulebench.studies.generation.section import generation_section
from joulebench.studies.power_cap.analysis import power_cap
from joulebench.studies.power_cap.section import power_cap_section
from joulebench.studies.prediction.analysis import prediction
from joulebench.studies.prediction.section import prediction_section
from joulebench.studies.proxies.analysis import proxies
from joulebench.studies.proxies.section import proxies_section
from joulebench.studies.pue.analysis import pue
from joulebench.studies.pue.section import pue_section, site_of
from joulebench.studies.repeatability.analysis import repeatability
from joulebench.studies.repeatability.section import repeatability_section
from joulebench.studies.scaling.analysis import scaling
from joulebench.studies.scaling.section import scaling_section
from joulebench.studies.search_quality.analysis import search_quality
from joulebench.studies.search_quality.section import search_quality_section
from joulebench.studies.training_inference.analysis import training_inference
from joulebench.studies.training_inference.section import training_inference_section


def _consistency(records: Records) -> Section | None:
    found = consistency(records.task, records.trials)
    return consistency_section(found) if found else None


def _repeatability(records: Records) -> Section | None:
    return repeatability_section(repeatability(records.task, records.trials))


def _generation(records: Records) -> Section | None:
    found = generation(records.task, records.trials)
    return generation_section(found, records.task.protocol) if found else None


def _batch(records: Records) -> Section | None:
    found = batch(records.task, records.trials)
    return batch_section(found, records.task, balance(records.trials, records.entries)) if found else None


def _scaling(records: Records) -> Section | None:
    found = scaling(records.task, records.trials)
    return scaling_section(found, records.task.protocol) if found else None


def _search_quality(records: Records) -> Section | None:
    found = search_quality(records.task, records.trials)
    return search_quality_section(found) if found else None


def _proxies(records: Records) -> Section | None:
    found = proxies(records.task, records.trials)
    return proxies_section(found, records.task.protocol) if found else None


def _training_inference(records: Records) -> Section | None:
    found = training_inference(records.task, records.trials)
    if found is None:
        return None
    return training_inference_section(found, records.task.protocol, read_overlay(records, found.quality))


def _extrapolation(records: Records) -> Section | None:
    found = extrapolation(records.task, records.trials)
    return extrapolation_section(found) if found else None


def _prediction(records: Records) -> Section | None:
    found = prediction(records.task, records.trials)
    return prediction_section(found) if found else None


def _power_cap(records: Records) -> Section | None:
    found = power_cap(records.task, records.trials)
    return power_cap_section(found) if found else None


def _pue(records: Records) -> Section | None:
    found = pue(records.task, records.trials, *site_of(records.manifest))
    return pue_section(found) if found else None


#: What each analysis makes of a run's records; None where they allow nothing. `frontier` is the report's own.
ANALYSES: dict[str, Callable[[Records], Section | None]] = {
    "consistency": _consistency,
    "repeatability": _repeatability,
    "generation": _generation,
    "batch": _batch,
    "scaling": _scaling,
    "proxies": _proxies,
    "training_inference": _training_inference,
    "search_quality": _search_quality,
    "extrapolation": _extrapolation,
    "prediction": _prediction,
    "power_cap": _power_cap,
    "pue": _pue,
}


def sections(records: Records) -> tuple[Section, ...]:
    """One for each analysis that the task names and these records allow."""
    made = (ANALYSES[name](records) for name in records.task.analyses if name in ANALYSES)
    return tuple(section for section in made if section is not None)
