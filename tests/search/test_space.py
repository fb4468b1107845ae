"""A stage's space: what the task allows, each configuration once, whatever else may be asked of it."""

from __future__ import annotations

import itertools

import pytest

from joulebench.errors import InputError
from joulebench.results.outcome import configuration_key
from joulebench.search import planned_trials, propose
from joulebench.search.space import LISTED, MANY, Space, too_wide
from tests.factories import make_task, make_trial

#: 4 × 3 × 2 × 3 combinations. With one layer neither pooling nor its kind matters; without pooling, nor its kind.
PARAMETERS = {
    "width": {"type": "choice", "values": [8, 16, 32, 64], "ordered": True, "default": 8},
    "depth": {"type": "int", "low": 1, "high": 3, "default": 2},
    "pool": {"type": "choice", "values": [True, False], "default": True, "only_if": "depth > 1"},
    "kind": {"type": "choice", "values": ["max", "mean", "sum"], "default": "max", "only_if": "depth > 1"},
}
CONSTRAINTS = {"size": "width * depth <= 64"}
STAGES = {
    "random": {"method": "random", "trials": 500},
    "sobol": {"method": "sobol", "trials": 500},
    "grid": {"method": "grid"},
    "search": {"method": "qnehvi", "trials": 500},
    "evolution": {"method": "nsga2", "trials": 500, "population": 4},
}
#: (8, 16, 32) × (depth 1: one; 2: six) and depth 3: (8, 16) × six; and (64, 1).
SIZE = 3 * 7 + 2 * 6 + 1


def task_of(**fields):
    return make_task(PARAMETERS, STAGES, constraints=CONSTRAINTS, **fields)


def space_of(task, stage="sobol"):
    return Space.of(task, task.stages[stage])


def run_out(task, stage, seed=0, limit=200):
    records = []
    while (proposal := propose(task, stage, records, seed)) is not None:
        n = len(records)
        metrics = {"val_accuracy": 0.3 + 0.6 * (n * 37 % 50) / 50}
        records.append(
            make_trial(task, proposal.params, metrics, 0.001 * (1 + n * 13 % 17), trial=n, stage=stage,
                       origin=proposal.origin, fallback=proposal.fallback)
        )  # fmt: skip
        assert n < limit
    return records


def test_a_space_holds_what_is_allowed_and_different():
    task = task_of()
    space = space_of(task)
    assert space.combinations == 72
    assert space.size == SIZE == len(list(space.everything(5)))
    brute = itertools.product(*({**p, "values": p.get("values", [1, 2, 3])}["values"] for p in PARAMETERS.values()))
    resolved = [task.resolve(dict(zip(PARAMETERS, values, strict=True))) for values in brute]
    assert {space.key(p) for p in resolved if task.allows(p)} == {space.key(p) for p in space.everything()}


@pytest.mark.parametrize("stage", STAGES)
def test_every_method_tries_all_of_it_once_and_nothing_else(stage):
    task = task_of()
    records = run_out(task, stage)
    assert len(records) == len({configuration_key(task, r.params) for r in records}) == SIZE
    assert all(task.allows(r.params) and task.resolve(r.params) == r.params for r in records)
    fallbacks = [r for r in records if r.fallback is not None]
    assert {r.origin for r in fallbacks} <= {"sobol"}
    assert {r.origin for r in records} - {r.origin for r in fallbacks} <= {stage, "qnehvi", "nsga2"}
    assert len(fallbacks) <= 2  # until there are two configurations with values


def test_planned_trials_count_the_same():
    assert planned_trials(task_of()) == SIZE * len(STAGES)


def test_neighbours_are_members_and_not_the_same():
    task = task_of()
    space = space_of(task)
    for params in space.everything():
        around = list(space.neighbours(params))
        assert around
        assert all(task.allows(p) and task.resolve(p) == p for p in around)
        assert space.key(params) not in {space.key(p) for p in around}


def test_what_was_tried_outside_does_not_use_it_up():
    task = task_of()
    space = space_of(task)
    outside = [{"width": 64, "depth": 3, "pool": True, "kind": kind} for kind in ("max", "mean", "sum")]
    members = list(space.everything())
    assert not space.exhausted([*members[1:], *outside])
    assert space.exhausted([*members, *outside])


def test_a_large_space_with_conditions_is_drawn_from_not_listed():
    parameters = {f"n{i}": {"type": "int", "low": 1, "high": 40, "default": 1} for i in range(4)}
    parameters["n3"]["only_if"] = "n0 > 20"
    task = make_task(parameters, STAGES, constraints={"sum": "n0 + n1 + n2 < 60"})
    space = space_of(task)
    assert space.combinations == 40**4 > LISTED
    assert space.listed is None
    assert space.size is None
    records = []
    for stage in ("random", "sobol", "evolution") * 10:
        proposal = propose(task, stage, records, 0)
        records.append(make_trial(task, proposal.params, {"val_accuracy": 0.5}, trial=len(records), stage=stage))
    assert len({configuration_key(task, r.params) for r in records}) == 30
    assert all(task.allows(r.params) for r in records)


def test_a_large_space_without_conditions_has_a_size():
    task = make_task({f"n{i}": {"type": "int", "low": 1, "high": 40, "default": 1} for i in range(4)}, STAGES)
    space = space_of(task)
    assert space.size == 40**4
    assert space.listed is None
    assert next(space.everything(40**4 - 1)) == dict.fromkeys(["n0", "n1", "n2", "n3"], 40)


def test_a_space_where_nothing_is_allowed_says_so():
    parameters = {"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.0}}
    task = make_task(parameters, {"s": {"method": "sobol", "trials": 3}}, constraints={"c": "x == 0"})
    with pytest.raises(InputError, match="no new configuration among"):
        propose(task, "s", [make_trial(task, {"x": 0.0})], 0)


def test_floats_are_searched_within_what_is_allowed():
    unit = {"type": "float", "low": 0.0, "high": 1.0, "default": 0.1}
    objectives = {n: {"goal": "minimize", "reference": 2.0} for n in ("f", "g")}
    stages = {**STAGES, "sobol": {"method": "sobol", "trials": 6}}
    task = make_task({"x": unit, "y": unit}, stages, objectives, constraints={"c": "x + y <= 1"})
    records = []
    for stage in ["sobol"] * 6 + ["search"] * 6:
        params = propose(task, stage, records, 0).params
        values = {"f": (params["x"] - 1) ** 2, "g": (params["y"] - 1) ** 2}
        records.append(make_trial(task, params, values, trial=len(records), stage=stage))
    assert all(task.allows(r.params) for r in records)
    # the front is x + y = 1, where every step beyond is forbidden: the search goes right up to it
    assert min(1 - r.params["x"] - r.params["y"] for r in records[6:]) < 0.02


@pytest.mark.parametrize(
    ("number", "vary", "warned"), [(MANY, None, False), (MANY + 1, None, True), (MANY + 1, 3, False)]
)
def test_a_model_of_many_parameters_is_warned_of(number, vary, warned):
    parameters = {f"x{i}": {"type": "int", "low": 0, "high": 9, "default": 0} for i in range(number)}
    stage = {"method": "qnehvi", "trials": 10} | ({} if vary is None else {"vary": list(parameters)[:vary]})
    task = make_task(parameters, {"init": {"method": "sobol", "trials": 3}, "search": stage})
    warning = too_wide(task)
    assert (warning is not None) == warned
    assert warning is None or str(number) in warning
