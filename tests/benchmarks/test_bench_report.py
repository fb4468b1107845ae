"""The report of a long run: seconds of the processor, and the most memory that the process held."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.long_run import write_long_run

TRIALS = 10_000
MAX_CPU_S, MAX_BYTES = 20.0, 2e9


@pytest.mark.parametrize("basis", ["gross", "net"])
def test_a_run_of_ten_thousand_trials_is_reported(benchmark, tmp_path: Path, basis: str) -> None:
    """The whole command in a process of its own, imports, HTML and figures with it. Processor time, not wall: other
    load on the machine does not count."""
    folder = write_long_run(tmp_path / "run", TRIALS, basis=basis)
    spent: list[tuple[float, float]] = []

    def report() -> None:
        child = subprocess.Popen([sys.executable, "-m", "joulebench", "report", str(folder.path)])
        _, status, usage = os.wait4(child.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        child.returncode = 0
        spent.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0))

    benchmark.pedantic(report, rounds=1, iterations=1)
    cpu_s, most_bytes = spent[-1]
    sizes = {p.name: p.stat().st_size for p in folder.path.iterdir()}
    print(f"\n{TRIALS} trials, {basis}: {cpu_s:.1f} s of processor, {most_bytes / 1e9:.2f} GB, {sizes}")
    benchmark.extra_info |= {"cpu_s": cpu_s, "most_bytes": most_bytes, **sizes}
    assert cpu_s < MAX_CPU_S
    assert most_bytes < MAX_BYTES
