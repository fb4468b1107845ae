"""Git queries on a working tree that the user named, never on one that a record names."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Disables commands that a repository's settings may make git execute: hooks, and a monitor of the file system.
_INERT = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")

#: Variables of a hook's environment, by which git would use another repository than the folder's.
_ELSEWHERE = frozenset(
    f"GIT_{name}"
    for name in (
        "DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "COMMON_DIR",
        "NAMESPACE", "PREFIX", "GRAFT_FILE", "SHALLOW_FILE",
    )
)  # fmt: skip


def git(folder: Path, *arguments: str, timeout_s: float = 10.0) -> str:
    """Output of a git command in `folder`, run without hooks.

    Raises:
        OSError: there is no git, or no such folder.
        subprocess.SubprocessError: git failed; `stderr` says why.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    done = subprocess.run(
        ["git", *_INERT, "-C", str(folder), *arguments],
        capture_output=True, encoding="utf-8", errors="surrogateescape", check=True, timeout=timeout_s,
        env=environment,
    )  # fmt: skip
    return done.stdout.strip()


def uncommitted(folder: Path, contents: Mapping[str, bytes]) -> tuple[str, list[str]]:
    """Commit of the repository that holds a folder, and which files are not in it with this content.

    `git status` would run the filters that the repository's settings name; this reads its trees alone.

    Args:
        contents: by path below `folder`.

    Raises:
        OSError: there is no git, or no such folder.
        subprocess.SubprocessError: no repository, one without a commit, or git failed.
    """
    commit = git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    algorithm = git(folder, "rev-parse", "--show-object-format")
    lines = git(folder, "ls-tree", "-r", "-z", commit, "--", *contents).split("\0")
    kept = {name: head.split()[2] for head, _, name in (line.partition("\t") for line in lines) if name}
    return commit, [name for name, content in contents.items() if kept.get(name) not in _blobs(algorithm, content)]


def _blobs(algorithm: str, content: bytes) -> set[str]:
    """Git's object names of a file's content; it may keep other ends of lines."""
    texts = (content, content.replace(b"\r\n", b"\n"))
    return {hashlib.new(algorithm, b"blob %d\0" % len(text) + text).hexdigest() for text in texts}
