"""A gate that a signal ends: its processes die with it, and its worktree goes, at the latest with the next gate."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from joulebench.gate.checkout import checkout, top_level

GIT = ("git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
#: In the place of pytest: a benchmark with a process of its own, neither of which ends.
HANGS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(os.environ["PIDS"], "a") as file:
    file.write(f"{os.getpid()} {child.pid}\\n")
time.sleep(600)
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    folder = tmp_path / "repository"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_energy.py").write_text("")
    (folder / "pytest.py").write_text(HANGS)
    for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "all")):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    return folder


def gate(repository, *more):
    command = ["gate", "--against", "main", "--form", "quick", "--replay", "50", "--tests", "tests", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "joulebench", *command], cwd=repository, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(condition):
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def pids(path):
    """Of both trees' benchmarks and of their children, once all are running."""
    found = path.read_text().split() if path.exists() else []
    return [int(pid) for pid in found] if len(found) == 4 else []


def running(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def worktrees(repository):
    listed = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    return len(listed.stdout.splitlines()) - 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_and_no_worktree_stays(repository, tmp_path, number):
    process = gate(repository)
    began = until(lambda: pids(tmp_path / "pids"))
    assert worktrees(repository) == 1
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    until(lambda: not any(map(running, began)))
    if number == signal.SIGKILL:
        assert process.returncode == -number
        assert worktrees(repository) == 1
        with checkout(top_level(repository), "main"):  # as the next gate does
            assert worktrees(repository) == 1
        assert not list((tmp_path / "tmp").glob("joulebench-worktree-*"))
    else:
        assert process.returncode == 128 + number
        assert len(errors.splitlines()) == 1
        assert list((tmp_path / "tmp").iterdir()) == []
    assert worktrees(repository) == 0


def test_the_worktree_of_a_gate_that_runs_stays(repository):
    with checkout(top_level(repository), "main") as first:
        with checkout(top_level(repository), "main") as second:
            assert first != second
            assert worktrees(repository) == 2
        assert (first / "pytest.py").exists()
        assert worktrees(repository) == 1
    assert worktrees(repository) == 0


def test_a_worktree_whose_folder_was_cleaned_away_goes_and_one_of_the_users_stays(repository, tmp_path):
    mine = tmp_path / "mine" / "tree"
    subprocess.run(["git", "worktree", "add", "-q", "--detach", str(mine)], cwd=repository, check=True)
    gone = tmp_path / "joulebench-worktree-x" / "tree"
    subprocess.run(["git", "worktree", "add", "-q", "--detach", str(gone)], cwd=repository, check=True)
    subprocess.run(["rm", "-r", str(gone.parent)], check=True)
    with checkout(top_level(repository), "main"):
        assert worktrees(repository) == 2
    assert worktrees(repository) == 1
    assert mine.exists()


def test_a_benchmark_that_hangs_ends_at_the_limit_that_the_user_set(repository, tmp_path):
    process = gate(repository, "--limit", "1.5")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "took longer than 1.5 s and was killed" in errors
    assert not any(map(running, map(int, (tmp_path / "pids").read_text().split())))
    assert worktrees(repository) == 0
