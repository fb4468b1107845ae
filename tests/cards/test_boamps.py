"""BoAmps reports: valid by the data model, in its units, and refused where a required field is not known."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from joulebench.cards import make_card
from joulebench.cards.boamps import boamps_card
from joulebench.cards.boamps_fields import ALLOWED, FIELDS, check_field, check_report
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from tests.card_subjects import GRID, leaves, subject_of
from tests.conftest import REPOSITORY
from tests.factories import fault
from tests.generation_runs import add, generation_task
from tests.run_factory import RunBuilder, full_run, make_task

ENVIRONMENT = {
    "python": "3.11.9",
    "packages": {"torch": "2.11.0"},
    "host": {
        "cpu": "Example CPU",
        "logical_cpus": 8,
        "memory_bytes": 32_000_000_000,
        "accelerators": ["A GPU", "A GPU"],
        "os": "Linux-6.1-x86_64",
    },
}
INFRA = {"infrastructure.infraType": "onPremise"}
SCHEMA = Draft202012Validator(json.loads(Path(__file__).with_name("boamps.schema.json").read_text()))


def one_trial() -> RunBuilder:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    return run


def report_of(run: RunBuilder, fields=INFRA, **manifest) -> dict:
    manifest = {"environment": ENVIRONMENT, **manifest}
    found = json.loads(boamps_card(subject_of(run, **manifest), fields))
    SCHEMA.validate(found)
    return found


def published() -> list[Path]:
    return sorted(path.parent for path in (REPOSITORY / "reports").rglob("manifest.json"))


@pytest.mark.parametrize("folder", published(), ids=lambda f: "-".join(f.relative_to(REPOSITORY).parts[1:3]))
def test_a_published_run_makes_a_valid_report(folder):
    fields = {**INFRA, "task.taskFamily": "any", "task.dataset.0.dataType": "image"}
    run = RunFolder.open(folder)
    if not any(w.phase == "train" or w.phase in t.unit for t in run.trials() for w in t.windows):
        # a study of a published table neither trained nor inferred anything
        with pytest.raises(InputError, match=r"measures\.0\.powerConsumption: .* was not measured"):
            make_card(run, "boamps", given=fields)
        return
    SCHEMA.validate(json.loads(make_card(run, "boamps", given=fields).text))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("infrastructure.infraType", "cloud"),
        ("infrastructure.infraType", None),
        ("infrastructure.infratype", "onPremise"),
        ("infrastructure.components.0.nbComponent", 0),
        ("infrastructure.components.1.memorySize", 1.5),
        ("measures.0.powerConsumption", None),
        ("measures.0.powerConsumption", "5"),
        ("measures.0.averageUtilizationCpu", 1.1),
        ("measures.0.measurementDateTime", "2026-01-02T03:04:05Z"),
        ("task.taskFamily", None),
        ("task.measuredAccuracy", -0.1),
        ("task.nbRequest", True),
        ("task.dataset.0.dataType", "pixels"),
        ("system.os", ""),
        ("software.version", 3.11),
    ],
)
def test_what_the_schema_does_not_have_the_card_refuses_too(path, value):
    broken = deepcopy(report_of(one_trial()))
    check_report(broken)
    *steps, name = (int(step) if step.isdecimal() else step for step in path.split("."))
    place = broken
    for step in steps:
        place = place[step]
    place[name] = value
    if value is None:
        del place[name]
    with pytest.raises(ValidationError):
        SCHEMA.validate(broken)
    with pytest.raises(InputError) as caught:
        check_report(broken)
    assert path in str(caught.value)


def fields_of(schema, path=()):
    """Every field of the schema by its path, with what it may be."""
    if "$ref" in schema:
        schema = SCHEMA.schema["$defs"][schema["$ref"].rpartition("/")[2]]
    if "items" in schema:
        return fields_of(schema["items"], (*path, "0"))
    if "properties" not in schema:
        return {".".join(path): schema}
    return {
        k: v for name, inner in schema["properties"].items() for k, v in fields_of(inner, (*path, name)).items()
    }


def test_the_fields_and_values_that_can_be_given_are_the_schemas():
    found = fields_of(SCHEMA.schema)
    assert set(FIELDS) == set(found)
    kinds = {"string": str, "number": float, "integer": int, None: str}  # what has a list of values is text
    assert {p: kinds[schema.get("type")] for p, schema in found.items()} == FIELDS
    listed = {p.rpartition(".")[2]: tuple(schema["enum"]) for p, schema in found.items() if "enum" in schema}
    assert {name: values for name, values in ALLOWED.items() if name != "taskStage"} == listed
    del found["task.taskStage"]  # free in the data model; two stages are measured
    for path, schema in found.items():
        for value in ("x", "high", -0.5, 0, 0.5, 1, 1.5, 91, 181, True, "2026-01-03 00:00:00"):
            if Draft202012Validator(schema).is_valid(value):
                check_field(path, value)
            else:
                with pytest.raises(InputError, match=path):
                    check_field(path, value)


def test_inference_is_the_sum_of_its_valid_windows_in_kwh():
    found = report_of(one_trial())
    (measure,) = found["measures"]
    assert measure["powerConsumption"] == pytest.approx(5 * 80 / 3.6e6, rel=1e-5)
    assert measure["measurementDuration"] == pytest.approx(5.0)
    assert measure["measurementDateTime"] == "2026-01-02 03:04:05"
    assert measure["cpuTrackingMode"] == "cpu_load_model"
    assert "gpuTrackingMode" not in measure
    assert found["task"]["nbRequest"] == 40_000
    assert found["task"]["taskStage"] == "inference"
    assert found["task"]["taskFamily"] == "imageClassification"
    assert found["task"]["measuredAccuracy"] == 0.9
    # the quiet baseline nearest to it: four windows of half a second at 30 W
    assert measure["powerCalibrationMeasurement"] == pytest.approx(4 * 0.5 * 30 / 3.6e6, rel=1e-5)
    assert measure["durationCalibrationMeasurement"] == pytest.approx(2.0)


def test_a_window_that_does_not_count_is_not_in_it():
    run = one_trial()
    windows = list(run.trials[0].windows)
    first = next(i for i, w in enumerate(windows) if w.phase == "inference")
    windows[first] = windows[first].model_copy(update={"fault": fault("counter reset")})
    run.trials[0] = run.trials[0].model_copy(update={"windows": tuple(windows)})
    found = report_of(run)
    assert found["task"]["nbRequest"] == 32_000
    assert found["measures"][0]["measurementDuration"] == pytest.approx(4.0)


def test_training_is_one_training():
    found = report_of(one_trial(), {**INFRA, "task.taskStage": "training"})
    assert found["measures"][0]["powerConsumption"] == pytest.approx(240 / 3.6e6, rel=1e-5)
    assert found["task"]["algorithms"][0]["trainingType"] == "supervisedLearning"
    assert found["task"]["dataset"][0]["dataQuantity"] == 1200
    assert "nbRequest" not in found["task"]


def test_the_machine_as_the_host_tells_it():
    found = report_of(one_trial(), hardware=GRID)
    cpu, ram, gpu = found["infrastructure"]["components"]
    assert (cpu["componentName"], cpu["nbComponent"]) == ("Example CPU", 8)
    assert (ram["componentType"], ram["memorySize"], ram["nbComponent"]) == ("ram", 32, 1)
    assert (gpu["componentName"], gpu["nbComponent"]) == ("A GPU", 2)
    assert found["environment"] == {"country": "FRA", "powerSourceCarbonIntensity": 100.0}
    assert found["system"] == {"os": "linux"}
    assert found["software"] == {"language": "python", "version": "3.11.9"}


def test_the_kind_of_the_joules_is_in_the_description():
    text = report_of(one_trial())["task"]["taskDescription"]
    assert "estimated, measured share 0 %" in text
    assert "validation split: the search saw it" in text


def test_a_required_field_that_is_not_known_is_asked_for_by_name():
    with pytest.raises(
        InputError, match=r"infrastructure\.infraType: .*--set infrastructure\.infraType=… .*onPremise"
    ):
        report_of(one_trial(), {})


def test_a_host_that_is_not_known_is_asked_for():
    with pytest.raises(InputError, match=r"infrastructure\.components\.0\.componentType: .*requires it"):
        report_of(one_trial(), environment={})
    given = {f"infrastructure.components.0.{k}": v for k, v in (("componentType", "cpu"), ("nbComponent", 4))}
    found = report_of(one_trial(), {**INFRA, **given}, environment={})
    assert found["infrastructure"]["components"] == [{"componentType": "cpu", "nbComponent": 4}]


def test_tokens_without_a_data_set_need_their_family():
    run = RunBuilder(generation_task())
    add(run, {"batch_size": 1}, stage="default", idle=True)
    with pytest.raises(InputError, match=r"task\.taskFamily: the boamps card requires it"):
        report_of(run)
    found = report_of(run, {**INFRA, "task.taskFamily": "textGeneration"})
    assert found["task"]["dataset"][0]["dataType"] == "token"
    assert "nbRequest" not in found["task"]  # tokens are no requests
    assert "measuredAccuracy" not in found["task"]


@pytest.mark.parametrize(
    ("dataset", "shape", "kind"),
    [
        ({"name": "table", "text": "review"}, None, "text"),
        ({"name": "table"}, [4, 1, 1], "tabular"),
        ({"name": "table"}, [3, 8, 8], "image"),
    ],
)
def test_tables_are_what_they_hold(dataset, shape, kind):
    run = RunBuilder(make_task(dataset={**dataset, "validation": 2}))
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    fields = {**INFRA, "task.taskFamily": "any"}
    assert report_of(run, fields, data={"counts": {}, "shape": shape})["task"]["dataset"][0]["dataType"] == kind


def test_a_header_needs_its_date_and_has_an_id_that_stays():
    with pytest.raises(InputError, match=r"header\.reportDatetime"):
        report_of(one_trial(), {**INFRA, "header.licensing": "CC-BY-4.0"})
    fields = {
        **INFRA,
        "header.reportDatetime": "2026-01-03 00:00:00",
        "header.publisher.confidentialityLevel": "public",
    }
    once, again = report_of(one_trial(), fields), report_of(one_trial(), fields)
    assert once == again
    assert once["header"]["formatVersion"] == "1.1.0"
    assert len(once["header"]["reportId"]) == 36


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"infrastructure.infraType": "onPremises"}, r"infraType: .*onPremise, other; did you mean 'onPremise'"),
        ({**INFRA, "quality": "best"}, r"quality: .*high, medium, low .*got 'best'"),
        ({**INFRA, "infrastructure.infratype": "x"}, r"no field .*did you mean 'infrastructure\.infraType'"),
        ({**INFRA, "header.publisher.nam": "x"}, r"did you mean 'header\.publisher\.name'.*projectName"),
        ({**INFRA, "task.dataset.dataType": "image"}, r"did you mean 'task\.dataset\.0'"),
        ({**INFRA, "task.dataset.5.dataType": "image"}, "'5' is no place in a list of 1"),
        ({**INFRA, "task.dataset.99999.dataType": "image"}, "no field"),
        ({**INFRA, "task.taskStage.x": 1}, r"no field .*task\.taskFamily"),
        ({**INFRA, "task": 1}, r"no field .*allowed: task\.taskStage"),
        ({**INFRA, "task.taskStage": "dreaming"}, r"task\.taskStage: .*inference, training.*got 'dreaming'"),
        ({**INFRA, "measures.0.powerConsumption": float("nan")}, "powerConsumption: .*from 0"),
        ({**INFRA, "measures.0.powerConsumption": float("inf")}, "powerConsumption: .*from 0"),
        ({**INFRA, "measures.1.version": "2"}, r"measures\.1\.measurementMethod: .*--set measures\.1\."),
        ({**INFRA, "header.reportDatetime": "today"}, r"header\.reportDatetime: .*YYYY-MM-DD HH:MM:SS"),
        ({**INFRA, "": 1}, "no field .*allowed: header, task, measures"),
    ],
)
def test_fields_that_do_not_fit_are_refused_in_one_line(fields, message):
    with pytest.raises(InputError, match=message) as caught:
        report_of(one_trial(), fields)
    assert "\n" not in str(caught.value)


def test_a_second_data_set_can_be_added():
    found = report_of(
        one_trial(), {**INFRA, "task.dataset.1.dataUsage": "output", "task.dataset.1.dataType": "word"}
    )
    assert [d["dataUsage"] for d in found["task"]["dataset"]] == ["input", "output"]


def test_nothing_measured_and_replays_are_refused():
    with pytest.raises(InputError, match="replayed"):
        report_of(one_trial(), replay="65 W")
    run = RunBuilder(make_task(), watts={})
    run.add({}, 8000, {"val_accuracy": 0.9})
    with pytest.raises(InputError, match="was not measured"):
        boamps_card(subject_of(run, trial=0), INFRA)


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=80), st.floats(), st.text(max_size=20))
def test_hostile_text_stays_text(text, value, path):
    run = one_trial()
    run.trials[0] = run.trials[0].model_copy(update={"metrics": {"val_accuracy": value}})
    host = {"cpu": text, "logical_cpus": 2, "os": text, "accelerators": [text]}
    environment = {"host": host, "python": text, "packages": {"torch": text}}
    subject = subject_of(run, trial=0, environment=environment, hardware={**GRID, "country": text}, joulebench=text)
    fields = {**INFRA, "environment.country": "FRA", "system.os": "linux", "software.language": "python"}
    fields |= {"header.reportDatetime": "2026-01-03 00:00:00", "header.licensing": text}
    card = boamps_card(subject, fields)
    card.encode("ascii")
    found = json.loads(card, parse_constant=lambda name: pytest.fail(name))
    assert all(v is not None for v in leaves(found))
    try:
        boamps_card(subject, {**fields, f"task.{path}": text})
    except InputError:
        return  # refused, not crashed


def test_all_trials_of_a_configuration_count():
    found = json.loads(boamps_card(subject_of(full_run(), trial=0, environment=ENVIRONMENT), INFRA))
    assert found["task"]["nbRequest"] == 2 * 40_000
