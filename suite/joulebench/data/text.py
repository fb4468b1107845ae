"""Text data sets: bytes, read from the user's files, and labelled texts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joulebench.data.arrays import ImageArrays, Integers, repeated_in
from joulebench.errors import InputError
from joulebench.host.files import expanded

Bytes = NDArray[np.uint8]

MAX_BYTES = 2**30  # it is held in memory here and again on the device
EXPECTED = "expected a text file, or a folder with .txt files"


@dataclass(frozen=True)
class TextBytes:
    """A text as uint8 (n,); `source` describes its origin.

    `fingerprint` is the start of the bytes' SHA-256. `floor_nats_per_byte` is the entropy of generated text, the
    lowest expected loss; None if unknown.
    """

    content: Bytes
    source: str
    floor_nats_per_byte: float | None = None
    fingerprint: str = ""  # computed unless given

    def __post_init__(self) -> None:
        if not self.fingerprint:
            digest = hashlib.sha256(np.ascontiguousarray(self.content).data).hexdigest()[:16]
            object.__setattr__(self, "fingerprint", digest)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with labels int64 (n,) that index `classes`; `source`, `fingerprint`, `remarks` as of `ImageArrays`."""

    train_x: tuple[str, ...]
    train_y: Integers
    test_x: tuple[str, ...]
    test_y: Integers
    classes: tuple[str, ...]
    source: str
    fingerprint: str = ""  # computed unless given
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.fingerprint:
            digest = hashlib.sha256()
            for texts, labels in ((self.train_x, self.train_y), (self.test_x, self.test_y)):
                for text in texts:
                    content = text.encode(errors="surrogatepass")
                    digest.update(len(content).to_bytes(8, "little") + content)
                digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
            object.__setattr__(self, "fingerprint", digest.hexdigest()[:16])

    def with_leaks(self) -> LabelledTexts:
        """Itself, with a remark if texts of test stand in train too."""
        repeated = repeated_in(self.train_x, self.test_x)
        if not repeated:
            return self
        remark = f"{repeated} of {len(self.test_x)} test texts stand in train too: scores are too good"
        return replace(self, remarks=(*self.remarks, remark))


#: Data as they are before they are split and staged.
Decoded = ImageArrays | TextBytes | LabelledTexts


def read_text(path: Path | None, most: int | None) -> TextBytes:
    """Read the first `most` bytes (None: all) of a file, whatever its encoding, or of a folder's .txt files.

    A folder's files, including subfolders, are joined in the order of their paths, each on a new line; hidden ones
    are left out.

    Raises:
        InputError: no path, no such text, it cannot be read, or there is more than 1 GiB of it.
    """
    if path is None:
        raise InputError(f"no data for 'text': give --data PATH; {EXPECTED}")
    path = expanded(path)
    limit = MAX_BYTES if most is None else most
    try:
        files = _files(path)
        content = _joined(files, limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}; {EXPECTED}") from None
    if most is None and len(content) > limit:
        raise InputError(f"{path}: more than {limit} bytes of text; dataset.n = … reads the first n only")
    what = f"{path.name}, {len(files)} .txt files" if path.is_dir() else path.name
    part = f"the first {limit} bytes of " if len(content) > limit else ""
    return TextBytes(np.frombuffer(content[:limit], dtype=np.uint8), f"{part}text {what}")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; {EXPECTED}")
    files = [file.relative_to(path) for file in path.rglob("*.txt") if file.is_file()]
    shown = sorted(file for file in files if not any(part.startswith(".") for part in file.parts))
    if not shown:
        raise InputError(f"{path}: holds no .txt files; {EXPECTED}")
    return [path / file for file in shown]


def _joined(files: list[Path], most: int) -> bytes:
    """The first `most` bytes of the files' contents."""
    content = bytearray()
    for file in files:
        if len(content) == most:
            break
        if content and not content.endswith(b"\n"):
            content += b"\n"
        with file.open("rb") as stream:
            content += stream.read(most - len(content))
    return bytes(content)
