"""The BoAmps card: a JSON report of one stage's energy for Boavizta's open data on AI tasks."""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joulebench.cards.boamps_fields import FORMAT_URI, FORMAT_VERSION, check_field, check_report
from joulebench.cards.quality import Quality, hub_task, qualities
from joulebench.cards.subject import Subject, refuse_replay
from joulebench.cards.values import to_json
from joulebench.errors import InputError
from joulebench.presentation import words
from joulebench.presentation.numbers import percent
from joulebench.records.model import Reading, Window, combined
from joulebench.results.energy import common_domains
from joulebench.results.idle import idle_power_w, nearest_idle
from joulebench.results.ledger import family
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.results.validity import valid_windows
from joulebench.spec.parameters import Value
from joulebench.stats.constants import JOULES_PER_KWH

GIGABYTE = 1e9
#: Data sets that anyone can have.
_PUBLIC = ("digits", "mnist", "cifar10")
_FAMILIES = {"image-classification": "imageClassification", "text-generation": "textGeneration"}


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
    for path, value in given.items():
        check_field(path, value)
    spent = _spent(subject, str(given.get("task.taskStage", "inference" if subject.main_phase else "training")))
    tree = _report(subject, spent)
    for path, value in given.items():
        _put(tree, path, value)
    if "header" in tree:
        header = tree["header"]
        header.setdefault("formatVersion", FORMAT_VERSION)
        header.setdefault("formatVersionSpecificationUri", FORMAT_URI)
        # follows from the report, so that the same report keeps its id
        header.setdefault("reportId", str(uuid.uuid5(uuid.NAMESPACE_URL, to_json(tree))))
    text = to_json(tree)
    check_report(json.loads(text))
    return text


@dataclass(frozen=True)
class Spent:
    """A stage's windows and the domains that all of them read.

    `idle` is the baseline nearest to them; empty where that was not quiet.
    """

    stage: str
    what: str
    unit: str
    windows: Sequence[Window]
    domains: Sequence[str]
    idle: Sequence[Window]

    @property
    def units(self) -> int:
        return sum(w.units for w in self.windows)

    @property
    def readings(self) -> list[Reading]:
        return _readings(self.windows, self.domains)


def _spent(subject: Subject, stage: str) -> Spent:
    windows, unit, what = _trained(subject) if stage == "training" else _inferred(subject)
    domains = common_domains(windows, EVERY_FAMILY)
    if _joules(_readings(windows, domains)) <= 0:
        raise InputError(
            f"measures.0.powerConsumption: the energy of {stage} was not measured, and the boamps card requires it"
        )
    nearest = nearest_idle(subject.run.idle, windows[0])
    idle = [w for w in nearest if not w.fault] if idle_power_w(nearest, domains) is not None else []
    return Spent(stage, what, unit, windows, domains, idle)


def _inferred(subject: Subject) -> tuple[list[Window], str, str]:
    """Every valid window of the main phase, over all trials of the configuration; its unit; what that is."""
    phase, protocol = subject.main_phase, subject.run.task.protocol
    if phase is None:
        return [], "", ""
    windows = [w for t in subject.trials for w in valid_windows(t.windows, phase, protocol)]
    unit = subject.phases[phase]
    return windows, unit, f"{len(windows)} windows of phase {phase}, {sum(w.units for w in windows)} {unit}s"


def _trained(subject: Subject) -> tuple[list[Window], str, str]:
    """The training steps of the first trial, which are one training; none where their joules are not known."""
    trial = subject.trials[0]
    windows = [w for w in trial.windows if w.phase == "train"]
    if subject.training is None or any(w.fault for w in windows):
        windows = []
    unit = next(iter(trial.unit.values()), "sample")
    return windows, unit, f"training steps of trial {trial.trial}, without validation"


def _readings(windows: Sequence[Window], domains: Sequence[str]) -> list[Reading]:
    return [r for w in windows for r in w.readings if r.role == "primary" and r.domain in domains]


def _joules(readings: Sequence[Reading]) -> float:
    return sum(r.energy_j for r in readings)


def _report(subject: Subject, spent: Spent) -> dict[str, Any]:
    manifest, grid = subject.run.manifest, subject.summary.cost.intensity_g_per_kwh
    fields: dict[str, Any] = {
        "task": _task(subject, spent),
        "measures": [_measure(subject, spent)],
        "infrastructure": {"components": _components(subject)},
    }
    if system := str(subject.host.get("os") or "").partition("-")[0].strip():
        fields["system"] = {"os": system.lower()}
    if python := manifest.environment.get("python"):
        fields["software"] = {"language": "python", "version": str(python)}
    if country := manifest.hardware.get("country"):
        fields["environment"] = {
            "country": str(country),
            "powerSourceCarbonIntensity": None if grid is None else grid.value,
        }
    return fields


def _task(subject: Subject, spent: Spent) -> dict[str, Any]:
    accuracy = next((q for q in qualities(subject) if q.metric == "accuracy"), None)
    fields: dict[str, Any] = {
        "taskStage": spent.stage,
        "taskFamily": _FAMILIES.get(hub_task(subject) or ""),
        "algorithms": [_algorithm(subject, spent)],
        "dataset": [_dataset(subject, spent)],
        "taskDescription": _description(subject, spent, accuracy),
    }
    if spent.stage == "inference" and spent.unit == "sample":
        fields["nbRequest"] = spent.units
    if accuracy is not None and 0 <= accuracy.value.mean <= 1:
        fields["measuredAccuracy"] = accuracy.value.mean
    return fields


def _description(subject: Subject, spent: Spent, accuracy: Quality | None) -> str:
    task, read = subject.run.task, spent.readings
    share = _joules([r for r in read if r.kind == "measured"]) / _joules(read)
    judged = ""
    if accuracy is not None and accuracy.split:
        judged = f" Accuracy on the {accuracy.split} split: {accuracy.seen}."
    labels = "; ".join(f"{name}: {text}" for name, text in subject.labels.items())
    labels = f" {labels}." if labels else ""
    return (
        f"{task.title}. joulebench task {task.name} v{task.version}, digest {subject.run.manifest.run_digest}, "
        f"{subject.member.label}. {spent.what}; gross joules of {words.domains(spent.domains)}, "
        f"{combined(r.kind for r in read)}, measured share {percent(share)}; no PUE applied.{judged}{labels}"
    )


def _algorithm(subject: Subject, spent: Spent) -> dict[str, Any]:
    task, packages = subject.run.task, subject.run.manifest.environment.get("packages")
    model, parameters = subject.member.params.get("model"), subject.member.costs.parameters
    fields: dict[str, Any] = {
        "algorithmName": model if isinstance(model, str) else task.workload.split(":")[-1],
        "classPath": task.workload.replace(":", ".") if ":" in task.workload else None,
        "parametersNumber": None if parameters is None else parameters / 1e9,
    }
    if isinstance(packages, dict) and packages.get("torch"):
        fields |= {"framework": "pytorch", "frameworkVersion": str(packages["torch"])}
    if spent.stage == "training":
        fields["epochsNumber"] = len(subject.trials[0].epochs) or None
        if hub_task(subject) == "image-classification":
            fields["trainingType"] = "supervisedLearning"
    return fields


def _dataset(subject: Subject, spent: Spent) -> dict[str, Any]:
    dataset, data = subject.run.task.dataset, subject.run.manifest.data
    counts = data.get("counts")
    trained = counts.get("train") if isinstance(counts, dict) else None
    fields: dict[str, Any] = {
        "dataUsage": "input",
        "dataQuantity": trained if spent.stage == "training" else spent.units,
    }
    if spent.unit.endswith("token"):
        fields["dataType"] = "token"
    elif dataset is not None:
        fields["dataType"] = "text" if dataset.is_text or dataset.text else _of_shape(data.get("shape"))
    if dataset is not None:
        if dataset.name in _PUBLIC:
            fields["source"] = "public"
        if isinstance(data.get("shape"), list):
            fields["shape"] = f"({', '.join(map(str, data['shape']))})"
    return fields


def _of_shape(shape: object) -> str:
    """What data of labelled arrays are: rows have a height and a width of 1."""
    return "tabular" if isinstance(shape, list) and shape[1:] == [1, 1] else "image"


def _measure(subject: Subject, spent: Spent) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "measurementMethod": "joulebench",
        "version": subject.run.manifest.joulebench,
        "cpuTrackingMode": _sources(spent, "cpu"),
        "gpuTrackingMode": _sources(spent, "gpu"),
        "averageUtilizationCpu": _utilisation(spent.windows, "cpu_utilisation"),
        "averageUtilizationGpu": _utilisation(spent.windows, ":0_utilisation"),
        "powerConsumption": _joules(spent.readings) / JOULES_PER_KWH,
        "measurementDuration": sum(w.duration_s for w in spent.windows),
        "measurementDateTime": min(w.start_utc for w in spent.windows)[:19].replace("T", " "),
    }
    if spent.idle:
        fields["powerCalibrationMeasurement"] = _joules(_readings(spent.idle, spent.domains)) / JOULES_PER_KWH
        fields["durationCalibrationMeasurement"] = sum(w.duration_s for w in spent.idle)
    return fields


def _sources(spent: Spent, name: str) -> str | None:
    """What read a family of domains; None where nothing did."""
    return ", ".join(sorted({r.source for r in spent.readings if family(r.domain) == name})) or None


def _utilisation(windows: Sequence[Window], ending: str) -> float | None:
    """The mean over time, 0 … 1; None where it was not read, or lies outside: that is the kernel's rounding over
    short windows, and says nothing."""
    values = [(w.duration_s, v) for w in windows for k, v in w.conditions.items() if k.endswith(ending)]
    seconds = sum(s for s, _ in values)
    mean = sum(s * v for s, v in values) / seconds if seconds > 0 else None
    return mean if mean is not None and 0 <= mean <= 1 else None


def _components(subject: Subject) -> list[dict[str, Any]]:
    """The CPU numbered by its logical CPUs (as BoAmps maps CodeCarbon's count), memory in one piece, GPUs.

    Where the host is not known, one component of which nothing is.
    """
    host, components = subject.host, list[dict[str, Any]]()
    if host.get("cpu") and isinstance(count := host.get("logical_cpus"), int):
        components.append({"componentType": "cpu", "componentName": str(host["cpu"]), "nbComponent": count})
    if isinstance(memory := host.get("memory_bytes"), int):
        components.append({"componentType": "ram", "nbComponent": 1, "memorySize": round(memory / GIGABYTE)})
    gpus = Counter(map(str, host.get("accelerators") or ()))
    components += [{"componentType": "gpu", "componentName": name, "nbComponent": n} for name, n in gpus.items()]
    return components or [{}]


def _put(tree: dict[str, Any], path: str, value: Value) -> None:
    """Set a field of the data model by its dotted path; a list is as long as the report has it, or grows by one."""
    steps = path.split(".")
    place: Any = tree
    for step, following in itertools.pairwise(steps):
        if not isinstance(place, list):
            place = place.setdefault(step, [] if following.isdecimal() else {})
            continue
        if int(step) > len(place):
            raise InputError(f"--set {path}: '{step}' is no place in a list of {len(place)}")
        if int(step) == len(place):
            place.append({})
        place = place[int(step)]
    place[steps[-1]] = value
