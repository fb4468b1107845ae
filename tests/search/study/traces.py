"""Sequences of configurations that search methods tried on a table: ours made here, rivals' stored in a file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from joulebench.host.files import write_whole
from joulebench.search import propose
from tests.search.study import rivals
from tests.search.study.tables import Table, table
from tests.synthetic_search import Problem

STORED = Path(__file__).with_name("rivals.csv")
BUDGET, INITIAL = 60, 10
OURS = "joulebench"
#: Methods of our own with the stages of their plans; all start from the same Sobol' points.
PLANS: dict[str, list[tuple[str, int]]] = {
    OURS: [("init", INITIAL), ("search", BUDGET - INITIAL)],
    "random": [("init", INITIAL), ("random", BUDGET - INITIAL)],
    "sobol": [("init", BUDGET)],
}


@dataclass(frozen=True)
class Trace:
    """One search of a table.

    Attributes:
        tried: numbers of the configurations, in order.
        seconds: CPU seconds of a proposal, mean over those after the start, and over the last ten of them.
        promised: the hypervolume gain that each proposal promised, as far as it did.
    """

    table: str
    noisy: bool
    method: str
    seed: int
    tried: tuple[int, ...]
    seconds: tuple[float, float]
    promised: tuple[float | None, ...] = field(default=(), compare=False)

    @property
    def key(self) -> tuple[str, bool, str, int]:
        return self.table, self.noisy, self.method, self.seed


def own(found: Table, noisy: bool, method: str, seed: int) -> Trace:
    """Search a table by one of joulebench's methods."""
    tried, seconds, promised = list[int](), list[float](), list[float | None]()
    trials = found.problem(noisy).trials(PLANS[method], seed)
    for _ in range(BUDGET):
        begin = time.process_time()
        record = next(trials, None)
        if record is None:
            raise RuntimeError(f"{found.name}: nothing left to propose after {len(tried)} trials")
        seconds.append(time.process_time() - begin)
        tried.append(found.number(record.params))
        promised.append(record.expected.get("hypervolume_gain"))
    return Trace(found.name, noisy, method, seed, tuple(tried), _means(seconds[INITIAL:]), tuple(promised))


def _means(seconds: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(seconds)), float(np.mean(seconds[-10:]))


def warm(problem: Problem) -> None:
    """Propose once by the model, so that imports are not counted as the time of a proposal."""
    records = problem.study([("init", 4)], 0)
    for _ in range(40):  # until two configurations run, without which there is no model
        if sum(r.status == "ok" for r in records) >= 2:
            break
        records = problem.study([("init", len(records) + 4)], 0)
    propose(problem.task, "search", records, 0)


# -- rivals ------------------------------------------------------------------------------------------------------


@cache
def start(name: str, data: Path, seed: int) -> tuple[int, ...]:
    """Numbers of the configurations that every method begins with."""
    found = table(name, data)
    records = found.problem(noisy=False).study([("init", INITIAL)], seed)
    return tuple(found.number(r.params) for r in records)


def draws(found: Table, seed: int) -> list[list[float]]:
    """Standard normal draws of the noise, trials × objectives: those of `Problem.trials`."""
    drawn: list[list[float]] = (
        np.random.default_rng([seed, 1]).normal(size=(BUDGET, len(found.objectives))).tolist()
    )
    return drawn


def posed(found: Table, noisy: bool) -> dict[str, Any]:
    """A table as `rivals.py` reads it."""
    return {
        "parameters": [
            {"name": n, "values": list(p["values"]), "ordered": p["ordered"]} for n, p in found.parameters.items()
        ],
        "objectives": [
            {"name": n, "goal": o.goal, "reference": o.reference, "noise": o.noise, "relative": o.relative}
            for n, o in found.objectives.items()
        ],
        "values": found.values,
        "noisy": noisy,
    }


@cache
def digest(name: str, data: Path, noisy: bool, seed: int) -> str:
    """What a stored run rests on, in eight characters: parameters, values to six digits, noise and start."""
    problem = posed(table(name, data), noisy)
    values = [v and [f"{x:.6g}" for x in v] for v in problem["values"]]
    noise = [f"{o['noise']:.6g}" for o in problem["objectives"]] if noisy else []
    parts = [problem["parameters"], values, noise, start(name, data, seed)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


COLUMNS = ("table", "noisy", "method", "seed", "version", "digest", "mean_s", "last_s", "tried")


@dataclass(frozen=True)
class Stored:
    """A rival's run as the file has it; `digest` says what it rests on."""

    trace: Trace
    version: str
    digest: str


def read(path: Path = STORED) -> dict[tuple[str, bool, str, int], Stored]:
    """The stored runs by table, noise, method and seed; none where there is no file."""
    if not path.is_file():
        return {}
    stored = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            trace = Trace(
                row["table"],
                row["noisy"] == "1",
                row["method"],
                int(row["seed"]),
                tuple(map(int, row["tried"].split())),
                (float(row["mean_s"]), float(row["last_s"])),
            )
            stored[trace.key] = Stored(trace, row["version"], row["digest"])
    return stored


def write(stored: Iterable[Stored], path: Path = STORED) -> None:
    """Write the runs, in order of their keys."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in sorted(stored, key=lambda r: r.trace.key):
        t, seconds = run.trace, (f"{s:.4g}" for s in run.trace.seconds)
        tried = " ".join(map(str, t.tried))
        writer.writerow([t.table, int(t.noisy), t.method, t.seed, run.version, run.digest, *seconds, tried])
    write_whole(path, text.getvalue().encode())


def current(
    stored: Mapping[tuple[str, bool, str, int], Stored], names: Sequence[str], data: Path
) -> tuple[list[Trace], int]:
    """Stored runs of these tables that rest on them as they are now, and the number of those that do not."""
    relevant = [run for run in stored.values() if run.trace.table in names]
    valid = [
        r.trace for r in relevant if r.digest == digest(r.trace.table, data, r.trace.noisy, r.trace.seed)
    ]  # fmt: skip
    return valid, len(relevant) - len(valid)


def missing(
    stored: Mapping[tuple[str, bool, str, int], Stored],
    found: tuple[str, Path],
    noisy: bool,
    each: Iterable[tuple[str, int]],
) -> list[tuple[str, int]]:
    """Methods and seeds of which no run is stored that rests on the table as it is now."""
    name, data = found
    return [
        (method, seed)
        for method, seed in each
        if (run := stored.get((name, noisy, method, seed))) is None or run.digest != digest(name, data, noisy, seed)
    ]


def run_rivals(
    python: Path, found: tuple[str, Path], noisy: bool, each: Sequence[tuple[str, int]], path: Path = STORED
) -> None:
    """Run rivals in their own environment on a table (its name, the data's folder), and store each run that ends.

    A stored run of the same table, noise, method and seed is replaced.

    Args:
        each: methods and seeds.

    Raises:
        RuntimeError: the rivals' process failed; what had ended is stored.
    """
    if not each:
        return
    asked = [
        {"method": method, "seed": seed, "start": start(*found, seed), "draws": draws(table(*found), seed)}
        for method, seed in each
    ]
    with tempfile.TemporaryDirectory() as folder:
        job, out = Path(folder) / "job.json", Path(folder) / "out.jsonl"
        job.write_text(json.dumps({"problem": posed(table(*found), noisy), "budget": BUDGET, "runs": asked}))
        try:
            done = subprocess.run([str(python), str(rivals.__file__), str(job), str(out)], check=False)
        finally:  # interrupted, too: what has ended took its time
            ended = out.read_text(encoding="utf-8").splitlines() if out.is_file() else []
            _store(found, noisy, list(map(json.loads, ended)), path)
    if done.returncode:
        raise RuntimeError(f"rivals on {found[0]}: exit code {done.returncode}; {len(ended)} of {len(each)} runs")


def _store(found: tuple[str, Path], noisy: bool, results: Sequence[Mapping[str, Any]], path: Path) -> None:
    stored = read(path)
    for r in results:
        trace = Trace(found[0], noisy, r["method"], r["seed"], tuple(r["tried"]), _means(r["seconds"]))
        stored[trace.key] = Stored(trace, r["version"], digest(*found, noisy, r["seed"]))
    write(stored.values(), path)
