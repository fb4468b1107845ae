"""Download of one file with timeouts and checksum, moved into place only when complete."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from pathlib import Path
from typing import IO

from joulebench.data.arrays import Progress
from joulebench.host.files import make_folder, whole_file

TIMEOUT_S = 10.0  # to connect, and for any one read
CHUNK_BYTES = 2**18


class DownloadError(Exception):
    """A file that could not be downloaded; the message is the reason."""


def fetch(urls: list[str], md5: str, target: Path, progress: Progress) -> None:
    """Download the file with this MD5 to `target` from the first of `urls` that has it, unless it is there already.

    Raises:
        DownloadError: all of them failed, or `target` cannot be written.
    """
    if _has(target, md5):
        return
    reasons = []
    for url in urls:
        try:
            _fetch_one(url, md5, target, progress)
            return
        except (OSError, http.client.HTTPException, DownloadError) as error:
            reasons.append(f"{url}: {error}")
    raise DownloadError("; ".join(reasons))


def _has(target: Path, md5: str) -> bool:
    if not target.is_file():
        return False
    with target.open("rb") as stream:
        return hashlib.file_digest(stream, _md5).hexdigest() == md5


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)  # the publishers' checksum, against damage


def _fetch_one(url: str, md5: str, target: Path, progress: Progress) -> None:
    make_folder(target.parent)
    with whole_file(target) as stream:
        received = _copy(url, stream, f"download {target.name}", progress)
        if received != md5:
            raise DownloadError(f"unexpected content (MD5 {received}, expected {md5})")


def _copy(url: str, stream: IO[bytes], label: str, progress: Progress) -> str:
    """Write the content behind `url` to `stream`; returns its MD5."""
    digest, done = _md5(), 0
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        total = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(CHUNK_BYTES):
            stream.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(label, done, total)
    return digest.hexdigest()
