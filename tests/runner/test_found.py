"""The option --found: a search's frontier beside known models, from the plan to the scores and a resumed run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch import nn

from joulebench import run
from joulebench.errors import InputError
from joulebench.publishing.copying import _without_paths
from joulebench.runner.local import resume
from joulebench.runner.own_code import own_models
from joulebench.runner.plan import plan
from joulebench.spec.task import Task
from tests.run_factory import ENERGY, RunBuilder, confirmed_run, make_task

CNN = {
    "width": {"type": "int", "low": 1, "high": 64, "default": 8},
    "depth": {"type": "int", "low": 1, "high": 3, "default": 2},
    "kernel": {"type": "fixed", "value": 3},
    "pool": {"type": "choice", "values": [True, False], "default": True, "only_if": "depth > 1"},
    "batch_size": {"type": "fixed", "value": 64},
    "learning_rate": {"type": "float", "low": 0.001, "high": 0.1, "default": 0.01},
}
MINE = "tests.runner.test_found:tiny"


def tiny(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def no_module(shape, classes):
    return shape


def comparing(mine=MINE, **fields) -> Task:
    """A linear model of one's own and what a search found, one epoch of digits each."""
    return Task.model_validate(
        {
            "name": "compared",
            "title": "Compared",
            "workload": "zoo",
            "analyses": ["known_models"],
            "test_scores": "all",
            "dataset": {"name": "digits", "train": 200, "validation": 100},
            "parameters": {
                "model": {"type": "choice", "values": [mine, "found"], "default": mine},
                "batch_size": {"type": "fixed", "value": 50},
                "learning_rate": {"type": "fixed", "value": 0.01},
                "epochs": {"type": "fixed", "value": 1},
            },
            "objectives": {
                "val_accuracy": {"goal": "maximize", "reference": 0.1},
                "j_per_sample": {"goal": "minimize", **ENERGY},
            },
            "stages": {"models": {"method": "points", "points": [{"model": mine}], "repeats": 2}},
            "protocol": {"warmup_s": 0.0, "max_warmup_s": 0.0, "window_s": 0.02, "repeats": 2, "max_repeats": 2,
                         "idle_s": 0.0, "allow_busy": True},
            **fields,
        }
    )  # fmt: skip


def search(path, confirm=True, **fields):
    """The run of a search: its frontier is width 9 at two learning rates and width 3."""
    made = RunBuilder(make_task(**{"parameters": CNN, **fields}))
    for width, rate, units, accuracy in (
        (8, 0.01, 500, 0.2), (9, 0.01, 4000, 0.90), (9, 0.02, 3000, 0.91), (3, 0.01, 9000, 0.60),
    ):  # fmt: skip
        made.add({"width": width, "learning_rate": rate}, units, {"val_accuracy": accuracy}, idle=True)
    for _ in range(2 if confirm else 0):
        made.add({"width": 9}, 4000, {"val_accuracy": 0.90}, "confirm")
        made.add({"width": 3, "depth": 1}, 9000, {"val_accuracy": 0.60}, "confirm")
    made.span("end")
    return made.write(path)


def points(task: Task):
    return [dict(p) for p in task.stages["models"].points]


def test_a_confirmed_frontier_joins_the_points(tmp_path):
    said = []
    folder = search(tmp_path / "search")
    chosen = plan(comparing(), found=folder.path, say=said.append)
    best = {"model": "found", "width": 9, "depth": 2, "kernel": 3, "pool": True}
    assert points(chosen.task) == [{"model": MINE}, best, {**best, "width": 3, "depth": 1}]
    assert chosen.task.defaults["learning_rate"] == 0.01  # the comparison's own, not a parameter of what was found
    assert chosen.task.parameters["width"].only_if == "model == 'found'"
    assert chosen.task.options == {"found": "cnn", "found_options": {}}
    assert chosen.found.trials == ((4, 6), (5, 7))
    assert (chosen.found.confirmed, chosen.found.digest) == (True, folder.manifest().run_digest)
    assert f"2 of the confirmed frontier of digits_nas, standard ({folder.path})" in said[-1]


def test_without_confirmation_it_is_the_searchs_frontier_and_twins_are_one(tmp_path):
    said = []
    folder = search(tmp_path / "search", confirm=False)
    chosen = plan(comparing(), found=folder.path, say=said.append)
    assert [p.get("width") for p in points(chosen.task)] == [None, 9, 3]  # two learning rates, one model
    assert chosen.found.trials == ((2, 1), (3,))
    assert not chosen.found.confirmed
    assert "nothing is confirmed" in said[-1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"analyses": ["proxies"]}, "is no search"),
        ({"dataset": {"name": "mnist", "validation": 300}}, "data set is mnist, this task's digits"),
        (
            {"parameters": {**CNN, "model": {"type": "fixed", "value": "a"}}},
            "varies 'model', which task 'compared' has too",
        ),
    ],
)
def test_another_run_is_refused(tmp_path, fields, message):
    folder = search(tmp_path / "search", confirm=False, **fields)
    with pytest.raises(InputError, match=message):
        plan(comparing(), found=folder.path)


def test_what_is_no_search_has_no_frontier_or_is_not_wanted_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        plan(comparing(), found=tmp_path)
    empty = RunBuilder(make_task(parameters=CNN)).write(tmp_path / "empty")
    with pytest.raises(InputError, match="the frontier of that run is empty"):
        plan(comparing(), found=empty.path)
    with pytest.raises(InputError, match="'digits' compares no found models"):
        plan("digits", found=confirmed_run().write(tmp_path / "search").path)
    with pytest.raises(InputError, match="with --found RUN"):
        plan(comparing())


def test_the_command_without_a_search_says_how_in_one_line(tmp_path):
    command = [sys.executable, "-m", "joulebench", "run", "known_models"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--found RUN" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"analyses": ["frontier"]}, "its analyses choose a frontier"),
        ({"dataset": None}, "the task has no data set"),
        ({"stages": {"search": {"method": "qnehvi", "trials": 2}}}, "stage 'search' chooses by what was measured"),
    ],
)
def test_all_are_scored_only_where_nothing_is_chosen(change, message):
    with pytest.raises(ValueError, match=message):
        comparing(**change)


class StopError(KeyboardInterrupt):
    """The user interrupts."""


def interrupt_after(results):
    seen = []

    def observe(event):
        seen.extend([event] if event.kind == "result" else [])
        if len(seen) == results and event.kind == "trial":
            raise StopError

    return observe


def test_all_are_trained_and_scored_and_a_resumed_run_is_the_same(tmp_path):
    found = search(tmp_path / "search").path
    whole = run(comparing(), out=tmp_path / "whole", replay="100", found=found)
    trials = whole.trials()
    assert [t.status for t in trials] == ["ok"] * 6
    assert sorted((t.params["model"], t.params["width"]) for t in trials) == sorted(
        [(MINE, 8), ("found", 9), ("found", 3)] * 2
    )
    costs = {t.params["width"]: t.costs.parameters for t in trials if t.params["model"] == "found"}
    # 3 × 3 kernels over 1, then 9 channels; pooled once to 4 × 4: 90 + 738 + 1450; one layer of 3: 30 + 1930
    assert costs == {9: 90 + 738 + (9 * 16 * 10 + 10), 3: 30 + (3 * 64 * 10 + 10)}
    assert {s.trial for s in whole.scores()} == {t.trial for t in trials}
    assert all(0 <= s.metrics["test_accuracy"] <= 1 for s in whole.scores())
    assert [c.name for c in whole.manifest().own_code] == [MINE]

    with pytest.raises(StopError):
        run(comparing(), out=tmp_path / "cut", replay="100", found=found, observer=interrupt_after(3))
    cut = next((tmp_path / "cut").glob("*/*/*"))
    again = resume(cut, sources=["."])
    assert again.manifest().found == whole.manifest().found

    def told(folder):
        each = [(t.trial, t.params, t.seed, t.metrics, t.costs.macs) for t in folder.trials()]
        return each, sorted((s.trial, tuple(s.metrics.items())) for s in folder.scores())

    assert told(again) == told(whole)
    repeated = plan(str(whole.path), sources=["."])  # its task holds the points: --found is not needed again
    assert repeated.task.digest == whole.task().digest
    assert repeated.found == whole.manifest().found


def test_a_published_manifest_keeps_the_end_of_the_path(tmp_path):
    chosen = plan(comparing(), found=search(tmp_path / "task/machine/time").path)
    manifest = RunBuilder(chosen.task).manifest(found=chosen.found)
    assert _without_paths(manifest).found.path == "task/machine/time"


def test_only_models_are_named_as_code():
    """Another parameter's value may look like it, and is nothing to import."""
    shape = {"type": "choice", "values": ["head:wide", "head:thin"], "default": "head:wide"}
    task = comparing()
    parameters = {name: p.model_dump(mode="json") for name, p in task.parameters.items()}
    assert own_models(comparing(parameters=parameters | {"shape": shape})) == own_models(task) == [MINE]


def test_a_model_of_ones_own_must_be_a_module_and_be_there(tmp_path):
    found = search(tmp_path / "search").path
    with pytest.raises(InputError, match="no 'absent'"):
        plan(comparing("tests.runner.test_found:absent"), found=found)
    folder = run(comparing("tests.runner.test_found:no_module"), out=tmp_path, replay="100", found=found)
    errors = {t.error for t in folder.trials() if t.status == "failed"}
    assert len(errors) == 1
    assert "must return a torch module (got tuple)" in errors.pop()
