"""A fault at the n-th step that changes the disk: the process is killed, or the disk is full from there on.

Steps are the writes, fsyncs, renames, new files and folders, removals and truncations below one folder, as Python
asks for them. A write is cut in half first, as a crash or a full disk does.
"""

from __future__ import annotations

import builtins
import errno
import io
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

Kind = Literal["kill", "full"]
#: Calls with their paths' positions. On a full disk those that need room fail from the fault on, these only at it.
_CALLS = {"fsync": 1, "replace": 2, "rename": 2, "link": 2, "mkdir": 1, "unlink": 1, "remove": 1, "rmdir": 1,
          "ftruncate": 1}  # fmt: skip
_NEEDS_ROOM = ("write", "open", "mkdir", "link")
_FREES_ROOM = ("unlink", "remove", "rmdir", "ftruncate")


class Faults:
    """Counter of steps, shared with the parent of the process that takes them."""

    def __init__(self, below: Path, at: int, kind: Kind) -> None:
        """No fault if `at` is 0: steps are counted only."""
        self._below, self._at, self._kind = str(below.resolve()), at, kind
        self._shared = mmap.mmap(-1, 8)
        self._full = False

    @property
    def steps(self) -> int:
        return int.from_bytes(self._shared[:8], "little")

    def install(self) -> None:
        """Watch this process."""
        for name in _CALLS:
            setattr(os, name, self._watched(name, getattr(os, name)))
        opened, written, original = os.open, os.write, io.open

        def os_open(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_CREAT and self._concerns(path, more.get("dir_fd")):
                self._step("open", path)
            return opened(path, flags, *rest, **more)

        def os_write(descriptor: int, data: Any) -> int:
            return self.write(descriptor, data, written)

        def io_open(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
            if not set(mode) & set("wxa+") or not self._concerns(file):
                return original(file, mode, buffering, *rest, **more)
            if not isinstance(file, int):
                self._step("open", file)
            return self._file(file, mode, buffering, *rest, **more)

        os.open, os.write = os_open, os_write
        io.open = builtins.open = io_open

    def write(self, target: Any, data: Any, written: Callable[[Any, Any], int]) -> int:
        if not self._concerns(target if isinstance(target, int) else target.fileno()):
            return written(target, data)
        view = memoryview(data).cast("B")
        if self._count() and len(view) > 1:
            half = written(target, view[: len(view) // 2])
            if self._kind == "full":
                self._full = True
                return half
        self._fail("write")
        return written(target, data)

    def _file(
        self, file: Any, mode: str, buffering: int, encoding: Any = None, errors: Any = None, newline: Any = None,
        closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        faults = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:  # type: ignore[override]
                return faults.write(self, data, io.FileIO.write)

        raw = File(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **more: Any) -> Any:
            folder = more.get("dir_fd", more.get("src_dir_fd"))
            if any(self._concerns(path, folder) for path in given[: _CALLS[name]]):
                self._step(name, given[0])
            return call(*given, **more)

        return watched

    def _concerns(self, path: Any, folder: int | None = None) -> bool:
        opened = path if isinstance(path, int) else folder
        at = Path.cwd() if opened is None else Path(f"/proc/self/fd/{opened}").resolve()
        at = at if isinstance(path, int) else at / os.fsdecode(path)
        return str(at).startswith(self._below + os.sep)

    def _count(self) -> bool:
        """Count a step; returns whether the fault is at it."""
        self._shared[:8] = (self.steps + 1).to_bytes(8, "little")
        return self.steps == self._at

    def _step(self, name: str, path: Any) -> None:
        self._count()
        self._fail(name, None if isinstance(path, int) else os.fspath(path))

    def _fail(self, name: str, path: str | None = None) -> None:
        here = self.steps == self._at
        if here and self._kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        if here and self._kind == "full":
            self._full = True
        if self._full and (name in _NEEDS_ROOM or (here and name not in _FREES_ROOM)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
