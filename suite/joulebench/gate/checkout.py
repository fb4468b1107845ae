"""Temporary git worktree of another commit."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from joulebench.errors import InputError
from joulebench.host.files import locked_folder
from joulebench.host.git import git

#: Name of the temporary folder, and of the worktree in it.
PREFIX, TREE = "joulebench-worktree-", "tree"


def top_level(folder: Path) -> Path:
    """Find the root of the git working tree that contains `folder`.

    Raises:
        InputError: there is none, or git is not installed.
    """
    return Path(_git(folder, "rev-parse", "--show-toplevel"))


@contextmanager
def checkout(repository: Path, ref: str) -> Iterator[Path]:
    """Check out `ref` as a worktree in a temporary folder; the user's tree, index and branches stay unchanged.

    Worktrees of gates that were killed are removed.

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
    _remove_abandoned(repository)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, locked_folder(Path(folder)):
        tree = Path(folder) / TREE
        try:
            _git(repository, "worktree", "add", "--detach", "--quiet", str(tree), commit)
            yield tree
        finally:
            _remove(repository, tree)


def is_unchanged(repository: Path, ref: str) -> bool:
    """Whether the working tree holds the same files as `ref`, apart from what git ignores.

    Raises:
        InputError: there is no such commit here.
    """
    changed = _git(repository, "diff", "--name-only", "--no-ext-diff", "--end-of-options", ref, "--")
    return not changed and not _git(repository, "ls-files", "--others", "--exclude-standard")


def _remove_abandoned(repository: Path) -> None:
    """Remove the worktrees of gates that were killed; that of a running one is locked by its process."""
    for line in _git(repository, "worktree", "list", "--porcelain").splitlines():
        tree = Path(line.removeprefix("worktree "))
        if not line.startswith("worktree ") or tree.name != TREE or not tree.parent.name.startswith(PREFIX):
            continue
        try:
            with locked_folder(tree.parent, wait=False):
                _remove(repository, tree)
                shutil.rmtree(tree.parent, ignore_errors=True)
        except FileNotFoundError:  # a cleaner of temporary files was there before
            _remove(repository, tree)
        except OSError:
            continue


def _remove(repository: Path, tree: Path) -> None:
    with suppress(InputError):  # there is none, as git was interrupted while it made it
        _git(repository, "worktree", "remove", "--force", "--force", str(tree))


def _git(folder: Path, *arguments: str) -> str:
    try:
        return git(folder, *arguments, timeout_s=300.0)
    except FileNotFoundError:
        raise InputError("--against needs git, which is not installed") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        raise InputError(f"git {arguments[0]} failed in {folder}: {lines[-1] if lines else 'no message'}") from None
