"""Reading of tar and zip archives: names and sizes are checked first, and what they unpack to is bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

MAX_POSITION = 4 * 2**30  # bytes that a tar unpacks to, with all that is skipped
MAX_HEADER_BYTES = 2**26  # read at once: a header that claims more is a bomb
MAX_MEMBERS = 2_000_000  # further ones are not looked at
MAX_LINKS = 8  # from link to link
MAX_FOLDER_BYTES = 2**30  # written to the disk

_COMPRESSED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))

Content = bytes | None  # of a file; None: a folder


class ArchiveError(Exception):
    """An archive that cannot be used; the message is the reason."""


Kind = Literal["file", "folder", "link", "other"]


class Member(NamedTuple):
    """One entry of an archive, under its normalised name."""

    name: str
    kind: Kind
    size: int
    target: str  # of a link: the name that it stands for
    open: Callable[[], IO[bytes]]


class _Bounded(io.RawIOBase):
    """A stream that refuses to be read far, or much of it at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise ArchiveError(f"a header of it claims {size} bytes")
        data = self._stream.read(size)
        self._check(self._stream.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()

    def _check(self, position: int) -> None:
        if position > MAX_POSITION:
            raise ArchiveError(f"it unpacks to more than {MAX_POSITION} bytes")


@contextmanager
def _members(path: Path) -> Iterator[Iterator[Member]]:
    """The members of a tar (plain, gz, bz2, xz) or a zip, in order, each to be read before the next is asked for.

    Raises:
        ArchiveError: while it is read, where it is no archive, damaged, encrypted, or unpacks to far too much.
    """
    try:
        yield islice(_zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path), MAX_MEMBERS)
    except (ArchiveError, MemoryError):
        raise
    except tarfile.ReadError as error:
        raise ArchiveError(f"it is no readable archive ({error})") from None
    except Exception as error:  # each kind of archive fails in its own way
        raise ArchiveError(f"it is damaged ({error})") from None


def _tar_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file:
        start = file.read(6)
    unpack: Any = next((opener for magic, opener in _COMPRESSED if start.startswith(magic)), open)
    with closing(_Bounded(unpack(path, "rb"))) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for entry in archive:
            kind: Kind = "other"
            target = ""
            if entry.isfile() or entry.isdir():
                kind = "file" if entry.isfile() else "folder"
            elif entry.islnk() or entry.issym():
                kind, target = "link", _normal(entry.linkname)
                if entry.issym():
                    target = _normal(posixpath.join(posixpath.dirname(entry.name), entry.linkname))
            yield Member(_normal(entry.name), kind, entry.size, target, partial(_extracted, archive, entry))
        # tarfile stops silently at the first bad header; reading on makes gzip verify its checksum
        while stream.read(2**20):
            pass


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.flag_bits & 1:
                raise ArchiveError(f"'{entry.filename}' is encrypted")
            name, mode, target = _normal(entry.filename), entry.external_attr >> 16, ""
            kind: Kind = "folder" if entry.is_dir() else "file"
            if stat.S_ISLNK(mode):
                kind = "link"
                linked = archive.open(entry).read(4096).decode(errors="surrogateescape")
                target = _normal(posixpath.join(posixpath.dirname(name), linked))
            yield Member(name, kind, entry.file_size, target, partial(archive.open, entry))


def _extracted(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(entry)
    if stream is None:
        raise ArchiveError(f"{entry.name} is no file")
    return stream


def _normal(name: str) -> str:
    return posixpath.normpath(name).removeprefix("/")


def read_files(
    path: Path,
    wanted: Callable[[str], bool],
    most_each: int,
    most: Callable[[int], int],
    progress: Callable[[int], None],
) -> dict[str, Content]:
    """Files and folders of an archive by name, with the content of those files that are wanted; links are followed.

    Args:
        wanted: whether a file of this name is to be read; the content of others is left empty.
        most_each: bytes that one of them may have.
        most: bytes that a number of them may have together.
        progress: called with the number of files read.

    Raises:
        ArchiveError: also where two members have one name, or a wanted one is neither a file nor a link to one.
    """
    found: dict[str, Content] = {}
    links: dict[str, str] = {}
    count = total = 0
    with _members(path) as members:
        for name, member in ((member.name, member) for member in members):
            if name == ".." or name.startswith("../"):
                raise ArchiveError(f"{name} lies outside of it")
            if member.kind == "folder":
                found.setdefault(name, None)
                continue
            if name in found or name in links:
                raise ArchiveError(f"it holds {name} twice")
            if member.kind == "link":
                links[name] = member.target
                continue
            found[name] = b""
            if not wanted(name):
                continue
            if member.kind == "other":
                raise ArchiveError(f"{name} is no file")
            if member.size > most_each:
                raise ArchiveError(f"{name} has {member.size} bytes; expected at most {most_each} each")
            count, total = count + 1, total + member.size
            if total > most(count):
                raise ArchiveError(
                    f"its first {count} files unpack to {total} bytes; expected at most {most(count)}"
                )
            with member.open() as stream:
                found[name] = stream.read(member.size)
            progress(count)
    folders = {str(parent) for name in found for parent in _parents(name)} | {
        n for n, c in found.items() if c is None
    }
    for name in links:
        target = name
        for _ in range(MAX_LINKS):
            target = links.get(target, target)
        if target in folders:
            raise ArchiveError(f"{name} is a link to the folder {target}; pack the folder itself")
        if wanted(name) and not (wanted(target) and target in found):
            raise ArchiveError(f"{name} is a link to {target}, which it does not hold")
        found[name] = found.get(target, b"")
    return found


def _parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def unpack_folder(path: Path, folder: str, target: Path) -> bool:
    """Write the files that lie in a tar's `folder` below `target`; whether its first file lies there.

    Raises:
        ArchiveError: it is damaged, or unpacks to far too much.
    """
    total = 0
    with _members(path) as members:
        for member in members:
            if member.kind != "file":
                continue
            if posixpath.dirname(member.name) != folder:
                if not total:
                    return False
                continue
            total += member.size
            if total > MAX_FOLDER_BYTES:
                raise ArchiveError(f"its {folder} unpacks to more than {MAX_FOLDER_BYTES} bytes")
            file = target / folder / posixpath.basename(member.name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as stream, file.open("wb") as out:
                shutil.copyfileobj(stream, out)
    return total > 0
