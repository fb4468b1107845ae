"""Commands attacked by faults: what there is before, what is called, and what must hold afterwards."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.gate.files import read_replicates, write_replicates
from joulebench.gate.model import Replicate
from joulebench.host.files import is_temporary
from joulebench.publishing.copying import changed
from joulebench.publishing.verifying import verify
from joulebench.records.folder import RunFolder, read_lines
from joulebench.records.model import LedgerEntry, TrialRecord
from tests.gate_records import CPU, measurement, replicate
from tests.run_factory import RunBuilder, full_run, lines, on_the_clock

#: Calls joulebench in a fresh process; raises where it does not end with exit code 0.
Call = Callable[..., str]

TASK = """
name = "crash"
version = 1
title = "Task that crashes are tried on"
workload = "table"

[options]
csv = "table.csv"
metrics = ["joules", "accuracy"]
noise = { joules = 0.5 }

[parameters]
width = { type = "int", low = 1, high = 6, default = 2 }
depth = { type = "int", low = 1, high = 6, default = 2 }

[objectives.joules]
goal = "minimize"
reference = 60.0
[objectives.accuracy]
goal = "maximize"
reference = 0.0

[stages.default]
method = "default"
repeats = 1
[stages.random]
method = "random"
trials = 3

[confirm]
repeats = 1

[protocol]
idle_s = 0.0
"""
#: A workload with weights, which are scored on the test split.
MODEL = """
from joulebench.workloads.table import Table


class Weighted(Table):
    weights = None

    def state(self):
        return {"weights": [self._row] * 100}

    def load_state(self, state):
        self.weights = state["weights"]

    def evaluate(self, split):
        return {"match": float(self.weights == [self._row] * 100)} if split == "test" else {}
"""
DATASET = """
[dataset]
name = "synthetic"
shape = [1, 2, 2]
n = 20
classes = 2
validation = 4
"""
RUN = ("run", "crash.toml", "--out", "runs", "--replay", "50", "--quiet")
BENCHMARKS = ("gate", "--form", "quick", "--tests", "tests")
GATE, UPDATE = (*BENCHMARKS, "--out", "out"), (*BENCHMARKS, "--update-baseline")
#: In the place of pytest: a process of the gate that measures nothing, and so takes no time.
PYTEST = """
import datetime, json, os, sys

given = sys.argv[1:]
value = {name: word for name, word in zip(given, given[1:])} | dict(w.split("=", 1) for w in given if "=" in w)
asked, given_turns = map(int, value["--energy-turns"].split(","))
os.write(asked, json.dumps(["canned", 1]).encode() + b"\\n")
if not os.read(given_turns, 1):
    sys.exit(1)
data = json.load(open("canned.json"))
data["joulebench"] |= {
    "session": value["--energy-session"],
    "pair": int(value["--energy-pair"]) if "--energy-pair" in value else None,
    "started_utc": datetime.datetime.now(datetime.timezone.utc).isoformat(),
}
with open(value["--benchmark-json"], "w") as file:
    json.dump(data, file)
"""
ENVIRONMENT = {
    "python": "3.11.9", "device": "cpu", "packages": {"joulebench": "0.1.0"}, "code": {},
    "host": {"cpu": "Example CPU", "logical_cpus": 64, "os": "Linux", "accelerators": []},
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command and its checks.

    Attributes:
        prepare: lays what there is before into a folder.
        words: the command line, called in that folder.
        crashed: checks what a crash left; given the folder and what the command had printed.
        finish: calls what a user calls next, and returns the final state: that of the undisturbed command.
    """

    name: str
    prepare: Callable[[Path, Call], None]
    words: Sequence[str]
    crashed: Callable[[Path, str], None]
    finish: Callable[[Path, Call], Any]


def lay_task(root: Path, _: Call | None = None) -> None:
    rows = [f"{w},{d},{w * d + 1.5},{0.1 * w + 0.02 * d}" for w in range(1, 7) for d in range(1, 7)]
    (root / "table.csv").write_text("\n".join(["width,depth,joules,accuracy", *rows]) + "\n")
    (root / "crash.toml").write_text(TASK)


def _weighted_task(root: Path, _: Call) -> None:
    lay_task(root)
    (root / "crash_model.py").write_text(MODEL)
    (root / "crash.toml").write_text(TASK.replace('"table"', '"crash_model:Weighted"') + DATASET)


def _run_folders(root: Path) -> list[RunFolder]:
    return [RunFolder(manifest.parent) for manifest in sorted(root.glob("runs/*/*/*/manifest.json"))]


def _sequence(folder: RunFolder) -> list[Any]:
    """What was proposed and found, without clock and memory."""
    return [
        (t.trial, t.stage, t.origin, t.params, t.seed, t.status, t.metrics)
        for t in read_lines(folder.trials_path, TrialRecord)[0]
    ]


def _cut(root: Path, call: Call, trials: int, torn: bytes = b"") -> None:
    """A run that ended in the middle of a trial, or of a line."""
    lay_task(root, call)
    call(*RUN)
    (whole,) = _run_folders(root)
    folder = RunFolder(root / "runs" / "crash" / "here" / "cut")
    folder.path.mkdir(parents=True)
    shutil.copy(whole.manifest_path, folder.manifest_path)
    lines(folder.trials_path, whole.trials()[:trials])
    begun = [e for e in whole.ledger() if e.event == "start" or (e.event == "begin" and (e.trial or 0) <= trials)]
    lines(folder.ledger_path, begun)
    shutil.rmtree(whole.path)
    for path in (folder.trials_path, folder.ledger_path):
        with path.open("ab") as file:
            file.write(torn)


def _kept_trials(least: int) -> Callable[[Path, str], None]:
    def check(root: Path, _: str) -> None:
        for folder in _run_folders(root):
            found = _sequence(folder)
            assert [t[0] for t in found] == list(range(len(found))), f"trials {[t[0] for t in found]}"
            assert len(found) >= least, f"{least - len(found)} finished trials are lost"
            read_lines(folder.ledger_path, LedgerEntry)

    return check


def _resumed(root: Path, call: Call) -> Any:
    """Resume what was begun, or run again where nothing was."""
    if not _run_folders(root):
        call(*RUN)
    else:
        call("resume", str(_run_folders(root)[0].path), "--quiet")
    (folder,) = _run_folders(root)
    ends = [e.ending for e in folder.ledger() if e.event == "end"]
    assert ends[-1] == "done", f"the ledger ends with {ends}"
    files = sorted(p.relative_to(folder.path).as_posix() for p in folder.path.rglob("*"))
    return _sequence(folder), files, {(s.trial, *s.metrics.items()) for s in folder.scores()}


def _tree(root: Path, _: Call) -> None:
    """A tree with a benchmark and a baseline of two sessions, whose last line a crash tore."""
    (root / "tests").mkdir()
    (root / "pytest.py").write_text(PYTEST)
    given = replicate(measurement(domains=CPU))
    data = given.model_dump(mode="json")
    found = [{"name": m["name"], "extra_info": {"joulebench": m}} for m in data.pop("measurements")]
    (root / "canned.json").write_text(json.dumps({"benchmarks": found, "joulebench": data}))
    baseline = _baseline(root)
    for session in ("one", "two"):
        write_replicates(baseline, [given.model_copy(update={"session": session})] * 10)
    with baseline.open("ab") as file:
        file.write(b'{"schema_version":2,"sess')


def _baseline(root: Path) -> Path:
    return root / "reports" / "baselines" / "nvidia_h100" / "regression.jsonl"


def _sessions(path: Path) -> list[str]:
    return list(dict.fromkeys(r.session for r in read_replicates(path)))


def _kept_replicates(root: Path, printed: str) -> None:
    told = max(map(int, re.findall(r"^process (\d+)/", printed, re.MULTILINE)), default=0)
    found = [r for path in root.glob("out/*/current.jsonl") for r in read_lines(path, Replicate)[0]]
    assert len(found) >= told, f"{told} processes had been told as measured, {len(found)} are kept"
    for path in root.glob("out/*/benchmark-*.json"):
        read_replicates(path)
    assert _sessions(_baseline(root)) == ["one", "two"]


def _gated(root: Path, call: Call) -> Any:
    last = max((path for path in root.glob("out/*") if any(path.iterdir())), default=None)
    with suppress(InputError):  # of a gate that had measured nothing
        if last is not None and (last / "current.jsonl").exists():
            read_replicates(last / "current.jsonl")
            call("gate", str(_baseline(root)), str(last / "current.jsonl"))
    printed = call(*GATE)
    folder = root / next(line.split(": ")[1] for line in printed.splitlines() if line.startswith("records: "))
    return len(read_replicates(folder / "current.jsonl")), len(list(folder.glob("benchmark-*.json")))


def _kept_baseline(root: Path, printed: str) -> None:
    found = _sessions(_baseline(root))
    assert found[:2] == ["one", "two"], f"sessions {found}"
    assert len(found) == 3 or "3 sessions" not in printed, "a session that was told as stored is lost"


def _rebaselined(root: Path, call: Call) -> Any:
    before = _sessions(_baseline(root))
    if len(before) == 2:
        call(*UPDATE)
    call(*UPDATE)
    found = read_replicates(_baseline(root))
    assert _sessions(_baseline(root))[: len(before)] == before
    assert _baseline(root).read_bytes().endswith(b"\n")
    return len(found)


def _full_run() -> RunBuilder:
    return full_run(trials=6)


def _publishable(root: Path, _: Call) -> None:
    data = {"name": "digits", "fingerprint": "0123abcd"}
    _full_run().write(root / "run", environment=ENVIRONMENT, data=data)
    on_the_clock(root / "run")


def _published(root: Path, call: Call) -> None:
    """A published set, whose report an older version made."""
    _publishable(root, call)
    call("publish", "run")
    (placed,) = root.glob("reports/*/*/*/report.md")
    placed.write_text("of an older version\n")
    (placed.parent / "frontier.csv").unlink()
    (placed.parent / "older.csv").write_text("a,b\n")


def _two_runs(root: Path, call: Call) -> None:
    _publishable(root, call)
    shutil.copytree(root / "run", root / "other")
    call(*OVERLAY)


def _intact_run(root: Path, _: str = "") -> None:
    assert len(RunFolder.open(root / "run").trials()) == len(_full_run().trials), "trials are lost"


def _overlaid(root: Path, call: Call) -> Any:
    call("report", "run")  # whether or not the other run is beside it
    call(*OVERLAY)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _intact_sets(root: Path, _: str) -> None:
    with suppress(InputError):  # nothing is published yet
        for found in verify(root / "reports"):
            assert changed(found.path) == []
    _intact_run(root)


def _reports(*words: str) -> Callable[[Path, Call], Any]:
    def finish(root: Path, call: Call) -> Any:
        call(*words)
        call("verify", "reports")
        return {
            p.relative_to(root).as_posix(): p.read_bytes() for p in (root / "reports").rglob("*") if p.is_file()
        }

    return finish


def leftovers(root: Path) -> list[str]:
    """Temporary files and folders that are still there.

    Apart from those in the system's folder for them, and in folders that nothing is written into again: of a gate
    that was killed, and of a run that never began.
    """
    found = (p for p in root.rglob("*") if is_temporary(p.name) and len(list(p.parent.iterdir())) > 1)
    return [str(p.relative_to(root)) for p in found if p.relative_to(root).parts[0] not in ("tmp", "out")]


OVERLAY = ("report", "run", "--overlay", "other")
PUBLISH, REFRESH = ("publish", "run"), ("publish", "--refresh", "reports")
COMMANDS = (
    Command("run", lay_task, RUN, _kept_trials(0), _resumed),
    Command("run with weights", _weighted_task, RUN, _kept_trials(0), _resumed),
    Command(
        "resume", lambda root, call: _cut(root, call, 2, b'{"schema_version":2,"tri'),
        ("resume", "runs/crash/here/cut", "--quiet"), _kept_trials(2), _resumed,
    ),
    Command(
        "confirmation", lambda root, call: _cut(root, call, 4),
        ("resume", "runs/crash/here/cut", "--quiet"), _kept_trials(4), _resumed,
    ),
    Command("gate", _tree, GATE, _kept_replicates, _gated),
    Command("gate --update-baseline", _tree, UPDATE, _kept_baseline, _rebaselined),
    Command("report --overlay", _two_runs, OVERLAY, _intact_run, _overlaid),
    Command("publish", _publishable, PUBLISH, _intact_sets, _reports(*PUBLISH)),
    Command("publish --refresh", _published, REFRESH, _intact_sets, _reports(*REFRESH)),
)  # fmt: skip
