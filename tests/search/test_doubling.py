"""Doubling one parameter: up to where the machine refuses, then between."""

from __future__ import annotations

import pytest

from joulebench.errors import InputError
from joulebench.search import planned_trials, propose
from tests.factories import make_task, make_trial

PARAMETERS = {
    "batch": {"type": "int", "low": 1, "high": 100, "default": 1},
    "tokens": {"type": "choice", "values": [512, 3, 10, 5, 40, 64, 21, 160], "ordered": True, "default": 10},
    "rate": {"type": "float", "low": 0.1, "high": 1.0, "default": 0.5},
    "act": {"type": "choice", "values": ["relu", "gelu"], "default": "relu"},
}


def stages(name="batch", **fields):
    return {"sweep": {"method": "doubling", "vary": [name], **fields}}


def carry_out(task, refused=lambda value: False, name="batch", status="oom"):
    records = []
    while (proposal := propose(task, "sweep", records, 0)) is not None:
        value = proposal.params[name]
        assert proposal.origin == "doubling"
        assert {n: v for n, v in proposal.params.items() if n != name} == {
            n: v for n, v in task.defaults.items() if n != name
        }
        how = status if refused(value) else "ok"
        records.append(make_trial(task, proposal.params, trial=len(records), stage="sweep", status=how))
    return [r.params[name] for r in records]


def test_it_doubles_up_to_the_highest():
    task = make_task(PARAMETERS, stages())
    assert carry_out(task) == [1, 2, 4, 8, 16, 32, 64]
    assert planned_trials(task) == 7


@pytest.mark.parametrize("status", ["oom", "failed", "infeasible"])
def test_it_stops_where_the_machine_refuses(status):
    task = make_task(PARAMETERS, stages())
    assert carry_out(task, lambda value: value > 10, status=status) == [1, 2, 4, 8, 16]


def test_an_invalid_measurement_stops_nothing():
    task = make_task(PARAMETERS, stages())
    assert len(carry_out(task, lambda value: value > 10, status="invalid")) == 7


def test_then_it_goes_halfway_between_neighbours_also_below_the_refusal():
    task = make_task(PARAMETERS, stages(between=True))
    assert carry_out(task) == [1, 2, 4, 8, 16, 32, 64, 3, 6, 11, 23, 45]
    assert planned_trials(task) == 12
    assert carry_out(task, lambda value: value > 10) == [1, 2, 4, 8, 16, 3, 6, 11]
    assert carry_out(task, lambda value: value > 0) == [1]


def test_of_ordered_choices_each_is_at_least_the_double():
    task = make_task(PARAMETERS, stages("tokens"))
    assert carry_out(task, name="tokens") == [3, 10, 21, 64, 160, 512]
    task = make_task(PARAMETERS, stages("tokens", between=True))
    assert carry_out(task, name="tokens") == [3, 10, 21, 64, 160, 512, 5, 40]
    assert planned_trials(task) == 8


def test_what_the_task_does_not_allow_is_left_out():
    task = make_task(PARAMETERS, stages(between=True), constraints={"c": "batch != 6 and batch < 40"})
    assert carry_out(task) == [1, 2, 4, 8, 16, 32, 3, 11, 23]


def test_trials_handed_out_count_as_tried():
    task = make_task(PARAMETERS, stages())
    done = [make_trial(task, {"batch": 1}, stage="sweep")]
    waiting = [task.resolve({"batch": 2}), task.resolve({"batch": 4})]
    assert propose(task, "sweep", done, 0, waiting).params["batch"] == 8


def test_other_stages_do_not_count():
    task = make_task(PARAMETERS, stages())
    elsewhere = [make_trial(task, {"batch": b}, trial=b, status="oom") for b in (1, 2)]
    assert propose(task, "sweep", elsewhere, 0).params["batch"] == 1


@pytest.mark.parametrize("name", ["rate", "act"])
def test_only_numbers_that_can_be_doubled(name):
    task = make_task(PARAMETERS, stages(name))
    for use in (lambda: planned_trials(task), lambda: propose(task, "sweep", [], 0)):
        with pytest.raises(InputError, match=f"which '{name}' is not"):
            use()
