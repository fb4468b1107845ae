"""The EU card: the energy and compute items of the Model Documentation Form for general-purpose AI models.

The items are those of the sections on computational resources and on energy consumption, in the Transparency
chapter of the General-Purpose AI Code of Practice (European Commission, 10 July 2025,
https://digital-strategy.ec.europa.eu/en/policies/contents-code-gpai). The form asks of inference how much it
computes, not how much energy it takes; those joules stand beside it under a heading of
their own, which says how they were obtained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from joulebench.cards.subject import Subject, hardware_used, obtained, refuse_replay, source, training_computation
from joulebench.cards.values import NOT_KNOWN, checked, estimated, number_of, text_of, to_json
from joulebench.presentation.numbers import NOT_MEASURED, percent
from joulebench.presentation.units import plain
from joulebench.records.model import combined
from joulebench.reporting import prose
from joulebench.results.phase_runs import TrainingRuns, flops_per_unit
from joulebench.results.training_flops import COUNTED
from joulebench.spec.parameters import Value
from joulebench.stats.constants import JOULES_PER_KWH
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import scaled

FORM = "Model Documentation Form, General-Purpose AI Code of Practice, Transparency chapter"
FIELDS = ("model_name", "training_flop", "training_flop_methodology")
SECONDS_PER_DAY = 86400.0
JOULES_PER_MWH = 1000 * JOULES_PER_KWH
#: The ranges that the form gives national authorities, by their upper end in days.
_RANGES = ((30.0, "less than 1 month"), (91.0, "1 to 3 months"), (182.0, "3 to 6 months"))


def eu_card(subject: Subject, given: Mapping[str, Value]) -> str:
    """The items as JSON; what the records do not hold is said not to be measured or known.

    Raises:
        InputError: a field of `given` that the card does not have, or joules that were replayed.
    """
    refuse_replay(subject, "eu")
    checked(given, FIELDS, "eu")
    trained, task = subject.training, subject.run.task
    computation = _given(given) or training_computation(subject)
    counted = computation is not None and "training_flop" not in given
    method = f"{COUNTED}. The search that found the model is not included." if counted else NOT_KNOWN
    return to_json(
        {
            "form": FORM,
            "model": text_of(given, "model_name") or f"{task.name} {subject.member.label}",
            "Computational resources (during training)": {
                "Training time": _time(subject, trained),
                "Amount of computation used for training": computation or NOT_MEASURED,
                "Measurement methodology": text_of(given, "training_flop_methodology") or method,
            },
            "Energy consumption (during training and inference)": {
                "Amount of energy used for training": _energy(trained),
                "Measurement methodology": _method(subject, trained),
                "Benchmarked amount of computation used for inference": _inference(subject),
                "Measurement methodology (inference)": _inference_method(subject),
            },
            **_joules(subject),
            "labels": subject.labels or None,
            "source": source(subject),
        }
    )


def _of_training(value: Estimate, factor: float, unit: str) -> dict[str, Any]:
    varied = "one training run: no interval" if value.low is None else value.varied
    return estimated(replace(scaled(value, 1 / factor), varied=varied), unit)


def _time(subject: Subject, trained: TrainingRuns | None) -> dict[str, Any] | str:
    if trained is None:
        return NOT_MEASURED
    days = trained.seconds.mean / SECONDS_PER_DAY
    spread = next((words for most, words in _RANGES if days < most), "more than 6 months")
    return {
        "wall_clock": _of_training(trained.seconds, SECONDS_PER_DAY, "days"),
        "hardware": f"one device ({hardware_used(subject) or NOT_KNOWN}), so as many hardware days",
        "range": spread,
        "what": "training steps of the final model, without validation, without the search that found it",
    }


def _given(given: Mapping[str, Value]) -> dict[str, Any] | None:
    flop = number_of(given, "training_flop", 0)
    return None if flop is None else {"value": flop, "unit": "FLOP", "source": "given with --set"}


def _energy(trained: TrainingRuns | None) -> dict[str, Any] | str:
    if trained is None:
        return NOT_MEASURED
    return {**_of_training(trained.gross, JOULES_PER_MWH, "MWh"), **obtained(trained.gross)}


def _method(subject: Subject, trained: TrainingRuns | None) -> str:
    if trained is None:
        return NOT_MEASURED
    named = {(m.get("domain"), m.get("source")): m.get("method", "") for m in subject.run.manifest.meters}
    energy, ledger = trained.gross, subject.summary.ledger
    sources = [s for s in ledger.sources if s.role == "primary" and s.domain in energy.domains]
    how = [
        f"{s.domain} by {s.source} ({s.kind}){f': {m}' if (m := named.get((s.domain, s.source))) else ''}"
        for s in sources
    ]
    return (
        f"{'; '.join(how)}. Gross joules of the training steps, measured share {percent(energy.measured_share)}; "
        f"no PUE applied. {prose.BEYOND_SOFTWARE} The search that found the model is not included."
    )


def _inference(subject: Subject) -> dict[str, Any] | str:
    counts = {}
    for phase, unit in subject.phases.items():
        flops = flops_per_unit(subject.member.costs, phase, unit)
        if flops is not None and phase != "train":
            counts[phase] = {"value": float(flops), "unit": "FLOP", "task": f"one {plain(unit)} of {phase}"}
    return counts or NOT_MEASURED


def _inference_method(subject: Subject) -> str:
    if isinstance(_inference(subject), str):
        return NOT_MEASURED
    missed = sorted(subject.member.costs.unsupported_ops)
    without = f" Operators that could not be counted: {', '.join(missed)}." if missed else ""
    return (
        "Counted from the model, two FLOPs a multiply-accumulate, not observed on the hardware; the task is one "
        f"unit of work as named.{without} Hardware of the benchmark: {hardware_used(subject) or NOT_KNOWN}."
    )


def _joules(subject: Subject) -> dict[str, Any]:
    """Joules of inference under a heading that says what they are: measured only if all of them were."""
    joules = {phase: work.gross for phase in subject.phases if (work := subject.phase(phase)) is not None}
    kind = f", {combined(e.kind for e in joules.values())}" if joules else ""
    items = {
        phase: {**estimated(e, f"J/{plain(subject.phases[phase])}"), "basis": e.basis, **obtained(e)}
        for phase, e in joules.items()
    }
    return {f"Energy of inference{kind} (not asked by the form)": items or NOT_MEASURED}
