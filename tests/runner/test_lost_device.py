"""Accelerators that fail: the trial is recorded, the process replaced, and the run goes on to its end."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from joulebench import run
from joulebench.errors import DeviceLostError, IncompleteError
from joulebench.host import process
from joulebench.measurement.harness import Request, run_trial
from joulebench.records.folder import RunFolder
from joulebench.runner import meter_check
from joulebench.runner.local import resume
from joulebench.runner.resume_check import is_complete
from tests.commands.calling import call
from tests.measurement.test_harness import make_bench, make_task, run_one
from tests.problems import tradeoff
from tests.runner.test_local import write_toy

ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"


class Cuda:
    """A device whose context breaks at an error that stays, for this process."""

    def __init__(self):
        self.broken = None
        self.calls = 0

    def failure(self, _):
        self.calls += 1
        return self.broken

    def release(self, _):
        self.call()

    def call(self):
        if self.broken is not None:
            raise RuntimeError(self.broken)


@pytest.fixture
def cuda(monkeypatch):
    made = Cuda()
    monkeypatch.setattr("joulebench.host.device.failure", made.failure)
    monkeypatch.setattr("joulebench.host.memory.release", made.release)
    monkeypatch.setattr("tests.runner.test_lost_device.DEVICE", made)
    return made


DEVICE = Cuda()


def asserts(params, seed):
    """Every seventh width asserts on the device; then nothing works there."""
    DEVICE.call()
    if params["width"] % 7 == 0:
        DEVICE.broken = ASSERT
        DEVICE.call()
    return tradeoff(params, seed)


def always_asserts(params, seed):
    DEVICE.broken = ASSERT
    DEVICE.call()


def no_engine(params, seed):
    if params["width"] % 7 == 0:
        raise RuntimeError("GET was unable to find an engine to execute this computation")
    return tradeoff(params, seed)


def toy(tmp_path, function):
    task = write_toy(tmp_path, method="random")
    text = task.read_text().replace("tests.problems:tradeoff", f"tests.runner.test_lost_device:{function}")
    task.write_text(text.replace("default = 10", "default = 7"))
    return task


def test_a_device_side_assert_is_a_failed_trial_with_its_joules(cuda):
    task = make_task("function", options={"function": "tests.runner.test_lost_device:asserts"})
    bench = make_bench(task)
    bench.timeline.synchronize = cuda.call
    finished = run_trial(bench, Request(0, 0, "default", "default", task.resolve({"width": 7}), seed=7))
    assert finished.lost == ASSERT
    assert finished.record.status == "failed"
    assert "device-side assert triggered" in finished.record.error
    assert "cpu is lost to this process" in finished.record.error
    assert finished.record.windows[-1].phase == "failed"
    bench.timeline.cut("record")  # the meters have not failed


def test_what_the_device_cannot_compute_is_infeasible_on_it():
    task = make_task("function", options={"function": "tests.runner.test_lost_device:no_engine"})
    finished = run_one(task, width=7)
    assert finished.record.status == "infeasible"
    assert "unable to find an engine" in finished.record.error
    assert finished.lost is None


def resumed(folder, cuda, sessions=50):
    """Resume as new processes would, each with a device of its own, until the run is complete."""
    for session in range(sessions):
        cuda.broken = None
        with suppress(DeviceLostError):
            return resume(folder), session
    raise AssertionError("it never ended")


def test_a_run_goes_on_in_new_processes_and_measures_every_trial_once(tmp_path, cuda):
    with pytest.raises(DeviceLostError, match=r"trial 0 has left cpu lost to this process .*`resume`") as caught:
        run(str(toy(tmp_path, "asserts")), out=tmp_path / "runs", replay="100")
    folder = caught.value.folder
    assert [t.status for t in RunFolder.open(folder).trials()] == ["failed"]
    done, sessions = resumed(folder, cuda)
    trials = done.trials()
    assert [t.trial for t in trials] == list(range(14))
    broken = [t for t in trials if t.params["width"] % 7 == 0]
    assert {t.status for t in broken} == {"failed"}
    assert len(broken) >= 2
    assert sessions >= len(broken) - 2  # the last one ends in the session that completes the run, too
    assert all(t.status == "ok" for t in trials if t not in broken)
    assert is_complete(done)


def test_a_device_that_is_lost_in_every_trial_ends_the_run_and_is_no_endless_loop(tmp_path, cuda):
    with pytest.raises(DeviceLostError) as caught:
        run(str(toy(tmp_path, "always_asserts")), out=tmp_path / "runs", replay="100")
    folder = caught.value.folder
    with pytest.raises(IncompleteError, match="failing trials in a row") as ended:
        resumed(folder, cuda)
    assert not isinstance(ended.value, DeviceLostError)
    trials = RunFolder.open(folder).trials()
    assert len(trials) == RunFolder.open(folder).task().max_consecutive_failures


def test_a_meter_check_that_lost_the_device_is_not_tried_again():
    noted = []

    class Log:
        folder = None

        def append_entry(self, event, note):
            noted.append((event, note))

        def say(self, *_):
            pass

    def measured(*_):
        raise DeviceLostError("the meter check has left cuda:0 lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter_check, "is_left", lambda *_: True)
        with pytest.raises(DeviceLostError):
            meter_check.before_search(None, measured, Log())
    assert noted == [("precheck", "the meter check has left cuda:0 lost")]


def test_the_command_takes_up_the_run_in_place_of_its_process(tmp_path, cuda, monkeypatch, capsys):
    replaced = []

    def execv(program, words):
        replaced.append(words)
        raise SystemExit(0)

    monkeypatch.setattr(process.os, "execv", execv)
    task = toy(tmp_path, "asserts")
    call(monkeypatch, capsys, "run", task, "--out", tmp_path / "runs", "--replay", "100", "--quiet", "--strict")
    (words,) = replaced
    (folder,) = (tmp_path / "runs").glob("*/*/*")
    assert words == [sys.executable, "-P", "-m", "joulebench", "resume", str(folder), "--strict", "--quiet"]
    cuda.broken = None
    call(monkeypatch, capsys, *words[4:])
    assert all(again == words for again in replaced)
