"""Batches, and configurations handed out but not measured: the same whether trials run in turn or at once."""

from __future__ import annotations

import pytest

from joulebench.records.model import TrialRecord
from joulebench.results.outcome import configuration_key
from joulebench.search import propose
from tests.factories import make_trial
from tests.synthetic_search import branin_currin, problem, simulate


@pytest.fixture(scope="module")
def started():
    task = problem()
    return task, simulate(task, [("default", 3), ("init", 8)], 0)


def measured(task, params, number, stage="batches"):
    return make_trial(task, params, {"val_accuracy": 0.3 + number / 100}, 0.01, trial=number, stage=stage)


def keys(task, configurations):
    return [configuration_key(task, params) for params in configurations]


def test_a_batch_in_turn_and_at_once_is_the_same(started):
    task, records = started
    at_once = []
    for _ in range(4):
        proposal = propose(task, "batches", records, 0, at_once)
        assert proposal.origin == "qnehvi"
        at_once.append(proposal.params)
    in_turn, later = [], list(records)
    for _ in range(4):
        in_turn.append(propose(task, "batches", later, 0).params)
        later.append(measured(task, in_turn[-1], len(later)))
    assert in_turn == at_once
    assert len(set(keys(task, at_once))) == 4
    # half of it measured, half of it waiting
    assert propose(task, "batches", later[: len(records) + 2], 0, at_once[2:3]).params == at_once[3]
    # the next batch knows of this one
    assert propose(task, "batches", later, 0).params != propose(task, "batches", later[: len(records)], 0).params


def test_what_waits_is_not_proposed_again_and_changes_what_is(started):
    task, records = started
    first = propose(task, "search", records, 0).params
    second = propose(task, "search", records, 0, [first]).params
    assert configuration_key(task, first) != configuration_key(task, second)


def test_waiting_floats_are_kept_away_from():
    problem = branin_currin()
    records = problem.study([("init", 12)], 0)
    waiting = []
    for _ in range(4):
        waiting.append(propose(problem.task, "batches", records, 0, waiting).params)
    apart = [max(abs(float(a[n]) - float(b[n])) for n in a) for i, a in enumerate(waiting) for b in waiting[:i]]
    assert min(apart) > 0.01


@pytest.mark.parametrize("stage", ["random", "init", "evolution"])
def test_other_methods_skip_what_waits(started, stage):
    task, records = started
    waiting = []
    for _ in range(6):
        waiting.append(propose(task, stage, records, 0, waiting).params)
    assert len(set(keys(task, [*waiting, *(r.params for r in records)]))) == 6 + len(
        {*keys(task, [r.params for r in records])}
    )
    in_turn = [r.params for r in go_on(task, records, stage, 6)]
    assert waiting == in_turn


def go_on(task, records, stage, count):
    later = list(records)
    for _ in range(count):
        later.append(measured(task, propose(task, stage, later, 0).params, len(later), stage))
    return later[len(records) :]


@pytest.mark.parametrize("stage", ["search", "batches"])
def test_an_interrupted_search_goes_on_as_it_would_have(stage):
    task = problem()
    whole = simulate(task, [("default", 3), ("init", 6), (stage, 6)], 3)
    for cut in (11, 13):
        read = [TrialRecord.model_validate_json(r.model_dump_json()) for r in whole[:cut]]
        following = propose(task, stage, read, 3)
        assert following.params == whole[cut].params
        assert following.origin == "qnehvi"
