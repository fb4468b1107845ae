"""The disk cache: what is read again, rebuilt and refused."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest

from joulebench.data import load_arrays
from tests.data_sources import CIFAR10, no_decoding, pack_zip, refused, write_image


def cache_file(tmp_path: Path) -> Path:
    [file] = (tmp_path / "cache").rglob("*.npz")
    return file


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

    monkeypatch.setattr("joulebench.data.cache.np.savez", full)
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


def test_a_user_without_a_home_is_told_in_one_line(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME", "JOULEBENCH_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    refused(lambda: load_arrays(CIFAR10, tree), "home directory")
    assert len(load_arrays(CIFAR10, tree, tree.parent / "cache").train_x)
