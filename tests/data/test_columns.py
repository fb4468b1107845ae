"""Data that people have: image folders of any kind, tables, NumPy arrays, torchvision's and Hugging Face's."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision import datasets

from joulebench.data import load_arrays, stage
from joulebench.errors import InputError
from joulebench.spec.task import Dataset
from tests.data_sources import image_tree, pack_tar, write_image

TABLE = Dataset(name="table", validation=2)
ARRAYS = Dataset(name="arrays", validation=2)
IMAGES = Dataset(name="images", validation=2)
ROWS = "a,label,b\n" + "".join(f"{i},{'yn'[i % 2]},{i / 4}\n" for i in range(20))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def flat_tree(root: Path, size: tuple[int, int] = (7, 9)) -> Path:
    for number, name in enumerate(("cat", "dog")):
        for index in range(10):
            write_image(root / name / f"{index}.png", 20 * number + index, size)
    return root


# tables


def test_a_table_becomes_one_standardised_number_a_column(tmp_path):
    arrays = load_arrays(TABLE, write(tmp_path / "t.csv", "\ufeff" + ROWS))
    assert arrays.train_x.shape == (16, 1, 1, 2)
    assert arrays.classes == ("n", "y")
    rows = {float(a): float(b) for a, b in arrays.train_x[:, 0, 0]}
    assert all(b == a / 4 for a, b in rows.items())
    assert all(y == (a % 2 == 0) for (a, _), y in zip(arrays.train_x[:, 0, 0], arrays.train_y, strict=True))
    staged = stage(arrays, TABLE, "cpu")
    assert staged.shape == (2, 1, 1)
    assert staged.train.x.mean(0).flatten().tolist() == pytest.approx([0, 0], abs=1e-6)
    assert staged.train.x.std(0, correction=0).flatten().tolist() == pytest.approx([1, 1], abs=1e-6)


def test_tables_of_train_and_test_stay_apart(tmp_path):
    write(tmp_path / "train-00000-of-00001.csv", ROWS)
    write(tmp_path / "test.csv", "label,b,a\ny,2.5,10\n")
    arrays = load_arrays(TABLE, tmp_path)
    assert len(arrays.train_x) == 20
    assert arrays.test_x.flatten().tolist() == [10, 2.5]
    assert "test has no rows of n" in arrays.remarks


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: holds no names of columns"),
        ("a,a\n1,2\n", "line 1: has two columns 'a'"),
        (",a,label\n0,1,x\n", "line 1: column 1 has no name"),
        ("a,label\n", "holds no rows"),
        ("a,label\n1,x,3\n", "line 2: has 3 fields; expected 2"),
        ('a,label\n1,x\n"1,234.5",y\n', "line 3: column 'a' is '1,234.5'; expected a finite number"),
        ("a,label\n1,x\nnan,y\n", "line 3: column 'a' is 'nan'; expected a finite number"),
        ("a,label\n1,x\n1e39,y\n", "line 3: column 'a' is '1e39'"),
        ("a,label\n1,x\n1_0,y\n", "line 3: column 'a' is '1_0'"),
        ("a,label\n1,\n", "line 2: column 'label' is ''; expected a class"),
        ("a,labels\n1,x\n", "has no column 'label', did you mean 'labels'|has no column 'label'"),
        ("a,label\n1,x\n2,x\n", r"has one class \(x\); expected at least 2"),
        ("label\nx\ny\n", "has no column beside the label"),
        ("a,label\n" + "1" * 200_000 + ",x\n", "line 2: no readable CSV"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(tmp_path, text, why):
    file = write(tmp_path / "t.csv", text)
    with pytest.raises(InputError, match=why) as refused:
        load_arrays(TABLE, file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_bytes_are_read_or_refused(tmp_path, content):
    for name, dataset in (("t.csv", TABLE), ("t.npz", ARRAYS), ("t.tar", IMAGES)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as refused:
            load_arrays(dataset, tmp_path / name, tmp_path / "cache")
        assert "t." in str(refused.value)


@given(
    st.lists(
        st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from(["a,b", 'c"', "é"])),
        min_size=5, max_size=30,
    ).filter(lambda rows: len({label for _, label in rows}) > 1)
)  # fmt: skip
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_each_row_of_a_table_is_read_once_with_its_class(tmp_path, rows):
    import csv

    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("x", "label"), *((repr(x), label) for x, label in rows)])
    arrays = load_arrays(TABLE, tmp_path / "t.csv")
    x = np.concatenate([arrays.train_x, arrays.test_x]).flatten().tolist()
    y = [arrays.classes[label] for label in np.concatenate([arrays.train_y, arrays.test_y])]
    assert sorted(zip(x, y, strict=True)) == sorted((float(np.float32(v)), label) for v, label in rows)


def test_without_pyarrow_one_line_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        InputError, match=r"t\.parquet: reading it needs pyarrow, .*: pip install 'joulebench\[tables\]'"
    ):
        load_arrays(TABLE, tmp_path / "t.parquet")


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def test_parquet_and_saved_hugging_face_sets_are_read(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    plain = pa.table({"a": list(range(20)), "label": [i % 2 for i in range(20)]})
    parquet.write_table(plain, tmp_path / "t.parquet")
    arrays = load_arrays(TABLE, tmp_path / "t.parquet")
    assert sorted(np.concatenate([arrays.train_x, arrays.test_x]).flatten()) == list(range(20))

    features = {"image": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    images = pa.table(
        {"image": [{"bytes": png(i), "path": None} for i in range(10)], "kind": [i % 2 for i in range(10)]}
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "hf").mkdir()
    write(tmp_path / "hf" / "dataset_dict.json", '{"splits": ["train", "test"]}')
    for split, part in (("train", images.slice(0, 8)), ("test", images.slice(8))):
        write(tmp_path / "hf" / split / "state.json", '{"_data_files": [{"filename": "data-0.arrow"}]}')
        file = str(tmp_path / "hf" / split / "data-0.arrow")
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part)
    arrays = load_arrays(TABLE.model_copy(update={"label": "kind"}), tmp_path / "hf")
    assert arrays.classes == ("cat", "dog")
    assert arrays.train_x[:, 0, 0, 0].tolist() == list(range(8))
    assert arrays.test_y.tolist() == [0, 1]
    write(tmp_path / "hf" / "train" / "state.json", '{"_data_files": [{"filename": "../../t.arrow"}]}')
    with pytest.raises(InputError, match=r"state\.json: names no data files of its own folder"):
        load_arrays(TABLE, tmp_path / "hf")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"t\.parquet: no readable table"):
        load_arrays(TABLE, tmp_path / "t.parquet")


# NumPy


def test_arrays_of_numpy_are_images_or_features(tmp_path):
    x = np.arange(20 * 12, dtype=np.uint8).reshape(20, 3, 2, 2)  # channels second
    y = np.arange(20) % 2 * 5
    arrays = load_arrays(ARRAYS, saved(tmp_path / "a.npz", images=x, labels=y))
    assert arrays.train_x.shape == (16, 2, 2, 3)
    assert arrays.classes == ("0", "5")
    assert {image.tobytes() for image in np.concatenate([arrays.train_x, arrays.test_x])} == {
        image.tobytes() for image in x.transpose(0, 2, 3, 1)
    }
    split = saved(tmp_path / "b.npz", x_train=x[:, 0], y_train=y, x_test=x[:4, 0] + 1, y_test=y[:4])
    arrays = load_arrays(ARRAYS, split)
    assert arrays.train_x.shape == (20, 2, 2, 1)
    assert np.array_equal(arrays.test_x[..., 0], x[:4, 0] + 1)
    features = load_arrays(ARRAYS, saved(tmp_path / "c.npz", x=np.eye(20), y=y))
    assert features.train_x.shape == (16, 1, 1, 20)
    assert features.train_x.dtype == np.float32


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"z": np.zeros(3)}, "has z; expected x and y"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(3)}, "x has 4 rows, y 3"),
        ({"x": np.full((4, 2), np.nan), "y": np.arange(4)}, "x holds values that are not finite"),
        ({"x": np.zeros((4, 2)), "y": np.linspace(0, 1, 4)}, "y is float64 of shape"),
        ({"x": np.full((4, 2, 2), 300), "y": np.arange(4)}, r"x has pixels of 300 … 300; expected 0 … 255"),
        ({"x": np.zeros((4, 2, 2, 2)), "y": np.arange(4)}, "expected 1 or 3 channels"),
        ({"x": np.array([{}, {}]), "y": np.arange(2)}, r"no readable \.npz file"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, made, why):
    with pytest.raises(InputError, match=why) as refused:
        load_arrays(ARRAYS, saved(tmp_path / "a.npz", **made))
    assert "a.npz" in str(refused.value)


# images


def test_folders_of_classes_need_no_train_and_test(tmp_path):
    root = flat_tree(tmp_path / "mine")
    arrays = load_arrays(IMAGES, root)
    assert (len(arrays.train_x), len(arrays.test_x)) == (16, 4)
    assert arrays.train_x.shape[1:] == (7, 9, 3)
    assert arrays.classes == ("cat", "dog")
    packed = load_arrays(IMAGES, pack_tar(root, prefix="mine/"))
    assert packed.fingerprint == arrays.fingerprint
    assert load_arrays(IMAGES.model_copy(update={"seed": 1}), root).fingerprint != arrays.fingerprint


def test_images_of_several_sizes_need_a_shape_to_scale_to(tmp_path):
    root = flat_tree(tmp_path / "mine")
    write_image(root / "dog" / "9.png", 1, (40, 30))
    with pytest.raises(InputError, match=r"dog/9\.png is 30 × 40 pixels; expected 9 × 7, as the first, or dataset"):
        load_arrays(IMAGES, root)
    arrays = load_arrays(IMAGES.model_copy(update={"shape": (1, 5, 6)}), root)
    assert arrays.train_x.shape[1:] == (5, 6, 1)


def test_a_tree_with_train_and_test_is_read_as_it_is(tmp_path):
    arrays = load_arrays(IMAGES, image_tree(tmp_path))
    assert (len(arrays.train_x), len(arrays.test_x), len(arrays.classes)) == (30, 10, 10)


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing"), ("images", "val")])
def test_folders_that_look_like_splits_are_no_classes(tmp_path, names):
    for name in names:
        write_image(tmp_path / "t" / name / "cat" / "0.png", 1)
    with pytest.raises(InputError, match=r"holds no folder train or test \(it has: "):
        load_arrays(IMAGES, tmp_path / "t")


# torchvision


def test_torchvision_sets_are_read_by_name_from_a_root(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in (("train", 20), ("t10k", 10)):
        pixels = np.arange(n, dtype=np.uint8).repeat(784)
        head = b"".join(size.to_bytes(4, "big") for size in (0x803, n, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            b"".join(size.to_bytes(4, "big") for size in (0x801, n)) + labels.tobytes()
        )
    for root in (tmp_path, folder):
        arrays = load_arrays(Dataset(name="torchvision:FashionMNIST", validation=2), root)
        assert arrays.train_x[:, 3, 3, 0].tolist() == list(range(20))
        assert [arrays.classes[y] for y in arrays.train_y[:10]] == datasets.FashionMNIST.classes


def test_an_archive_of_cifar_100_that_is_not_the_published_one_is_refused(tmp_path):
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name in ("train", "test", "meta"):
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = 3
            archive.addfile(entry, io.BytesIO(b"bad"))
    with pytest.raises(InputError, match=r"cifar-100-python\.tar\.gz: CIFAR100 is missing, incomplete or damaged"):
        load_arrays(Dataset(name="torchvision:CIFAR100", validation=2), tmp_path / "cifar-100-python.tar.gz")


def test_other_names_and_fields_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"torchvision has no data set 'MNST' .*MNIST.*allowed: "):
        load_arrays(Dataset(name="torchvision:MNST", validation=2), tmp_path)
    for name in ("images", "arrays", "table", "torchvision:MNIST"):
        with pytest.raises(InputError, match=f"no data for '{name}': give --data PATH; expected"):
            load_arrays(Dataset(name=name, validation=2))
        with pytest.raises(InputError, match="no such file or folder; expected"):
            load_arrays(Dataset(name=name, validation=2), tmp_path / "none")
    with pytest.raises(ValidationError, match="does not take label"):
        Dataset(name="images", validation=2, label="y")
    with pytest.raises(ValidationError, match="does not take augment"):
        Dataset(name="table", validation=2, augment=("flip",))
    with pytest.raises(ValidationError, match="channels must be 1 or 3"):
        Dataset(name="images", validation=2, shape=(32, 32, 3))
