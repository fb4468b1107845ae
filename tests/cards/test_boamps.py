"""BoAmps reports: valid by the data model, in its units, and refused where a required field is not known."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.cards.boamps import boamps_card
from joulebench.cards.boamps_schema import Report
from joulebench.errors import InputError
from tests.card_subjects import GRID, leaves, subject_of
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


def one_trial() -> RunBuilder:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    return run


def report_of(run: RunBuilder, fields=INFRA, **manifest) -> dict:
    manifest = {"environment": ENVIRONMENT, **manifest}
    found = json.loads(boamps_card(subject_of(run, **manifest), fields))
    Report.model_validate(found)
    return found


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
    windows[first] = windows[first].model_copy(update={"fault": "counter reset"})
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


def test_tokens_without_a_data_set_need_their_family():
    run = RunBuilder(generation_task())
    add(run, {"batch_size": 1}, stage="default", idle=True)
    with pytest.raises(InputError, match=r"task\.taskFamily: the boamps card requires it"):
        report_of(run)
    found = report_of(run, {**INFRA, "task.taskFamily": "textGeneration"})
    assert found["task"]["dataset"][0]["dataType"] == "token"
    assert "nbRequest" not in found["task"]  # tokens are no requests
    assert "measuredAccuracy" not in found["task"]


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
        ({"infrastructure.infraType": "cloud"}, r"infrastructure\.infraType: Input should be 'publicCloud'"),
        (
            {**INFRA, "infrastructure.infratype": "x"},
            r"--set infrastructure\.infratype: the BoAmps data model has no",
        ),
        ({**INFRA, "task.dataset.5.dataType": "image"}, "'5' is no place in a list of 1"),
        ({**INFRA, "task.taskStage.x": 1}, "'x' is below a value"),
        ({**INFRA, "task.taskStage": "dreaming"}, r"no stage 'dreaming' \(allowed: inference, training\)"),
        ({**INFRA, "measures.0.powerConsumption": float("nan")}, "powerConsumption"),
        ({**INFRA, "": 1}, "no such field"),
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
