"""Records: what is written is what is read, and a crash costs at most the line being written."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder, append, read_lines
from joulebench.records.model import Fault, FaultKind, LedgerEntry, Reading, TrialRecord, Window

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(min_size=1, max_size=12)
readings = st.builds(
    Reading, domain=names, energy_j=finite, source=names, kind=st.sampled_from(["measured", "estimated"]),
    counter_updates=st.none() | st.integers(0, 10**9),
)  # fmt: skip
faults = st.builds(Fault, kind=st.sampled_from(FaultKind), text=names)
windows = st.builds(
    Window, phase=names, of=st.none() | names, start_utc=names, start_s=finite, end_s=finite,
    units=st.integers(0, 10**9), readings=st.lists(readings, max_size=3).map(tuple), fault=st.none() | faults,
)  # fmt: skip
values = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), finite, names)
trials = st.builds(
    TrialRecord, trial=st.integers(0, 10**6), session=st.integers(0, 100), stage=names, origin=names,
    fallback=st.none() | names,
    params=st.dictionaries(names, values, max_size=4), seed=st.integers(0, 2**31),
    status=st.sampled_from(["ok", "oom", "failed", "invalid"]), error=st.none() | st.text(max_size=40),
    metrics=st.dictionaries(names, finite, max_size=3), windows=st.lists(windows, max_size=3).map(tuple),
)  # fmt: skip


def entry(note: str = "") -> LedgerEntry:
    return LedgerEntry(session=0, event="start", note=note)


@given(st.lists(trials, max_size=4))
def test_what_is_written_is_what_is_read(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("run") / "trials.jsonl"
    for record in records:
        append(path, record)
    assert read_lines(path, TrialRecord) == (records, None)


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_is_read_back_and_only_halves_of_characters_are_replaced(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("run") / "ledger.jsonl"
    append(path, entry(text))
    ((found,), torn) = read_lines(path, LedgerEntry)
    assert torn is None
    assert found.note == text.encode(errors="replace").decode()


def test_parameter_types_survive(tmp_path):
    params = {"a": True, "b": 1, "c": 1.0, "d": "1"}
    record = TrialRecord(trial=0, session=0, stage="s", origin="o", params=params, seed=0, status="ok", windows=())
    append(tmp_path / "t.jsonl", record)
    read = read_lines(tmp_path / "t.jsonl", TrialRecord)[0][0].params
    assert [type(v) for v in read.values()] == [bool, int, float, str]


@given(cut=st.integers(1, 60))
def test_a_torn_last_line_is_found_and_the_rest_kept(tmp_path_factory, cut):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    for note in ("first", "second", "third"):
        append(folder.ledger_path, entry(note))
    whole = folder.ledger_path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    folder.ledger_path.write_bytes(whole[: -min(cut, last - 1)])
    torn = list(folder.repair())
    kept = ["first", "second"] if cut > 1 else ["first", "second", "third"]  # only the end of its line is missing
    assert [t.line for t in torn] == [3] * (cut > 1)
    assert [e.note for e in folder.ledger()] == kept
    assert list(folder.repair()) == []
    append(folder.ledger_path, entry("again"))
    assert [e.note for e in folder.ledger()] == [*kept, "again"]


def test_damage_in_the_middle_is_refused_by_line(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for note in ("first", "second"):
        append(path, entry(note))
    path.write_bytes(b'{"session": oops}\n' + path.read_bytes())
    with pytest.raises(InputError, match=r"ledger\.jsonl, line 1: not a JSON object"):
        read_lines(path, LedgerEntry)


def test_another_schema_is_refused_by_name(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"schema_version": 99, "session": 0, "event": "start"}\n')
    with pytest.raises(InputError, match="schema version 99; this joulebench reads 1"):
        read_lines(path, LedgerEntry)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    append(path, entry("kept"))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("joulebench.host.files.os.fsync", full)
    with pytest.raises(InputError, match="No space left on device; what was recorded before is safe"):
        append(path, entry("lost"))
    monkeypatch.undo()
    assert [e.note for e in read_lines(path, LedgerEntry)[0]] == ["kept"]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        RunFolder.open(tmp_path)
