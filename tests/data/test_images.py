"""Image trees, in folders and archives: what is read, and what is refused."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from joulebench.data import load_arrays
from tests.data_sources import (
    CIFAR10,
    CLASSES,
    MNIST,
    TRAIN_EACH,
    image_tree,
    isolate,
    pack_tar,
    pack_zip,
    refused,
    write_image,
)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return image_tree(tmp_path)


def test_a_folder_is_decoded_in_sorted_order(tree: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    arrays = load_arrays(CIFAR10, tree, progress=lambda *report: seen.append(report))
    assert arrays.train_x.shape == (30, 32, 32, 3)
    assert arrays.train_y.tolist() == [number for number in range(10) for _ in range(TRAIN_EACH)]
    assert arrays.test_y.tolist() == list(range(10))
    assert arrays.classes == CLASSES
    assert arrays.source == "ImageFolder folder tiny"
    assert seen == [("decode train images", 30, 30), ("decode test images", 10, 10)]
    first = np.asarray(Image.open(tree / "train" / "class0" / "0000.png"))
    assert np.array_equal(arrays.train_x[0], first)


def test_every_packing_gives_the_same_pixels(tree: Path, tmp_path: Path) -> None:
    expected = load_arrays(CIFAR10, tree).fingerprint
    nested = tmp_path / "outer"
    shutil.copytree(tree, nested / "cifar10")
    packed = [pack_tar(tree), pack_tar(tree, "", ".tgz"), pack_tar(tree, suffix=".tar"), pack_zip(tree)]
    assert {load_arrays(CIFAR10, path).fingerprint for path in [nested, *packed]} == {expected}
    assert load_arrays(CIFAR10, pack_zip(tree, "")).fingerprint == expected


def test_nothing_hidden_is_read_and_nothing_is_written(tree: Path, tmp_path: Path) -> None:
    expected = load_arrays(CIFAR10, tree).fingerprint
    archive = tree.parent / "odd.tar"
    image = (tree / "train" / "class0" / "0000.png").read_bytes()
    with tarfile.open(archive, "w") as packed:
        packed.add(tree, "tiny")
        for name in ("../../escaped.png", "/absolute.png", "tiny/train/class0/._0000.png", "tiny/notes.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(image)
            packed.addfile(member, io.BytesIO(image))
        link = tarfile.TarInfo("tiny/train/class0/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(link)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert load_arrays(CIFAR10, archive).fingerprint == expected
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_grey_images_make_one_channel(tmp_path: Path) -> None:
    for name in CLASSES:
        for split in ("train", "test"):
            write_image(tmp_path / "grey" / split / name / "0.PNG", 1, size=(28, 28))
    assert load_arrays(MNIST, tmp_path / "grey").train_x.shape == (10, 28, 28, 1)


def test_data_path_wins_over_the_variable(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_DATA", str(tree))
    assert load_arrays(CIFAR10).source == "ImageFolder folder tiny"
    refused(lambda: load_arrays(CIFAR10, tree / "nowhere"), "nowhere", "no such file or folder")


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_arrays(CIFAR10, tmp_path / "no"), str(tmp_path / "no"), "{train,test}/<class>", ".zip")


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip", ".txt"])
def test_what_is_no_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(b"neither this nor that" * 100)
    refused(lambda: load_arrays(CIFAR10, path), str(path), "archive", "expected")


def test_a_truncated_archive_is_refused(tree: Path) -> None:
    for path in (pack_tar(tree), pack_zip(tree)):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refused(lambda path=path: load_arrays(CIFAR10, path), str(path), "archive", "expected")


def test_a_flipped_byte_in_an_archive_is_refused(tree: Path) -> None:
    path = pack_tar(tree)
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(bytes(content), compresslevel=0))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed)
    refused(lambda: load_arrays(CIFAR10, path), str(path))


def test_no_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(lambda: load_arrays(CIFAR10, tmp_path / "empty"), "holds no images", "expected")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    refused(lambda: load_arrays(CIFAR10, tmp_path / "empty.zip"), "empty.zip", "holds no images", "expected")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_split_is_refused(tree: Path, split: str) -> None:
    shutil.rmtree(tree / split)
    refused(lambda: load_arrays(CIFAR10, tree), str(tree), f"no images under {split}/<class>/")


def test_a_test_class_unknown_to_train_is_refused(tree: Path) -> None:
    write_image(tree / "test" / "zebra" / "0.png", 1)
    refused(lambda: load_arrays(CIFAR10, tree), str(tree), "test/zebra is not a class of train", "class9")


def test_the_wrong_number_of_classes_is_refused(tree: Path) -> None:
    write_image(tree / "train" / "zebra" / "0.png", 1)
    refused(lambda: load_arrays(CIFAR10, tree), str(tree), "train has 11 classes", "expected 10")


def test_the_wrong_size_is_refused(tree: Path) -> None:
    write_image(tree / "train" / "class4" / "0001.png", 1, size=(32, 16))
    words = (str(tree), "train/class4/0001.png", "16 × 32", "expected 32 × 32")
    refused(lambda: load_arrays(CIFAR10, tree), *words)
    refused(lambda: load_arrays(CIFAR10, pack_zip(tree)), *words[1:])


def test_a_broken_image_is_refused(tree: Path) -> None:
    path = tree / "test" / "class4" / "0000.png"
    path.write_bytes(path.read_bytes()[:200])
    refused(lambda: load_arrays(CIFAR10, tree), "test/class4/0000.png", "image")
    path.write_text("not at all")
    refused(lambda: load_arrays(CIFAR10, tree), "test/class4/0000.png", "image")


def test_an_image_file_far_too_large_is_refused_unread(tree: Path) -> None:
    with zipfile.ZipFile(pack_zip(tree), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/train/class0/bomb.png", bytes(2**21))
    refused(lambda: load_arrays(CIFAR10, tree.parent / "packed.zip"), "bomb.png", "2097152 bytes")


def test_two_data_sets_in_one_place_are_refused(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "both" / "a")
    shutil.copytree(tree, tmp_path / "both" / "b")
    refused(lambda: load_arrays(CIFAR10, tmp_path / "both"), "several data sets", "a, b")
    archive = shutil.make_archive(str(tmp_path / "both"), "zip", tmp_path / "both")
    refused(lambda: load_arrays(CIFAR10, Path(archive)), "several data sets", "a, b")
