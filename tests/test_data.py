"""Data sets: where they come from, what is refused, how they are cached, split and staged."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import datasets

from suite.data import ImageArrays, Split, StagedData, load_arrays, stage
from suite.data.arrays import shuffled, take_stratified
from suite.data.staging import channel_statistics, split_indices
from suite.errors import InputError
from suite.task import Dataset

CIFAR10 = Dataset(name="cifar10", validation=10)
MNIST = Dataset(name="mnist", validation=10)
DIGITS = Dataset(name="digits", validation=300)
CLASSES = tuple(f"class{number}" for number in range(10))
TRAIN_EACH, TEST_EACH = 3, 1


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JOULEBENCH_DATA", raising=False)
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)


def write_image(path: Path, seed: int, size: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tiny"
    for number, name in enumerate(CLASSES):
        for split, each in (("train", TRAIN_EACH), ("test", TEST_EACH)):
            for index in range(each):
                write_image(root / split / name / f"{index:04}.png", 100 * number + index + 10 * (split == "test"))
    return root


def pack_tar(tree: Path, prefix: str = "tiny/", suffix: str = ".tar.gz") -> Path:
    target = tree.parent / f"packed{suffix}"
    with tarfile.open(target, "w" if suffix == ".tar" else "w:gz") as archive:
        archive.add(tree, prefix or ".")
    return target


def pack_zip(tree: Path, prefix: str = "tiny/") -> Path:
    target = tree.parent / "packed.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(tree.rglob("*.png"), reverse=True):
            archive.write(file, prefix + file.relative_to(tree).as_posix())
    return target


def refused(action: Callable[[], object], *words: str) -> None:
    """`action` raises an InputError whose one line holds all `words`."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


# --- data made in memory


def test_digits_are_scaled_to_bytes_and_a_fifth_is_set_aside() -> None:
    arrays = load_arrays(DIGITS)
    assert arrays.train_x.shape == (1438, 8, 8, 1)
    assert arrays.test_x.shape == (359, 8, 8, 1)
    assert arrays.train_x.dtype == np.uint8
    assert arrays.train_y.dtype == np.int64
    assert arrays.classes == tuple("0123456789")
    assert arrays.source == "scikit-learn digits"
    levels = {round(level * 255 / 16) for level in range(17)}
    assert set(np.unique(arrays.train_x)) == levels
    share = np.bincount(arrays.test_y) / (np.bincount(arrays.test_y) + np.bincount(arrays.train_y))
    assert share == pytest.approx(np.full(10, 0.2), abs=0.006)


def test_digits_test_split_is_fixed_by_the_seed() -> None:
    again, other = load_arrays(DIGITS), load_arrays(Dataset(name="digits", validation=1, seed=1))
    assert load_arrays(DIGITS).fingerprint == again.fingerprint == "fbf963ac4cd3936d"
    assert other.fingerprint != again.fingerprint


def test_synthetic_has_the_shape_asked_for_and_is_the_same_every_time() -> None:
    dataset = Dataset(name="synthetic", validation=5, shape=(3, 6, 5), n=101, classes=4, seed=7)
    arrays = load_arrays(dataset)
    assert arrays.train_x.shape == (81, 6, 5, 3)
    assert arrays.test_x.shape == (20, 6, 5, 3)
    assert np.ptp(np.bincount(arrays.train_y)) <= 1
    assert arrays.fingerprint == "5dcb23d73b5c2f5c"
    assert 110 < arrays.train_x.mean() < 145
    assert load_arrays(dataset.model_copy(update={"seed": 8})).fingerprint != arrays.fingerprint


def test_synthetic_that_cannot_fit_is_refused() -> None:
    huge = Dataset(name="synthetic", validation=5, shape=(4096, 4096, 4096), n=10_000_000, classes=4)
    refused(lambda: load_arrays(huge), "do not fit in memory", "lower n or shape")


def test_data_path_is_refused_where_nothing_is_read_from_it(tmp_path: Path) -> None:
    refused(lambda: load_arrays(DIGITS, tmp_path), "digits", "--data", str(tmp_path))


def test_data_variable_does_not_touch_what_is_made_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_DATA", "/nowhere")
    assert len(load_arrays(DIGITS).train_y) == 1438


def test_importing_loads_no_torch() -> None:
    heavy = "{'torch', 'torchvision', 'sklearn', 'PIL'}"
    code = f"import sys, suite.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- image trees


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
    refused(lambda: load_arrays(CIFAR10, path), str(path), "no archive that can be read", "expected")


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
    refused(lambda: load_arrays(CIFAR10, tree), "test/class4/0000.png", "no readable image")
    path.write_text("not at all")
    refused(lambda: load_arrays(CIFAR10, tree), "test/class4/0000.png", "no readable image")


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


# --- torchvision's own files


def write_cifar_batches(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny batches in CIFAR-10's own format, whose sums torchvision is told to expect."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def put(name: str, entry: dict[str, object]) -> tuple[str, str]:
        content = pickle.dumps(entry)
        (folder / name).write_bytes(content)
        return name, hashlib.md5(content).hexdigest()

    def batch(name: str) -> list[str]:
        pixels = np.random.default_rng(len(name)).integers(0, 256, (10, 3072), dtype=np.uint8)
        return list(put(name, {"data": pixels, "labels": list(range(10))}))

    monkeypatch.setattr(datasets.CIFAR10, "train_list", [batch("data_batch_1"), batch("data_batch_22")])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch("test_batch")])
    name, md5 = put("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return folder


def test_cifar_batches_are_read_from_either_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar_batches(tmp_path / "root", monkeypatch)
    arrays = load_arrays(CIFAR10, tmp_path / "root")
    assert arrays.train_x.shape == (20, 32, 32, 3)
    assert arrays.classes == CLASSES
    assert arrays.source == "torchvision CIFAR10"
    raw = pickle.loads((folder / "test_batch").read_bytes())["data"]
    assert np.array_equal(arrays.test_x[3, :, :, 1], raw[3].reshape(3, 32, 32)[1])
    assert load_arrays(CIFAR10, folder).fingerprint == arrays.fingerprint


def test_changed_cifar_batches_are_refused_before_they_are_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar_batches(tmp_path, monkeypatch)
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    refused(lambda: load_arrays(CIFAR10, tmp_path), str(folder), "incomplete or damaged", "unpacked")


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    return head + values.astype(np.uint8).tobytes()


def write_mnist(root: Path) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, n in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(pixels))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(n) % 10))
    return raw


def test_mnist_is_read_from_root_or_inside(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path / "root")
    found = [load_arrays(MNIST, path) for path in (raw, raw.parent, raw.parent.parent)]
    assert found[0].train_x.shape == (20, 28, 28, 1)
    assert found[0].test_y.tolist() == list(range(10))
    assert len({arrays.fingerprint for arrays in found}) == 1
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"short")
    refused(lambda: load_arrays(MNIST, raw), str(raw), "incomplete or damaged")


# --- the network


@pytest.mark.parametrize("dataset", [CIFAR10, MNIST], ids=lambda dataset: dataset.name)
def test_offline_names_the_three_remedies(
    dataset: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "cache" / "torchvision")
    words = (dataset.name, "--data PATH", "JOULEBENCH_DATA=PATH", "network", place, "no network in tests")
    started = time.monotonic()
    refused(lambda: load_arrays(dataset), *words)
    assert time.monotonic() - started < 20
    assert capfd.readouterr() == ("", "")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_made_still_names_the_remedies(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(lambda: load_arrays(CIFAR10, None, tmp_path / "file"), "--data PATH", "JOULEBENCH_DATA=PATH")


def published_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's archive as published, but tiny and at a file:// address."""
    folder = write_cifar_batches(tmp_path / "made", monkeypatch)
    archive = tmp_path / "server" / datasets.CIFAR10.filename
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, folder.name)
    monkeypatch.setattr(datasets.CIFAR10, "url", archive.as_uri())
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


def test_a_download_is_fetched_once_and_reports_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = published_archive(tmp_path, monkeypatch)
    size = archive.stat().st_size
    seen: list[tuple[str, int, int]] = []
    first = load_arrays(CIFAR10, progress=lambda *report: seen.append(report))
    assert seen[-1] == ("download cifar-10-python.tar.gz", size, size)
    archive.unlink()
    assert load_arrays(CIFAR10).fingerprint == first.fingerprint
    assert capfd.readouterr() == ("", "")


def test_an_archive_placed_by_hand_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = published_archive(tmp_path, monkeypatch)
    place = tmp_path / "cache" / "torchvision"
    place.mkdir(parents=True)
    archive.rename(place / archive.name)
    assert load_arrays(CIFAR10).train_x.shape == (20, 32, 32, 3)


def test_a_download_that_is_not_the_file_expected_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = published_archive(tmp_path, monkeypatch)
    archive.write_bytes(b"<html>please log in</html>")
    refused(lambda: load_arrays(CIFAR10), "--data PATH", "MD5 differs")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


# --- the cache


def cache_file(tmp_path: Path) -> Path:
    [file] = (tmp_path / "cache").rglob("*.npz")
    return file


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("suite.data.images._pixels", fail)


def test_the_second_load_decodes_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_arrays(CIFAR10, tree)
    no_decoding(monkeypatch)
    second = load_arrays(CIFAR10, tree)
    assert second.fingerprint == first.fingerprint
    assert (second.classes, second.source) == (first.classes, first.source)
    for name in ("train_x", "train_y", "test_x", "test_y"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(second, name).dtype


def test_one_source_spelled_in_two_ways_is_decoded_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack_zip(tree)
    monkeypatch.chdir(tree)
    for path in (tree, archive):
        first = load_arrays(CIFAR10, path)
        with monkeypatch.context() as patch:
            no_decoding(patch)
            assert load_arrays(CIFAR10, Path("..") / path.name).fingerprint == first.fingerprint


def test_a_changed_source_is_decoded_again(tree: Path, tmp_path: Path) -> None:
    first = load_arrays(CIFAR10, tree)
    write_image(tree / "train" / "class0" / "0000.png", 99_999)
    assert load_arrays(CIFAR10, tree).fingerprint != first.fingerprint
    cache_file(tmp_path)  # still one: what is stale is replaced


@pytest.mark.parametrize("damage", ["flip", "truncate", "noise", "empty"])
def test_a_damaged_cache_warns_and_is_rebuilt(tree: Path, tmp_path: Path, damage: str) -> None:
    first = load_arrays(CIFAR10, tree)
    file = cache_file(tmp_path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"flip": content, "truncate": content[:1000], "noise": b"x" * 5000, "empty": b""}
    file.write_bytes(damaged[damage])
    with pytest.warns(UserWarning, match="damaged"):
        assert load_arrays(CIFAR10, tree).fingerprint == first.fingerprint
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_arrays(CIFAR10, tree)


def test_a_cache_that_cannot_be_written_warns_once_and_goes_on(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be cached") as caught:
        arrays = load_arrays(CIFAR10, tree, tmp_path / "file")
    assert len(caught) == 1
    assert len(arrays.train_y) == 30


def test_a_full_disk_leaves_no_half_file(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stream: io.BufferedWriter, **_: object) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("suite.data.cache.np.savez", full)
    with pytest.warns(UserWarning, match="No space left"):
        load_arrays(CIFAR10, tree)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_where_the_cache_goes(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_arrays(CIFAR10, tree, tmp_path / "given")
    monkeypatch.delenv("JOULEBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_arrays(CIFAR10, tree)
    assert list((tmp_path / "given").rglob("*.npz"))
    assert list((tmp_path / "xdg" / "joulebench").rglob("*.npz"))


# --- splits


@given(
    labels=st.lists(st.integers(0, 6), min_size=1, max_size=200),
    share=st.floats(0, 1),
    seed=st.integers(0, 1_000_000),
)
def test_a_stratified_cut_is_exact(labels: list[int], share: float, seed: int) -> None:
    own = np.array(labels, dtype=np.int64)
    size = int(share * len(own))
    taken, rest = take_stratified(shuffled(len(own), seed, 0), own, size)
    assert len(taken) == size
    assert sorted([*taken, *rest]) == list(range(len(own)))
    ideal = np.bincount(own) * size / len(own)
    assert np.all(np.abs(np.bincount(own[taken], minlength=len(ideal)) - ideal) < 1)


@given(n=st.integers(2, 300), validation=st.integers(1, 300), train=st.none() | st.integers(1, 300))
def test_split_sizes_are_exact_or_refused(n: int, validation: int, train: int | None) -> None:
    labels = np.arange(n, dtype=np.int64) % 7
    dataset = Dataset(name="mnist", validation=validation, train=train)
    if validation + (train or 1) > n:
        refused(lambda: split_indices(labels, dataset), f"{n} training images", f"validation = {validation}")
        return
    chosen, held = split_indices(labels, dataset)
    assert len(held) == validation
    assert len(chosen) == (n - validation if train is None else train)
    assert not set(chosen) & set(held)


def test_split_indices_depend_on_the_seed_alone() -> None:
    labels = np.arange(20, dtype=np.int64) % 2
    few = Dataset(name="mnist", validation=4, train=6, seed=3)
    train, validation = split_indices(labels, few)
    # the same on every machine and with every numpy, for good
    assert train.tolist() == [0, 8, 3, 15, 9, 16]
    assert validation.tolist() == [4, 19, 10, 5]
    everything, same = split_indices(labels, Dataset(name="mnist", validation=4, seed=3))
    assert same.tolist() == validation.tolist()
    assert set(train) <= set(everything)
    assert split_indices(labels, few.model_copy(update={"seed": 4}))[1].tolist() != validation.tolist()


# --- staging


def test_staged_digits_are_normalised_by_the_training_split() -> None:
    arrays = load_arrays(DIGITS)
    staged = stage(arrays, Dataset(name="digits", validation=300, train=1000), "cpu")
    assert [len(staged.split(name)) for name in ("train", "validation", "test")] == [1000, 300, 359]
    assert staged.shape == (1, 8, 8)
    assert staged.train.x.dtype == torch.float32
    assert staged.train.y.dtype == torch.int64
    assert staged.train.x.mean().item() == pytest.approx(0, abs=1e-5)
    assert staged.train.x.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    raw = torch.from_numpy(arrays.test_x).permute(0, 3, 1, 2) / 255
    assert torch.allclose(staged.test.x, (raw - staged.mean[0]) / staged.std[0], atol=1e-5)
    assert staged.test.y.tolist() == arrays.test_y.tolist()


def test_staged_colour_is_channels_last_and_normalised_per_channel() -> None:
    dataset = Dataset(name="synthetic", validation=20, shape=(3, 6, 5), n=200, classes=4)
    staged = stage(load_arrays(dataset), dataset, "cpu")
    assert staged.train.x.shape == (140, 3, 6, 5)
    assert staged.train.x.is_contiguous(memory_format=torch.channels_last)
    assert staged.train.x.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert staged.train.x.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_splits_share_no_image() -> None:
    n = 200
    unique = np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1)
    labels = np.arange(n, dtype=np.int64) % 5
    arrays = ImageArrays(unique[:150], labels[:150], unique[150:], labels[150:], tuple("abcde"), "made")
    staged = stage(arrays, Dataset(name="mnist", validation=40, train=60), "cpu")
    values = [
        torch.round((split.x * staged.std[0] + staged.mean[0]) * 255).long().flatten()
        for split in (staged.train, staged.validation, staged.test)
    ]
    assert len(torch.cat(values).unique()) == 60 + 40 + 50
    for split, seen in zip((staged.train, staged.validation, staged.test), values, strict=True):
        assert torch.equal(split.y, seen % 5)
    assert staged.train.y.bincount().tolist() == [12] * 5
    assert staged.train.y.tolist() != sorted(staged.train.y.tolist())


@pytest.mark.parametrize("level", [0, 37, 255])
def test_a_constant_channel_becomes_zero(level: int) -> None:
    x = np.full((50, 4, 4, 1), level, dtype=np.uint8)
    labels = np.arange(50, dtype=np.int64) % 2
    assert channel_statistics(x, np.arange(50))[1] == (0.0,)
    arrays = ImageArrays(x, labels, x, labels, ("a", "b"), "made")
    staged = stage(arrays, Dataset(name="mnist", validation=10), "cpu")
    assert staged.train.x.abs().max().item() < 1e-6


def test_channel_statistics_match_numpy() -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 5, 4, 3), dtype=np.uint8)
    chosen = np.arange(0, 60, 2)
    mean, std = channel_statistics(x, chosen)
    assert mean == pytest.approx(x[chosen].mean((0, 1, 2)) / 255, rel=1e-12)
    assert std == pytest.approx(x[chosen].std((0, 1, 2)) / 255, rel=1e-12)


def test_too_few_images_names_the_numbers() -> None:
    arrays = load_arrays(DIGITS)
    greedy = Dataset(name="digits", validation=500, train=1000)
    refused(lambda: stage(arrays, greedy, "cpu"), "'digits'", "1438", "train = 1000", "validation = 500")
    refused(lambda: stage(arrays, Dataset(name="digits", validation=1438), "cpu"), "1438", "at least 1")


def test_describe_goes_into_a_manifest() -> None:
    staged = stage(load_arrays(DIGITS), Dataset(name="digits", validation=300, augment=("crop",)), "cpu")
    described = json.loads(json.dumps(staged.describe()))
    assert described["counts"] == {"train": 1138, "validation": 300, "test": 359}
    assert described["source"] == "scikit-learn digits"
    assert described["fingerprint"] == load_arrays(DIGITS).fingerprint
    assert described["classes"] == list("0123456789")
    assert described["augment"] == ["crop"]
    assert described["mean"] == list(staged.mean)


def test_an_unknown_split_is_refused() -> None:
    empty = Split(torch.empty(0, 1, 1, 1), torch.empty(0, dtype=torch.int64))
    staged = StagedData(empty, empty, empty, ("a",), (1, 1, 1), (0.0,), (1.0,), ())
    refused(lambda: staged.split("dev"), "'dev'", "train, validation, test")


# --- the real thing


def test_the_real_cifar10_archive(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared_data / "cifar10-imagefolder.tar.gz"
    if not path.is_file():
        pytest.skip("the CIFAR-10 archive is not beside this checkout")
    arrays = load_arrays(CIFAR10, path, tmp_path / "real")
    assert arrays.train_x.shape == (50_000, 32, 32, 3)
    assert np.bincount(arrays.train_y).tolist() == [5_000] * 10
    assert np.bincount(arrays.test_y).tolist() == [1_000] * 10
    assert arrays.classes[0] == "airplane"
    no_decoding(monkeypatch)
    assert load_arrays(CIFAR10, path, tmp_path / "real").fingerprint == arrays.fingerprint
