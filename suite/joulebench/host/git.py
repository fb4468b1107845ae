"""Git queries on a working tree that the user named, never on one that a record names."""

from __future__ import annotations

import os
import subprocess
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
