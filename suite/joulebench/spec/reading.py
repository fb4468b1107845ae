"""Reading of files that may be anybody's: regular ones of bounded size, never a pipe or a device."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from joulebench.errors import InputError, MissingFileError

#: Largest file of a run that is read: some 100,000 trials.
MAX_BYTES = 2**30
#: Largest power trace, wall meter's log or file of replicates: ten weeks of readings ten times a second.
MAX_LOG_BYTES = 2**28


def open_file(path: Path, most_bytes: int = MAX_BYTES, follow: bool = False) -> BinaryIO:
    """Open a file for reading.

    Args:
        follow: also a symbolic link, as to a file that the user named.

    Raises:
        MissingFileError: there is none.
        InputError: it cannot be read, is a link or no regular file, or is larger than `most_bytes`.
    """
    flags = 0 if follow else os.O_NOFOLLOW
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)  # opening a pipe would wait for its writer
    except OSError as error:
        kind = MissingFileError if error.errno == errno.ENOENT else InputError
        is_link = error.errno == errno.ELOOP and path.is_symlink()
        raise kind(f"{path}: cannot be read: {'is a symbolic link' if is_link else error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            what = os.strerror(errno.EISDIR) if stat.S_ISDIR(status.st_mode) else "is no regular file"
            raise InputError(f"{path}: cannot be read: {what}")
        if status.st_size > most_bytes:
            raise InputError(f"{path}: cannot be read: is larger than {most_bytes} bytes")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path, most_bytes: int = MAX_BYTES, follow: bool = False) -> bytes:
    """Read a file; arguments and errors as of `open_file`."""
    with open_file(path, most_bytes, follow) as file:
        return file.read()


def read_text(path: Path, most_bytes: int = MAX_BYTES, follow: bool = False) -> str:
    """Read a file in UTF-8, with or without a byte order mark; arguments and errors as of `open_file`."""
    try:
        return read_file(path, most_bytes, follow).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None


def read_json(path: Path, most_bytes: int = MAX_BYTES, follow: bool = False) -> Any:
    """Read a file of JSON; arguments and errors as of `open_file`."""
    try:
        return json.loads(read_file(path, most_bytes, follow))
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not JSON") from None
