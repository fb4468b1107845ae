"""Text: how it is read, what is refused, how it is cut and staged."""

from __future__ import annotations

import hashlib
import json
import os
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from joulebench.data import StagedText, TextBytes, load_arrays, stage
from joulebench.data.staging import text_cuts, unigram_entropy
from joulebench.spec.task import Dataset
from tests.data_sources import refused

TEXT = Dataset(name="text", validation=10)


def read(path: Path, most: int | None = None) -> bytes:
    return load_arrays(TEXT.model_copy(update={"n": most}), path).content.tobytes()


# --- reading


def test_any_bytes_are_text(tmp_path: Path) -> None:
    content = bytes(range(256)) + "käse ☃\r\n".encode()
    (tmp_path / "notes.md").write_bytes(content)
    arrays = load_arrays(TEXT, tmp_path / "notes.md")
    assert arrays.content.tobytes() == content
    assert arrays.fingerprint == hashlib.sha256(content).hexdigest()[:16]
    assert (arrays.source, arrays.floor_nats_per_byte) == ("text notes.md", None)


def test_a_folders_files_follow_one_another_by_path(tmp_path: Path) -> None:
    root = tmp_path / "books"
    for name, content in {
        "b.txt": "two\n",
        "a/z.txt": "one",
        "c.txt": "three",
        "c.md": "no",
        ".h/d.txt": "no",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    assert read(root) == b"one\ntwo\nthree"
    assert load_arrays(TEXT, root).source == "text books, 3 .txt files"


@given(parts=st.lists(st.binary(max_size=8), min_size=1, max_size=5), most=st.integers(2, 40))
def test_the_first_bytes_are_the_first_of_all(tmp_path_factory, parts: list[bytes], most: int) -> None:
    root = tmp_path_factory.mktemp("parts")
    for number, part in enumerate(parts):
        (root / f"{number}.txt").write_bytes(part)
    everything = read(root)
    assert read(root, most) == everything[:most]
    shortened = len(everything) > most
    assert load_arrays(TEXT.model_copy(update={"n": most}), root).source.startswith("the first") == shortened


def test_text_needs_a_path_and_the_variable_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOULEBENCH_DATA", str(tmp_path))
    refused(lambda: load_arrays(TEXT), "'text'", "--data PATH", ".txt")


def test_what_holds_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(lambda: read(tmp_path / "no"), str(tmp_path / "no"), "no such file or folder", ".txt")
    refused(lambda: read(tmp_path), "holds no .txt files")
    os.mkfifo(tmp_path / "pipe")
    refused(lambda: read(tmp_path / "pipe"), "no such file or folder")
    (tmp_path / "a.txt").write_text("more than four bytes")
    monkeypatch.setattr("joulebench.data.text.MAX_BYTES", 4)
    refused(lambda: read(tmp_path), "more than 4 bytes", "dataset.n")
    assert read(tmp_path, 6) == b"more t"


def test_what_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("secret")

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    refused(lambda: read(tmp_path / "a.txt"), "a.txt", "cannot be read: Permission denied")


# --- splits and staging


@given(n=st.integers(0, 400), validation=st.integers(1, 300), train=st.none() | st.integers(1, 300))
def test_cuts_are_disjoint_in_order_and_exact_or_refused(n: int, validation: int, train: int | None) -> None:
    dataset = TEXT.model_copy(update={"validation": validation, "train": train})
    test = max(1, round(n / 5))
    if n - test - validation < (train or 1):
        refused(lambda: text_cuts(n, dataset), f"{n} bytes", f"validation = {validation}", "too few")
        return
    taken = [list(range(n))[cut] for cut in text_cuts(n, dataset)]
    assert [len(part) for part in taken] == [train or n - test - validation, validation, test]
    flat = [place for part in taken for place in part]
    assert flat == sorted(set(flat))
    assert taken[1] + taken[2] == list(range(n - test - validation, n))
    if train is None:
        assert flat == list(range(n))


def test_staged_text_is_the_text(tmp_path: Path) -> None:
    content = np.arange(100, dtype=np.uint8)
    staged = stage(TextBytes(content, "made", 0.5), TEXT.model_copy(update={"train": 60}), "cpu")
    assert isinstance(staged, StagedText)
    assert staged.train.dtype == torch.uint8
    assert [staged.split(name).tolist() for name in ("train", "validation", "test")] == [
        list(range(60)),
        list(range(70, 80)),
        list(range(80, 100)),
    ]
    refused(lambda: staged.split("dev"), "'dev'", "train, validation, test")
    described = json.loads(json.dumps(staged.describe()))
    assert described == {
        "source": "made",
        "part": "60 of 70 training bytes",
        "fingerprint": hashlib.sha256(content.tobytes()).hexdigest()[:16],
        "counts": {"train": 60, "validation": 10, "test": 20},
        "unigram_nats_per_byte": pytest.approx(log(60)),
        "floor_nats_per_byte": 0.5,
    }


def test_the_unigram_entropy_is_of_the_frequencies() -> None:
    assert unigram_entropy(np.frombuffer(b"aaab", dtype=np.uint8)) == pytest.approx(
        0.75 * log(4 / 3) + 0.25 * log(4)
    )
    assert unigram_entropy(np.zeros(10, dtype=np.uint8)) == 0


# --- what a task may say of it


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "grammar"}, "need n"),
        ({"name": "grammar", "n": 100, "classes": 3}, "does not take classes"),
        ({"name": "text", "shape": (1, 2, 3)}, "does not take shape"),
        ({"name": "text", "augment": ("flip",)}, "does not take augment"),
        ({"name": "cifar10", "n": 100}, "does not take n"),
    ],
)
def test_fields_of_other_data_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Dataset(validation=10, **fields)


def test_the_users_text_takes_the_grammars_place(tmp_path: Path) -> None:
    generated = Dataset(name="grammar", n=100, train=50, validation=20, seed=3)
    (tmp_path / "own.txt").write_bytes(bytes(200))
    own = generated.with_text()
    staged = stage(load_arrays(own, tmp_path / "own.txt"), own, "cpu")
    assert staged.describe()["counts"] == {"train": 50, "validation": 20, "test": 20}
    assert staged.source == "the first 100 bytes of text own.txt"
