"""Atomic writes and appends, and reads that follow no symbolic link."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as `whole_file` does.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Temporary file to write to, flushed and moved to `path` at the end: no reader sees an incomplete file.

    A link at `path` is replaced, not followed.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            with suppress(FileNotFoundError):
                before = path.lstat()
                if stat.S_ISREG(before.st_mode):
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))  # who could not read it still cannot
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def append_line(path: Path, content: bytes) -> None:
    """Append a line to a file, which is made if missing, and force it to the disk; a partial write is cut off.

    A last line without its end, as editors leave it, is ended first.

    Raises:
        OSError: the disk is full, or `path` is a link or cannot be written; what was there before is untouched.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content
        try:
            with os.fdopen(descriptor, "ab", closefd=False) as file:
                file.write(content)
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):  # a reader recognises a torn last line
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for one process at a time; others wait.

    Raises:
        OSError: there is no such folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_own(path: Path) -> bytes:
    """Read a regular file; no link, pipe or device.

    Raises:
        OSError: there is none, it cannot be read, or it is no regular file.
    """
    with own_file(path) as file:
        return file.read()


def own_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; no link, pipe or device.

    Raises:
        OSError: as `read_own`.
    """
    # without O_NONBLOCK, opening a pipe would wait for its writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def cut_off(path: Path, size: int) -> None:
    """Shorten a file to `size` bytes.

    Raises:
        OSError: it is a link or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
