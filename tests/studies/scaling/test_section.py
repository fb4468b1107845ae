"""What a report does grows with the run, and no faster: work is counted, not timed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from joulebench.reporting.summary import summarise_records
from joulebench.results.run import Run
from tests.long_run import write_long_run


def calls(folder_path: Path, trials: int, basis: str) -> int:
    """Python functions called from the records to the summary."""
    records = Run.of(write_long_run(folder_path, trials, epochs=1, basis=basis))
    count = 0

    def on_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(on_call)
    try:
        summarise_records(records.manifest, records.task, records.trials, records.entries, records.scores)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("basis", ["gross", "net"])
def test_work_grows_linearly_with_trials(tmp_path: Path, basis: str) -> None:
    few, many = (calls(tmp_path / f"run{n}", n, basis) for n in (100, 400))
    assert many / few < 4.6
