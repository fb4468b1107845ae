"""Images made for tests, as folders, archives and torchvision's own files; and what keeps tests off the network."""

from __future__ import annotations

import hashlib
import pickle
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from joulebench.errors import InputError
from joulebench.spec.task import Dataset

CIFAR10 = Dataset(name="cifar10", validation=10)
MNIST = Dataset(name="mnist", validation=10)
DIGITS = Dataset(name="digits", validation=300)
CLASSES = tuple(f"class{number}" for number in range(10))
TRAIN_EACH, TEST_EACH = 3, 1


def isolate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own, no data set in the environment, and no network."""
    monkeypatch.delenv("JOULEBENCH_DATA", raising=False)
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)


def write_image(path: Path, seed: int, size: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def image_tree(tmp_path: Path) -> Path:
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


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("joulebench.data.images._pixels", fail)
