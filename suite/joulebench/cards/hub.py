"""The card of a model hub: README.md with metadata by huggingface_hub, and a body for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from joulebench.cards import hub_tables
from joulebench.cards.quality import Quality, hub_task, qualities
from joulebench.cards.subject import Subject, Training, hardware_used, training
from joulebench.cards.values import checked, rounded, text_of
from joulebench.presentation.markdown import flat, markdown_environment, tidy
from joulebench.presentation.numbers import grams, joules, number, percent, seconds
from joulebench.reporting import prose
from joulebench.spec.objectives import COSTS
from joulebench.spec.parameters import Value

TEMPLATES = Path(__file__).parent / "templates"

#: What the user may add to the metadata, under the hub's own names.
FIELDS = (
    "model_name", "license", "library_name", "pipeline_tag", "base_model", "language",
    "training_type", "geographical_location",
)  # fmt: skip

#: How far software energy lay below wall meters in public comparisons.
WALL_GAP = (
    "How far off that is differs by machine: in 318 public runs on one desktop (RTX 4090, Core i9) CodeCarbon read "
    "a median of 28 % less than the wall meter, and differences of up to 40 % are in print."
)


def hub_card(subject: Subject, given: Mapping[str, Value]) -> str:
    """Metadata between two lines of `---`, then Markdown.

    The metadata hold `model-index` where the data set is known, and `co2_eq_emissions`, in grams, of the training
    where its energy and a grid intensity are.

    Raises:
        InputError: a field of `given` that the card does not have.
    """
    fields = {name: text_of(checked(given, FIELDS, "hf"), name) for name in FIELDS}
    body = markdown_environment(TEMPLATES).get_template("hub.md.j2").render(**_content(subject))
    return f"---\n{metadata(subject, fields).to_yaml(line_break=chr(10))}\n---\n\n{tidy(body)}"


def metadata(subject: Subject, fields: Mapping[str, str | None]) -> ModelCardData:
    """What the hub reads; a field that is not known is absent."""
    results = _results(subject)
    name = fields["model_name"] or flat(f"{subject.records.task.name} {subject.member.label}")
    extra: dict[str, Any] = {"co2_eq_emissions": emissions(subject, fields)}
    return ModelCardData(
        model_name=name if results else fields["model_name"],
        eval_results=results or None,
        license=fields["license"],
        library_name=fields["library_name"],
        pipeline_tag=fields["pipeline_tag"] or hub_task(subject),
        base_model=fields["base_model"],
        language=fields["language"],
        tags=["joulebench", "energy"],
        metrics=sorted({r.metric_type for r in results if r.dataset_split}) or None,
        **{key: value for key, value in extra.items() if value is not None},
    )


def emissions(subject: Subject, fields: Mapping[str, str | None]) -> dict[str, Any] | None:
    """Grams of CO2 of one training; None where its joules or the grid's intensity are not known, or replayed."""
    trained = training(subject)
    carbon_g = None if trained is None else subject.carbon_g(trained.energy_j.mean)
    if trained is None or carbon_g is None or subject.is_replayed:
        return None
    country = subject.records.manifest.hardware.get("country")
    known = {
        "emissions": rounded(carbon_g),
        "source": flat(_emissions_source(subject, trained)),
        "training_type": fields["training_type"] or _training_type(subject),
        "geographical_location": fields["geographical_location"] or (flat(str(country)) if country else None),
        "hardware_used": flat(used) if (used := hardware_used(subject)) else None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _emissions_source(subject: Subject, trained: Training) -> str:
    cost = subject.summary.cost
    pue = f"PUE {number(cost.pue.value)}" if cost.pue else "no PUE"
    grid = cost.intensity_g_per_kwh
    intensity = "" if grid is None else f", {number(grid.value)} g CO2e/kWh ({grid.source})"
    domains = " + ".join(trained.domains)
    return (
        f"joulebench {subject.records.manifest.joulebench}: training, {domains}, {trained.kind}; {pue}{intensity}"
    )


def _training_type(subject: Subject) -> str | None:
    """The workloads that ship train from random weights; what a user's own starts from is not known."""
    return None if ":" in subject.records.task.workload else "pre-training"


def _results(subject: Subject) -> list[EvalResult]:
    kind, dataset = hub_task(subject), subject.records.task.dataset
    if kind is None or dataset is None:
        return []
    common: dict[str, Any] = {"task_type": kind, "task_name": flat(subject.records.task.title)}
    common |= {"dataset_type": dataset.name, "dataset_name": dataset.name}
    found = [
        EvalResult(
            **common,
            dataset_split=q.split,
            metric_type=flat(q.metric),
            metric_name=_metric_name(q),
            metric_value=rounded(q.value.mean),
        )
        for q in qualities(subject)
    ]
    for name, outcome in subject.member.outcomes.items():
        objective = subject.records.task.objectives[name]
        if (objective.is_energy or name in COSTS) and rounded(outcome.value.mean) is not None:
            how = f"{objective.phase}, {objective.basis}, {' + '.join(outcome.domains)}, {outcome.kind}"
            label = f"{name} ({how})" if objective.is_energy else name
            found.append(
                EvalResult(
                    **common, metric_type=name, metric_name=flat(label), metric_value=rounded(outcome.value.mean)
                )
            )
    return found


def _metric_name(quality: Quality) -> str:
    where = f"{quality.split}, " if quality.split else ""
    return flat(f"{quality.metric} ({where}{quality.seen})")


def _content(subject: Subject) -> dict[str, Any]:
    summary, task, trained = subject.summary, subject.records.task, training(subject)
    warnings = [d for d in summary.diagnoses if d.level == "warning"]
    return {
        "title": task.title,
        "description": task.description,
        "about": f"This card is about {subject.member.label} of a joulebench run ({subject.why}).",
        "banners": prose.banners(summary),
        "facts": hub_tables.facts(subject),
        "quality": hub_tables.quality_table(qualities(subject), task.protocol),
        "energy": hub_tables.energy_table(subject),
        "domains": hub_tables.domain_table(subject),
        "training": hub_tables.training_table(subject, trained),
        "training_note": _training_note(trained),
        "costs": hub_tables.cost_facts(subject),
        "counting_note": prose.counting_note(summary),
        "one_training_run": prose.ONE_TRAINING_RUN,
        "wide_note": prose.wide_note(task.protocol),
        "spread": prose.spread(summary),
        "price": _price(subject),
        "carbon": _carbon(subject, trained),
        "hardware": hub_tables.hardware_facts(subject),
        "method": hub_tables.method_facts(task),
        "provenance": hub_tables.provenance(summary),
        "measured_share": percent(summary.ledger.measured_share),
        "checks": prose.check_sentences(summary),
        "beyond_software": f"{prose.BEYOND_SOFTWARE} {WALL_GAP}",
        "warnings": warnings,
        "command": prose.repeat_command(summary),
    }


def _training_note(trained: Training | None) -> str:
    if trained is None:
        return "Not measured: nothing was trained, or a window of the training has no valid reading."
    if trained.energy_j.n == 1:
        return "One training run: it has no interval. Validation after each epoch is not in it."
    return "The interval is between trainings of the same configuration. Validation after each epoch is not in it."


def _price(subject: Subject) -> str:
    cost = subject.summary.cost
    if cost.energy_j is None:
        return f"The run that found this model took {seconds(cost.duration_s)}; its energy was not measured."
    spent = f"{joules(cost.energy_j)} in {seconds(cost.duration_s)}"
    return f"The whole run that found this model took {spent}, every trial and all overhead included."


def _carbon(subject: Subject, trained: Training | None) -> str:
    """Grams of the training and of the run, or why they are not stated."""
    _, run = prose.search_price(subject.summary)
    if trained is None or (carbon_g := subject.carbon_g(trained.energy_j.mean)) is None:
        return run
    return f"Carbon of the training: {grams(carbon_g)} CO2e. {run}"
