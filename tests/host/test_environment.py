"""What the manifest says of the code that ran."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from joulebench.host import environment
from joulebench.publishing.checks import _of_the_environment
from tests.conftest import REPOSITORY


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout that holds the module where it lies, with one commit."""
    package = tmp_path / "real" / "suite" / "joulebench" / "host"
    package.mkdir(parents=True)
    (package / "environment.py").write_text("")
    git(tmp_path / "real", "init")
    git(tmp_path / "real", "add", ".")
    git(tmp_path / "real", "commit", "-m", "one")
    (tmp_path / "link").symlink_to("real")

    def at(name):
        monkeypatch.setattr(
            environment,
            "__file__",
            str(tmp_path / name / package.relative_to(tmp_path / "real")) + "/environment.py",
        )
        return environment._commit()

    return at


@pytest.mark.parametrize("name", ["real", "link"])
def test_a_checkout_is_known_and_its_changes_too(checkout, tmp_path, name):
    assert checkout(name)["modified"] is False
    (tmp_path / "real" / "suite" / "new.py").write_text("")
    found = checkout(name)
    assert len(found["commit"]) == 40
    assert found["modified"] is True


def test_a_repository_of_which_git_says_nothing_is_not_an_installation(checkout, tmp_path):
    (tmp_path / "real" / ".git" / "HEAD").write_text("nonsense")
    found = checkout("real")
    assert set(found) == {"unknown"}
    assert any("git could not say" in problem for problem in _of_the_environment({"code": found}))


def test_what_is_installed_has_no_commit(checkout, tmp_path):
    (tmp_path / "real" / ".git").rename(tmp_path / "git")
    assert checkout("real") == {}


def test_a_hooks_environment_does_not_lead_to_another_repository(checkout, tmp_path, monkeypatch):
    own = checkout("real")["commit"]
    monkeypatch.setenv("GIT_DIR", str(REPOSITORY / ".git"))
    assert checkout("real")["commit"] == own


def test_a_git_folder_that_is_no_repository_does_not_let_the_one_around_it_answer(checkout, tmp_path):
    (tmp_path / "real" / ".git").rename(tmp_path / "git")
    (tmp_path / "real" / ".git").mkdir()
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "around")
    assert set(checkout("real")) == {"unknown"}


def test_what_git_says_in_any_encoding_is_a_reason(checkout, tmp_path):
    (tmp_path / "real" / ".git").rename(tmp_path / "git")
    (tmp_path / "real" / ".git").write_bytes(b"gitdir: /nonexistent/j\xe9\n")
    found = checkout("real")
    assert set(found) == {"unknown"}
    found["unknown"].encode()


def test_a_run_records_the_versions_of_every_engine_and_model_library():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.split(r"[\[<>=~! ]", line)[0] for extra in ("vision", "llm", "models") for line in extras[extra]}
    assert "onnxruntime" in named
    assert named - {"joulebench", "pillow"} <= set(environment.PACKAGES)
