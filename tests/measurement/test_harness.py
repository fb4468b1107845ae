"""One trial: what it records when it works, and when it does not."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import psutil
import pytest
from pydantic import ValidationError

from joulebench.errors import InputError
from joulebench.host.clock import RealClock, VirtualClock
from joulebench.host.memory import release
from joulebench.measurement.bench import Bench
from joulebench.measurement.harness import Request, run_trial
from joulebench.measurement.racing import Race
from joulebench.measurement.timeline import Timeline
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.records.folder import append, read_lines
from joulebench.records.model import Costs
from joulebench.results.energy import total_j
from joulebench.results.losses import NEAR_ZERO
from joulebench.results.outcome import configurations, idle_windows, trial_outcomes
from joulebench.spec.task import Task
from tests.conftest import REPOSITORY
from tests.problems import Linear, Timed

ENERGY = {
    "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["cpu"], "basis": "gross",
}  # fmt: skip


PROTOCOL = {"warmup_s": 1.0, "window_s": 1.0, "repeats": 3, "idle_s": 4.0}


def make_task(workload, metric="accuracy", **more):
    return Task.model_validate(
        {
            "name": "toy", "title": "toy", "workload": workload,
            "parameters": {"width": {"type": "int", "low": 1, "high": 20, "default": 3}},
            "objectives": {metric: {"goal": "maximize"}, "samples_per_j": ENERGY},
            "stages": {"default": {"method": "default", "repeats": 1}},
            "protocol": PROTOCOL,
            **more,
        }
    )  # fmt: skip


def make_bench(task, watts=100.0):
    clock = VirtualClock()
    timeline = Timeline(ReplayMeter([PowerTrace("cpu", (0.0,), (watts,))], clock, "test"), clock)
    timeline.start()
    return Bench(task, "cpu", clock, timeline)


def run_one(task, watts=100.0, **params):
    bench = make_bench(task, watts)
    request = Request(0, 0, "default", "default", task.resolve(params), seed=7, idle=True)
    return run_trial(bench, request)


def function_task(name, **more):
    return make_task("function", options={"function": f"tests.problems:{name}"}, **more)


def test_a_trial_that_works():
    task = function_task("tradeoff")
    record = run_one(task, width=5).record
    assert (record.status, record.error) == ("ok", None)
    assert 0.4 < record.metrics["accuracy"] < 0.6
    value = trial_outcomes(task, record)["samples_per_j"].value
    assert value.mean == pytest.approx(1 / (100.0 * 0.06), rel=0.03)
    assert value.n == 3
    assert {"build", "train", "validate", "score", "idle", "warmup", "inference"} <= {
        w.phase for w in record.windows
    }
    assert total_j(record.windows) == pytest.approx(100.0 * record.windows[-1].end_s)


def test_without_training_a_model_is_measured_and_scored_as_it_was_built():
    task = make_task(
        "tests.problems:ThreeEpochs", metric="weight", protocol={**PROTOCOL, "skip_train": True},
    )  # fmt: skip
    finished = run_one(task)
    record = finished.record
    assert (record.status, record.epochs, record.stopped_by) == ("ok", (), None)
    assert (record.metrics["weight"], record.metrics["val_loss"]) == (0.0, 9.0)
    assert finished.state is None  # nothing to keep for test scores
    assert "train" not in {w.phase for w in record.windows}
    assert sum(w.phase == "inference" for w in record.windows) == 3
    trained = task.model_copy(update={"protocol": task.protocol.model_copy(update={"skip_train": False})})
    assert task.digest != trained.digest


def test_joules_of_a_training_that_is_left_out_are_refused():
    energy = {"samples_per_j": {**ENERGY, "phase": "train"}}
    with pytest.raises(ValidationError, match=r"objectives.samples_per_j.phase: protocol.skip_train leaves out"):
        make_task("tests.problems:ThreeEpochs", objectives=energy, protocol={**PROTOCOL, "skip_train": True})


def test_an_exception_is_a_result_with_its_reason():
    record = run_one(function_task("tradeoff"), width=7).record
    assert record.status == "failed"
    assert record.error.startswith("ValueError: width 7 is unlucky (problems.py:")
    assert record.windows  # the joules of a failure are in the ledger


class UnprintableError(Exception):
    def __str__(self):
        raise ValueError("no text")


class OwnBaseError(BaseException):
    pass


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (OwnBaseError("mine"), "OwnBaseError: mine"),
        (UnprintableError(), "UnprintableError: (its message cannot be printed)"),
        (ValueError("half \ud800 a character"), "ValueError: half ? a character"),
    ],
)
def test_whatever_ends_a_trial_is_recorded_and_read_back(tmp_path, monkeypatch, failure, said):
    def fails(*_):
        raise failure

    monkeypatch.setattr("tests.problems.tradeoff", fails)
    record = run_one(function_task("tradeoff"), width=5).record
    assert record.status == "failed"
    append(tmp_path / "trials.jsonl", record)
    ((read,), torn) = read_lines(tmp_path / "trials.jsonl", type(record))
    assert (read.error, torn) == (record.error, None)
    assert read.error.startswith(said)


def test_ctrl_c_is_the_users(monkeypatch):
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("tests.problems.tradeoff", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_one(function_task("tradeoff"), width=5)


def test_out_of_memory_is_a_status_of_its_own():
    task = function_task("runs_out_of_memory")
    assert run_one(task, width=5).record.status == "oom"
    assert run_one(task, width=4).record.status == "ok"


def test_a_number_that_is_none_fails_by_name():
    record = run_one(function_task("not_a_number")).record
    assert record.status == "failed"
    assert record.error == "no finite value for accuracy (got nan)"
    assert record.metrics == {}


def test_no_power_no_valid_energy():
    record = run_one(function_task("tradeoff"), watts=0.0, width=5).record
    assert record.status == "invalid"
    assert "cpu reads 0 J in 15 of 15 windows" in record.error


class Shared(ReplayMeter):
    """On a machine where other processes keep 0.8 CPUs busy from `busy_s` on."""

    busy_s = 0.0

    def integrals(self):
        return {"other_load_cpus": 0.8 * max(0.0, self._clock.now_s() - self.busy_s)}


def run_shared(task, notes, **request):
    clock = VirtualClock()
    timeline = Timeline(Shared([PowerTrace("cpu", (0.0,), (100.0,))], clock, "test"), clock)
    timeline.start()
    own = Request(0, 0, "default", "default", task.defaults, seed=7, idle=True, **request)
    return run_trial(Bench(task, "cpu", clock, timeline), own, note=notes.append).record


def test_a_trial_that_others_spoil_says_so():
    notes = []
    task = function_task("tradeoff", protocol=PROTOCOL | {"max_quiet_wait_s": 3.0})
    record = run_shared(task, notes)
    assert record.status == "invalid"
    assert "inference" in record.error
    assert "kept 0.8 CPUs busy" in record.error
    assert "in 15 of 15 windows" in record.error
    assert len(notes) == 4  # before and after the wait for the idle baseline, and for the phase
    allowed = function_task("tradeoff", protocol=PROTOCOL | {"allow_busy": True})
    assert run_shared(allowed, notes).status == "ok"
    assert len(notes) == 4


def test_the_control_is_the_untrained_default_measured_after_the_trial():
    task = make_task("tests.problems:Timed", objectives={"samples_per_j": ENERGY})
    bench = make_bench(task)
    request = Request(0, 0, "default", "default", task.resolve({"width": 7}), seed=7, control=True)
    record = run_trial(bench, request).record
    assert record.status == "ok"
    phases = [w.phase for w in record.windows]
    after = phases.index("release")
    assert phases[after + 1 :] == ["build", "prepare", "warmup", "control", "control", "release"]
    assert {w.of for w in record.windows[after + 1 :]} == {"control", None}
    # steps of width 3 (the default): nine of 30 ms and one of 300 ms
    for window in record.windows[-3:-1]:
        assert window.duration_s / window.steps == pytest.approx(0.057, rel=0.2)
    assert len(trial_outcomes(task, record)) == 1
    assert record.unit == {"inference": "sample"}


def test_a_control_that_fails_does_not_fail_the_trial(monkeypatch):
    class DefaultFails(Timed):
        def build(self, params):
            if params["width"] == 3:
                sys.exit(0)
            super().build(params)

    monkeypatch.setattr("tests.problems.Timed", DefaultFails)
    task = make_task("tests.problems:Timed", objectives={"samples_per_j": ENERGY})
    request = Request(0, 0, "default", "default", task.resolve({"width": 7}), seed=7, control=True)
    record = run_trial(make_bench(task), request).record
    assert record.status == "ok"
    assert (record.windows[-1].phase, record.windows[-1].of) == ("failed", "control")


def test_a_trial_that_loses_its_race_ends_after_few_windows():
    task = function_task("tradeoff")
    bench = make_bench(task)
    params = task.resolve({"width": 5})
    full = run_trial(bench, Request(0, 0, "default", "default", params, seed=7)).record
    rival = {name: o.value.mean for name, o in trial_outcomes(task, full).items()}
    spread, own = {"samples_per_j": 0.01}, Request(1, 0, "search", "random", params, seed=7)

    def raced(**better):
        race = Race(({**rival, **better},), spread, {})
        return run_trial(bench, replace(own, race=race)).record

    lost = raced(accuracy=rival["accuracy"] + 0.1, samples_per_j=1.2 * rival["samples_per_j"])
    assert lost.raced
    assert sum(w.phase == "inference" for w in lost.windows) == 2
    value = trial_outcomes(task, lost)["samples_per_j"].value
    assert (value.n, value.mean) == (2, pytest.approx(rival["samples_per_j"], rel=0.03))
    for near in ({"samples_per_j": 1.02 * rival["samples_per_j"]}, {"accuracy": 0.0, "samples_per_j": 1e6}):
        record = raced(**near)
        assert not record.raced
        assert sum(w.phase == "inference" for w in record.windows) >= 3


def test_early_stopping_restores_the_best_weights():
    task = make_task(
        "tests.problems:ThreeEpochs", metric="weight",
        training={"monitor": "val_loss", "patience": 2, "min_delta": 0.0},
    )  # fmt: skip
    finished = run_one(task)
    assert [e.metrics["val_loss"] for e in finished.record.epochs] == [3.0, 1.0, 2.0, 2.0]
    assert finished.record.metrics["weight"] == 2.0
    assert finished.record.metrics["val_loss"] == 1.0
    assert float(finished.state["weight"]) == 2.0


def test_training_stops_when_its_time_is_up():
    task = make_task(
        "tests.problems:ThreeEpochs", metric="weight",
        protocol={"warmup_s": 1.0, "window_s": 1.0, "repeats": 3, "max_train_s": 25.0, "idle_s": 0.0},
    )  # fmt: skip
    record = run_one(task).record
    assert [(e.units, e.complete) for e in record.epochs] == [(10, True), (10, True), (5, False)]


def test_each_epoch_is_a_window_of_training():
    task = make_task("tests.problems:ThreeEpochs", metric="weight")
    record = run_one(task, watts=50.0).record
    train = [w for w in record.windows if w.phase == "train"]
    assert [w.units for w in train] == [10] * 6
    assert total_j(train) == pytest.approx(50.0 * 60.0)


def test_net_objectives_use_the_runs_idle_windows():
    gross = function_task("tradeoff", protocol=PROTOCOL | {"target_rel_ci": 0.5})
    net = {**ENERGY, "basis": "net"}
    task = Task.model_validate(
        {**gross.model_dump(mode="json"), "objectives": {"accuracy": {"goal": "maximize"}, "samples_per_j": net}}
    )
    # training ends at 2.5 s, then 1 s of settling and 4 s of idle, then inference
    trace = PowerTrace("cpu", (2.499, 2.501, 7.499, 7.501), (100.0, 20.0, 20.0, 100.0))
    clock = VirtualClock()
    timeline = Timeline(ReplayMeter([trace], clock, "test"), clock)
    timeline.start()
    request = Request(0, 0, "default", "default", task.resolve({"width": 5}), seed=7, idle=True)
    record = run_trial(Bench(task, "cpu", clock, timeline), request).record
    step_s = next(w.duration_s / w.steps for w in record.windows if w.phase == "inference")
    outcomes = trial_outcomes(task, record, idle_windows([record], task.protocol))
    assert outcomes["samples_per_j"].value.mean == pytest.approx(1 / (80.0 * step_s), rel=1e-3)


def test_net_energy_that_cannot_be_told_from_idle_is_no_value_and_the_trial_says_so():
    gross = function_task("tradeoff", protocol=PROTOCOL | {"target_rel_ci": 0.5})
    net = {**ENERGY, "basis": "net"}
    task = Task.model_validate(
        {**gross.model_dump(mode="json"), "objectives": {"accuracy": {"goal": "maximize"}, "samples_per_j": net}}
    )
    clock = VirtualClock()
    timeline = Timeline(ReplayMeter([PowerTrace("cpu", (0.0,), (50.0,))], clock, "test"), clock)
    timeline.start()
    request = Request(0, 0, "default", "default", task.resolve({"width": 5}), seed=7, idle=True)
    record = run_trial(Bench(task, "cpu", clock, timeline), request).record
    assert (record.status, record.error) == ("invalid", NEAR_ZERO)


def trained_linear():
    task = make_task(
        "tests.problems:Linear", metric="val_loss",
        parameters={
            "features": {"type": "int", "low": 1, "high": 64, "default": 10},
            "rate": {"type": "fixed", "value": 0.05},
        },
        protocol={"warmup_s": 0.05, "window_s": 0.05, "repeats": 3, "idle_s": 0.0},
    )  # fmt: skip
    clock = RealClock()
    timeline = Timeline(ReplayMeter([PowerTrace("cpu", (0.0,), (100.0,))], clock, "test"), clock)
    timeline.start()
    return run_trial(
        Bench(task, "cpu", clock, timeline), Request(0, 0, "default", "default", task.defaults, 1)
    ).record


def test_a_users_model_is_trained_counted_and_measured():
    record = trained_linear()
    assert (record.status, record.error) == ("ok", None)
    assert (record.costs.parameters, record.costs.macs, record.costs.flops) == (11, 10, 20)
    assert record.metrics["val_loss"] < 0.05
    assert len(record.epochs) == 100
    assert record.costs.phase_flops == {}  # it does not say how it trains


@pytest.mark.parametrize("epochs", [2, 0])
def test_flops_of_training_are_counted_where_something_was_trained(monkeypatch, epochs):
    """100 samples of 10 features: forward, and the gradient of the weights."""

    def loss(self, model):
        x = self.x.to("meta")
        return model(x).mean(), len(x)

    whole = Linear.train
    monkeypatch.setattr(Linear, "training_loss", loss)
    monkeypatch.setattr(Linear, "train", lambda self: islice(whole(self), epochs))
    record = trained_linear()
    assert record.status == "ok"
    assert record.costs.phase_flops == ({"train": 40.0} if epochs else {})
    assert (record.costs.macs, record.costs.train_uncounted) == (10, None)


@pytest.mark.parametrize(
    "costs",
    [Costs(uncounted="no rule for aten::_fft_r2c"), Costs(flops=20, unsupported_ops={"aten::_fft_r2c": 1})],
)
def test_an_objective_that_is_not_counted_in_full_is_refused(monkeypatch, costs):
    monkeypatch.setattr(Timed, "costs", lambda _: costs)
    objectives = {"flops": {"goal": "minimize"}, "samples_per_j": ENERGY}
    task = make_task("tests.problems:Timed", objectives=objectives)
    with pytest.raises(InputError, match=r"objectives.flops: .*no rule for aten::_fft_r2c"):
        run_one(task)


def allocating(limit_bytes, **more):
    return make_task(
        "tests.problems:Allocates", metric="accuracy",
        protocol=PROTOCOL | {"memory_limit_bytes": limit_bytes, "idle_s": 0.0}, **more,
    )  # fmt: skip


def test_running_out_of_memory_for_real_gives_it_all_back(request):
    if "JOULEBENCH_TEST_ALONE" not in os.environ:  # memory that earlier tests have freed would be room for it
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
        done = subprocess.run(
            command, cwd=REPOSITORY, env={**environment, "JOULEBENCH_TEST_ALONE": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return
    import torch  # before memory is limited

    assert torch.zeros(1).sum() == 0
    process = psutil.Process()
    release("cpu")  # what earlier tests left to be collected would be room for this one
    before = process.memory_info().rss
    task = allocating(before + (256 << 20))
    assert run_one(task, width=1).record.status == "ok"
    record = run_one(task, width=19).record
    assert record.status == "oom"
    assert record.costs.memory_limit_bytes == pytest.approx(before + (256 << 20), rel=0.2)
    assert record.costs.peak_memory_bytes > record.costs.memory_limit_bytes  # held and asked for: what it needs
    assert process.memory_info().rss < before + (64 << 20)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_peak_memory_is_of_the_trial():
    task = allocating(None)
    small, large = (run_one(task, width=w).record.costs.peak_memory_bytes for w in (1, 12))
    assert large - small == pytest.approx(11 * (64 << 20), rel=0.15)
    assert run_one(task, width=1).record.costs.peak_memory_bytes < large - (256 << 20)


def test_a_configuration_that_is_not_there_is_infeasible():
    record = run_one(make_task("tests.problems:Sparse"), width=4).record
    assert (record.status, record.error) == ("infeasible", "no width 4")
    assert run_one(make_task("tests.problems:Sparse"), width=5).record.status == "ok"


def test_timed_steps_give_latencies_that_constraints_may_bound():
    task = make_task(
        "tests.problems:Timed", objectives={
            "samples_per_j": ENERGY,
            "request_p95_s": {"goal": "minimize", "phase": "inference", "quantile": 0.95},
        },
        constraints={"request_p50_s": {"at_most": 0.015, "phase": "inference", "quantile": 0.5}},
    )  # fmt: skip
    record = run_one(task, width=1).record
    steps = [s for w in record.windows if w.phase == "inference" for s in w.step_s]
    assert len(steps) == sum(w.steps for w in record.windows if w.phase == "inference") >= 300
    assert sorted(set(steps)) == pytest.approx([0.01, 0.1])
    found = trial_outcomes(task, record)["request_p95_s"].value
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    configuration = configurations(task, [record])[0]
    assert configuration.constraints["request_p50_s"].value.mean == pytest.approx(0.01)
    assert configuration.feasible
    slow = configurations(task, [run_one(task, width=2).record])[0]
    assert slow.complete
    assert not slow.feasible


def test_a_latency_of_a_phase_without_times_stops_at_once():
    task = make_task(
        "tests.problems:ThreeEpochs", metric="weight",
        constraints={"step_s": {"at_most": 1.0, "phase": "inference", "quantile": 0.5}},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"constraints.step_s: the steps of phase 'inference' are not timed"):
        run_one(task)


def test_a_cost_that_nobody_can_tell_stops_at_once():
    task = function_task("tradeoff", constraints={"parameters": {"at_most": 1e6}})
    with pytest.raises(InputError, match=r"constraints.parameters: not known"):
        run_one(task, width=5)


def test_standard_errors_become_intervals():
    task = make_task("tests.problems:Sparse")
    value = trial_outcomes(task, run_one(task, width=5).record)["accuracy"].value
    assert (value.mean, value.sem) == (0.5, 0.1)
    assert (value.low, value.high) == pytest.approx((0.5 - 0.196, 0.5 + 0.196), abs=1e-3)
