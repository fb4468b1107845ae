"""The table of joules in pytest's summary."""

from __future__ import annotations

from joulebench.gate.terminal import energy_table

MEASURED = {
    "j_per_unit": 0.00621, "low": 0.006, "high": 0.0064, "n": 12, "unit": "sample", "kind": "estimated",
    "power_w": 50.0, "invalid_windows": 1,
}  # fmt: skip


def test_a_benchmark_without_a_valid_window_has_no_number():
    failed = {"invalid_windows": 3, "reason": "no valid window with joules"}
    table = energy_table([("test_a", MEASURED), ("test_b", failed)])
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table]
    assert len({len(row) for row in cells[:2]}) == 1
    assert cells[1] == ["test_a", "6.21 [6, 6.4] mJ/sample", "50 W", "estimated", "12 of 13"]
    assert cells[2] == ["test_b", "not measured: no valid window with joules", "0 of 3"]


def test_what_is_unknown_stays_empty():
    """One window has no interval, and a replay may have no power."""
    facts = {name: value for name, value in MEASURED.items() if name not in ("low", "high", "power_w")}
    assert energy_table([("test_a", facts)])[1].split() == [
        "test_a",
        "6.21",
        "mJ/sample",
        "estimated",
        "12",
        "of",
        "13",
    ]
