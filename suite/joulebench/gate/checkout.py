"""Another commit of this repository beside the working tree, for as long as it is measured."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joulebench.errors import InputError
from joulebench.host.git import git


def top_level(folder: Path) -> Path:
    """The working tree that `folder` lies in.

    Raises:
        InputError: it lies in none, or there is no git.
    """
    return Path(_git(folder, "rev-parse", "--show-toplevel"))


@contextmanager
def checkout(repository: Path, ref: str) -> Iterator[Path]:
    """A worktree of `ref` in a temporary folder; the user's own tree, index and branches are left alone.

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
        said = error.stderr.strip().splitlines()
        raise InputError(f"git {arguments[0]} failed in {folder}: {said[-1] if said else 'no message'}") from None
