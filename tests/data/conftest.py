"""Fixtures of the tests of data: each test has a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data_sources import image_tree, isolate


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return image_tree(tmp_path)
