"""What user code changes in the process is put back, whatever ended it."""

from __future__ import annotations

import gc
import io
import os
import sys

import numpy as np
import pytest
import torch

from joulebench.host.global_state import _settings, restored

CHANGES = {
    "the working directory": lambda tmp: os.chdir(tmp),
    "Python's output": lambda tmp: setattr(sys, "stdout", io.StringIO()),
    "Python's recursion limit": lambda tmp: sys.setrecursionlimit(sys.getrecursionlimit() + 7),
    "Python's garbage collector": lambda tmp: gc.disable() if gc.isenabled() else gc.enable(),
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
