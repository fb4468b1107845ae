"""Data that people have: image folders of any kind, tables, NumPy arrays, torchvision's and Hugging Face's."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import sys
import tarfile
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision import datasets

from joulebench.data import LabelledTexts, StagedTexts, load_arrays, stage, tensors_of
from joulebench.errors import InputError
from joulebench.spec.task import Dataset
from joulebench.workloads.base import workload_class
from tests.data_sources import image_tree, pack_tar, refused, write_image
from tests.run_factory import make_task

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


def test_the_name_of_the_folder_itself_is_no_split(tmp_path):
    """Else every other table in it would be read as its test."""
    folder = tmp_path / "test_2026"
    write(folder / "train.csv", ROWS)
    write(folder / "notes.csv", ROWS.replace(",y,", ",n,"))
    arrays = load_arrays(TABLE, folder)
    assert len(arrays.train_y) + len(arrays.test_y) == 20
    (folder / "train.csv").unlink()
    write(folder / "test" / "part.csv", ROWS)
    write(folder / "train" / "part.csv", ROWS)
    assert len(load_arrays(TABLE, folder).test_y) == 20


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
        ("label\nx\ny\nx\n", "has no column beside the label"),
        ('a,label\n1,"x\ny"\nfoo,z\n', "line 4: column 'a' is 'foo'; expected a finite number"),
        ("a,label\n1,x\n,y\n", "line 3: column 'a' is ''"),
        ("a,label\n1,nan\n", "line 2: column 'label' is 'nan'; expected a class"),
        ("a,label\n1,0.0\n2,0.5\n", "line 3: column 'label' is '0.5'; expected a class"),
        ("a,label\n1,3\n2,4\n3,5\n", "each of its 3 rows has a class of its own"),
        ("a;label\n1;x\n", "no column 'label'"),
        ("a,label\n" + "1" * 200_000 + ",x\n", "line 2: no readable CSV"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(tmp_path, text, why):
    file = write(tmp_path / "t.csv", text)
    with pytest.raises(InputError, match=why) as caught:
        load_arrays(TABLE, file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_utf8_is_no_table(tmp_path):
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "t.csv").write_bytes("a,label\n1,é\n".encode(encoding))
        refused(lambda: load_arrays(TABLE, tmp_path / "t.csv"), "t.csv: not UTF-8 text")


def test_whole_numbers_are_one_class_however_they_are_written(tmp_path):
    rows = "".join(f"{i},{'3' if i % 4 else '3.0'}\n{i},7.\n" for i in range(10))
    arrays = load_arrays(TABLE, write(tmp_path / "t.csv", "a,label\n" + rows))
    assert arrays.classes == ("3", "7")


def test_rows_that_stand_in_train_too_and_classes_that_it_lacks_are_said(tmp_path):
    rows = "".join(f"{i // 2},{'xy'[i % 2]}\n" for i in range(20))
    write(tmp_path / "train.csv", "a,label\n" + rows)
    write(tmp_path / "test.csv", "a,label\n3,x\n77,x\n")
    arrays = load_arrays(TABLE, tmp_path)
    assert arrays.remarks == (
        "test has no rows of y",
        "1 of 2 test rows stand in train too: scores are too good",
    )
    with pytest.raises(InputError, match="has 20 training rows, too few for"):
        stage(arrays, TABLE.model_copy(update={"validation": 20}), "cpu")


# texts

REVIEWS = "id,review,label\n" + "".join(f'r{i},"{i} good,\nor bad",{"pn"[i % 2]}\n' for i in range(20))
TEXTS = TABLE.model_copy(update={"text": "review"})


def test_a_column_of_texts_becomes_strings_with_labels(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    texts = load_arrays(TEXTS, write(tmp_path / "t.csv", REVIEWS))
    assert isinstance(texts, LabelledTexts)
    assert (len(texts.train_x), len(texts.test_x), texts.classes) == (16, 4, ("n", "p"))
    both = zip(texts.train_x + texts.test_x, [*texts.train_y, *texts.test_y], strict=True)
    assert sorted((text, texts.classes[y]) for text, y in both) == sorted(
        (f"{i} good,\nor bad", "pn"[i % 2]) for i in range(20)
    )
    columns = {
        "review": [f"{i} good,\nor bad" for i in range(20)],
        "label": ["pn"[i % 2] for i in range(20)],
        "other": [None] * 20,  # not read
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert load_arrays(TEXTS, tmp_path / "t.parquet").fingerprint == texts.fingerprint
    other = replace(texts, fingerprint="", train_x=("another", *texts.train_x[1:]))
    assert other.fingerprint != texts.fingerprint

    staged = stage(texts, TEXTS.model_copy(update={"validation": 4, "train": 8}), "cpu")
    assert isinstance(staged, StagedTexts)
    assert staged.counts == {"train": 8, "validation": 4, "test": 4}
    label_of = dict(zip(texts.train_x, texts.train_y.tolist(), strict=True))
    for name in ("train", "validation"):
        split = staged.split(name)
        assert [label_of[text] for text in split.x[:3]] == split.y[:3].tolist()
        assert split.y.tolist().count(0) == len(split) / 2  # stratified
    assert not set(staged.train.x) & set(staged.validation.x)
    assert staged.describe()["part"] == "8 of 12 training texts"
    assert json.loads(json.dumps(staged.describe()))["classes"] == ["n", "p"]
    assert [tensor.shape[0] for tensor in tensors_of(staged)] == [8, 4, 4]


def test_texts_of_train_and_test_stay_apart(tmp_path):
    write(tmp_path / "train.csv", REVIEWS)
    write(tmp_path / "test.csv", 'label,review\nn,new\nn,"0 good,\nor bad"\n')
    texts = load_arrays(TEXTS, tmp_path)
    assert texts.test_x == ("new", "0 good,\nor bad")
    assert texts.remarks == (
        "test has no texts of p",
        "1 of 2 test texts stand in train too: scores are too good",
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("reviews,label\na,x\n", "dataset.text: .*has no column 'review'; did you mean 'reviews'"),
        ("review,label\na,x\n ,y\n", "line 3: column 'review' is ' '; expected text"),
        ("review,label\na,x\nb,x\n", "has one class"),
    ],
)
def test_broken_texts_are_refused_in_one_line(tmp_path, text, why):
    with pytest.raises(InputError, match=why):
        load_arrays(TEXTS, write(tmp_path / "t.csv", text))


def test_texts_of_ones_own_function_are_held_to_the_same(monkeypatch):
    y = np.arange(4) % 2
    good = LabelledTexts(("a", "b", "c", "d"), y, ("e",), y[:1], ("x", "y"), "mine")
    module = ModuleType("my_texts")
    monkeypatch.setitem(sys.modules, "my_texts", module)
    dataset = Dataset(name="my_texts:make", validation=1)
    module.make = lambda request: good
    assert load_arrays(dataset).test_x == ("e",)
    for field, value, why in (
        ("train_x", ["a", "b", "c", "d"], "train_x as a tuple of str"),
        ("train_x", ("a", "b", "c", 4), "train_x as a tuple of str"),
        ("test_y", y, "test_y as int64 of shape (1,)"),
        ("train_y", y + 1, "labels of train_y that index its 2 classes"),
    ):
        module.make = lambda request, change={field: value}: replace(good, fingerprint="x", **change)
        refused(lambda: load_arrays(dataset), "my_texts:make", why)


def test_a_classifier_of_images_refuses_texts_before_a_run():
    task = make_task(dataset={"name": "table", "text": "review", "validation": 2})
    with pytest.raises(InputError, match="dataset: the workload CNN needs images or rows of numbers, not text"):
        workload_class(task.workload).check_task(task)


@given(st.binary(max_size=200))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_bytes_are_read_or_refused(tmp_path, content):
    for name, dataset in (("t.csv", TABLE), ("t.npz", ARRAYS), ("t.tar", IMAGES)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_arrays(dataset, tmp_path / name, tmp_path / "cache")
        assert "t." in str(caught.value)


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
        InputError, match=r"t\.parquet: this needs the extra \[tables\]: pip install 'joulebench\[tables\]'"
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


def test_values_of_parquet_are_numbers_or_refused(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    labels = [i % 2 for i in range(20)]
    for name, values, why in (
        ("null", [None, *range(19)], "row 0: column 'a' is 'nan'; expected a finite number"),
        ("list", [[1]] * 20, "row 0: column 'a' is '[1]'"),
        ("date", [date(2020, 1, 1)] * 20, "row 0: column 'a' is '2020-01-01'"),
        ("large", [1e39] * 20, "row 0: column 'a' is '1e+39'"),
    ):
        parquet.write_table(pa.table({"a": values, "label": labels}), tmp_path / f"{name}.parquet")
        refused(lambda file=tmp_path / f"{name}.parquet": load_arrays(TABLE, file), why)
    for name, values, why in (
        ("none", [None, *labels[1:]], "row 0: column 'label' is 'None'; expected a class"),
        ("half", [0.5, *map(float, labels[1:])], "row 0: column 'label' is '0.5'; expected a class"),
    ):
        parquet.write_table(pa.table({"a": list(range(20)), "label": values}), tmp_path / f"{name}.parquet")
        refused(lambda file=tmp_path / f"{name}.parquet": load_arrays(TABLE, file), why)
    mixed = {
        "a": pa.array([Decimal(i) / 4 for i in range(20)]),
        "b": pa.array([True, False] * 10),
        "c": np.arange(20).astype(np.float16),
        "label": pa.array(["x", "y"] * 10).dictionary_encode(),
    }
    parquet.write_table(pa.table(mixed), tmp_path / "t.parquet")
    arrays = load_arrays(TABLE, tmp_path / "t.parquet")
    rows = np.concatenate([arrays.train_x, arrays.test_x])[:, 0, 0]
    assert sorted(rows.tolist()) == [[i / 4, (i + 1) % 2, i] for i in range(20)]
    assert arrays.classes == ("x", "y")


def test_a_small_file_of_very_many_rows_is_refused(tmp_path, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"a": [1] * 200_000, "label": [0] * 200_000}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 4000
    monkeypatch.setattr("joulebench.data.arrays.available_bytes", lambda: 2**20)
    refused(
        lambda: load_arrays(TABLE, tmp_path / "t.parquet"),
        "t.parquet would take 3 MiB of memory, of which 1 MiB are free",
    )


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_damaged_binary_table_is_read_or_refused(tmp_path, kind):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"review": [f"hello {i}" for i in range(20)], "label": [i % 2 for i in range(20)]})
    stream = io.BytesIO()
    if kind == "parquet":
        parquet.write_table(table, stream)
    else:
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    write(tmp_path / "state.json", '{"_data_files": [{"filename": "d.arrow"}]}')
    path = tmp_path / "t.parquet" if kind == "parquet" else tmp_path
    rng, messages = np.random.default_rng(0), []
    for _ in range(200):
        content = bytearray(stream.getvalue())
        for place in rng.integers(len(content), size=3):
            content[place] = rng.integers(256)
        (tmp_path / ("t.parquet" if kind == "parquet" else "d.arrow")).write_bytes(content)
        try:
            load_arrays(TEXTS, path)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not [message for message in messages if "\n" in message]


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
    with pytest.raises(InputError, match=why) as caught:
        load_arrays(ARRAYS, saved(tmp_path / "a.npz", **made))
    assert "a.npz" in str(caught.value)


def test_the_layout_in_memory_changes_nothing_and_no_pickle_is_loaded(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), dtype=np.uint8)
    y = np.arange(20) % 2 - 7
    np.savez_compressed(tmp_path / "c.npz", x=x[:, ::-1][:, ::-1], y=y.astype(">i8"))
    files = (saved(tmp_path / "a.npz", x=x, y=y), saved(tmp_path / "b.npz", x=np.asfortranarray(x), y=y))
    made = [load_arrays(ARRAYS, file) for file in (*files, tmp_path / "c.npz")]
    assert len({arrays.fingerprint for arrays in made}) == 1
    assert made[0].classes == ("-7", "-6")
    hostile = saved(tmp_path / "d.npz", x=np.array([Hostile(tmp_path / "ran")], dtype=object), y=np.arange(1))
    refused(lambda: load_arrays(ARRAYS, hostile), "d.npz: no readable .npz file (Object arrays cannot be loaded")
    assert not (tmp_path / "ran").exists()


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_rows_are_not_augmented(tmp_path):
    arrays = load_arrays(ARRAYS, saved(tmp_path / "a.npz", x=np.eye(20), y=np.arange(20) % 2))
    with pytest.raises(InputError, match=r"dataset\.augment: 'arrays' holds rows, no images"):
        stage(arrays, ARRAYS.model_copy(update={"augment": ("crop",)}), "cpu")


# images


def test_what_does_not_fit_in_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    root = flat_tree(tmp_path / "mine")
    arrays = load_arrays(IMAGES, root)
    monkeypatch.setattr("joulebench.data.arrays.available_bytes", lambda: 20 * 7 * 9 * 3 - 1)
    large = IMAGES.model_copy(update={"shape": (3, 4096, 4096)})
    refused(lambda: load_arrays(large, root), "mine: 20 images of 4096×4096×3 would take 960 MiB of memory")
    refused(lambda: stage(arrays, IMAGES, "cpu"), "dataset 'images' would take 0 MiB of memory")


def test_grey_images_among_colour_are_read_and_colour_among_grey_is_refused(tmp_path):
    root = flat_tree(tmp_path / "mine")
    grey = Image.open(root / "dog" / "3.png").convert("L")
    grey.save(root / "dog" / "3.png")
    expected = np.asarray(grey)
    arrays = load_arrays(IMAGES, root)
    assert any((image == expected[..., None]).all() for image in (*arrays.train_x, *arrays.test_x))
    grey.save(root / "cat" / "0.png")  # the first
    refused(lambda: load_arrays(IMAGES, root), "cat/1.png is in colour; expected grey", "dataset.shape")
    deep = np.full((7, 9), 32768, dtype=np.uint16)
    Image.fromarray(deep).save(root / "cat" / "0.png")
    refused(lambda: load_arrays(IMAGES, root), "cat/1.png is in colour; expected grey")
    arrays = load_arrays(IMAGES.model_copy(update={"shape": (3, 7, 9)}), root)
    assert any((image == 128).all() for image in (*arrays.train_x, *arrays.test_x))


def test_faults_of_a_folder_without_splits_name_files_as_they_lie(tmp_path):
    root = flat_tree(tmp_path / "mine")
    cases = (
        ("cat/3.png", b"broken", "mine: cat/3.png is not a readable image"),
        ("cat/0.png", b"", "mine: cat/0.png is not a readable image"),
        ("loose.png", b"", "mine: loose.png lies in no folder of a class"),
        ("cat/more/0.png", b"", "mine: cat/more lies deeper"),
    )
    for name, content, why in cases:
        before = (root / name).read_bytes() if (root / name).exists() else None
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        refused(lambda: load_arrays(IMAGES, root), why)
        if before is None:
            (root / name).unlink()
        else:
            (root / name).write_bytes(before)
    (root / "cat" / "more").rmdir()
    (root / "trains").mkdir()
    refused(lambda: load_arrays(IMAGES, root), "mine: trains holds no images")
    write_image(root / "trains" / "0.png", 1, (7, 9))
    (root / "cat" / "notes.txt").write_text("x")
    assert "left out, by their names no images: 1 (cat/notes.txt)" in load_arrays(IMAGES, root).remarks
    shutil.rmtree(root / "dog")
    shutil.rmtree(root / "trains")
    refused(lambda: load_arrays(IMAGES, root), "has one class (cat)")


def test_a_packed_folder_may_hold_a_note_and_links_within(tmp_path):
    root = flat_tree(tmp_path / "mine")
    expected = load_arrays(IMAGES, root).fingerprint
    (root / "LICENSE.txt").write_text("free")
    (root / "dog" / "3.png").rename(root / "store.txt")
    (root / "dog" / "3.png").symlink_to("../store.txt")
    assert load_arrays(IMAGES, root).fingerprint == expected  # in a folder, links are followed wherever they lead
    (root / "dog" / "3.png").unlink()
    (root / "store.txt").rename(root / "dog" / "3.png")
    assert load_arrays(IMAGES, pack_tar(root, prefix="mine/")).fingerprint == expected
    (root / "dog" / "3.png").write_bytes((root / "cat" / "3.png").read_bytes())
    expected = load_arrays(IMAGES, root).fingerprint
    (root / "dog" / "3.png").unlink()
    (root / "dog" / "3.png").symlink_to("../cat/3.png")
    assert load_arrays(IMAGES, pack_tar(root, prefix="mine/")).fingerprint == expected
    for target in ("/etc/hostname.png", "../../../x.png"):
        (root / "dog" / "3.png").unlink()
        (root / "dog" / "3.png").symlink_to(target)
        refused(
            lambda: load_arrays(IMAGES, pack_tar(root, prefix="mine/")), "dog/3.png is a link to", "does not hold"
        )


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


def test_the_published_archive_of_cifar_100_is_read(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3072), dtype=np.uint8)
    names = [f"kind{number:02}" for number in range(100)]
    contents = {
        "train": {"data": pixels, "fine_labels": list(range(100)) * 2},
        "test": {"data": pixels[:100] ^ 1, "fine_labels": list(range(100))},
        "meta": {"fine_label_names": names},
    }
    packed = {name: pickle.dumps(content) for name, content in contents.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in packed.items()}
    for part in ("train", "test"):
        monkeypatch.setattr(datasets.CIFAR100, f"{part}_list", [[part, sums[part]]])
    meta = {"filename": "meta", "key": "fine_label_names", "md5": sums["meta"]}
    monkeypatch.setattr(datasets.CIFAR100, "meta", meta)
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, content in packed.items():
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    arrays = load_arrays(Dataset(name="torchvision:CIFAR100", validation=2), tmp_path / "cifar-100-python.tar.gz")
    assert np.array_equal(arrays.train_x, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert arrays.classes == tuple(names)


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
