"""Temporary git worktree of another commit."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joulebench.errors import InputError
from joulebench.host.git import git


def top_level(folder: Path) -> Path:
    """Find the root of the git working tree that contains `folder`.

    Raises:
        InputError: there is none, or git is not installed.
    """
    return Path(_git(folder, "rev-parse", "--show-toplevel"))


@contextmanager
def checkout(repository: Path, ref: str) -> Iterator[Path]:
    """Check out `ref` as a worktree in a temporary folder; the user's tree, index and branches stay unchanged.

    Raises:
        InputError: there is no such commit here.
    """
    try:
        commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except InputError:
        raise InputError(
            f"--against: no commit '{ref}' in {repository}; a shallow clone has few (git fetch --unshallow, or "
            "fetch-depth: 0 in CI)"
        ) from None
    with tempfile.TemporaryDirectory(prefix="joulebench-") as folder:
        tree = Path(folder) / "tree"
        _git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        try:
            yield tree
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))


def _git(folder: Path, *arguments: str) -> str:
    try:
        return git(folder, *arguments, timeout_s=300.0)
    except FileNotFoundError:
        raise InputError("--against needs git, which is not installed") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        raise InputError(f"git {arguments[0]} failed in {folder}: {lines[-1] if lines else 'no message'}") from None
