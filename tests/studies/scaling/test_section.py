"""What a report does grows with the run, and no faster: work is counted, not timed."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path

import pytest

from joulebench.reporting.summary import Summary
from joulebench.results.run import Run
from tests.long_run import write_long_run


def calls(folder_path: Path, trials: int, basis: str) -> int:
    """Python functions called from the records to every part of the summary."""
    summary = Summary(Run.of(write_long_run(folder_path, trials, epochs=1, basis=basis)))
    count = 0

    def on_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(on_call)
    try:
        for name in (n for n, v in vars(Summary).items() if isinstance(v, cached_property)):
            getattr(summary, name)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("basis", ["gross", "net"])
def test_work_grows_linearly_with_trials(tmp_path: Path, basis: str) -> None:
    few, many = (calls(tmp_path / f"run{n}", n, basis) for n in (100, 400))
    assert many / few < 4.6
