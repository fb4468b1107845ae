"""What user code changes in the process is put back, whatever ended it."""

from __future__ import annotations

import gc
import io
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress

import numpy as np
import pytest
import torch

from joulebench.host.global_state import _settings, restored
from joulebench.host.user_code import interrupt


def _lower(which: int, soft: int) -> None:
    resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))


CHANGES = {
    "the working directory": lambda tmp: os.chdir(tmp),
    "the standard files": lambda tmp: os.close(0),
    "Python's output": lambda tmp: setattr(sys, "stdout", io.StringIO()),
    "Python's recursion limit": lambda tmp: sys.setrecursionlimit(sys.getrecursionlimit() + 7),
    "Python's garbage collector": lambda tmp: gc.disable() if gc.isenabled() else gc.enable(),
    "environment variables": lambda tmp: os.environ.pop("PATH"),
    "warnings as errors": lambda tmp: warnings.simplefilter("error"),
    "Python's tracing": lambda tmp: sys.setprofile(lambda *_: None),
    "the CPUs it may use": lambda tmp: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "the limit RLIMIT_AS": lambda tmp: _lower(resource.RLIMIT_AS, 1 << 50),
    "the limit RLIMIT_NOFILE": lambda tmp: _lower(resource.RLIMIT_NOFILE, 200),
    "the limit RLIMIT_FSIZE": lambda tmp: _lower(resource.RLIMIT_FSIZE, 1 << 50),
    "the handler of SIGINT": lambda tmp: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "the handler of SIGTERM": lambda tmp: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "the handler of SIGHUP": lambda tmp: signal.signal(signal.SIGHUP, lambda *_: None),
    "numpy's error handling": lambda tmp: np.seterr(all="raise"),
    "torch's threads": lambda tmp: torch.set_num_threads(torch.get_num_threads() + 3),
    "torch's default dtype": lambda tmp: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda tmp: torch.set_default_device("meta"),
    "torch's grad mode": lambda tmp: torch.set_grad_enabled(not torch.is_grad_enabled()),
    "torch's anomaly mode": lambda tmp: torch.autograd.set_detect_anomaly(True),
    "torch's deterministic mode": lambda tmp: torch.use_deterministic_algorithms(True),
    "torch's precision of matmul": lambda tmp: torch.set_float32_matmul_precision("medium"),
    "cuDNN's benchmark mode": lambda tmp: setattr(torch.backends.cudnn, "benchmark", True),
    "cuDNN's deterministic mode": lambda tmp: setattr(torch.backends.cudnn, "deterministic", True),
}


@pytest.fixture(scope="module", autouse=True)
def imported():
    """What torch imports the first time that it is asked to be deterministic sets environment variables."""
    torch.use_deterministic_algorithms(True)
    torch.use_deterministic_algorithms(False)


def test_every_setting_is_tried():
    assert {setting.name for setting in _settings()} == set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("raises", [False, True])
def test_a_setting_is_put_back_and_named(name, raises, tmp_path):
    named: list[str] = []
    before = {setting.name: setting.get() for setting in _settings()}

    def work() -> None:
        with restored(named.extend):
            CHANGES[name](tmp_path)
            assert {s.name: s.get() for s in _settings()}[name] != before[name]
            if raises:
                raise SystemExit(0)

    if raises:
        with pytest.raises(SystemExit):
            work()
    else:
        work()
    assert {setting.name: setting.get() for setting in _settings()} == before
    assert named == [name]


def test_a_handler_that_the_program_took_off_when_it_was_ended_stays_off():
    said = []
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt), restored(said.append):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            interrupt(signal.SIGTERM)
        assert (said, signal.getsignal(signal.SIGTERM)) == ([], signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nothing_is_said_of_what_stays():
    named: list[str] = []
    with restored(named.extend):
        torch.zeros(3).sum()
    assert named == []


def test_a_working_directory_that_is_gone_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    os.chdir(tmp_path / "a")
    (tmp_path / "a").rmdir()
    with restored(lambda names: None):
        os.chdir(tmp_path / "b")
    os.chdir(tmp_path / "b")
    with restored(lambda names: None):
        os.chdir(tmp_path)
        (tmp_path / "b").rmdir()
