"""Disk cache of decoded images: one file per source, verified on reading, replaced atomically."""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from joulebench.data.arrays import ImageArrays
from joulebench.host.files import expanded, make_folder, whole_file

FORMAT = 2  # raised when decoding changes, so that older files are rebuilt


def cache_root(cache_dir: Path | None = None) -> Path:
    """The cache folder: the argument, $JOULEBENCH_CACHE, or the user's cache folder.

    Raises:
        InputError: the user has no home folder.
    """
    if given := cache_dir or os.environ.get("JOULEBENCH_CACHE"):
        return expanded(Path(given))
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return expanded(Path(xdg)) / "joulebench"
    return expanded(Path("~/Library/Caches/joulebench" if sys.platform == "darwin" else "~/.cache/joulebench"))


def cached(
    root: Path, name: str, source: Path, files: Callable[[], list[Path]], decode: Callable[[], ImageArrays]
) -> ImageArrays:
    """Decode `source`, or read it from the cache if its `files` have not changed.

    A damaged cache file is rebuilt with a warning; a failure to write is a warning too.
    """
    key = hashlib.sha256(os.fsencode(f"{name}\0{source.resolve()}")).hexdigest()[:16]
    file = root / "decoded" / f"{name}-{key}.npz"
    arrays = _read(file, _stamp(source, files()))
    if arrays is None:
        arrays = decode().with_leaks()
        _write(file, _stamp(source, files()), arrays)  # decoding may have fetched the files first
    return arrays


def _stamp(source: Path, files: list[Path]) -> str:
    """A hash of the files' names, sizes and modification times."""
    digest = hashlib.sha256(f"{FORMAT}".encode())
    for file in sorted(files):
        stat = file.stat()
        name = file.relative_to(source)  # independent of a relative or absolute source
        digest.update(os.fsencode(f"\0{name}\0{stat.st_size}\0{stat.st_mtime_ns}"))
    return digest.hexdigest()


def _checksum(stamp: str, arrays: ImageArrays) -> str:
    words = "\0".join((stamp, arrays.fingerprint, arrays.source, *arrays.classes, *arrays.remarks))
    return hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()


def _read(file: Path, stamp: str) -> ImageArrays | None:
    """Read a cache file; None if it is missing, outdated or (with a warning) damaged."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if str(stored["stamp"]) != stamp:
                return None
            arrays = ImageArrays(
                train_x=stored["train_x"],
                train_y=stored["train_y"],
                test_x=stored["test_x"],
                test_y=stored["test_y"],
                classes=tuple(str(name) for name in stored["classes"]),
                source=str(stored["source"]),
                remarks=tuple(str(remark) for remark in stored["remarks"]),
            )
            intact = str(stored["checksum"]) == _checksum(stamp, arrays)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, EOFError, KeyError, ValueError, NotImplementedError, zipfile.BadZipFile):
        intact = False
    if not intact:
        warnings.warn(f"{file}: the cached data are damaged or unreadable; they are decoded again", stacklevel=2)
        return None
    return arrays


def _write(file: Path, stamp: str, arrays: ImageArrays) -> None:
    try:
        make_folder(file.parent)
        with whole_file(file) as stream:
            np.savez(
                stream,
                train_x=arrays.train_x,
                train_y=arrays.train_y,
                test_x=arrays.test_x,
                test_y=arrays.test_y,
                classes=np.array(arrays.classes),
                source=np.array(arrays.source),
                remarks=np.array(arrays.remarks, dtype=str),
                stamp=np.array(stamp),
                checksum=np.array(_checksum(stamp, arrays)),
            )
    except (OSError, ValueError) as error:  # zipfile turns a full disk into a ValueError
        reason = f"decoded data cannot be cached ({error}); continuing without the cache"
        warnings.warn(f"{file.parent}: {reason}", stacklevel=2)
