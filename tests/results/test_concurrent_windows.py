"""Overlaps are found by the windows' own times, per node, however far the nodes' clocks stand apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry, TrialRecord, Window
from joulebench.reporting.findings import findings
from joulebench.reporting.summary import summarise
from joulebench.results.concurrent_windows import marked
from joulebench.results.energy import phase_energy
from tests.factories import fault
from tests.run_factory import RunBuilder, full_run, make_task


def window(start_s, end_s, node="a", phase="inference", **fields):
    utc = fields.pop("start_utc", "2026-01-01T00:00:00Z")
    return Window(phase=phase, start_utc=utc, start_s=start_s, end_s=end_s, node=node, readings=(), **fields)


def trial(number, *windows):
    return TrialRecord(
        trial=number, session=0, stage="s", origin="sobol", params={}, seed=0, status="ok", windows=windows
    )


def faults(trials, entries=()):
    return [[w.fault and w.fault.text for w in t.windows] for t in marked(trials, list(entries))]


def test_windows_that_touch_are_apart_and_those_that_share_time_are_not():
    assert faults([trial(0, window(0, 1), window(1, 2)), trial(1, window(2, 3))]) == [[None, None], [None]]
    both = [trial(0, window(0, 1), window(1, 2)), trial(1, window(1.5, 3))]
    assert faults(both) == [
        [None, "overlaps trial 1 on the same node"],
        ["overlaps trial 0 on the same node"],
    ]


def test_only_one_node_and_one_boot_of_it_are_compared():
    assert faults([trial(0, window(0, 9, "a@1")), trial(1, window(1, 2, "b@1"))]) == [[None], [None]]
    assert faults([trial(0, window(0, 9, "a@1")), trial(1, window(1, 2, "a@2"))]) == [[None], [None]]
    assert faults([trial(0, window(0, 9, None)), trial(1, window(1, 2, None))]) == [[None], [None]]


def test_proposals_and_prechecks_on_a_measuring_node_are_seen_and_waiting_is_not():
    measured = [trial(0, window(0, 5))]

    def span(phase, node="a"):
        return LedgerEntry(session=0, event="propose", windows=(window(1, 2, node, phase),))

    assert faults(measured, [span("propose")]) == [["overlaps the choice of a configuration on the same node"]]
    assert "meter check" in faults(measured, [span("precheck")])[0][0]
    assert faults(measured, [span("propose", "b")]) == [[None]]
    assert faults(measured, [span("wait")]) == [[None]]


def test_a_fault_that_was_there_stays():
    found = faults([trial(0, window(0, 2, fault=fault("counter reset"))), trial(1, window(1, 3))])
    assert found[0] == ["counter reset"]


spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5), st.sampled_from("ab")), min_size=1, max_size=12)


@given(spans, st.integers(-10_000, 10_000))
def test_every_shared_moment_is_found_and_no_other_whatever_the_skew_between_nodes(found, skew_s):
    trials = [
        trial(
            n, window(start + (skew_s if node == "b" else 0), start + length + (skew_s if node == "b" else 0), node)
        )
        for n, (start, length, node) in enumerate(found)
    ]
    for n, (start, length, node) in enumerate(found):
        shares = any(
            m != n and other == node and s < start + length and start < s + size
            for m, (s, size, other) in enumerate(found)
        )
        assert (faults(trials)[n][0] is not None) == shares


def on_nodes(run: RunBuilder, shift_s: float) -> None:
    """All windows on a node; the fourth trial's moved back, into those of the third."""
    moved = []
    for number, record in enumerate(run.trials):
        by = shift_s if number == 3 else 0.0
        windows = tuple(
            w.model_copy(update={"node": "one@1", "start_s": w.start_s + by, "end_s": w.end_s + by})
            for w in record.windows
        )
        moved.append(record.model_copy(update={"windows": windows}))
    run.trials = moved


def test_a_report_flags_it_and_leaves_it_out(tmp_path):
    run = full_run(make_task())
    on_nodes(run, 0.0)
    sound = summarise(run.write(tmp_path / "sound"))
    on_nodes(run, -3.0)
    summary = summarise(run.write(tmp_path / "bad"))
    codes = {f.code: f for f in findings(summary)}
    assert "overlapping_windows" not in {f.code for f in findings(sound)}
    assert "one@1" in codes["cluster"].text
    warned = codes["overlapping_windows"]
    assert warned.level == "warning"
    assert "one@1" in warned.text
    assert "2 trials" in warned.text
    folder = RunFolder.open(tmp_path / "bad")
    task, records = folder.task(), marked(folder.trials(), folder.ledger())
    kept = phase_energy(records[2].windows, "inference", ["cpu"], task.protocol)
    whole = phase_energy(folder.trials()[2].windows, "inference", ["cpu"], task.protocol)
    assert whole is not None
    assert kept is None or kept.n < whole.n
