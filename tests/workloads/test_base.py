"""What workloads refuse of a task before a run begins."""

from __future__ import annotations

import pytest

from joulebench.errors import InputError
from joulebench.spec.catalog import find_task, task_files
from joulebench.spec.registry import is_own
from joulebench.spec.task import Task
from joulebench.workloads.base import workload_class
from joulebench.workloads.classifier import ImageClassifier


def task(workload: str, parameters: dict, **fields) -> Task:
    return Task.model_validate(
        {
            "name": "toy", "title": "toy", "workload": workload, "parameters": parameters,
            "objectives": {"val_accuracy": {"goal": "maximize"}},
            "stages": {"default": {"method": "default", "repeats": 1}}, **fields,
        }
    )  # fmt: skip


def fixed(**values) -> dict:
    return {name: {"type": "fixed", "value": value} for name, value in values.items()}


def choice(*values) -> dict:
    return {"type": "choice", "values": values, "default": values[0]}


@pytest.mark.parametrize("name", task_files())
def test_every_task_of_the_catalogue_passes_with_every_budget(name):
    shipped = find_task(name)
    assert not is_own(shipped.workload)
    for budget in (None, *shipped.budgets):
        workload_class(shipped.workload).check_task(shipped.with_budget(budget))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (task("cnn", fixed(optimizer="admm")), "parameters.optimizer: no optimizer 'admm'; did you mean 'adam'?"),
        (task("cnn", {"schedule": choice("none", "cosin")}), "parameters.schedule: no schedule 'cosin'"),
        (task("cnn", fixed(width=4), options={"widht": 3}), "options.widht: no such option"),
        (task("zoo", {"model": choice("lenet5", "resnet")}), "parameters.model: no model 'resnet'"),
        (task("families", fixed(family="dense", cell="lstn")), "parameters.cell: no cell 'lstn'"),
        (task("families", fixed(family="denser")), "parameters.family: no family 'denser'"),
        (task("transformer", fixed(weight="random")), "parameters.weight: no such parameter of this workload"),
        (
            task("transformer", {"layers": {"type": "int", "low": 0, "high": 4, "default": 1}}),
            "parameters.layers: ",
        ),
        (task("language_model", fixed(weights="pretrained")), "parameters.weights: no weights 'pretrained'"),
        (
            task("language_model", fixed(layers=2), options={"phases": ["reqest"]}),
            "options.phases: no phase 'reqest'",
        ),
        (task("language_model", fixed(learning_rate=0.0)), "parameters.learning_rate: "),
    ],
)
def test_what_no_trial_could_use_is_refused(made, expected):
    with pytest.raises(InputError) as refused:
        workload_class(made.workload).check_task(made)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_a_run_may_use_is_not():
    for made in (
        task("zoo", {"model": choice("lenet5", "my.models:net", "found")}),
        task(
            "transformer", {"weights": choice("random", "pretrained"), "architecture": choice("tiny", "org/model")}
        ),
        task("transformer", fixed(weights="pretrained", architecture="org/model", hidden_size=7)),
        task("transformer", fixed(weights="pretrained", architecture="gpt2", hidden_size=768, layers=12)),
    ):
        workload_class(made.workload).check_task(made)


def test_a_classifier_that_trains_in_its_own_way_has_its_own_optimisers():
    class Mine(ImageClassifier):
        def make_model(self, params):
            raise NotImplementedError

        def train(self):
            yield from ()

    Mine.check_task(task("cnn", fixed(optimizer="lion")))


def test_a_tables_columns_are_those_of_its_parameters(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("lr,loss\n0.1,2\n")
    made = task("table", fixed(learning_rate=0.1), options={"csv": "t.csv", "metrics": ["loss"]})
    workload_class("table").check_task(made)  # not there: the run says so
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"parameters.learning_rate: t.csv has no column 'learning_rate'"):
        workload_class("table").check_task(made)
