"""Proposals without a model: exact maps, products, sequences that go on, spaces that end."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.results.outcome import configuration_key
from joulebench.search import planned_trials, prepare, propose
from joulebench.search.space import Space
from joulebench.search.values import value_at
from joulebench.spec.parameters import ChoiceParameter, FloatParameter, IntParameter
from tests.factories import make_task, make_trial

MIXED = {
    "width": {"type": "int", "low": 1, "high": 128, "default": 51},
    "rate": {"type": "float", "low": 1e-5, "high": 1e-1, "default": 1e-3, "scale": "log"},
    "share": {"type": "float", "low": -1.0, "high": 1.0, "default": 0.0},
    "kernel": {"type": "choice", "values": [1, 3, 5], "ordered": True, "default": 3},
    "act": {"type": "choice", "values": ["relu", "gelu", "tanh"], "default": "relu"},
    "batch": {"type": "fixed", "value": 64},
    "cap": {"type": "int", "low": 1, "high": 9, "default": 4, "scope": "device"},
}
TINY = {
    "a": {"type": "int", "low": 0, "high": 1, "default": 0},
    "b": {"type": "choice", "values": [True, False], "default": True},
}
STAGES = {
    "default": {"method": "default", "repeats": 2},
    "uniform": {"method": "random", "trials": 500},
    "init": {"method": "sobol", "trials": 500},
}


def carry_out(task, stage, seed=0, limit=1000, trials=()):
    """The records of a stage run to its end."""
    records = list(trials)
    while (proposal := propose(task, stage, records, seed)) is not None:
        metrics = {"val_accuracy": 0.5}
        record = make_trial(task, proposal.params, metrics, trial=len(records), stage=stage, origin=proposal.origin)
        records.append(record)
        assert len(records) < limit
    return records[len(trials) :]


def keys(task, records):
    return [configuration_key(task, r.params) for r in records]


@given(st.floats(0, 1, exclude_max=True), st.sampled_from(["linear", "log"]), st.data())
def test_the_cube_maps_into_every_parameter(u, scale, data):
    low = data.draw(st.integers(1, 1000))
    high = low + data.draw(st.integers(1, 10**12))
    whole = IntParameter(low=low, high=high, default=low, scale=scale)
    real = FloatParameter(low=low, high=high, default=low, scale=scale)
    choice = ChoiceParameter(values=tuple(range(data.draw(st.integers(2, 50)))), default=0)
    for parameter in (whole, real, choice):
        value = value_at(parameter, u)
        assert parameter.contains(value)
        assert type(value) is type(parameter.default)


def test_every_whole_number_and_choice_has_an_equal_share():
    whole = IntParameter(low=-2, high=4, default=0)
    choice = ChoiceParameter(values=("a", "b", "c"), default="a")
    steps = [i / 2100 for i in range(2100)]
    assert set(Counter(value_at(whole, u) for u in steps).values()) == {300}
    assert set(Counter(value_at(choice, u) for u in steps).values()) == {700}


def test_a_log_scale_gives_each_number_its_share_of_the_logarithm():
    whole = IntParameter(low=1, high=7, default=1, scale="log")  # three octaves: 1 | 2 3 | 4 5 6 7
    counts = Counter(value_at(whole, i / 3000) for i in range(3000))
    assert counts[1] == pytest.approx(1000, abs=2)
    assert counts[2] + counts[3] == pytest.approx(1000, abs=2)
    assert set(counts) == set(range(1, 8))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from(["uniform", "init"]))
def test_proposals_are_whole_in_order_and_within_bounds(seed, stage):
    task = make_task(MIXED, STAGES)
    records = [make_trial(task, stage=stage)]
    proposal = propose(task, stage, records, seed)
    assert list(proposal.params) == list(task.parameters)
    assert all(task.parameters[n].contains(v) for n, v in proposal.params.items())
    assert (proposal.params["batch"], proposal.params["cap"]) == (64, 4)
    assert proposal == propose(task, stage, records, seed)


@pytest.mark.parametrize("stage", ["uniform", "init"])
def test_seeds_and_stages_differ(stage):
    task = make_task(MIXED, {**STAGES, "more": {"method": STAGES[stage]["method"], "trials": 9}})
    here = propose(task, stage, [], 1)
    assert here != propose(task, stage, [], 2)
    assert here != propose(task, "more", [], 1)


def test_sobol_covers_a_range_evenly():
    task = make_task(
        {"x": {"type": "int", "low": 0, "high": 999, "default": 0}}, {"s": {"method": "sobol", "trials": 64}}
    )
    cells = Counter(r.params["x"] * 64 // 1000 for r in carry_out(task, "s"))
    assert max(cells.values()) <= 2  # one of 64 in each of 64 cells, but for rounding


def test_another_process_proposes_the_same():
    task = make_task(MIXED, STAGES)
    code = (
        "import sys; from joulebench.spec.task import Task; from joulebench.search import propose\n"
        "task = Task.model_validate_json(sys.argv[1])\n"
        "print([propose(task, s, [], 7).params for s in ('uniform', 'init')])\n"
        "assert not {'ax', 'torch', 'botorch'} & set(sys.modules), 'imported without need'"
    )
    command = [sys.executable, "-c", code, task.model_dump_json()]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == str([propose(task, s, [], 7).params for s in ("uniform", "init")])


def test_stages_end_when_their_trials_are_done():
    task = make_task(MIXED, {**STAGES, "init": {"method": "sobol", "trials": 5}})
    assert [r.params for r in carry_out(task, "default")] == [task.defaults] * 2
    records = carry_out(task, "init", trials=[make_trial(task)])
    assert len(records) == 5
    assert propose(task, "default", records, 0).origin == "default"
    assert planned_trials(task) == 2 + 500 + 5


def test_whatever_became_of_a_trial_it_took_its_slot():
    task = make_task(TINY, {"init": {"method": "sobol", "trials": 2}})
    first = propose(task, "init", [], 0)
    failed = make_trial(task, first.params, stage="init", status="oom")
    second = propose(task, "init", [failed], 0)
    assert second.params != first.params
    assert (
        propose(task, "init", [failed, make_trial(task, second.params, stage="init", status="failed")], 0) is None
    )


@pytest.mark.parametrize("stage", ["uniform", "init"])
@pytest.mark.parametrize("parameters", [TINY, {"x": {"type": "int", "low": 1, "high": 300, "default": 1}}])
def test_a_space_is_tried_once_over_and_then_the_stage_is_finished(stage, parameters):
    task = make_task(parameters, STAGES)
    records = carry_out(task, stage, trials=[make_trial(task)])
    assert len(records) == task.space_size - 1  # the default had been tried
    assert len(set(keys(task, records))) == len(records)
    assert planned_trials(task) == 2 + 2 * task.space_size


def test_what_a_stage_does_not_vary_stays_at_its_default():
    task = make_task(MIXED, {"few": {"method": "sobol", "trials": 30, "vary": ["kernel", "act"]}})
    records = carry_out(task, "few")
    assert len(records) == 9
    assert {r.params["width"] for r in records} == {51}
    # configurations elsewhere do not use up the space
    elsewhere = [make_trial(task, {"width": w}, stage="other") for w in range(1, 10)]
    assert propose(task, "few", elsewhere, 0) is not None


def test_nothing_to_vary_is_a_space_of_one():
    task = make_task({"batch": {"type": "fixed", "value": 64}}, STAGES)
    for stage in ("uniform", "init"):
        assert [r.params for r in carry_out(task, stage)] == [{"batch": 64}]


def test_points_are_completed_and_repeated_in_rounds():
    points = [{"width": 1}, {"width": 2, "kernel": 5}]
    stage = {"method": "points", "points": points, "repeats": 2, "order": "given"}
    task = make_task(MIXED, {"given": stage})
    records = carry_out(task, "given")
    assert [(r.params["width"], r.params["kernel"]) for r in records] == [(1, 3), (2, 5)] * 2
    assert planned_trials(task) == 4


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 9), st.integers(1, 3))
def test_each_round_of_points_is_a_permutation_of_its_own(seed, count, repeats):
    points = [{"width": w} for w in range(1, count + 1)]
    task = make_task(MIXED, {"given": {"method": "points", "points": points, "repeats": repeats}})
    widths = [r.params["width"] for r in carry_out(task, "given", seed)]
    rounds = [widths[i * count : (i + 1) * count] for i in range(repeats)]
    assert len(widths) == count * repeats
    assert all(sorted(each) == list(range(1, count + 1)) for each in rounds)


def test_the_order_of_points_and_of_a_grid_is_random_by_seed_round_and_stage():
    points = [{"width": w} for w in range(1, 21)]
    stages = {name: {"method": "points", "points": points, "repeats": 2} for name in ("one", "two")}
    stages["g"] = {"method": "grid", "levels": 20, "vary": ["width"]}
    task = make_task(MIXED, stages)
    orders = [
        tuple(r.params["width"] for r in part)
        for seed in (0, 1)
        for name in stages
        for part in [carry_out(task, name, seed)]
        for part in ([part[:20], part[20:]] if name != "g" else [part])
    ]
    assert len(set(orders)) == len(orders) == 10
    assert all(sorted(order) != list(order) for order in orders)


def test_a_grid_in_a_random_order_is_complete_under_conditions_too():
    conditions = {"few": "a + 1 <= 1 or b"}
    given = make_task(TINY, {"g": {"method": "grid", "order": "given"}}, constraints=conditions)
    drawn = make_task(TINY, {"g": {"method": "grid"}}, constraints=conditions)
    expected = keys(given, carry_out(given, "g"))
    assert len(expected) == planned_trials(drawn) == 3
    orders = {tuple(keys(drawn, carry_out(drawn, "g", seed))) for seed in range(20)}
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(expected))}
    assert len(orders) == 6


def test_a_grid_is_the_full_product():
    stage = {"method": "grid", "levels": 3, "vary": ["rate", "share", "kernel", "act"], "order": "given"}
    task = make_task(MIXED, {"g": stage})
    records = carry_out(task, "g")
    assert len(records) == planned_trials(task) == 81
    assert len(set(keys(task, records))) == 81
    assert [r.params["act"] for r in records[:4]] == ["relu", "gelu", "tanh", "relu"]  # the last counts fastest
    rates = sorted({r.params["rate"] for r in records})
    assert rates == [1e-5, pytest.approx(1e-3), 1e-1]  # ends exact
    assert sorted({r.params["share"] for r in records}) == [-1.0, 0.0, 1.0]


def test_grid_levels_of_whole_numbers_are_rounded_and_counted_once():
    parameters = {"n": {"type": "int", "low": 1, "high": 1000, "default": 1, "scale": "log"}}
    stages = {"g": {"method": "grid", "levels": 4, "order": "given"}, "all": {"method": "grid"}}
    task = make_task(parameters, stages)
    assert [r.params["n"] for r in carry_out(task, "g")] == [1, 10, 100, 1000]
    assert planned_trials(task) == 1004
    few = make_task(
        {"n": {"type": "int", "low": 1, "high": 3, "default": 1}},
        {"g": {"method": "grid", "levels": 9, "order": "given"}},
    )
    assert [r.params["n"] for r in carry_out(few, "g")] == [1, 2, 3]


def test_a_grid_over_floats_needs_levels():
    task = make_task(MIXED, {"g": {"method": "grid", "vary": ["rate"]}})
    for use in (lambda: planned_trials(task), lambda: propose(task, "g", [], 0)):
        with pytest.raises(InputError, match="'rate' needs levels"):
            use()


def test_only_a_grid_varies_what_belongs_to_the_device():
    grid = {"method": "grid", "vary": ["cap"], "order": "given"}
    stages = {"g": grid, "s": {"method": "sobol", "trials": 2, "vary": ["cap"]}}
    task = make_task(MIXED, stages)
    assert [r.params["cap"] for r in carry_out(task, "g")] == list(range(1, 10))
    with pytest.raises(InputError, match="scope 'device'"):
        propose(task, "s", [], 0)


def test_an_unknown_stage_is_named():
    with pytest.raises(InputError, match="no stage 'inti'; did you mean 'init'"):
        propose(make_task(TINY, STAGES), "inti", [], 0)


def test_nothing_is_imported_for_a_task_without_a_model():
    assert prepare(make_task(TINY, STAGES)) == {}


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_numbering_and_neighbours_stay_in_the_space(index):
    parameters = {n: p for n, p in MIXED.items() if n in ("width", "kernel", "act")}
    task = make_task(parameters, STAGES)
    space = Space.of(task, task.stages["init"])
    params = space.nth(index % space.size)
    around = list(space.neighbours(params))
    assert around
    for near in around:
        task.resolve(near)
        assert sum(near[n] != params[n] for n in params) == 1
    assert len({space.key(p) for p in space.everything(index % space.size)}) == space.size == 128 * 9
