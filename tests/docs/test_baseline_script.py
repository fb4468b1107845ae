"""Baselines survive from one run of the workflow to the next, on a branch of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

GIT = ("git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")
BASELINE = Path("reports/baselines/nvidia_h100/regression.jsonl")
BADGE = Path("energy-badge.json")


def git(folder, *arguments):
    return subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def remote(tmp_path):
    path = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", str(path))
    return path


def tree(folder):
    """A checkout of the project with its script."""
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(REPOSITORY / ".ci" / "baseline", folder / ".ci" / "baseline")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


def run(folder, *arguments):
    """As a runner does: an environment without a home or settings of git."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        [".ci/baseline", *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def store(folder, remote, text, badge=None):
    for path, content in ((BASELINE, text), (BADGE, badge)):
        if content is not None:
            (folder / "measured" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "measured" / path).write_text(content)
    return run(folder, "store", remote, "measured")


def test_what_is_stored_is_there_for_the_next_run(tmp_path, remote):
    first = tree(tmp_path / "first")
    assert run(first, "fetch", remote).returncode == 0  # no branch yet
    assert not (first / "reports").exists()
    assert store(first, remote, "one\n", '{"message": "passed"}').returncode == 0
    second = tree(tmp_path / "second")
    assert run(second, "fetch", remote).returncode == 0
    assert (second / BASELINE).read_text() == "one\n"
    assert not (second / BADGE).exists()
    assert store(second, remote, "one\ntwo\n").returncode == 0
    assert git(remote, "show", f"energy-baselines:{BASELINE}") == "one\ntwo"
    assert git(remote, "show", f"energy-baselines:{BADGE}") == '{"message": "passed"}'
    assert git(remote, "rev-list", "--count", "energy-baselines") == "2"
    assert git(remote, "branch", "--list").split() == ["energy-baselines"]
    assert git(second, "status", "--porcelain", "--", ".ci") == ""


def test_nothing_new_makes_no_commit(tmp_path, remote):
    first = tree(tmp_path / "first")
    for _ in range(2):
        done = store(first, remote, "one\n")
        assert (done.returncode, done.stderr) == (0, "")
    assert git(remote, "rev-list", "--count", "energy-baselines") == "1"


def test_only_baselines_and_the_badge_leave_or_enter_a_tree(tmp_path, remote):
    first = tree(tmp_path / "first")
    (first / "measured" / ".ci").mkdir(parents=True)
    (first / "measured" / ".ci" / "baseline").write_text("#!/bin/sh\nexit 0\n")
    assert store(first, remote, "one\n").returncode == 0
    assert git(remote, "ls-tree", "-r", "--name-only", "energy-baselines") == str(BASELINE)
    # somebody else has put a script onto the branch
    work = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", "--branch", "energy-baselines", str(remote), str(work))
    (work / ".ci").mkdir()
    (work / ".ci" / "baseline").write_text("#!/bin/sh\nexit 0\n")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "a script")
    git(work, "push", "--quiet")
    second = tree(tmp_path / "second")
    before = (second / ".ci" / "baseline").read_bytes()
    assert run(second, "fetch", remote).returncode == 0
    assert (second / ".ci" / "baseline").read_bytes() == before
    assert (second / BASELINE).is_file()


def test_nothing_but_files_of_these_names_is_taken_from_what_was_measured(tmp_path, remote):
    """The code that is measured writes it: links to other files, settings of git, hidden files."""
    first = tree(tmp_path / "first")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "regression.jsonl").write_text("a token\n")
    baselines = first / "measured" / "reports" / "baselines"
    for name in ("kept", ".git", "linked_file"):
        (baselines / name).mkdir(parents=True)
    (baselines / "kept" / "regression.jsonl").write_text("one\n")
    (baselines / "kept" / "other.txt").write_text("other\n")
    (baselines / ".gitattributes").write_text("* filter=x\n")
    (baselines / ".git" / "regression.jsonl").write_text("hidden\n")
    (baselines / "linked_file" / "regression.jsonl").symlink_to(secret / "regression.jsonl")
    (baselines / "linked_folder").symlink_to(secret)
    (first / "measured" / BADGE).symlink_to(secret / "regression.jsonl")
    done = run(first, "store", remote, "measured")
    assert (done.returncode, done.stderr) == (0, "")
    names = git(remote, "ls-tree", "-r", "--name-only", "energy-baselines").splitlines()
    assert names == ["reports/baselines/kept/regression.jsonl"]


@pytest.mark.parametrize("link", ["reports", "reports/baselines"])
def test_a_linked_folder_of_baselines_is_not_followed(tmp_path, remote, link):
    first = tree(tmp_path / "first")
    secret = tmp_path / "secret"
    inside = BASELINE.relative_to(link)
    (secret / inside).parent.mkdir(parents=True)
    (secret / inside).write_text("a token\n")
    (first / "measured" / link).parent.mkdir(parents=True)
    (first / "measured" / link).symlink_to(secret)
    assert run(first, "store", remote, "measured").returncode == 0
    assert git(remote, "branch", "--list") == ""


def test_a_link_on_the_branch_leads_nowhere(tmp_path, remote):
    """Else a baseline would be written over git's settings, which name programs, or over a file of the runner's."""
    work = tmp_path / "work"
    (work / BASELINE).parent.parent.mkdir(parents=True)
    git(work, "init", "--quiet", "--initial-branch", "energy-baselines")
    outside = tmp_path / "outside"
    outside.mkdir()
    (work / BASELINE).parent.symlink_to(outside)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "a link")
    git(work, "push", "--quiet", str(remote), "energy-baselines")
    first = tree(tmp_path / "first")
    assert run(first, "fetch", remote).returncode == 0
    assert not (first / BASELINE).parent.is_symlink()
    assert store(tree(tmp_path / "second"), remote, "one\n").returncode != 0
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("arguments", [("fetch",), ("store", "measured")])
def test_a_remote_that_cannot_be_reached_is_no_empty_one(tmp_path, arguments):
    first = tree(tmp_path / "first")
    done = run(first, arguments[0], tmp_path / "nowhere.git", *arguments[1:])
    assert done.returncode not in (0, 2)
    assert "nowhere.git" in done.stderr


def test_another_word_is_refused(tmp_path, remote):
    assert run(tree(tmp_path / "first"), "keep", remote).returncode == 2
