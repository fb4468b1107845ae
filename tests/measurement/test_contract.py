"""What a workload gives that its contract does not allow: the trial fails, with a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from joulebench.errors import InputError
from joulebench.host.clock import VirtualClock
from joulebench.measurement.contract import checked_costs, checked_epoch, checked_phases, numbers
from joulebench.measurement.harness import Request, run_trial
from joulebench.measurement.training import TrialFailedError
from joulebench.records.model import Costs
from joulebench.workloads.base import Epoch, Phase
from tests import problems
from tests.measurement.test_harness import make_bench, make_task, run_one
from tests.problems import Timed

WORKLOAD = "tests.measurement.test_contract:Accurate"


class Unprintable:
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


class Unfinished(BaseException):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value", [1, 1.5, True, np.float32(2), torch.tensor(3.0), torch.ones(1, 1), -math.inf], ids=repr
)
def test_what_is_a_number_becomes_one(value):
    given = numbers({"loss": value}, "evaluate")["loss"]
    assert type(given) is float
    assert given == value


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "a NoneType instead of a dict"),
        ([1.0], "a list instead of a dict"),
        ({3: 1.0}, "text of one line .got 3"),
        ({None: 1.0}, "text of one line .got None"),
        ({"": 1.0}, "text of one line"),
        ({"a\nb": 1.0}, r"'a\\nb'"),
        ({"\x1b[2J": 1.0}, "text of one line"),
        ({"\udcff": 1.0}, r"udcff"),
        ({"x" * 100_000: 1.0}, "text of one line"),
        ({Unprintable(): 1.0}, "a Unprintable"),
        ({"loss": "low"}, "loss is no number"),
        ({"loss": "1.0"}, "loss is no number"),
        ({"loss": 1j}, "loss is no number"),
        ({"loss": None}, "loss is no number"),
        ({"loss": 10**400}, "loss is no number"),
        ({"loss": torch.ones(2)}, "loss is no number"),
        ({"loss": Unprintable()}, "loss is no number"),
    ],
)
def test_what_is_no_number_by_name_fails_the_trial(given, reason):
    with pytest.raises(TrialFailedError, match=reason) as caught:
        numbers(given, "evaluate")
    assert len(str(caught.value).encode()) < 300  # it is recorded


@pytest.mark.parametrize(
    "given", [None, (0, 10), Epoch(0, -1), Epoch(-1, 1), Epoch(0, 1.5), Epoch(0, "many"), Epoch(0, 10, {"a": "b"})]
)
def test_what_is_no_epoch_fails_the_trial(given):
    with pytest.raises(TrialFailedError, match="train: "):
        checked_epoch(given)


def test_an_epoch_of_numpys_numbers_is_one():
    assert checked_epoch(Epoch(np.int64(1), np.int32(5), {"a": np.float64(2)})) == Epoch(1, 5, {"a": 2.0})


@pytest.mark.parametrize(
    "given",
    [None, [1], {"inference": print}, {3: Phase(print, 1)}]
    + [{"inference": Phase(print, units)} for units in (0, -1, 2.5, True, "3", None, 10**30, math.nan)],
)
def test_what_are_no_phases_fails_the_trial(given):
    with pytest.raises(TrialFailedError, match="phases: "):
        checked_phases(given)


@pytest.mark.parametrize(
    "given", [None, {"macs": 1}, Costs.model_construct(macs="many"), Costs.model_construct(macs=-1)]
)
def test_what_are_no_costs_is_an_error(given):
    with pytest.raises((TypeError, ValueError)):
        checked_costs(given)


class Accurate(Timed):
    def outcomes(self):
        return {"accuracy": 0.5}


def raising(error):
    def method(*_):
        raise error

    return method


@pytest.mark.parametrize(
    ("method", "gives", "reason"),
    [
        ("evaluate", lambda *_: {3: 1.0}, "text of one line"),
        ("outcomes", lambda *_: {"accuracy": math.nan}, "no finite value"),
        ("outcomes", lambda *_: {"accuracy": "high"}, "no number"),
        ("standard_errors", lambda *_: {"accuracy": "low"}, "no number"),
        ("phases", lambda *_: {"inference": None}, "instead of a Phase"),
        ("train", lambda *_: iter([None]), "instead of an Epoch"),
        ("build", raising(Unfinished()), "Unfinished"),
        ("build", raising(SystemExit(0)), "SystemExit"),
        ("close", raising(Unfinished()), "Unfinished"),
    ],
)
def test_the_trial_fails_with_a_reason_and_the_next_one_runs(monkeypatch, method, gives, reason):
    task = make_task(WORKLOAD)
    with monkeypatch.context() as changed:
        changed.setattr(Accurate, method, gives)
        record = run_one(task).record
    assert record.status == "failed"
    assert reason in record.error
    assert record.model_validate_json(record.model_dump_json()) == record
    assert run_one(task).record.status == "ok"


def test_costs_that_are_none_are_not_counted(monkeypatch):
    monkeypatch.setattr(Accurate, "costs", lambda _: {"macs": 1})
    record = run_one(make_task(WORKLOAD)).record
    assert (record.status, record.costs.macs) == ("ok", None)
    assert "instead of Costs" in record.costs.uncounted


@pytest.mark.parametrize("name", ["step_s", "train_s"])
@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e300])
def test_seconds_that_are_none_fail_the_trial_and_leave_the_clock(monkeypatch, name, seconds):
    monkeypatch.setattr(problems, "tradeoff", lambda *_: {"accuracy": 0.5, name: seconds})
    task = make_task("function", options={"function": "tests.problems:tradeoff"})
    bench = make_bench(task)
    record = run_trial(bench, Request(0, 0, "default", "default", task.defaults, seed=7)).record
    assert record.status == "failed"
    assert name in record.error
    assert 0 <= bench.clock.now_s() < 100


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e300])
def test_a_virtual_clock_stays_a_clock(seconds):
    clock = VirtualClock()
    clock.sleep(5.0)
    with pytest.raises(ValueError, match="cannot sleep"):
        clock.sleep(seconds)
    assert clock.now_s() == 5.0


def test_a_workload_that_cannot_be_made_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(Accurate, "close", raising(Unfinished()))
    with pytest.raises(InputError, match=r"workload: '.*:Accurate' cannot be made: Unfinished"):
        make_bench(make_task(WORKLOAD)).check_workload(1)
