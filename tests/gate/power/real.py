"""Gates on this machine with a known change: a repository whose work takes a stated share more than it did."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from joulebench.gate.model import Settings
from joulebench.gate.processes import Benchmarks
from joulebench.gate.report import status
from joulebench.gate.statistics import ratio_text
from joulebench.gate.workflow import Result, against

STEPS = 2000
PRODUCT = """import numpy

STEPS = {steps}
MATRIX = numpy.random.default_rng(1).random((48, 48))


def work():
    total = 0.0
    for step in range(STEPS):
        total += float((MATRIX @ MATRIX)[0, step % 48])
    return total
"""
TEST = """import product


def test_work(energy_benchmark):
    energy_benchmark(product.work)
"""
LOAD = "while True: sum(i * i for i in range(10_000))"
GIT = ("git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false")
HEADER = "| machine | change | compared | typical ratio | ratio of totals | pairs | seconds | outcome |"
RULE = "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |"


@contextmanager
def changed_repository(change: float) -> Iterator[Path]:
    """Make a repository whose working tree does `change` more work than its commit, and go there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        (tree / "tests").mkdir()
        (tree / "tests" / "test_work.py").write_text(TEST)
        (tree / "product.py").write_text(PRODUCT.format(steps=STEPS))
        for arguments in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "all")):
            subprocess.run([*GIT, *arguments], cwd=tree, check=True, capture_output=True)
        (tree / "product.py").write_text(PRODUCT.format(steps=round(STEPS * (1 + change))))
        os.chdir(tree)
        try:
            yield tree
        finally:
            os.chdir(before)


@contextmanager
def load() -> Iterator[None]:
    """Keep one processor busy."""
    process = subprocess.Popen([sys.executable, "-c", LOAD])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(
    gates: int, changes: Sequence[float], minutes: float, observe: Callable[[str], None], *, beside: bool = False
) -> list[str]:
    """Run `gates` gates of each change; rows of the table."""
    rows = []
    for change in [change for _ in range(gates) for change in changes]:
        with changed_repository(change), load() if beside else nullcontext():
            began_s = time.monotonic()
            result = against("main", Benchmarks("tests", "quick"), Settings(), minutes, lambda _: None)
            rows += table(
                result, change, time.monotonic() - began_s, "one processor busy" if beside else "as it is"
            )
        observe(rows[-1])
    return rows


def table(result: Result, change: float, seconds: float, machine: str) -> list[str]:
    """Rows of one gate."""
    return [
        f"| {machine} | {100 * change:+g} % | {v.metric.label if v.metric else ''} | {ratio_text(v.shift)} | "
        f"{ratio_text(v.total)} | {v.shift.n if v.shift else 0} | {seconds:.0f} | {v.outcome} ({status(result)}) |"
        for v in result.verdicts
    ]
