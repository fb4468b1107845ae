"""NSGA-II as a stage: replayed from the records, without duplicates, away from what breaks a bound."""

from __future__ import annotations

import math
import random

import pytest

from joulebench.records.model import TrialRecord
from joulebench.results.outcome import configuration_key
from joulebench.search import prepare, propose
from tests.factories import make_task, make_trial
from tests.synthetic_search import DTLZ2, dtlz2

PARAMETERS = {
    "units": {"type": "int", "low": 1, "high": 10_000, "default": 100, "scale": "log"},
    "share": {"type": "float", "low": -1.0, "high": 1.0, "default": 0.0},
    "rate": {"type": "float", "low": 1e-5, "high": 1e-1, "default": 1e-3, "scale": "log"},
    "act": {"type": "choice", "values": ["relu", "gelu", 1, True], "default": "relu"},
    "kernel": {"type": "choice", "values": [5, 1, 3], "ordered": True, "default": 3},
    "steps": {"type": "int", "low": -3, "high": 3, "default": 0},
    "batch": {"type": "fixed", "value": 64},
}
STAGES = {"evolution": {"method": "nsga2", "trials": 60, "population": 8}}


def go_on(task, records=(), seed=0, until=60):
    records = list(records)
    while len(records) < until:
        proposal = propose(task, "evolution", records, seed)
        assert proposal.origin == "nsga2"
        dice = random.Random(len(records))
        records.append(
            make_trial(task, proposal.params, {"val_accuracy": dice.uniform(0.2, 0.9)}, 10 ** dice.uniform(-3, -1),
                       trial=len(records), stage="evolution", origin="nsga2",
                       status=dice.choice(["ok", "ok", "ok", "oom", "failed", "invalid"]))
        )  # fmt: skip
    return records


def test_configurations_are_new_and_within_bounds():
    task = make_task(PARAMETERS, STAGES)
    records = go_on(task)
    assert len({configuration_key(task, r.params) for r in records}) == 60
    assert all(task.parameters[n].contains(v) for r in records for n, v in r.params.items())
    assert len({r.params["act"] for r in records}) == 4 or {type(r.params["act"]) for r in records} == {
        str,
        int,
        bool,
    }
    assert propose(task, "evolution", records, 0) is None


def test_an_interrupted_run_goes_on_as_it_would_have():
    task = make_task(PARAMETERS, STAGES)
    whole = go_on(task)
    for cut in (3, 8, 21, 40):
        read = [TrialRecord.model_validate_json(r.model_dump_json()) for r in whole[:cut]]
        assert [r.params for r in go_on(task, read, until=cut + 10)] == [r.params for r in whole[: cut + 10]]
    assert [r.params for r in go_on(task, seed=1)] != [r.params for r in whole]


def test_a_generation_may_run_at_once():
    task = make_task(PARAMETERS, STAGES)
    records = go_on(task, until=16)
    pending = []
    for _ in range(8):
        pending.append(propose(task, "evolution", records, 0, pending).params)
    assert pending == [r.params for r in go_on(task, records, until=24)[16:]]


def test_it_gets_nearer_to_the_front_than_sampling():
    problem = dtlz2()
    evolved = problem.study([("evolution", 100)], 0)
    sampled = problem.study([("random", 100)], 0)
    found, drawn = (problem.hypervolume([r.params for r in records]) for records in (evolved, sampled))
    assert found > 1.1 * drawn
    assert found < DTLZ2


@pytest.mark.parametrize("kept", ["bound", "memory"])
def test_it_leaves_what_breaks_a_bound(kept):
    parameters = {n: {"type": "int", "low": 0, "high": 99, "default": 0} for n in ("x", "y")}
    objectives = {n: {"goal": "maximize", "reference": 0.0} for n in ("f", "g")}
    constraints = {"size": {"at_most": 60.0}} if kept == "bound" else {}
    task = make_task(
        parameters, {"evolution": {"method": "nsga2", "trials": 100}}, objectives, constraints=constraints
    )
    records = []
    for n in range(100):
        params = propose(task, "evolution", records, 0).params
        x, y = params["x"], params["y"]
        status = "oom" if kept == "memory" and x + y > 60 else "ok"
        values = {"f": x + 1, "g": math.sqrt(y + 1), "size": x + y}
        records.append(make_trial(task, params, values, trial=n, stage="evolution", status=status))
    broken = [r.params["x"] + r.params["y"] > 60 for r in records]
    assert sum(broken[-40:]) < sum(broken[:20]) + 15
    assert sum(broken[-40:]) <= 25


def test_what_a_run_should_record_of_it():
    assert prepare(make_task(PARAMETERS, STAGES))["nsga2"].startswith("pymoo 0.")
