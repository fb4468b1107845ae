"""Records of schema 1 are read as if they had been written today."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.records.folder import read_lines, read_record
from joulebench.records.model import LedgerEntry, TrialRecord
from joulebench.records.schema1 import upgraded

WINDOW = {"phase": "inference", "start_utc": "2026-01-02T03:04:05Z", "start_s": 0.0, "end_s": 1.0, "readings": []}
TRIAL = {
    "schema_version": 1, "trial": 0, "session": 0, "stage": "search",
    "origin": "sobol (no model yet)", "params": {},
    "seed": 7, "status": "ok", "windows": [WINDOW, {**WINDOW, "fault": "cpu counter went back by 3 J"}],
}  # fmt: skip


def ledger(**fields):
    return read_record(json.dumps({"schema_version": 1, "session": 0, **fields}).encode(), LedgerEntry)


def test_a_trial_has_its_method_its_fallback_and_its_faults():
    trial = read_record(json.dumps(TRIAL).encode(), TrialRecord)
    assert (trial.schema_version, trial.origin, trial.fallback) == (2, "sobol", "no model yet")
    assert [w.fault and (w.fault.kind, w.fault.text) for w in trial.windows] == [
        None,
        ("unclassified", "cpu counter went back by 3 J"),
    ]


@pytest.mark.parametrize("origin", ["qnehvi", "mine (", "f(x)", "f (x)", "my (a) (b)", " (x)", "sobol", ""])
def test_other_origins_stay_as_they_are(origin):
    trial = read_record(json.dumps({**TRIAL, "origin": origin}).encode(), TrialRecord)
    assert (trial.origin, trial.fallback) == (origin, None)


@pytest.mark.parametrize(
    ("note", "ending", "kept"),
    [("done", "done", ""), ("interrupted", "interrupted", ""), ("crashed", "crashed", ""),
     ("disk full", "failed", "disk full")],
)  # fmt: skip
def test_a_sessions_end(note, ending, kept):
    entry = ledger(event="end", note=note)
    assert (entry.ending, entry.note) == (ending, kept)


def test_spans_that_are_events_now():
    stopped, check, plain = (ledger(event="span", note=n) for n in ("stopped: enough", "precheck", "scores"))
    assert (stopped.event, stopped.note) == ("stopped", "enough")
    assert (check.event, check.note, check.ending) == ("precheck", "", None)
    assert (plain.event, plain.note) == ("span", "scores")


def test_a_proposal_in_the_ledger():
    given = {"stage": "search", "origin": "sobol (too few)", "params": {"width": 1}}
    proposal = ledger(event="propose", trial=3, proposal=given).proposal
    assert (proposal.origin, proposal.fallback, proposal.params) == ("sobol", "too few", {"width": 1})


@pytest.mark.parametrize("change", [{"schema_version": 3}, {"schema_version": 1, "windows": "none"}, {"params": 3}])
def test_what_no_schema_allows_is_refused_with_its_line(tmp_path, change):
    path = tmp_path / "trials.jsonl"
    path.write_text(json.dumps(TRIAL) + "\n" + json.dumps({**TRIAL, **change}) + "\n")
    with pytest.raises(InputError, match="line 2"):
        read_lines(path, TrialRecord)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@given(
    origin=st.sampled_from(["qnehvi", "sobol", "sobol (no model yet)", "f (x)", "sobol (", 'sobol"'])
    | st.text(max_size=8),
    fault=st.none() | st.text(max_size=12),
    error=st.none() | st.sampled_from(['"fault"', '"event"', "plain"]),
)
def test_the_short_way_reads_the_same(separators, origin, fault, error):
    """Most lines are read without being converted: the result is that of converting them."""
    windows = [WINDOW if fault is None else {**WINDOW, "fault": fault}]
    line = {**TRIAL, "origin": origin, "windows": windows, "error": error}
    raw = json.dumps(line, separators=separators).encode()
    assert read_record(raw, TrialRecord) == TrialRecord.model_validate(upgraded(line))
