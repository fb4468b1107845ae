"""Writing: whole or not at all, and never where a link points."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from joulebench.errors import InputError
from joulebench.host.files import (
    append_line,
    claim_folder,
    cut_off,
    is_temporary,
    remove_abandoned,
    whole_file,
    whole_folder,
    write_whole,
)
from joulebench.measurement.training import TrialFailedError
from joulebench.publishing.copying import copy_records
from joulebench.records.folder import OWN, RunFolder
from joulebench.reporting import write_report
from joulebench.results.run import Run
from joulebench.runner.scoring import read_weights
from joulebench.spec.reading import MAX_BYTES, read_file
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


@pytest.mark.parametrize(
    ("before", "kept"),
    [(b"", b""), (b"1", b"1\n"), (b"1\n", b"1\n"), (b'1\n{"a": ', b"1\n"), (b'{"a"', b""), (b"1\n{}", b"1\n{}\n")],
)
def test_a_last_line_is_ended_if_it_is_whole_and_cut_off_if_a_crash_tore_it(tmp_path, before, kept):
    path = tmp_path / "lines"
    path.write_bytes(before)
    append_line(path, b"2\n")
    append_line(path, b"3\n")
    assert path.read_bytes() == kept + b"2\n3\n"


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"0")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("joulebench.host.files.os.fsync", full)
    for write in (write_whole, append_line):
        with pytest.raises(OSError, match="No space"):
            write(path, b"after")
        assert path.read_bytes() == b"0"
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    done = []

    def watched(name, what):
        original = getattr(os, name)

        def call(*given):
            done.append((name, what(*given)))
            return original(*given)

        monkeypatch.setattr(os, name, call)

    def shown(descriptor):
        return "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size

    watched("fsync", shown)
    watched("replace", lambda _, to: Path(to).name)
    watched("rename", lambda _, to: Path(to).name)
    write_whole(tmp_path / "file", b"12345")
    assert done == [("fsync", 5), ("replace", "file"), ("fsync", "folder")]
    done.clear()
    append_line(tmp_path / "lines", b"1\n")
    append_line(tmp_path / "lines", b"2\n")
    assert done == [("fsync", 2), ("fsync", "folder"), ("fsync", 4)]
    done.clear()
    with whole_folder(tmp_path / "set") as folder:
        (folder / "a").write_bytes(b"123")
    assert done == [("fsync", 3), ("fsync", "folder"), ("rename", "set"), ("fsync", "folder")]
    done.clear()
    claim_folder(tmp_path / "x" / "y")
    assert done == [("fsync", "folder")] * 2


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    def fail():
        with whole_folder(tmp_path / "set") as folder:
            (folder / "a").write_text("")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "set") as folder:
        assert is_temporary(folder.name)
        (folder / "a").write_text("first")
        assert not (tmp_path / "set").exists()
    with pytest.raises(FileExistsError), whole_folder(tmp_path / "set") as folder:
        (folder / "a").write_text("second")
    assert [p.name for p in tmp_path.rglob("*")] == ["set", "a"]
    assert (tmp_path / "set" / "a").read_text() == "first"


def test_a_folder_may_be_a_link_to_another_disk(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    write_whole(tmp_path / "runs" / "a", b"1")
    append_line(tmp_path / "runs" / "b", b"2\n")
    with whole_folder(tmp_path / "runs" / "c"):
        pass
    claim_folder(tmp_path / "runs" / "d" / "e")
    assert sorted(p.name for p in (tmp_path / "disk").iterdir()) == ["a", "b", "c", "d"]


def test_an_error_of_what_is_written_keeps_its_own_words(tmp_path):
    def fail():
        with whole_file(tmp_path / "file"):
            raise TimeoutError("timed out")

    with pytest.raises(TimeoutError, match=r"^timed out$"):
        fail()


def test_what_was_abandoned_goes_and_what_is_being_written_stays(tmp_path):
    with whole_file(tmp_path / "a"):
        (being_written,) = tmp_path.iterdir()
    here = being_written.name.removeprefix(".a.")[:8]  # of this host
    (tmp_path / "a").unlink()
    killed = (tmp_path / f".report.md.{here}01234567.tmp", tmp_path / f".2026-01-02.{here}89abcdef.tmp")
    killed[0].write_text("half")
    killed[1].mkdir()
    (killed[1] / "SHA256SUMS").write_text("")
    others = (
        ".hidden.tmp",
        f"report.md.{here}01234567.tmp",
        f".report.md.{here}0.tmp",
        f".report.md.{'0' * 16}.tmp",
    )
    mine = [tmp_path / name for name in others]
    for path in mine:
        path.write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / f".link.{here}01234567.tmp").symlink_to(elsewhere)
    with whole_file(tmp_path / "a") as first, whole_folder(tmp_path / "b") as second:
        first.write(b"first")
        remove_abandoned(tmp_path)
        write_whole(tmp_path / "c", b"third")
        assert second.is_dir()
    assert not any(path.exists() for path in killed)
    assert all(path.read_text() == "mine" for path in (*mine, elsewhere))
    assert (tmp_path / "a").read_bytes() == b"first"
    assert (tmp_path / "b").is_dir()


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


def test_nothing_is_appended_to_a_file_of_two_names(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "trials.jsonl"
    mine.write_bytes(b"mine\n")
    os.link(mine, theirs)
    for act in (lambda: append_line(theirs, b"x\n"), lambda: cut_off(theirs, 0)):
        with pytest.raises(OSError, match="hard link"):
            act()
    assert mine.read_bytes() == b"mine\n"


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "trials.jsonl"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # takes no room
    with pytest.raises(InputError, match="is larger than"):
        read_file(path)


def test_what_belongs_to_a_run_is_uploaded_and_nothing_behind_a_link(tmp_path):
    from joulebench.reporting.mlflow_content import study_logged
    from joulebench.reporting.summary import summarise

    folder = full_run(trials=2).write(tmp_path / "run")
    write_report(folder)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder.path / "frontier.csv").unlink()
    (folder.path / "frontier.csv").symlink_to(secret)
    files = study_logged(folder, summarise(folder)).files
    assert "report.md" in files
    assert b"secret" not in b"".join(files.values())


def test_weights_are_read_from_the_runs_own_file_alone(tmp_path):
    import torch

    folder = full_run(trials=2).write(tmp_path / "run")
    trial = folder.trials()[0]
    folder.weights_path.mkdir()
    torch.save({"w": torch.zeros(2)}, tmp_path / "other.pt")
    place = folder.weights_file(trial.trial)
    place.symlink_to(tmp_path / "other.pt")
    with pytest.raises(TrialFailedError, match="symbolic link"):
        read_weights(place, "cpu")
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(TrialFailedError, match="regular file"):
        read_weights(place, "cpu")
    place.unlink()
    torch.save(Path("/"), place)  # an object that unpickling would call
    with pytest.raises(Exception, match="weights_only"):
        read_weights(place, "cpu")
    torch.save({"w": torch.zeros(2)}, place)
    assert read_weights(place, "cpu")["w"].shape == (2,)
    (folder.weights_path / "notes.pt").write_text("mine")
    folder.keep_weights(())
    assert [p.name for p in folder.weights_path.iterdir()] == ["notes.pt"]
