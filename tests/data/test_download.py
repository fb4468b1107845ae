"""Downloads: fetched once, checked, and what is said without a network."""

from __future__ import annotations

import hashlib
import tarfile
import time
from pathlib import Path

import pytest
from torchvision import datasets

from joulebench.data import load_arrays
from joulebench.spec.task import Dataset
from tests.data_sources import CIFAR10, MNIST, refused, write_cifar_batches


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
    refused(lambda: load_arrays(CIFAR10), "--data PATH", "MD5")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
