"""Archives: what is taken from them, and what is refused before it takes memory, time or the disk."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from torchvision import datasets

from joulebench.data import archives, load_arrays
from tests.data_sources import (
    CIFAR10,
    pack_tar,
    pack_zip,
    refused,
    write_cifar_batches,
)

FIRST = "tiny/train/class0/0000.png"


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size
    return made


def repacked(tree: Path, *extra: tarfile.TarInfo, without: str = "") -> Path:
    """The tree as a tar with further members, and without one of its files."""
    target = tree.parent / "odd.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        archive.add(tree, "tiny", filter=lambda m: None if m.name == without else m)
        for each in extra:
            archive.addfile(each, io.BytesIO(bytes(each.size)))
    return target


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.LNKTYPE, "tiny/train/class1/0001.png"),
        (tarfile.SYMTYPE, "../class1/0001.png"),
        (tarfile.SYMTYPE, "./../../train/class1/0001.png"),
    ],
)
def test_links_to_other_files_of_it_are_followed(tree: Path, kind: bytes, target: str) -> None:
    (tree / "train" / "class0" / "0000.png").write_bytes((tree / "train" / "class1" / "0001.png").read_bytes())
    expected = load_arrays(CIFAR10, tree).fingerprint
    assert load_arrays(CIFAR10, repacked(tree, member(FIRST, kind, target), without=FIRST)).fingerprint == expected


def test_links_to_files_beside_the_splits_are_followed(tree: Path) -> None:
    expected = load_arrays(CIFAR10, tree).fingerprint
    image = tree / "train" / "class0" / "0000.png"
    (tree / "store").mkdir()
    image.rename(tree / "store" / "a.png")
    image.symlink_to("../../store/a.png")
    assert load_arrays(CIFAR10, pack_tar(tree)).fingerprint == expected
    link = zipfile.ZipInfo(FIRST)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    image.unlink()
    with zipfile.ZipFile(pack_zip(tree), "a") as archive:
        archive.writestr(link, "../../store/a.png")
    assert load_arrays(CIFAR10, tree.parent / "packed.zip").fingerprint == expected


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (member(FIRST, tarfile.SYMTYPE, "/etc/passwd"), "link to etc/passwd"),
        (member("../evil.png", tarfile.REGTYPE), "../evil.png lies outside of it"),
        (member(FIRST, tarfile.SYMTYPE, "../../../../x.png"), "link to ../x.png"),
        (member(FIRST, tarfile.LNKTYPE, "tiny/nowhere.png"), "link to tiny/nowhere.png"),
        (member(FIRST, tarfile.SYMTYPE, "0000.png"), f"link to {FIRST}"),  # to itself
        (member("tiny/test/more", tarfile.SYMTYPE, "../train/class0"), "link to the folder tiny/train/class0"),
        (member(FIRST, tarfile.CHRTYPE), "is no file"),
        (member(FIRST, tarfile.FIFOTYPE), "is no file"),
        (member("tiny/train/class1/0000.png", size=3), "twice"),
        (member(FIRST, size=2**20 + 1), "1048577 bytes"),
    ],
)
def test_what_cannot_be_taken_is_named(tree: Path, extra: tarfile.TarInfo, reason: str) -> None:
    path = repacked(tree, extra, without=FIRST)
    refused(lambda: load_arrays(CIFAR10, path), str(path), "archive", extra.name, reason)


def test_a_zip_that_asks_for_a_password_or_holds_a_name_twice_is_refused(tree: Path) -> None:
    path = pack_zip(tree)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag of the first entry of the directory
    path.write_bytes(content)
    refused(lambda: load_arrays(CIFAR10, path), str(path), "encrypted")
    with zipfile.ZipFile(pack_zip(tree), "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(FIRST, b"x")
    refused(lambda: load_arrays(CIFAR10, path), str(path), "twice")


def zipped(path: Path, sizes: list[int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, size in enumerate(sizes):
            archive.writestr(f"train/cat/{index}.png", bytes(size))
    return path


def test_images_are_bounded_by_their_sum_before_they_are_all_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "bomb.zip", [2**20] * 200)
    read: list[str] = []
    kept = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, e, *a: read.append(e) or kept(self, e, *a))
    refused(lambda: load_arrays(CIFAR10, path), str(path), "unpack to", "expected at most")
    assert 60 < len(read) < 70  # MiB, and no more


@pytest.mark.parametrize("placed", ["notes.bin", "train/cat/0.png"])
def test_a_tar_is_bounded_with_all_that_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placed: str
) -> None:
    monkeypatch.setattr(archives, "MAX_POSITION", 2**20)
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member(placed, size=2**20), io.BytesIO(bytes(2**20)))
    refused(lambda: load_arrays(CIFAR10, path), str(path), "unpacks to more than 1048576 bytes")


def test_a_tail_of_zeros_is_bounded_too(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack_tar(tree)
    monkeypatch.setattr(archives, "MAX_POSITION", 2**22)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(2**23)))
    refused(lambda: load_arrays(CIFAR10, path), str(path), "unpacks to more than")


def test_a_header_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    header = member("x", tarfile.XHDTYPE, size=2**33).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "bomb.tar"
    path.write_bytes(header + bytes(2**16))
    refused(lambda: load_arrays(CIFAR10, path), str(path), "a header of it claims")


# -- as published ------------------------------------------------------------------------------------------------


def packed_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Tiny batches packed as CIFAR-10's own archive, and the fingerprint of their images."""
    folder = write_cifar_batches(tmp_path / "made", monkeypatch)
    expected = load_arrays(CIFAR10, tmp_path / "made").fingerprint
    path = tmp_path / "there" / datasets.CIFAR10.filename
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path, expected


def test_cifar10s_own_archive_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = packed_batches(tmp_path, monkeypatch)
    for given in (path, path.parent):
        arrays = load_arrays(CIFAR10, given)
        assert (arrays.fingerprint, arrays.source) == (expected, "torchvision CIFAR10")


def changed(content: bytes) -> bytes:
    return content.replace(b"labels", b"labelz")


@pytest.mark.parametrize(
    ("change", "reason"), [(changed, "damaged"), (lambda content: content[: len(content) // 2], "unexpected end")]
)
def test_an_archive_that_is_not_as_published_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], reason: str
) -> None:
    path, _ = packed_batches(tmp_path, monkeypatch)
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    refused(lambda: load_arrays(CIFAR10, path), str(path), reason)


def test_files_as_published_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = packed_batches(tmp_path, monkeypatch)
    monkeypatch.setattr(archives, "MAX_FOLDER_BYTES", 2**10)
    refused(lambda: load_arrays(CIFAR10, path), str(path), "more than 1024 bytes")
