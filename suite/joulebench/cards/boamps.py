"""The BoAmps card: a JSON report of one stage's energy for Boavizta's open data on AI tasks."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from joulebench.cards.boamps_schema import (
    FORMAT_URI,
    FORMAT_VERSION,
    DataType,
    DataUsage,
    InfraType,
    Report,
    Secrecy,
)
from joulebench.cards.quality import hub_task, qualities
from joulebench.cards.subject import Subject, refuse_replay, training
from joulebench.cards.values import rounded, to_json
from joulebench.errors import InputError
from joulebench.presentation.numbers import percent
from joulebench.presentation.text import flat
from joulebench.records.model import Kind, Window, combined
from joulebench.results.energy import common_domains, idle_power_w, invalidity, nearest_idle
from joulebench.results.ledger import family
from joulebench.results.phase_cost import EVERY_FAMILY
from joulebench.spec.parameters import Value
from joulebench.stats.constants import JOULES_PER_KWH

GIGABYTE = 1e9
#: Data sets that anyone can have.
_PUBLIC = ("digits", "mnist", "cifar10")
_FAMILIES = {"image-classification": "imageClassification", "text-generation": "textGeneration"}
STAGES = ("inference", "training")


def boamps_card(subject: Subject, given: Mapping[str, Value]) -> str:
    """The report as JSON. `given` are fields by dotted path (`infrastructure.infraType`,
    `task.dataset.0.dataType`); they complete the report, or replace what the records say.

    `task.taskStage` chooses what is reported: `inference` (the main measured phase, all its valid windows) or
    `training`; without it, inference where a phase was measured.

    Raises:
        InputError: a required field that is not known, a field or value that the data model does not have, nothing
            measured, or joules that were replayed.
    """
    refuse_replay(subject, "boamps")
    spent = _spent(subject, given)
    tree = _report(subject, spent)
    for path, value in given.items():
        _put(tree, path, flat(value) if isinstance(value, str) else value)
    if "header" in tree:
        _complete_header(tree)
    try:
        report = Report.model_validate(tree)
    except ValidationError as error:
        raise InputError(_refusal(error)) from None
    return to_json(report.model_dump(exclude_none=True))


def _spent(subject: Subject, given: Mapping[str, Value]) -> Spent:
    stage = given.get("task.taskStage", "inference" if subject.main_phase else "training")
    if stage not in STAGES:
        raise InputError(f"--set task.taskStage: no stage '{flat(str(stage))}' (allowed: {', '.join(STAGES)})")
    found = training_spent(subject) if stage == "training" else inference_spent(subject)
    if found is None:
        raise InputError(
            f"measures.0.powerConsumption: the energy of {stage} was not measured, and the boamps card requires it"
        )
    return found


def _report(subject: Subject, spent: Spent) -> dict[str, Any]:
    manifest = subject.records.manifest
    environment = manifest.environment
    found: dict[str, Any] = {
        "task": _task(subject, spent),
        "measures": [_measure(subject, spent)],
        "infrastructure": {"components": _components(subject)},
    }
    host = environment.get("host")
    if isinstance(host, dict) and (system := str(host.get("os") or "").partition("-")[0].strip()):
        found["system"] = {"os": flat(system).lower()}
    if environment.get("python"):
        found["software"] = {"language": "python", "version": flat(str(environment["python"]))}
    if country := manifest.hardware.get("country"):
        grid = subject.summary.cost.intensity_g_per_kwh
        found["environment"] = {"country": flat(str(country))}
        if grid is not None:
            found["environment"]["powerSourceCarbonIntensity"] = rounded(grid.value)
    return found


def _task(subject: Subject, spent: Spent) -> dict[str, Any]:
    family = _FAMILIES.get(hub_task(subject) or "")
    found: dict[str, Any] = {
        "taskStage": spent.stage,
        "algorithms": [_algorithm(subject, spent)],
        "dataset": [_dataset(subject, spent)],
        "taskDescription": _description(subject, spent),
    }
    if family:
        found["taskFamily"] = family
    if spent.stage == "inference" and spent.unit == "sample":
        found["nbRequest"] = spent.units
    accuracy = next((q for q in qualities(subject) if q.metric == "accuracy" and 0 <= q.value.mean <= 1), None)
    if accuracy is not None:
        found["measuredAccuracy"] = rounded(accuracy.value.mean)
    return found


def _description(subject: Subject, spent: Spent) -> str:
    task = subject.records.task
    accuracy = next((q for q in qualities(subject) if q.metric == "accuracy"), None)
    judged = ""
    if accuracy is not None and accuracy.split:
        judged = f" Accuracy on the {accuracy.split} split: {accuracy.seen}."
    return flat(
        f"{task.title}. joulebench task {task.name} v{task.version}, digest {subject.records.manifest.digest}, "
        f"{subject.member.label}. {spent.what}; gross joules of {' + '.join(spent.domains)}, {spent.kind}, "
        f"measured share {percent(spent.measured_share)}; no PUE applied.{judged}"
    )


def _algorithm(subject: Subject, spent: Spent) -> dict[str, Any]:
    task, packages = subject.records.task, subject.records.manifest.environment.get("packages")
    model = subject.member.params.get("model")
    own = ":" in task.workload
    found: dict[str, Any] = {
        "algorithmName": flat(model) if isinstance(model, str) else task.workload.split(":")[-1]
    }
    if own:
        found["classPath"] = task.workload.replace(":", ".")
    if isinstance(packages, dict) and packages.get("torch"):
        found |= {"framework": "pytorch", "frameworkVersion": flat(str(packages["torch"]))}
    if subject.member.costs.parameters is not None:
        found["parametersNumber"] = rounded(subject.member.costs.parameters / 1e9)
    if spent.stage == "training" and spent.epochs is not None:
        found["epochsNumber"] = spent.epochs
    if spent.stage == "training" and hub_task(subject) == "image-classification":
        found["trainingType"] = "supervisedLearning"
    return found


def _dataset(subject: Subject, spent: Spent) -> dict[str, Any]:
    dataset, data = subject.records.task.dataset, subject.records.manifest.data
    counts = data.get("counts")
    trained = counts.get("train") if isinstance(counts, dict) else None
    found: dict[str, Any] = {"dataUsage": "input"}
    if (quantity := trained if spent.stage == "training" else spent.units) is not None:
        found["dataQuantity"] = quantity
    if spent.unit.endswith("token"):
        found["dataType"] = "token"
    elif dataset is not None:
        found["dataType"] = "text" if dataset.is_text else "image"
    if dataset is not None:
        if dataset.name in _PUBLIC:
            found["source"] = "public"
        if isinstance(data.get("shape"), list):
            found["shape"] = f"({', '.join(map(str, data['shape']))})"
    return found


def _measure(subject: Subject, spent: Spent) -> dict[str, Any]:
    found: dict[str, Any] = {
        "measurementMethod": "joulebench",
        "version": flat(subject.records.manifest.joulebench),
        "cpuTrackingMode": spent.sources.get("cpu"),
        "gpuTrackingMode": spent.sources.get("gpu"),
        "averageUtilizationCpu": rounded(spent.utilisation.get("cpu")),
        "averageUtilizationGpu": rounded(spent.utilisation.get("gpu")),
        "powerConsumption": rounded(spent.energy_j / JOULES_PER_KWH),
        "measurementDuration": rounded(spent.duration_s),
        "measurementDateTime": spent.start_utc[:19].replace("T", " "),
    }
    if spent.idle_j is not None and spent.idle_s is not None:
        found["powerCalibrationMeasurement"] = rounded(spent.idle_j / JOULES_PER_KWH)
        found["durationCalibrationMeasurement"] = rounded(spent.idle_s)
    return found


def _components(subject: Subject) -> list[dict[str, Any]]:
    """The CPU numbered by its logical CPUs (as BoAmps maps CodeCarbon's count), memory in one piece, GPUs."""
    host = subject.records.manifest.environment.get("host")
    host = host if isinstance(host, dict) else {}
    found: list[dict[str, Any]] = []
    if host.get("cpu") and isinstance(host.get("logical_cpus"), int):
        found.append(
            {"componentType": "cpu", "componentName": flat(str(host["cpu"])), "nbComponent": host["logical_cpus"]}
        )
    if isinstance(memory := host.get("memory_bytes"), int | float):
        found.append({"componentType": "ram", "nbComponent": 1, "memorySize": round(memory / GIGABYTE)})
    names = [flat(str(name)) for name in host.get("accelerators") or ()]
    found += [
        {"componentType": "gpu", "componentName": n, "nbComponent": names.count(n)} for n in dict.fromkeys(names)
    ]
    return found


def _put(tree: dict[str, Any], path: str, value: Value) -> None:
    """Set a value by its dotted path; a list is as long as the report has it, or grows by one."""
    steps = path.split(".")
    place: Any = tree
    for step, following in itertools.pairwise(steps):
        place = _step(place, step, [] if following.isdecimal() else {}, path)
    _step(place, steps[-1], None, path)
    place[int(steps[-1]) if isinstance(place, list) else steps[-1]] = value


def _step(place: Any, step: str, empty: Any, path: str) -> Any:
    """What is at a step of the path, made where there is nothing yet."""
    if isinstance(place, list):
        if not step.isdecimal() or int(step) > len(place):
            raise InputError(f"--set {flat(path)}: '{flat(step)}' is no place in a list of {len(place)}")
        if int(step) == len(place):
            place.append(empty)
        return place[int(step)]
    if not isinstance(place, dict):
        raise InputError(f"--set {flat(path)}: '{flat(step)}' is below a value")
    return place.setdefault(step, empty)


def _complete_header(tree: dict[str, Any]) -> None:
    """What the header can know by itself; its id follows from the report, so that the same report keeps it."""
    if not isinstance(header := tree["header"], dict):
        return
    header.setdefault("formatVersion", FORMAT_VERSION)
    header.setdefault("formatVersionSpecificationUri", FORMAT_URI)
    header.setdefault("reportId", str(uuid.uuid5(uuid.NAMESPACE_URL, to_json(tree))))


def _refusal(error: ValidationError) -> str:
    """The first field that does not fit, by its path, and how to give it."""
    first = error.errors(include_url=False)[0]
    path = flat(".".join(map(str, first["loc"])))
    allowed = first.get("ctx", {}).get("expected")
    hint = f" (allowed: {allowed})" if allowed else ""
    if first["type"] == "missing":
        allowed = _allowed(str(first["loc"][-1]))
        return (
            f"{path}: the boamps card requires it and the records do not hold it; give --set {path}=…"
            f"{f' (allowed: {allowed})' if allowed else ''}"
        )
    if first["type"] == "extra_forbidden":
        return f"--set {path}: the BoAmps data model has no such field"
    return f"{path}: {first['msg']}{'' if allowed and str(allowed) in first['msg'] else hint}"


def _allowed(name: str) -> str:
    """The values of a required field that has a list of them, from the model itself."""
    listed = {"infraType": InfraType, "dataType": DataType, "dataUsage": DataUsage, "confidentialityLevel": Secrecy}
    return ", ".join(get_args(listed[name])) if name in listed else ""


@dataclass(frozen=True)
class Spent:
    """A stage's windows in sum; `idle_j` over `idle_s` is the baseline nearest to it, where that was quiet."""

    stage: str
    what: str
    unit: str
    units: int
    energy_j: float
    duration_s: float
    start_utc: str
    domains: tuple[str, ...]
    kind: Kind
    measured_share: float
    sources: dict[str, str]  # by family of domains
    utilisation: dict[str, float]  # by family, 0 … 1; absent where it was not read
    idle_j: float | None = None
    idle_s: float | None = None
    epochs: int | None = None


def inference_spent(subject: Subject) -> Spent | None:
    """Every valid window of the main phase, over all trials of the configuration; None where there is none."""
    phase = subject.main_phase
    if phase is None:
        return None
    protocol = subject.records.task.protocol
    windows = [w for t in subject.trials for w in t.windows if w.phase == phase and invalidity(w, protocol) is None]
    what = f"{len(windows)} windows of phase {phase}, {sum(w.units for w in windows)} {subject.phases[phase]}s"
    return _spent_in(subject, "inference", what, subject.phases[phase], windows)


def training_spent(subject: Subject) -> Spent | None:
    """The training steps of the first trial, which are one training; None where their joules are not known."""
    if training(subject) is None or not subject.trials:
        return None
    trial = subject.trials[0]
    windows = [w for w in trial.windows if w.phase == "train"]
    if any(w.fault for w in windows):
        return None
    epochs = len(trial.epochs) or None
    unit = next(iter(trial.unit.values()), "sample")
    what = f"training steps of trial {trial.trial}, without validation"
    return _spent_in(subject, "training", what, unit, windows, epochs)


def _spent_in(
    subject: Subject, stage: str, what: str, unit: str, windows: Sequence[Window], epochs: int | None = None
) -> Spent | None:
    names = common_domains(windows, EVERY_FAMILY)
    if not windows or not names:
        return None
    readings = [r for w in windows for r in w.readings if r.role == "primary" and r.domain in names]
    energy_j = sum(r.energy_j for r in readings)
    if energy_j <= 0:
        return None
    sources: dict[str, str] = {}
    for name in dict.fromkeys(family(n) for n in names):
        sources[name] = ", ".join(sorted({r.source for r in readings if family(r.domain) == name}))
    block = nearest_idle(subject.idle, windows[0])
    quiet = [w for w in block if not w.fault] if idle_power_w(block, names) is not None else []
    idle_j = sum(r.energy_j for w in quiet for r in w.readings if r.role == "primary" and r.domain in names)
    return Spent(
        stage=stage,
        what=what,
        unit=unit,
        units=sum(w.units for w in windows),
        energy_j=energy_j,
        duration_s=sum(w.duration_s for w in windows),
        start_utc=min(w.start_utc for w in windows),
        domains=names,
        kind=combined(r.kind for r in readings),
        measured_share=sum(r.energy_j for r in readings if r.kind == "measured") / energy_j,
        sources=sources,
        utilisation=_utilisation(windows),
        idle_j=idle_j if quiet else None,
        idle_s=sum(w.duration_s for w in quiet) if quiet else None,
        epochs=epochs,
    )


def _utilisation(windows: Iterable[Window]) -> dict[str, float]:
    """Means over time; a mean outside 0 … 1 is the kernel's rounding over short windows, and says nothing."""
    found = {}
    listed = list(windows)
    for name, ending in (("cpu", "cpu_utilisation"), ("gpu", ":0_utilisation")):
        values = [(w.duration_s, v) for w in listed for k, v in w.conditions.items() if k.endswith(ending)]
        seconds = sum(s for s, _ in values)
        if values and seconds > 0 and 0 <= (mean := sum(s * v for s, v in values) / seconds) <= 1:
            found[name] = mean
    return found
