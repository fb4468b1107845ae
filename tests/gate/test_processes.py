"""Processes that are alive together and measure in turn, window by window."""

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
from joulebench.gate.model import QUICK
from joulebench.gate.processes import KEPT_MEMORY, Benchmarks, SessionPlace, _environment, run_in_turn

TEST = """
import json, os, time

def note(event):
    with open(os.environ["EVENTS"], "a") as file:
        file.write(json.dumps([event, os.getpid(), time.monotonic()]) + chr(10))

note("imported")

def step():
    note("step")
    time.sleep(0.002)

def test_work(energy_benchmark):
    energy_benchmark(step)
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


def events(tmp_path):
    return sorted(map(json.loads, (tmp_path / "events").read_text().splitlines()), key=lambda e: e[2])


def test_all_import_then_windows_take_turns_and_all_go_on_together(trees, tmp_path):
    found = run_in_turn(trees, Benchmarks("tests", "quick", replay="50"), SessionPlace("s", 3))
    assert [r.pair for r in found] == [3, 3]
    windows = [[w for w in r.measurements[0].windows if w.phase == "benchmark"] for r in found]
    assert [len(w) for w in windows] == [QUICK.repeats, QUICK.repeats]
    noted = events(tmp_path)
    assert [e[0] for e in noted[:2]] == ["imported"] * 2
    assert [e[0] for e in noted[-2:]] == ["measured"] * 2  # whoever is ready waits until the other is
    steps = [e[1] for e in noted if e[0] == "step"]
    turns = [pid for n, pid in enumerate(steps) if n == 0 or steps[n - 1] != pid]
    both = set(steps)
    assert len(both) == 2
    # one warm-up and twelve windows each; where one has two turns in a row they look like one
    assert QUICK.repeats + 1 < len(turns) <= 2 * (QUICK.repeats + 1)
    assert any(turns[n] == turns[0] for n in range(2, len(turns)))


def test_in_each_round_a_coin_says_whose_window_comes_first(trees):
    found = run_in_turn(trees, Benchmarks("tests", "quick", replay="50"), SessionPlace("s", 3))
    starts = [[w.start_utc for w in r.measurements[0].windows if w.phase == "benchmark"] for r in found]
    first = [a < b for a, b in zip(*starts, strict=True)]
    assert 0 < sum(first) < len(first)
    for n in range(1, len(first)):  # a round ends before the next begins
        assert max(s[n - 1] for s in starts) < min(s[n] for s in starts)


def test_a_benchmark_that_only_one_tree_has_keeps_the_other_waiting_and_the_rest_is_in_turn(trees):
    more = TEST + "\ndef test_alone(energy_benchmark):\n    energy_benchmark(step)\n"
    (trees[0] / "tests" / "test_energy.py").write_text(more)
    first, second = run_in_turn(trees, Benchmarks("tests", "quick", replay="50"), SessionPlace("s", 3))
    assert [m.name.split("::")[1] for m in first.measurements] == ["test_alone", "test_work"]
    assert [m.name.split("::")[1] for m in second.measurements] == ["test_work"]
    spans = [[w for w in r.measurement(second.measurements[0].name).windows if w.phase == "benchmark"]
             for r in (first, second)]  # fmt: skip
    assert spans[0][0].start_utc < spans[1][-1].start_utc
    assert spans[1][0].start_utc < spans[0][-1].start_utc


@pytest.mark.parametrize("broken", ["raise ValueError('at import')", "def test_none(): pass"])
@pytest.mark.parametrize("which", [0, 1])
def test_one_that_cannot_measure_keeps_none_waiting(trees, tmp_path, broken, which):
    (trees[which] / "tests" / "test_energy.py").write_text(broken)
    with pytest.raises(InputError, match=r"at import|energy_benchmark"):
        run_in_turn(trees, Benchmarks("tests", "quick", replay="50"), SessionPlace("s"))
    pids = {e[1] for e in events(tmp_path)}
    assert len(pids) == 1
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_ends_with_the_gate_that_started_it(trees):
    asks, asked = os.pipe()
    given, turn = os.pipe()
    command = [sys.executable, "-m", "pytest", "tests", "-p", "no:cacheprovider", "--benchmark-enable"]
    command += ["--energy-replay", "50", f"--energy-turns={asked},{given}"]
    own = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}  # in a worker nothing is measured
    process = subprocess.Popen(
        command, cwd=trees[0], env=own, pass_fds=(asked, given), stdout=subprocess.PIPE, text=True
    )
    os.close(asked)
    os.close(given)
    assert json.loads(os.read(asks, 1000)) == ["tests/test_energy.py::test_work", QUICK.repeats + 1]
    os.close(turn)
    out, _ = process.communicate(timeout=60)
    os.close(asks)
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
    noted = tmp_path / "events"
    try:
        until(lambda: noted.exists() and len(noted.read_text().splitlines()) == 2)
    finally:
        process.kill()
        process.wait()
    pids = [e[1] for e in events(tmp_path)]
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


def test_all_keep_freed_memory_unless_told_otherwise(trees, monkeypatch):
    """On both sides alike; records say so, so that a baseline without it does not compare."""
    for name in KEPT_MEMORY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    found = run_in_turn(trees, Benchmarks("tests", "quick", replay="50"), SessionPlace("s", 3))
    for replicate in found:
        recorded = replicate.environment["variables"]
        assert recorded["MALLOC_MMAP_THRESHOLD_"] == str(32 * 2**20)
        assert recorded["MALLOC_TRIM_THRESHOLD_"] == "1000000"
    assert "MALLOC_MMAP_THRESHOLD_" not in os.environ
