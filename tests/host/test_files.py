"""Writing: whole or not at all, and never where a link points."""

from __future__ import annotations

import os

import pytest

from joulebench.errors import InputError
from joulebench.host.files import append_line, cut_off, write_whole
from joulebench.publishing.copying import copy_records
from joulebench.records.folder import OWN, RunFolder
from joulebench.reporting import write_report
from joulebench.results.run import Run
from tests.run_factory import full_run


def test_a_link_is_replaced_and_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(other)
    write_whole(tmp_path / "link", b"new")
    assert other.read_bytes() == b"mine"
    assert (tmp_path / "link").read_bytes() == b"new"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("write", [lambda path: append_line(path, b"x"), lambda path: cut_off(path, 0)])
def test_nothing_is_appended_to_or_cut_off_behind_a_link(tmp_path, write):
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(other)
    with pytest.raises(OSError):
        write(tmp_path / "link")
    assert other.read_bytes() == b"mine"


def test_a_last_line_without_its_end_is_ended_before_another(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"one")
    append_line(path, b"two\n")
    append_line(path, b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("joulebench.host.files.os.fsync", full)
    for write in (write_whole, append_line):
        with pytest.raises(OSError, match="No space"):
            write(path, b"after")
        assert path.read_bytes() == b"before"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_files_have_the_users_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        write_whole(tmp_path / "a", b"")
        append_line(tmp_path / "b", b"")
    finally:
        os.umask(umask)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [0o644, 0o644]


@pytest.mark.parametrize("name", OWN)
def test_a_run_with_a_link_in_it_is_refused(tmp_path, name):
    run = full_run(trials=2).write(tmp_path / "run").path
    elsewhere = tmp_path / "elsewhere"
    if (run / name).exists():
        (run / name).rename(elsewhere)
    (run / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match="symbolic link"):
        RunFolder.open(run)


def test_a_report_is_not_written_through_links(tmp_path):
    folder = full_run(trials=2).write(tmp_path / "run")
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("report.md", ".report.md.tmp", "report.json", ".report.json.tmp", "frontier.png"):
        (folder.path / name).symlink_to(mine)
    write_report(folder)
    assert mine.read_text() == "mine"
    assert "digits" in (folder.path / "report.md").read_text()


@pytest.mark.parametrize("name", ["manifest.json", "trials.jsonl", "scores.jsonl"])
def test_a_pipe_in_the_place_of_a_record_is_refused_at_once(tmp_path, name):
    run = full_run(trials=2).write(tmp_path / "run").path
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(InputError, match=r"regular file|not a run folder"):
        write_report(RunFolder.open(run))


def test_a_link_in_the_overlay_leads_nowhere(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    run = full_run(trials=2).write(tmp_path / "run").path
    full_run(trials=2).write(run / "overlay")
    (run / "overlay" / "wall.csv").symlink_to(secret)
    for act in (lambda: write_report(RunFolder.open(run)), lambda: copy_records(run, tmp_path / "copy")):
        with pytest.raises(InputError, match="symbolic link"):
            act()


def test_an_overlay_has_no_overlay(tmp_path):
    run = full_run(trials=2).write(tmp_path / "run").path
    full_run(trials=2).write(run / "overlay")
    full_run(trials=2).write(run / "overlay" / "overlay")
    copy_records(run, tmp_path / "copy")
    assert not (tmp_path / "copy" / "overlay" / "overlay").exists()
    assert Run.of(RunFolder.open(run)).overlay.overlay is None
