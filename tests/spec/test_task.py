"""Tasks: what is read, what is refused, and how budgets merge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from joulebench.errors import InputError
from joulebench.spec.task import Task, load_task
from joulebench.workloads.base import Workload

MINIMAL = {
    "name": "toy",
    "title": "A toy",
    "workload": "cnn",
    "parameters": {
        "width": {"type": "int", "low": 1, "high": 8, "default": 2},
        "rate": {"type": "float", "low": 0.1, "high": 10.0, "default": 1.0, "scale": "log"},
        "pool": {"type": "choice", "values": [True, False], "default": True},
        "batch": {"type": "fixed", "value": 64, "scope": "device"},
    },
    "objectives": {
        "val_accuracy": {"goal": "maximize", "reference": 0.1},
        "samples_per_j": {
            "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["cpu"], "basis": "gross",
        },
    },
    "stages": {"default": {"method": "default", "repeats": 3}, "init": {"method": "sobol", "trials": 4}},
    "budgets": {
        "quick": {"parameters": {"width": {"high": 4}}, "stages": {"init": {"trials": 2}}},
        "fixed": {"parameters": {"width": {"type": "fixed", "value": 7}}},
    },
}  # fmt: skip


def toy() -> Task:
    return Task.model_validate(MINIMAL)


def test_defaults_follow_the_tasks_order():
    assert list(toy().defaults.items()) == [("width", 2), ("rate", 1.0), ("pool", True), ("batch", 64)]


def test_resolve_completes_a_point():
    assert toy().resolve({"pool": False, "width": 8}) == {"width": 8, "rate": 1.0, "pool": False, "batch": 64}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"widht": 3}, "did you mean 'width'"),
        ({"width": 9}, "outside"),
        ({"width": 2.5}, "outside"),
        ({"width": True}, "outside"),
        ({"pool": 1}, "outside"),
        ({"batch": 32}, "outside"),
    ],
)
def test_resolve_refuses(point, message):
    with pytest.raises(InputError, match=message):
        toy().resolve(point)


def test_a_budget_is_merged_table_by_table():
    quick = toy().with_budget("quick")
    assert quick.parameters["width"].high == 4
    assert quick.parameters["width"].low == 1
    assert quick.stages["init"].trials == 2
    assert quick.stages["default"].repeats == 3
    assert quick.budgets == {}


def test_a_budget_that_changes_a_parameters_type_replaces_it():
    fixed = toy().with_budget("fixed")
    assert fixed.defaults["width"] == 7
    assert "width" not in fixed.free


def test_an_unknown_budget_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'quick'"):
        toy().with_budget("quik")


def test_the_digest_is_of_what_runs():
    task = toy()
    assert task.with_budget(None).digest == task.digest
    assert task.with_budget("quick").digest != task.digest
    more_budgets = Task.model_validate({**MINIMAL, "budgets": {}})
    assert more_budgets.digest == task.digest


def test_space_size():
    assert toy().space_size is None
    discrete = Task.model_validate(
        {**MINIMAL, "parameters": {n: p for n, p in MINIMAL["parameters"].items() if n != "rate"}}
    )
    assert discrete.space_size == 16


def test_a_class_may_be_given_as_workload():
    task = Task.model_validate({**MINIMAL, "workload": Workload})
    assert task.workload == "joulebench.workloads.base:Workload"


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"goal": "maximize", "phase": "inference"}, "missing"),
        ({"goal": "maximize"}, "must name phase"),
    ],
)
def test_energy_is_never_implicit(objective, message):
    with pytest.raises(ValidationError, match=message):
        Task.model_validate({**MINIMAL, "objectives": {"samples_per_j": objective}})


def test_searching_on_the_test_split_must_be_explained():
    dataset = {"name": "digits", "validation": 100, "search_split": "test"}
    with pytest.raises(ValidationError, match="deviations"):
        Task.model_validate({**MINIMAL, "dataset": dataset})
    assert Task.model_validate({**MINIMAL, "dataset": dataset, "deviations": ["as published"]})


@given(low=st.integers(-50, 50), high=st.integers(-50, 50), default=st.integers(-60, 60))
def test_integer_ranges_hold_their_default(low, high, default):
    parameter = {"type": "int", "low": low, "high": high, "default": default}
    data = {**MINIMAL, "parameters": {"x": parameter}, "budgets": {}}
    if low < high and low <= default <= high:
        assert Task.model_validate(data).defaults == {"x": default}
    else:
        with pytest.raises(ValidationError):
            Task.model_validate(data)


def test_name_and_file_must_agree(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(
        'name = "toy"\ntitle = "t"\nworkload = "cnn"\n[parameters.a]\ntype = "fixed"\nvalue = 1\n'
        '[objectives.acc]\ngoal = "maximize"\n[stages.d]\nmethod = "default"\nrepeats = 1\n'
    )
    with pytest.raises(InputError, match="match the file's name"):
        load_task(path)
