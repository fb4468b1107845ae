"""Processes that import together and measure in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from joulebench.errors import InputError
from joulebench.gate import interleave
from joulebench.gate.processes import Benchmarks, SessionPlace, _environment, run_in_turn

TEST = """
import json, os, time

def note(event):
    with open(os.environ["EVENTS"], "a") as file:
        file.write(json.dumps([event, os.getpid(), time.monotonic()]) + chr(10))

note("imported")

def test_work(energy_benchmark):
    note("measures")
    energy_benchmark(time.sleep, 0.002)
    note("measured")
"""


@pytest.fixture
def trees(tmp_path, monkeypatch):
    """Two trees with the same benchmark, which notes what it does and when in `events`."""
    monkeypatch.setenv("EVENTS", str(tmp_path / "events"))
    for name in ("a", "b"):
        (tmp_path / name / "tests").mkdir(parents=True)
        (tmp_path / name / "tests" / "test_energy.py").write_text(TEST)
    return [tmp_path / "a", tmp_path / "b"]


def test_all_import_then_each_measures_alone(trees, tmp_path):
    found = run_in_turn(trees, Benchmarks("tests", "quick", replay="50"), SessionPlace("s", 3))
    assert [r.pair for r in found] == [3, 3]
    assert found[0].started_utc < found[1].started_utc
    events = sorted(map(json.loads, (tmp_path / "events").read_text().splitlines()), key=lambda e: e[2])
    assert [e[0] for e in events] == ["imported"] * 2 + ["measures", "measured"] * 2
    first, second = events[2][1], events[4][1]
    assert {first, second} == {events[0][1], events[1][1]}
    assert (events[3][1], events[5][1]) == (first, second)


@pytest.mark.parametrize("broken", ["raise ValueError('at import')", "def test_none(): pass"])
@pytest.mark.parametrize("which", [0, 1])
def test_one_that_cannot_measure_keeps_none_waiting(trees, tmp_path, broken, which):
    (trees[which] / "tests" / "test_energy.py").write_text(broken)
    with pytest.raises(InputError, match=r"at import|energy_benchmark"):
        run_in_turn(trees, Benchmarks("tests", "quick", replay="50"), SessionPlace("s"))
    pids = {json.loads(line)[1] for line in (tmp_path / "events").read_text().splitlines()}
    assert len(pids) == 1
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_ends_with_the_gate_that_started_it(trees):
    ready, says_ready = os.pipe()
    hears_turn, turn = os.pipe()
    command = [sys.executable, "-m", "pytest", "tests", "-p", "no:cacheprovider", "--benchmark-enable"]
    command += ["--energy-replay", "50", f"--energy-turn={says_ready},{hears_turn}"]
    own = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}  # in a worker nothing is measured
    process = subprocess.Popen(
        command, cwd=trees[0], env=own, pass_fds=(says_ready, hears_turn), stdout=subprocess.PIPE, text=True
    )
    os.close(says_ready)
    os.close(hears_turn)
    assert os.read(ready, 1) == b"."
    os.close(turn)
    out, _ = process.communicate(timeout=60)
    os.close(ready)
    assert process.returncode == 1
    assert "the gate that started this process has ended" in out


HANGS = TEST.split("def test_work")[0] + "time.sleep(600)"


def test_one_that_hangs_ends_at_its_limit(trees):
    (trees[0] / "tests" / "test_energy.py").write_text(HANGS)
    with pytest.raises(InputError, match=rf"pytest tests .* in {trees[0]} took longer than 0\.5 s and was killed"):
        run_in_turn(trees, Benchmarks("tests", "quick", replay="50", limit_s=0.5), SessionPlace("s"))


def test_the_processes_of_a_gate_that_is_killed_die_with_it(trees, tmp_path):
    for tree in trees:
        (tree / "tests" / "test_energy.py").write_text(HANGS)
    gate = """
import sys
from pathlib import Path
from joulebench.gate.processes import Benchmarks, SessionPlace, run_in_turn
run_in_turn([Path(tree) for tree in sys.argv[1:]], Benchmarks("tests", "quick", replay="50"), SessionPlace("s"))
"""
    process = subprocess.Popen([sys.executable, "-c", gate, *map(str, trees)])
    events = tmp_path / "events"
    try:
        until(lambda: events.exists() and len(events.read_text().splitlines()) == 2)
    finally:
        process.kill()
        process.wait()
    pids = [json.loads(line)[1] for line in events.read_text().splitlines()]
    until(lambda: not any(map(running, pids)))


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize(("form", "together"), [("quick", [2, 2]), ("standard", [1, 1, 1, 1])])
def test_in_standard_form_each_process_has_the_machine_alone(tmp_path, monkeypatch, form, together):
    started = []

    def stand_in(trees, benchmarks, place, only):
        started.append(len(trees))
        return list(trees)

    monkeypatch.setattr(interleave, "run_in_turn", stand_in)
    trees = (tmp_path / "a", tmp_path / "b")
    before, now = interleave.measure_pairs(trees, Benchmarks("tests", form), "s", 2, lambda _: None)
    assert started == together
    assert (before, now) == ([trees[0]] * 2, [trees[1]] * 2)


def test_a_tree_is_measured_with_its_own_code_wherever_that_lies(tmp_path, monkeypatch):
    """An editable install puts the working tree's source root on the path; another commit has its own."""
    for name in ("here", "there"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / "product.py").write_text(f"WHERE = {name!r}\n")
        (tmp_path / name / "tests").mkdir()
    (tmp_path / "here" / ".git").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here" / "lib")
    for name in ("here", "there"):
        environment = _environment(tmp_path / name)
        said = subprocess.run(
            [sys.executable, "-c", "import product; print(product.WHERE)"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said.stdout.strip() == name


ENDS_BUT_LEAVES_ONE = """
import os, subprocess, sys

subprocess.Popen(["sleep", "20"], start_new_session={new_session}, close_fds=False)
os._exit(3)
"""


@pytest.mark.parametrize("new_session", [False, True])
def test_one_that_leaves_a_process_holding_the_pipe_keeps_none_waiting(trees, new_session):
    """As a conftest does that starts a server: the end of the pipe alone says nothing."""
    (trees[0] / "tests" / "test_energy.py").write_text(ENDS_BUT_LEAVES_ONE.format(new_session=new_session))
    began_s = time.monotonic()
    with pytest.raises(InputError, match="exit code 3"):
        run_in_turn([trees[0]], Benchmarks("tests", "quick", replay="50", limit_s=60.0), SessionPlace("s"))
    assert time.monotonic() - began_s < 50
