"""Whatever a model does, its trial has a record with a reason, the next one starts clean, and the run completes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry
from joulebench.results.findings import Code
from joulebench.results.run import Run
from joulebench.runner.local import resume, run
from joulebench.runner.meter_check import hopeless
from joulebench.runner.plan import plan
from tests.conftest import REPOSITORY
from tests.hostile_workloads import CASES, GOOD, hostile_task

MILD = [name for name, case in CASES.items() if not case.ends]
#: Of those that end their process, one of each way; the others are slow.
QUICK = ["_exit(3) of C in a window", "is killed", "hangs and holds the interpreter", "closes all files"]


def joulebench(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    with (folder / "output.txt").open("w+") as output:  # a file: what a model leaves running would hold a pipe open
        done = subprocess.run(
            [sys.executable, "-m", "joulebench", *map(str, words)],
            cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=600,
        )  # fmt: skip
        output.seek(0)
        done.stdout = output.read()
    return done


def the_run(folder: Path) -> RunFolder:
    (path,) = folder.glob("runs/hostile/*/*")
    return RunFolder.open(path)


def check(folder: RunFolder, names: list[str]) -> None:
    trials = {str(t.params["does"]): t for t in folder.trials()}
    assert trials.keys() == {*names, GOOD}
    expected = {name: CASES[name].status for name in names} | {GOOD: "ok"}
    assert {name: trial.status for name, trial in trials.items()} == expected
    assert all(trial.error for trial in trials.values() if trial.status != "ok")
    assert all(len(t.error or "") < 700 and (t.error or "").isprintable() for t in trials.values())
    # what the one before it changed is as it was
    meddling = "changes settings of torch, numpy and Python"
    assert {t.metrics.get("clean", 1.0) for name, t in trials.items() if name != meddling} == {1.0}
    assert folder.ledger()[-1].ending == "done"


def test_a_run_completes_whatever_its_models_do(tmp_path):
    path = hostile_task(tmp_path, MILD, isolate=False, limit_s=120)
    done = joulebench(tmp_path, "run", path, "--replay", 100, "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Traceback" not in done.stdout
    assert "\x1b[2J" not in done.stdout
    folder = the_run(tmp_path)
    check(folder, MILD)
    assert (folder.path / "report.html").exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "600"]]


def isolated(tmp_path: Path, names: list[str], limit_s: float) -> RunFolder:
    path = hostile_task(tmp_path, names, isolate=True, limit_s=limit_s)
    return run(str(path), out=tmp_path / "runs", replay="100")


def alone(path: Path, name: str) -> None:
    """Let the task run this model alone, once."""
    text = path.read_text().replace(f'default = "{GOOD}"', f'default = "{name}"')
    path.write_text(text.replace('method = "grid"', 'method = "default"\nrepeats = 1'))


def touching(folder: RunFolder) -> bool:
    windows = [w for record in (*folder.ledger(), *folder.trials()) for w in record.windows]
    ordered = sorted(windows, key=lambda w: (w.start_s, w.end_s))
    return all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(ordered))


def test_in_isolation_a_trial_that_ends_its_process_ends_nothing_else(tmp_path):
    folder = isolated(tmp_path, QUICK, limit_s=30.0)
    check(folder, QUICK)
    errors = {str(t.params["does"]): t.error or "" for t in folder.trials()}
    assert "exit code 3" in errors["_exit(3) of C in a window"]
    assert "SIGKILL" in errors["is killed"]
    assert "max_trial_s" in errors["hangs and holds the interpreter"]
    assert touching(folder)  # on the virtual clock, no joule is missing and none is counted twice


@pytest.mark.slow
def test_in_isolation_every_model_ends_as_expected(tmp_path):
    folder = isolated(tmp_path, list(CASES), limit_s=45.0)
    check(folder, list(CASES))


@pytest.mark.parametrize(
    ("name", "isolate"),
    [
        ("raises on the test split", False),
        ("os._exit(0) on the test split", False),
        ("NaN on the test split", True),
    ],
)
def test_a_model_that_cannot_be_scored_has_a_reason_instead(tmp_path, name, isolate):
    path = hostile_task(tmp_path, [name], isolate=isolate, limit_s=120)
    alone(path, name)
    folder = run(str(path), out=tmp_path / "runs", replay="100")
    (score,) = folder.scores()
    assert score.error
    assert not score.metrics
    assert Code.NOT_SCORED in {f.code for f in Run.of(folder).findings}
    assert folder.ledger()[-1].ending == "done"
    resume(folder.path)  # and it is not tried again
    assert len(folder.scores()) == 1


def test_scoring_that_ends_the_process_is_given_up_after_three_times(tmp_path):
    name = "_exit(0) of C on the test split"
    path = hostile_task(tmp_path, [name], isolate=False, limit_s=120)
    alone(path, name)
    first = joulebench(tmp_path, "run", path, "--replay", 100, "--out", tmp_path / "runs")
    folder = the_run(tmp_path)
    assert (first.returncode, len(folder.trials()), folder.scores()) == (0, 1, [])  # the model's own exit code
    codes = [joulebench(tmp_path, "resume", folder.path).returncode for _ in range(3)]
    (score,) = folder.scores()
    assert "3 times" in (score.error or "")
    assert folder.ledger()[-1].ending == "done"
    assert codes[-1] == 0


@pytest.mark.slow
def test_a_killed_run_takes_its_isolated_trial_with_it_and_resumes(tmp_path):
    names = ["hangs in Python"]
    path = hostile_task(tmp_path, names, isolate=True, limit_s=40.0)
    process = subprocess.Popen(
        [sys.executable, "-m", "joulebench", "run", str(path), "--replay", "100", "--out", str(tmp_path / "runs")],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        child = _hanging(tmp_path, process)
    finally:
        process.kill()
        process.wait()
    until_s = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    folder = resume(the_run(tmp_path).path)
    check(folder, names)


def _hanging(folder: Path, process: subprocess.Popen[bytes]) -> psutil.Process:
    """The child in which a trial that never ends has begun."""
    until_s = time.monotonic() + 120
    while time.monotonic() < until_s:
        runs = list(folder.glob("runs/hostile/*/*"))
        entries = RunFolder.open(runs[0]).ledger() if runs and (runs[0] / "manifest.json").exists() else []
        begun = sum(e.event == "begin" for e in entries)
        ended = len(RunFolder.open(runs[0]).trials()) if entries else 0
        children = [p for p in psutil.Process(process.pid).children() if "isolation" in " ".join(p.cmdline())]
        if begun > ended and children:
            return children[0]
        time.sleep(0.05)
    raise AssertionError("no trial began")


def test_isolation_is_refused_on_a_cluster_and_asked_for_by_an_option(tmp_path):
    from joulebench.cluster.driver import _not_isolated

    chosen = plan("digits", isolate=True)
    assert chosen.task.protocol.isolate
    assert not plan("digits").task.protocol.isolate
    with pytest.raises(InputError, match=r"protocol\.isolate"):
        _not_isolated(chosen.task)


def test_an_interrupt_by_the_user_ends_a_run_and_one_by_a_model_does_not(tmp_path):
    from joulebench.host.user_code import user_code

    with pytest.raises(RuntimeError), user_code():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), user_code():
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("isolate", [False, True])
def test_a_model_may_load_its_data_in_processes(tmp_path, isolate):
    path = hostile_task(tmp_path, [], isolate=isolate, limit_s=120)
    alone(path, GOOD)
    text = path.read_text().replace(":Hostile", ":LoadsInProcesses")
    path.write_text(text.replace(f'["{GOOD}"]', f'["{GOOD}", "nothing"]'))
    (trial,) = run(str(path), out=tmp_path / "runs", replay="100").trials()
    assert (trial.status, trial.metrics["total"]) == ("ok", sum(range(64)))


def test_data_that_a_model_overwrites_are_read_again_for_the_next(tmp_path):
    path = hostile_task(tmp_path, ["first", "second"], isolate=False, limit_s=120)
    path.write_text(path.read_text().replace(":Hostile", ":Overwrites"))
    trials = run(str(path), out=tmp_path / "runs", replay="100").trials()
    assert {str(t.params["does"]): t.status for t in trials} == {"first": "failed", "second": "failed", GOOD: "ok"}
    assert all("data set in place" in (t.error or "") for t in trials if t.status == "failed")
    (mean,) = {t.metrics["mean"] for t in trials}
    assert mean != 0


@pytest.mark.parametrize(("events", "skipped"), [(["start"] * 2, False), (["start"] * 3, True)])
def test_a_meter_check_that_ends_the_process_is_left_out_after_three_times(events, skipped):
    died = [LedgerEntry(session=n, event="start") for n, _ in enumerate(events)]
    finished = [LedgerEntry(session=9, event="start"), LedgerEntry(session=9, event="precheck")]
    assert (hopeless([*died, *finished]) is not None) is skipped
    late = LedgerEntry(session=0, event="precheck", note="took longer than protocol.max_trial_s = 1 s")
    assert hopeless([late]) == late.note


MUTE = """
import os, subprocess, sys, time
from joulebench import Phase, Workload

time.sleep(3)  # as the import of a large library


class Mute(Workload):
    needs_data = False

    def build(self, params):
        if params["does"] == "half a message":
            os.write(int(sys.argv[1]), b"joule")
            time.sleep(3600)
        subprocess.Popen(["sleep", "611"], start_new_session=True)

    def train(self):
        return iter(())

    def evaluate(self, split):
        return {"accuracy": 0.5}

    def phases(self):
        return {"inference": Phase(lambda: time.sleep(0.01), units=8)}
"""


@pytest.mark.slow
def test_a_message_that_does_not_end_is_not_waited_for_and_imports_of_a_process_are_counted(tmp_path, monkeypatch):
    (tmp_path / "mute.py").write_text(MUTE)
    path = hostile_task(tmp_path, ["half a message"], isolate=True, limit_s=40.0)
    text = path.read_text().replace("tests.hostile_workloads:Hostile", "mute:Mute")
    quick = "[protocol]\nwarmup_s = 0.05\nmax_warmup_s = 0.1\nwindow_s = 0.1\nrepeats = 2\nmax_repeats = 2\n"
    text = text.replace('options.left = "alone"\n', "").replace("[protocol]\n", f"{quick}idle_s = 0.4\n")
    path.write_text(text.replace('[dataset]\nname = "digits"\nvalidation = 300\n', ""))
    monkeypatch.syspath_prepend(tmp_path)
    folder = run(str(path), out=tmp_path / "runs", replay="100")
    trials = {str(t.params["does"]): t for t in folder.trials()}
    assert trials[GOOD].status == "ok"
    assert "max_trial_s" in (trials["half a message"].error or "")
    windows = [w for record in (*folder.ledger(), *folder.trials()) for w in record.windows]
    ordered = sorted(windows, key=lambda w: w.start_s)
    between_s = [b.start_s - a.end_s for a, b in itertools.pairwise(ordered)]
    assert min(between_s) >= 0  # on the real clock, no joule is counted twice
    assert max(between_s) < 1.0  # and of those of an import, none is missing
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "611"]]


def test_a_file_of_the_current_folder_takes_no_modules_place_in_a_trials_process(tmp_path):
    """A program that lies beside a run and is called as one of Python's own modules."""
    path = hostile_task(tmp_path, MILD[:1], isolate=True, limit_s=120)
    for name in ("json", "pickle", "torch", "multiprocessing"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__)\nraise SystemExit\n"
        )
    command = [sys.executable, "-P", "-m", "joulebench", "run", path.name, "--replay", "100", "--out", "runs"]
    folders = os.pathsep.join(map(str, (REPOSITORY / "suite", REPOSITORY)))
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": folders}, capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (tmp_path / "ran").exists()
    check(the_run(tmp_path), MILD[:1])
