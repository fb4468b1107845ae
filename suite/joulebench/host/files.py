"""Durable writing, and reads that follow no symbolic link.

What is written is on the disk when a function returns, and there whole or not at all, also after a crash, on a full
disk or at a loss of power. What a killed process left half written is removed by the next that writes there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from joulebench.errors import InputError, is_full

#: Names of what is being written; its process holds a lock on it.
_TEMPORARY = re.compile(r"\..{1,100}\.([0-9a-f]{8})[0-9a-f]{8}\.tmp", re.DOTALL)
#: This host in such names: another host's locks do not show on every network file system.
_HOST = hashlib.blake2b(platform.node().encode(errors="replace"), digest_size=4).hexdigest()
#: Folders that may be asked for under one name.
MAX_SAME_NAME = 10_000


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that is being written, or was when its process was killed."""
    return _TEMPORARY.fullmatch(name) is not None


def expanded(path: Path) -> Path:
    """A path with `~` replaced by the user's home folder.

    Raises:
        InputError: nothing says which that is.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {error}") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as `whole_file` does.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Temporary file to write to, forced to the disk and moved to `path` at the end.

    No reader sees an incomplete file. A link at `path` is replaced, not followed.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    with _temporary(path) as (temporary, descriptor):
        with suppress(FileNotFoundError):
            before = path.lstat()
            if stat.S_ISREG(before.st_mode):
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))  # who could not read it still cannot
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            yield file
        os.fsync(descriptor)
        temporary.replace(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Temporary folder to fill, forced to the disk and moved to `path` at the end.

    Raises:
        FileExistsError: there is something at `path`.
        OSError: it cannot be written; then there is nothing at `path`.
    """
    with _temporary(path, is_folder=True) as (temporary, _):
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in (*names, ""):
                sync(Path(folder, name))
        if path.is_symlink() or path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary.rename(path)


@contextmanager
def _temporary(path: Path, is_folder: bool = False) -> Iterator[tuple[Path, int]]:
    """New file or folder beside `path`, which the block moves there, and its descriptor, locked for the block."""
    remove_abandoned(path.parent)
    temporary, descriptor = path, -1
    try:
        while descriptor < 0:
            temporary = path.with_name(f".{path.name[:100]}.{_HOST}{secrets.token_hex(4)}.tmp")
            descriptor = _made(temporary, is_folder)
        yield temporary, descriptor
        sync(path.parent)
    except BaseException as error:
        if temporary != path:
            _remove(temporary)
        if isinstance(error, OSError) and (is_full(error) or error.filename == str(temporary)):
            error.filename = str(path)  # what the user knows
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _made(temporary: Path, is_folder: bool) -> int:
    """Lock a new file or folder; its descriptor, negative if another process took it for abandoned before."""
    if is_folder:
        temporary.mkdir()
        descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW)
    else:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with suppress(OSError):  # a file system without locks: then nobody else gets one either
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if temporary.exists():
        return descriptor
    os.close(descriptor)
    return -1


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes of this host left half written in a folder; what is being written stays."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if not (named := _TEMPORARY.fullmatch(path.name)) or named[1] != _HOST:
                continue
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(path)
                finally:
                    os.close(descriptor)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_folder(path: Path, exist_ok: bool = True) -> None:
    """Make a folder and those above it, and force their names to the disk.

    Raises:
        FileExistsError: it exists, and may not.
        OSError: it cannot be made.
    """
    missing = [part for part in (path, *path.parents) if not part.exists()]
    path.mkdir(parents=True, exist_ok=exist_ok)
    for part in missing:
        sync(part.parent)


def claim_folder(path: Path) -> Path:
    """Make a folder that no other process has made, with a number appended to its name if it exists.

    Raises:
        OSError: it cannot be made.
    """
    for n in range(1, MAX_SAME_NAME):
        named = path if n == 1 else path.with_name(f"{path.name}-{n}")
        with suppress(FileExistsError):
            make_folder(named, exist_ok=False)
            return named
    raise FileExistsError(errno.EEXIST, f"exists {MAX_SAME_NAME - 1} times already", str(path))


def sync(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk, as far as its file system and permissions can.

    Raises:
        OSError: the disk is full or failing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written into, and not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if is_full(error):
            raise
    finally:
        os.close(descriptor)


def append_line(path: Path, content: bytes) -> None:
    """Append a line of JSON to a file, which is made if missing, and force it to the disk.

    A last line without its end is ended first if it is whole, as editors leave it, else cut off, as a crash does.

    Raises:
        OSError: the disk is full, or `path` is a link, also a hard one, or cannot be written; what was there before
            is untouched.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        size = _of_one_name(descriptor, path).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            last = os.pread(descriptor, size, 0).rpartition(b"\n")[2]
            if _is_json(last):
                content = b"\n" + content
            else:
                size -= len(last)
                os.ftruncate(descriptor, size)
        try:
            with os.fdopen(descriptor, "ab", closefd=False) as file:
                file.write(content)
            os.fsync(descriptor)
            if not size:
                sync(path.parent)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            error.filename = str(path)
            raise
    finally:
        os.close(descriptor)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _of_one_name(descriptor: int, path: Path) -> os.stat_result:
    """Status of a file that has no second name elsewhere, where a change would appear too."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, "has another name (a hard link); copy the folder first", str(path))
    return status


@contextmanager
def locked_folder(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder for one process at a time; others wait.

    Raises:
        BlockingIOError: another process holds it, and it is not to be waited for.
        OSError: there is no such folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def cut_off(path: Path, size: int) -> None:
    """Shorten a file to `size` bytes.

    Raises:
        OSError: it is a link or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _of_one_name(descriptor, path)
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
