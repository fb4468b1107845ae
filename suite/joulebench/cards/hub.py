"""The card of a model hub: README.md with metadata by huggingface_hub, and a body for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from joulebench.cards.quality import Quality, hub_task, qualities
from joulebench.cards.subject import Subject, hardware_used
from joulebench.cards.values import NOT_KNOWN, checked, rounded, text_of, texts_of
from joulebench.presentation import words
from joulebench.presentation.markdown import markdown_environment, tidy
from joulebench.presentation.numbers import NOT_MEASURED, count, grams, joules, number, octets, percent, seconds
from joulebench.presentation.table import Cell, Column, Table, flatten, prefixed_cell, show, value_cell, worded_cell
from joulebench.presentation.training import training_cell
from joulebench.presentation.units import plain
from joulebench.reporting import prose, tables
from joulebench.reporting.findings import findings
from joulebench.reporting.repeat import needs, repeat_command
from joulebench.reporting.summary import Summary
from joulebench.results.energy import Energy
from joulebench.results.phase_runs import EVERY_FAMILY, TrainingRuns
from joulebench.results.training_flops import trained_unit
from joulebench.spec.objectives import COSTS
from joulebench.spec.parameters import Value
from joulebench.spec.registry import BLOCK, COMMAND, is_own
from joulebench.spec.task import Protocol, Task
from joulebench.text import one_line

TEMPLATES = Path(__file__).parent / "templates"

#: What the user may add to the metadata, under the hub's own names.
FIELDS = (
    "model_name", "license", "library_name", "pipeline_tag", "base_model", "language",
    "training_type", "geographical_location",
)  # fmt: skip

#: Of these, those that the hub takes lists for.
LISTS = ("base_model", "language")

#: How far software energy lay below wall meters in public comparisons.
WALL_GAP = (
    "How far off that is differs by machine: in 318 public runs on one desktop (RTX 4090, Core i9) CodeCarbon read "
    f"a median of 28 % less than the wall meter. {prose.ERROR_IN_PRINT}"
)


def hub_card(subject: Subject, given: Mapping[str, Value]) -> str:
    """Metadata between two lines of `---`, then Markdown.

    The metadata hold `model-index` where the data set is known, and `co2_eq_emissions`, in grams, of the training
    where its energy and a grid intensity are.

    Raises:
        InputError: a field of `given` that the card does not have.
    """
    checked(given, FIELDS, "hf")
    fields = {name: (texts_of if name in LISTS else text_of)(given, name) for name in FIELDS}
    body = markdown_environment(TEMPLATES).get_template("hub.md.j2").render(**_content(subject))
    return f"---\n{metadata(subject, fields).to_yaml(line_break=chr(10))}\n---\n\n{tidy(body)}"


def metadata(subject: Subject, fields: Mapping[str, Any]) -> ModelCardData:
    """Metadata of a model card for the Hugging Face hub; unknown fields are absent."""
    results = _results(subject)
    name = fields["model_name"] or one_line(f"{subject.run.task.name} {subject.member.label}")
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
        co2_eq_emissions=emissions(subject, fields),
    )


def emissions(subject: Subject, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Grams of CO2 of one training; None where its joules or the grid's intensity are not known, or replayed."""
    trained = subject.training
    carbon_g = None if trained is None else subject.carbon_g(trained.gross.mean)
    if trained is None or carbon_g is None or subject.is_replayed:
        return None
    country = subject.run.manifest.hardware.get("country")
    known = {
        "emissions": rounded(carbon_g),
        "source": one_line(_emissions_source(subject, trained.gross)),
        "training_type": fields["training_type"] or _training_type(subject),
        "geographical_location": fields["geographical_location"] or (one_line(str(country)) if country else None),
        "hardware_used": one_line(used) if (used := hardware_used(subject)) else None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _emissions_source(subject: Subject, energy: Energy) -> str:
    cost = subject.summary.cost
    pue = f"PUE {number(cost.pue.value)}" if cost.pue else "no PUE"
    grid = cost.intensity_g_per_kwh
    intensity = "" if grid is None else f", {number(grid.value)} g CO2e/kWh ({grid.source})"
    read = f"{words.domains(energy.domains)}, {energy.kind}"
    return f"joulebench {subject.run.manifest.joulebench}: training, {read}; {pue}{intensity}"


def _training_type(subject: Subject) -> str | None:
    """The workloads that ship train from random weights; what a user's own code starts from is not known."""
    workload = subject.run.task.workload
    return None if is_own(workload) or workload in (BLOCK, COMMAND) else "pre-training"


def _results(subject: Subject) -> list[EvalResult]:
    kind, dataset = hub_task(subject), subject.run.task.dataset
    if kind is None or dataset is None:
        return []
    common: dict[str, Any] = {"task_type": kind, "task_name": one_line(subject.run.task.title)}
    common |= {"dataset_type": dataset.name, "dataset_name": dataset.name}
    results = [
        EvalResult(
            **common,
            dataset_split=q.split,
            metric_type=one_line(q.metric),
            metric_name=_metric_name(q),
            metric_value=rounded(q.value.mean),
        )
        for q in qualities(subject)
    ]
    for name, outcome in subject.member.outcomes.items():
        objective = subject.run.task.objectives[name]
        if (objective.is_energy or name in COSTS) and rounded(outcome.value.mean) is not None:
            parts = (objective.phase, objective.basis, words.domains(outcome.domains), outcome.kind)
            how = ", ".join(map(str, (*parts, *subject.labels)))
            label = f"{name} ({how})" if objective.is_energy else name
            results.append(
                EvalResult(
                    **common,
                    metric_type=name,
                    metric_name=one_line(label),
                    metric_value=rounded(outcome.value.mean),
                )
            )
    return results


def _metric_name(quality: Quality) -> str:
    where = f"{quality.split}, " if quality.split else ""
    return one_line(f"{quality.metric} ({where}{quality.seen})")


def _content(subject: Subject) -> dict[str, Any]:
    summary, task, trained = subject.summary, subject.run.task, subject.training
    return {
        "title": task.title,
        "description": task.description,
        "about": f"This card is about {subject.member.label} of a joulebench run ({subject.why}).",
        "labels": subject.labels,
        "banners": prose.banners(summary),
        "facts": facts(subject),
        "quality": quality_table(qualities(subject), task.protocol),
        "energy": energy_table(subject),
        "domains": domain_table(subject),
        "training": training_table(subject, trained),
        "training_note": _training_note(trained),
        "costs": cost_facts(subject),
        "counting_note": prose.counting_note(summary),
        "interval_note": prose.interval_note(_energies(subject)),
        "wide_note": prose.wide_note(task.protocol),
        "spread": prose.spread(summary),
        "price": _price(subject),
        "carbon": _carbon(subject, trained),
        "hardware": hardware_facts(subject),
        "method": method_facts(task),
        "provenance": provenance(summary),
        "measured_share": percent(summary.ledger.measured_share),
        "checks": prose.check_sentences(summary),
        "beyond_software": f"{prose.BEYOND_SOFTWARE} {WALL_GAP}",
        "warnings": [f for f in findings(summary) if f.level == "warning"],
        "command": repeat_command(summary),
        "needs": needs(summary),
    }


def _energies(subject: Subject) -> list[Energy]:
    works = [w for t in subject.targets if (w := subject.phase(t.phase, t.families)) is not None]
    return [energy for w in works for energy in (w.gross, w.net) if energy is not None]


def _training_note(trained: TrainingRuns | None) -> str:
    if trained is None:
        return "Not measured: nothing was trained, or a window of the training has no valid reading."
    if trained.gross.low is None:
        return "One training run: it has no interval. Validation after each epoch is not included."
    of = "one configuration" if trained.gross.n > 1 else "the configurations that were run more than once"
    return f"The interval is between trainings of {of}. Validation after each epoch is not included."


def _price(subject: Subject) -> str:
    cost = subject.summary.cost
    if cost.energy_j is None:
        return f"The run that found this model took {seconds(cost.duration_s)}; its energy was not measured."
    spent = f"{joules(cost.energy_j)} in {seconds(cost.duration_s)}"
    return f"The whole run that found this model took {spent}, every trial and all overhead included."


def _carbon(subject: Subject, trained: TrainingRuns | None) -> str:
    """Grams of the training and of the run, or why they are not stated."""
    _, run = prose.search_price(subject.summary)
    if trained is None or (carbon_g := subject.carbon_g(trained.gross.mean)) is None:
        return run
    return f"Carbon of the training: {grams(carbon_g)} CO2e. {run}"


Facts = tuple[tuple[str, str], ...]


def facts(subject: Subject) -> Facts:
    """Facts of the measured model: task, data, configuration."""
    manifest, task = subject.run.manifest, subject.run.task
    params = ", ".join(f"{name} = {show(value)}" for name, value in subject.member.params.items())
    seeds = ", ".join(str(t.seed) for t in subject.trials)
    return (
        ("Task", f"{task.name}, version {task.version}, digest {manifest.run_digest}"),
        ("Workload", task.workload),
        ("Budget", manifest.budget or "none named: the task as it stands"),
        ("Data", "; ".join(f"{k}: {v}" for k, v in flatten(manifest.data)) or "none"),
        ("Configuration", params),
        ("Trials", f"{', '.join(map(str, subject.member.trials))} (seeds {seeds})"),
        ("Measured", manifest.created_utc),
        ("joulebench", manifest.joulebench),
    )


def quality_table(values: Sequence[Quality], protocol: Protocol) -> Table:
    rows = tuple(
        (Cell(q.metric), Cell(q.split or "as the workload defines it"), value_cell(q.value, protocol), Cell(q.seen))
        for q in values
    )
    columns = (Column("Metric"), Column("Split"), Column("Value", numeric=True), Column("Who saw it"))
    return Table("Metrics by split", columns, rows)


def energy_table(subject: Subject) -> Table:
    """Joules per unit of work by phase, gross and net, over the domains that the task counts."""
    protocol = subject.run.task.protocol
    rows = []
    for target in subject.targets:
        work = subject.phase(target.phase, target.families)
        if work is None:
            continue
        unit = plain(target.unit)
        label = f"{work.kind}, measured share {percent(work.gross.measured_share)}"
        rows.append(
            (
                Cell(target.phase),
                Cell(words.domains(work.domains), (label,)),
                _labelled(work.gross, f"J/{unit}", protocol),
                _labelled(work.net, f"J/{unit}", protocol),
                prefixed_cell(work.unit_s, f"s/{unit}", protocol),
            )
        )
    titles = ("Phase", "Domains", "Gross", "Net of idle", "Time")
    return Table.of("Energy of the work, with 95 % intervals", titles, rows, text=2)


def _labelled(energy: Energy | None, unit: str, protocol: Protocol) -> Cell:
    cell = prefixed_cell(energy, unit, protocol)
    return cell if energy is None else replace(cell, details=(*cell.details, energy.kind))


def domain_table(subject: Subject) -> Table:
    """The same work, domain by domain: gross joules, how they were obtained."""
    protocol = subject.run.task.protocol
    rows = []
    for phase, unit in subject.phases.items():
        for name in EVERY_FAMILY:
            work = subject.phase(phase, (name,))
            if work is not None:
                value = prefixed_cell(work.gross, f"J/{plain(unit)}", protocol)
                sources = ", ".join(subject.sources(phase, name))
                rows.append((Cell(phase), Cell(name), value, Cell(work.kind), Cell(sources)))
    columns = (Column("Phase"), Column("Domain"), Column("Gross", True), Column("Kind"), Column("Source"))
    return Table("The same by domain", columns, tuple(rows))


def training_table(subject: Subject, trained: TrainingRuns | None) -> Table:
    titles = ("Domains", "Energy of a training", "Time of its steps", "Work")
    if trained is None:
        return Table.of("Energy of training", titles, ())
    energy = trained.gross
    row = (
        Cell(words.domains(energy.domains), (f"measured share {percent(energy.measured_share)}",)),
        _labelled(energy, "J", subject.run.task.protocol),
        worded_cell(seconds, trained.seconds.mean, trained.seconds.low, trained.seconds.high),
        Cell(f"{count(trained.units[0])} {_units(trained_unit(subject.run.task))}"),
    )
    return Table.of("Energy of training", titles, (row,))


def _units(unit: str) -> str:
    return "units of work" if unit == "unit" else f"{unit}s"


def cost_facts(subject: Subject) -> Facts:
    """Static costs, as far as they were counted."""
    costs, trained, unit = subject.member.costs, subject.member.training, trained_unit(subject.run.task)
    rows = [
        ("Parameters", None if costs.parameters is None else count(costs.parameters)),
        ("MACs of one sample", None if costs.macs is None else tables.at_least(costs, costs.macs)),
        ("FLOPs of one sample", None if costs.flops is None else tables.at_least(costs, costs.flops)),
        *((f"FLOPs of one unit of {p}", tables.at_least(costs, n, p)) for p, n in costs.phase_flops.items()),
        ("FLOPs of the training", None if trained is None else _worded(training_cell(trained, unit))),
        ("Peak memory", None if costs.peak_memory_bytes is None else octets(costs.peak_memory_bytes)),
    ]
    return tuple((name, value) for name, value in rows if value is not None)


def _worded(cell: Cell) -> str:
    return f"{cell.text} ({'; '.join(cell.details)})"


def hardware_facts(subject: Subject) -> Facts:
    """The machine, as its profile and the host itself name it."""
    manifest = subject.run.manifest
    profile = manifest.hardware
    rows = [
        ("Profile", str(profile.get("title") or profile.get("name") or NOT_KNOWN)),
        ("Device", hardware_used(subject) or NOT_KNOWN),
    ]
    rows += [(f"Host: {key}", value) for key, value in flatten(subject.host)]
    packages = manifest.environment.get("packages")
    versions = list(flatten(packages if isinstance(packages, dict) else {}))
    rows += [("Software", ", ".join(f"{name} {version}" for name, version in versions))] if versions else []
    return tuple(rows)


def method_facts(task: Task) -> Facts:
    """Facts of the energy measurement, from the task's protocol."""
    protocol = task.protocol
    most = f"{protocol.repeats} to {protocol.max_repeats} windows of at least {protocol.window_s:g} s"
    idle = "none measured" if protocol.idle_s == 0 else f"{protocol.idle_s:g} s every {protocol.idle_every} trials"
    return (
        ("Warm-up", f"at least {protocol.warmup_s:g} s, until pace and power have settled"),
        ("Windows", f"{most}, until the 95 % half-width is {percent(protocol.target_rel_ci)} of the mean"),
        ("Interval", "Student's t; of windows within a run, and of runs where a configuration ran more than once"),
        ("Idle baseline", idle),
        ("Net", "gross − idle power × time; not clipped at 0; absent where idle was not measured or not quiet"),
    )


def provenance(summary: Summary) -> Table:
    """Domain, source and kind of every joule of the run."""
    table = tables.provenance_table(summary)
    return table if table.rows else Table(NOT_MEASURED, table.columns, ())
