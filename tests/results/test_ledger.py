"""Every joule is in the ledger, also of windows that do not count."""

from __future__ import annotations

from joulebench.meters.base import Counter, difference
from joulebench.records.model import FaultKind, LedgerEntry, Window
from joulebench.results.ledger import balance
from tests.factories import fault


def span(start_s, before, after):
    readings, why = difference(before, after)
    return Window(
        phase="inference", start_utc="2026-01-01T00:00:00Z", start_s=start_s, end_s=start_s + 5, readings=readings,
        fault=why,
    )  # fmt: skip


def counters(primary_j, check_j, problem=None):
    return (
        Counter("gpu:0", primary_j, "nvml_counter", "measured", fault=fault(problem) if problem else None),
        Counter("gpu:0", check_j, "nvml_power", "measured", "check"),
    )


def test_the_joules_of_a_faulty_window_are_in_the_total_and_its_check_is_not_compared():
    reads = [counters(0.0, 0.0), counters(100.0, 102.0), counters(150.0, 202.0, "was reset")]
    windows = [span(5.0 * i, *reads[i : i + 2]) for i in (0, 1)]
    assert [w.fault and w.fault.kind for w in windows] == [None, FaultKind.UNCLASSIFIED]
    ledger = balance([], [LedgerEntry(session=0, event="end", windows=tuple(windows))])
    assert ledger.total_j == ledger.measured_j == 150.0
    (check,) = ledger.checks
    assert (check.primary_j, check.check_j) == (100.0, 102.0)
