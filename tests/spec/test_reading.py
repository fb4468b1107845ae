"""Files that a user names: pipes, devices, folders and endless files are refused at once, in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from joulebench.errors import InputError
from joulebench.gate.files import read_replicates
from joulebench.meters.replay import load_traces
from joulebench.meters.wall_log import read_log
from joulebench.spec.catalog import load_file
from joulebench.spec.hardware import load_profile
from joulebench.spec.reading import read_file
from joulebench.spec.task import load_task

READERS = {
    "task.toml": load_task, "profile.toml": load_profile, "either.toml": load_file, "log.csv": read_log,
    "trace.csv": lambda path: load_traces(str(path)), "gate.jsonl": read_replicates, "gate.json": read_replicates,
}  # fmt: skip


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**33)  # takes no room


def missing(_: Path) -> None:
    pass


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("make", [pipe, device, folder, endless, missing])
def test_what_is_no_file_is_refused_at_once(tmp_path, name, make):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError) as refused:
        READERS[name](path)
    assert name in str(refused.value)


def test_a_link_that_the_user_names_is_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_file(tmp_path / "link", 1, follow=True) == b"x"
    with pytest.raises(InputError, match="is larger than 0 bytes"):
        read_file(tmp_path / "link", 0, follow=True)
