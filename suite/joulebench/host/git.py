"""Questions to git about a working tree that the user named, and never about one that a record names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: A repository's own settings may name commands that git then executes: hooks, and a monitor of the file system.
_INERT = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


def git(folder: Path, *arguments: str, timeout_s: float = 10.0) -> str:
    """What git prints of `folder`, without running hooks.

    Raises:
        OSError: there is no git, or no such folder.
        subprocess.SubprocessError: git failed; `stderr` says why.
    """
    # GIT_DIR and its like, which a hook's environment has, would make it answer for another repository
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *_INERT, "-C", str(folder), *arguments],
        capture_output=True, text=True, check=True, timeout=timeout_s, env=environment,
    )  # fmt: skip
    return done.stdout.strip()
