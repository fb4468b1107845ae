"""Data sets: where they come from, and what is refused."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from joulebench.data import ImageArrays, load_arrays
from joulebench.errors import InputError
from joulebench.spec.task import Dataset
from tests.data_sources import CIFAR10, CLASSES, DIGITS, MNIST, no_decoding, refused, write_cifar_batches


@pytest.mark.parametrize(
    "made",
    [
        "raises", "text", "floats", "flat", "short_labels", "negative", "beyond", "other_shape", "empty", "exits",
    ],
)  # fmt: skip
def test_data_of_ones_own_are_held_to_what_staging_expects(monkeypatch, made):
    x, y = np.zeros((6, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1, 0, 1])
    given = {
        "text": "a text", "floats": (x.astype(float), y), "flat": (x[..., 0], y), "short_labels": (x, y[:5]),
        "negative": (x, y - 1), "beyond": (x, y + 1), "other_shape": (x[:, :1], y), "empty": (x[:0], y[:0]),
    }  # fmt: skip

    def load(request):
        if made == "raises":
            raise IndexError("tuple index out of range")
        if made == "exits":
            raise SystemExit(0)
        found = given[made]
        return ImageArrays(*found, x, y, ("a", "b"), "made here", "0") if isinstance(found, tuple) else found

    module = types.ModuleType("mine")
    module.load = load
    monkeypatch.setitem(sys.modules, "mine", module)
    with pytest.raises(InputError, match=r"dataset\.name: 'mine:load'"):
        load_arrays(Dataset(name="mine:load", validation=1))


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
    code = f"import sys, joulebench.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
    refused(lambda: load_arrays(CIFAR10, tmp_path), str(folder), "incomplete or damaged", "CIFAR10 files")


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
