"""Runs: stages, stopping, resume after any crash, and the same records either way."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from joulebench import run
from joulebench.errors import IncompleteError, InputError
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import LedgerEntry, TrialRecord
from joulebench.reporting import write_report
from joulebench.results.drift import drift_of
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations
from joulebench.runner.events import silent
from joulebench.runner.local import resume, resumed_data
from joulebench.runner.own_code import Sources
from joulebench.runner.plan import _without, choose_budget, plan
from joulebench.runner.session import check_domains
from joulebench.spec.catalog import find_task, task_files
from joulebench.spec.hardware import Host
from joulebench.spec.task import Task
from tests.conftest import REPOSITORY
from tests.problems import Linear

TOY = """
name = "toy"
title = "A trade-off with failures"
workload = "function"
options.function = "tests.problems:{function}"
[parameters]
width = {{ type = "int", low = 1, high = 60, default = 10 }}
kind = {{ type = "choice", values = ["a", "b"], default = "a" }}
[objectives.accuracy]
goal = "maximize"
reference = 0.0
[objectives.samples_per_j]
goal = "maximize"
reference = 0.0
phase = "inference"
domains = ["cpu"]
basis = "gross"
[confirm]
repeats = 0
[stages.default]
method = "default"
repeats = 2
[stages.init]
method = "sobol"
trials = {sobol}
[stages.search]
method = "{method}"
trials = {search}
"""


def write_toy(folder: Path, function="tradeoff", sobol=6, method="qnehvi", search=6) -> Path:
    path = folder / "toy.toml"
    path.write_text(TOY.format(function=function, sobol=sobol, method=method, search=search))
    return path


def run_toy(folder: Path, **changes) -> RunFolder:
    return run(str(write_toy(folder, **changes)), out=folder / "runs", replay="100")


def unfinished(folder: RunFolder) -> RunFolder:
    """The run as if its process had been killed at the very end."""
    lines = folder.ledger_path.read_bytes().splitlines(keepends=True)
    folder.ledger_path.write_bytes(b"".join(lines[:-1]))
    return folder


def timeless(records: list[TrialRecord]) -> list[dict]:
    """Records without their clock and memory: session, times, and what these alone decide."""
    found = []
    for record in records:
        data = record.model_dump(exclude={"session"})
        del (
            data["costs"]["peak_memory_bytes"],
            data["costs"]["memory_limit_bytes"],
        )  # the process's, not the trial's
        for window in data["windows"]:
            duration = window.pop("end_s") - window.pop("start_s")
            del window["start_utc"]
            window["duration_s"] = round(duration, 6)
            for reading in window["readings"]:
                reading["energy_j"] = round(reading["energy_j"], 4)
        # the first window of a trial holds what came before it: the record of the last, or a session's start
        found.append(data | {"windows": [w for w in data["windows"] if w["phase"] not in ("record", "propose")]})
    return found


def test_stages_run_in_order_and_failures_do_not_stop_them(tmp_path):
    folder = run_toy(tmp_path, method="random")
    records = folder.trials()
    assert [r.trial for r in records] == list(range(14))
    assert [r.stage for r in records] == ["default"] * 2 + ["init"] * 6 + ["search"] * 6
    assert {r.status for r in records} == {"ok", "failed"}
    assert all((r.status == "failed") == (r.params["width"] % 7 == 0) for r in records)


def test_a_search_finds_a_frontier_and_never_repeats_itself(tmp_path):
    folder = run_toy(tmp_path)
    task, records = folder.task(), folder.trials()
    searched = [tuple(r.params.values()) for r in records if r.stage != "default"]
    assert len(searched) == len(set(searched))
    assert len(frontier(task, configurations(task, records))) >= 3


def test_the_same_seed_gives_the_same_records(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (run_toy(tmp_path / name, method="random").trials() for name in "ab")
    assert timeless(first) == timeless(second)


def test_dominated_trials_of_a_search_are_measured_in_fewer_windows(tmp_path):
    folder = run_toy(tmp_path, method="random", sobol=12, search=6)
    task, records = folder.task(), folder.trials()
    raced = [r for r in records if r.raced]
    assert len(raced) >= 3
    assert {r.stage for r in raced} <= {"init", "search"}
    windows = {r.trial: sum(w.phase == "inference" for w in r.windows) for r in records if r.status == "ok"}
    assert {windows[r.trial] for r in raced} == {task.protocol.min_windows}
    assert all(n >= task.protocol.repeats for trial, n in windows.items() if trial not in {r.trial for r in raced})
    members = {t.trial for c in frontier(task, configurations(task, records)) for t in c.trials}
    assert not members & {r.trial for r in raced}


def linear_task(**protocol) -> Task:
    """Four random regressions, really measured."""
    return Task(
        name="mine", title="My regression", workload=Linear,
        parameters={
            "features": {"type": "int", "low": 4, "high": 64, "default": 8},
            "rate": {"type": "fixed", "value": 0.05},
        },
        objectives={
            "samples_per_j": {
                "goal": "maximize", "phase": "inference", "domains": ["cpu", "ram"], "basis": "gross",
            },
        },
        stages={"init": {"method": "random", "trials": 4}},
        confirm={"repeats": 0},
        protocol={
            "warmup_s": 0.02, "window_s": 0.05, "repeats": 2, "max_repeats": 2, "idle_s": 0.1, "idle_every": 2,
            **protocol,
        },
    )  # fmt: skip


def test_the_default_is_measured_again_with_each_idle_baseline(tmp_path):
    folder = run(linear_task(), out=tmp_path)
    records = folder.trials()
    with_control = {r.trial for r in records if any(w.phase == "control" for w in r.windows)}
    assert with_control == {r.trial for r in records if any(w.phase == "idle" for w in r.windows)} == {0, 2, 3}
    drift = drift_of(folder.task(), records)
    assert [b.trial for b in drift.blocks] == [0, 2, 3]
    records = run(linear_task(control=False), out=tmp_path / "without").trials()
    assert "control" not in {w.phase for r in records for w in r.windows}


def test_the_ledger_holds_every_joule(tmp_path):
    folder = run_toy(tmp_path, method="random")
    windows = [w for e in folder.ledger() for w in e.windows] + [w for t in folder.trials() for w in t.windows]
    windows.sort(key=lambda w: (w.start_s, w.end_s))
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(windows))
    spent = sum(r.energy_j for w in windows for r in w.readings)
    assert spent == pytest.approx(100.0 * windows[-1].end_s)
    assert [e.event for e in folder.ledger()] == ["start", *["begin"] * 14, "end"]


def test_it_gives_up_after_failures_in_a_row(tmp_path):
    with pytest.raises(IncompleteError, match=r"5 .*RuntimeError: never works"):
        run_toy(tmp_path, function="always_fails")
    (path,) = (tmp_path / "runs/toy").glob("*/*")
    assert len(RunFolder.open(path).trials()) == 5
    assert "stopped after 5" in RunFolder.open(path).ledger()[-1].note


def test_out_of_memory_is_recorded_and_the_search_goes_on(tmp_path):
    task = write_toy(tmp_path, function="runs_out_of_memory", sobol=8, search=3)
    task.write_text(task.read_text().replace("default = 10", "default = 2") + "\n")
    records = run(str(task), out=tmp_path / "runs", replay="100").trials()
    assert len(records) == 13
    assert {r.status for r in records} == {"ok", "oom"}


def test_trials_from_another_run(tmp_path):
    first = run_toy(tmp_path, method="random")
    again = run(str(write_toy(tmp_path)), out=tmp_path / "again", replay="100", trials_from=first.path)
    measured = {tuple(r.params.values()) for r in first.trials() if r.status == "ok"}
    assert {tuple(r.params.values()) for r in again.trials()} == measured
    assert {r.origin for r in again.trials()} == {"points"}
    assert again.manifest().trials_from == str(first.path)


def test_trials_from_another_run_keep_its_budget_and_replicates(tmp_path):
    path = write_toy(tmp_path, method="random")
    path.write_text(path.read_text() + "[budgets.quick]\nstages.init.trials = 3\n[budgets.standard]\n")
    first = run(str(path), out=tmp_path / "a", replay="100", budget="standard")
    chosen = plan(str(path), trials_from=first.path)
    assert chosen.budget == "standard"
    points = chosen.task.stages["given"].points
    assert [p["width"] for p in points] == [r.params["width"] for r in first.trials() if r.status == "ok"]
    assert points[0] == points[1]  # the default was run twice, and is measured twice


def test_trials_from_other_data_are_refused(tmp_path):
    first = run_toy(tmp_path, method="random")
    path = write_toy(tmp_path)
    path.write_text(path.read_text() + '[dataset]\nname = "digits"\nvalidation = 100\n')
    with pytest.raises(InputError, match=r"--trials-from: .* dataset None"):
        plan(str(path), trials_from=first.path)


def test_a_parameter_can_be_fixed_by_hand(tmp_path):
    chosen = plan(str(write_toy(tmp_path)), overrides={"kind": "b"})
    assert chosen.task.defaults["kind"] == "b"
    assert "kind" not in chosen.task.free
    with pytest.raises(InputError, match="did you mean 'kind'"):
        plan(str(write_toy(tmp_path)), overrides={"kid": "b"})
    with pytest.raises(InputError, match="outside"):
        plan(str(write_toy(tmp_path)), overrides={"width": 99})


def test_points_that_differ_only_in_what_is_fixed_are_one():
    """Rounds stay: what was the same point before is measured as often."""
    points = [{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}, {"a": 2, "b": 1}]
    assert list(_without(points, {"a": 3})) == [{"b": 1}, {"b": 2}, {"b": 1}]
    assert list(_without(points, {})) == points
    chosen = plan("transformer_consistency", budget="quick", overrides={"architecture": "gpt2"})
    assert [dict(p) for p in chosen.task.stages["models"].points] == [{}]


def test_options_of_the_workload_are_set_by_their_path():
    chosen = plan("transformer_size", overrides={"options.prompts": "p.txt", "weights": "pretrained"})
    assert chosen.task.options == {"prompts": "p.txt"}
    assert chosen.task.defaults["weights"] == "pretrained"
    assert chosen.overrides["options.prompts"] == "p.txt"
    with pytest.raises(
        InputError, match=r"--set: no parameter 'prompts'.*; an option of the workload is options\.NAME"
    ):
        plan("transformer_size", overrides={"prompts": "p.txt"})


def test_a_fixed_parameter_can_be_changed_by_hand():
    assert plan("digits", overrides={"epochs": 3}).task.defaults["epochs"] == 3
    assert plan("digits", overrides={"learning_rate": 1}).task.defaults["learning_rate"] == 1.0
    with pytest.raises(InputError, match="--set: epochs is a int"):
        plan("digits", overrides={"epochs": "many"})


def test_a_field_of_the_task_can_be_changed_by_hand(tmp_path):
    chosen = plan("cifar10", budget="quick", overrides={"dataset.train": 500, "protocol.window_s": 1, "depth": 2})
    assert (chosen.task.dataset.train, chosen.task.dataset.validation) == (500, 2000)
    assert (chosen.task.protocol.window_s, chosen.task.defaults["depth"]) == (1.0, 2)
    assert chosen.task.digest != plan("cifar10", budget="quick").task.digest
    for path, said in (
        ("dataset.trian", "--set: dataset.trian: unknown key; did you mean 'train'"),
        ("data.train", "--set: data: unknown key"),
        ("dataset.train.more", "--set: dataset.train: "),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            plan("cifar10", overrides={path: 500})
    with pytest.raises(InputError, match=r"--set: dataset.train: .* greater than or equal to 1 \(got 0\)"):
        plan("cifar10", overrides={"dataset.train": 0})


def test_every_task_of_images_or_text_takes_a_part_of_its_data():
    tasks = [find_task(name) for name in task_files() if name != "known_models"]  # it needs a search's run
    with_data = [task for task in tasks if task.dataset is not None]
    assert len(with_data) > 5
    for task in with_data:
        assert plan(task.name, overrides={"dataset.train": 500}).task.dataset.train == 500


@pytest.mark.parametrize("how", [{"skip_train": True}, {"overrides": {"protocol.skip_train": True}}])
def test_a_run_without_training_says_untrained(tmp_path, how):
    folder = run(str(write_toy(tmp_path, method="random")), out=tmp_path / "runs", replay="100", **how)
    assert not any(w.phase == "train" for t in folder.trials() for w in t.windows)
    write_report(folder)
    lines = (folder.path / "report.md").read_text().splitlines()
    top = [line for line in lines if line.startswith("> **")]
    assert any("**Untrained models.**" in line for line in top)
    assert lines[2].startswith("Untrained models: ")


def test_a_task_on_the_joules_of_training_refuses_to_skip_it():
    said = r"--skip-train: .*samples_per_j.phase: protocol.skip_train leaves out the training"
    with pytest.raises(InputError, match=said):
        plan("digits", skip_train=True, overrides={"objectives.samples_per_j.phase": "train"})


def test_the_budget_follows_the_hardware():
    task = find_task("cifar10")
    assert choose_budget(task, None, Host("cpu", 2, ())) == "quick"
    assert choose_budget(task, None, Host("cpu", 2, ("NVIDIA H200",))) == "standard"
    assert choose_budget(task, "paper", Host("cpu", 2, ())) == "paper"
    assert choose_budget(find_task("cifar10_ecopt"), None, Host("cpu", 2, ("NVIDIA H200",))) is None


def test_replay_of_a_ramp_resumes_where_the_trace_stood(tmp_path):
    trace = tmp_path / "ramp.csv"
    trace.write_text("t_s,cpu\n0,10\n2000,500\n")
    task = str(write_toy(tmp_path, method="random"))
    expected = run(task, out=tmp_path / "a", replay=str(trace)).trials()
    folder = run(task, out=tmp_path / "b", replay=str(trace))
    lines = folder.trials_path.read_bytes().splitlines(keepends=True)
    folder.trials_path.write_bytes(b"".join(lines[:6]))
    folder.ledger_path.unlink()  # a killed run has no end
    assert timeless(resume(folder.path, sources=[tmp_path]).trials()) == timeless(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": {"cpu": "Another CPU"}}, "cpu Another CPU"),
        ({"meters": [{"domain": "cpu", "source": "rapl_package"}]}, "meters cpu by rapl_package"),
        ({"fingerprint": "0"}, "data 0"),
    ],
)
def test_a_run_is_not_continued_on_another_machine_meter_or_data(tmp_path, changes, message):
    folder = run_toy(tmp_path, method="random")
    manifest = json.loads(folder.manifest_path.read_text())
    manifest["environment"]["host"] |= changes.get("host", {})
    manifest["meters"] = changes.get("meters", manifest["meters"])
    manifest["data"] |= {k: v for k, v in changes.items() if k == "fingerprint"}
    folder.manifest_path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=message):
        resume(unfinished(folder).path)


def test_versions_that_changed_are_noted_in_the_ledger(tmp_path):
    folder = run_toy(tmp_path, method="random")
    manifest = json.loads(folder.manifest_path.read_text())
    manifest["environment"]["packages"]["botorch"] = "0.0.1"
    folder.manifest_path.write_text(json.dumps(manifest))
    resume(unfinished(folder).path)
    assert any("botorch 0.0.1 → " in e.note for e in folder.ledger() if e.event == "start")


def test_a_crash_is_not_called_done(tmp_path, monkeypatch):
    def crash(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("joulebench.runner.trials._result", crash)
    with pytest.raises(ZeroDivisionError):
        run_toy(tmp_path, method="random")
    folder = RunFolder.open(_run_folder(tmp_path / "runs"))
    assert len(folder.trials()) == 1
    assert folder.ledger()[-1].ending == "crashed"


def test_a_metric_that_the_workload_does_not_give_stops_at_once(tmp_path):
    path = write_toy(tmp_path)
    path.write_text(path.read_text().replace("[objectives.accuracy]", "[objectives.acuracy]"))
    with pytest.raises(InputError, match="no such metric; did you mean 'accuracy'"):
        run(str(path), out=tmp_path / "runs", replay="100")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('phase = "inference"', 'phase = "inferense"', "has no phase 'inferense'; did you mean 'inference'"),
        ("[objectives.samples_per_j]", "[objectives.tokens_per_j]", "counts samples, not tokens"),
    ],
)
def test_energy_of_what_is_not_measured_stops_at_once(tmp_path, old, new, message):
    path = write_toy(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        run(str(path), out=tmp_path / "runs", replay="100")


def test_resuming_a_finished_run_adds_nothing(tmp_path):
    folder = run_toy(tmp_path, method="random")
    before = {path: path.read_bytes() for path in folder.path.glob("*.jsonl")}
    resume(folder.path)
    assert {path: path.read_bytes() for path in folder.path.glob("*.jsonl")} == before


def test_one_process_at_a_time(tmp_path):
    import fcntl

    folder = unfinished(run_toy(tmp_path, method="random"))
    with folder.manifest_path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is working on this run"):
            resume(folder.path)


def _subprocess(folder: Path, *arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "joulebench", *arguments]
    # a shell's background job would ignore the one, `nohup` the other
    ignored = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in ignored.items()}
    try:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_folder(parent: Path) -> Path | None:
    return next((path.parent for path in parent.glob("toy/*/*/manifest.json")), None)


def _kill_while_it_works(tmp_path: Path, kills: int, seed: int) -> tuple[list[TrialRecord], int]:
    """Start a run and kill it at random moments, resuming each time; then let it finish."""
    rng = random.Random(seed)
    folder: Path | None = None
    hit = 0
    for _ in range(kills):
        arguments = ("resume", str(folder)) if folder else ("run", "toy.toml", "--replay", "100", "--out", "runs")
        process = _subprocess(tmp_path, *arguments, "--quiet")
        trials = folder and folder / "trials.jsonl"
        lines = len(trials.read_bytes().splitlines()) if trials and trials.exists() else 0
        anywhere_s = rng.uniform(0, 12) if rng.random() < 0.25 else None  # also in imports and staging
        began = time.monotonic()
        while process.poll() is None:  # wait until it has appended something, then strike soon after
            folder = folder or _run_folder(tmp_path / "runs")
            trials = folder and folder / "trials.jsonl"
            if folder and anywhere_s is not None and time.monotonic() - began > anywhere_s:
                break
            if trials and trials.exists() and len(trials.read_bytes().splitlines()) > lines:
                time.sleep(rng.uniform(0, 0.05))
                break
            time.sleep(0.001)
        hit += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = _subprocess(tmp_path, "resume", str(folder), "--quiet")
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    return RunFolder.open(folder).trials(), hit


def _assert_kills_do_not_matter(tmp_path: Path, kills: int, **sizes: int) -> None:
    task = write_toy(tmp_path, **sizes)
    expected = run(str(task), out=tmp_path / "expected", replay="100").trials()
    records, hit = _kill_while_it_works(tmp_path, kills, seed=1)
    assert hit == kills, "every kill must strike a working process"
    assert timeless(records) == timeless(expected)


def test_kill_and_resume_gives_the_uninterrupted_records(tmp_path):
    _assert_kills_do_not_matter(tmp_path, kills=3)


@pytest.mark.slow
def test_twenty_kills_and_resumes_give_the_uninterrupted_records(tmp_path):
    _assert_kills_do_not_matter(tmp_path, kills=20, sobol=16, search=20)


@pytest.mark.parametrize(("deaths", "given_up"), [(2, False), (3, True)])
def test_a_trial_that_ends_the_process_is_given_up_after_three_deaths(tmp_path, deaths, given_up):
    folder = run_toy(tmp_path, method="random")
    expected, lines = folder.trials(), folder.trials_path.read_bytes().splitlines(keepends=True)
    folder.trials_path.write_bytes(b"".join(lines[:5]))
    for session in range(1, 1 + deaths):  # each began trial 5, and was never heard of again
        append(folder.ledger_path, LedgerEntry(session=session, event="start"))
        append(folder.ledger_path, LedgerEntry(session=session, event="begin", trial=5))
    resume(folder.path)
    found = folder.trials()
    assert len(found) == len(expected)
    assert ("the process died 3 times in this trial" in (found[5].error or "")) is given_up
    assert timeless(found[6:]) == timeless(expected[6:])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_with_its_code_and_keeps_the_trials(tmp_path, number, code):
    path = write_toy(tmp_path, method="random", sobol=2000, search=1)
    process = _subprocess(tmp_path, "run", path.name, "--replay", "100", "--out", "runs", "--quiet")
    while process.poll() is None:
        folder = _run_folder(tmp_path / "runs")
        records = folder / "trials.jsonl" if folder else None
        if records and records.exists() and b"\n" in records.read_bytes():  # a whole record, not the file alone
            break
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert "resume" in errors
    kept = RunFolder.open(_run_folder(tmp_path / "runs"))
    assert kept.trials()
    assert kept.ledger()[-1].ending == "interrupted"


def test_a_trial_that_hangs_ends_the_process_and_resume_goes_on_after_it(tmp_path):
    path = write_toy(tmp_path, "hangs", method="random")
    path.write_text(path.read_text() + "[protocol]\nmax_trial_s = 1.0\n")
    process = _subprocess(tmp_path, "run", path.name, "--replay", "100", "--out", "runs", "--quiet")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 3, errors
    folder = RunFolder.open(_run_folder(tmp_path / "runs"))
    hung = folder.trials()[-1]
    assert (hung.status, hung.params["width"] % 7) == ("failed", 0)
    assert "max_trial_s" in (hung.error or "")
    assert folder.ledger()[-1].ending == "failed"
    for _ in range(len(folder.trials()), 15):  # each session ends with the next one that hangs
        process = _subprocess(tmp_path, "resume", str(folder.path), "--quiet")
        _, errors = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == 3, errors
    assert process.returncode == 0
    records = folder.trials()
    assert [r.trial for r in records] == list(range(14))
    assert {r.status for r in records if r.params["width"] % 7 == 0} == {"failed"}
    assert {r.status for r in records if r.params["width"] % 7} == {"ok"}


def test_each_trial_begins_with_the_settings_that_the_first_had(tmp_path):
    notes = []
    folder = run(
        str(write_toy(tmp_path, "meddles", method="random")), out=tmp_path / "runs", replay="100",
        observer=lambda event: notes.append(event.text),
    )  # fmt: skip
    records = folder.trials()
    assert {r.metrics["accuracy"] for r in records if r.status == "ok"} == {1.0}
    assert {r.status for r in records} == {"ok", "failed"}
    assert sum("torch's default dtype, torch's grad mode" in text for text in notes) == len(records)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path):
    manifest = run_toy(tmp_path, method="random").manifest()
    with ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(lambda _: RunFolder.claim(tmp_path / "out" / "Z", manifest).path, range(50)))
    assert len(set(paths)) == 50
    assert all(RunFolder.open(path).manifest() == manifest for path in paths)


def test_a_torn_line_is_reported_and_dropped(tmp_path):
    folder = run_toy(tmp_path, method="random")
    expected = folder.trials()
    whole = folder.trials_path.read_bytes()
    folder.trials_path.write_bytes(whole[:-20])
    notes = []
    resume(folder.path, observer=lambda event: notes.append(event.text))
    assert any("dropped a torn line: trials.jsonl, line 14" in note for note in notes)
    assert timeless(folder.trials()) == timeless(expected)


def test_a_task_built_in_python_with_a_class_of_ones_own(tmp_path):
    from tests.problems import Linear

    task = Task(
        name="mine",
        title="My regression",
        workload=Linear,
        parameters={
            "features": {"type": "int", "low": 4, "high": 64, "default": 8},
            "rate": {"type": "fixed", "value": 0.05},
        },
        objectives={
            "val_loss": {"goal": "minimize", "reference": 10.0},
            "samples_per_j": {
                "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["cpu"], "basis": "gross",
            },
        },
        stages={"default": {"method": "default", "repeats": 2}, "init": {"method": "random", "trials": 2}},
        confirm={"repeats": 0},
        protocol={"warmup_s": 0.05, "window_s": 0.05, "repeats": 3, "max_repeats": 30, "idle_s": 0.2},
    )  # fmt: skip
    folder = run(task, out=tmp_path, replay="50")
    assert [r.status for r in folder.trials()] == ["ok"] * 4
    assert folder.task().workload == "tests.problems:Linear"
    assert not list(folder.path.glob("weights/*.tmp"))


def test_a_gpu_that_nothing_meters_is_refused():
    task = find_task("digits")
    cpu, gpu = {"domain": "cpu"}, {"domain": "gpu:0"}
    with pytest.raises(InputError, match="no meter reads the energy of cuda:0") as refused:
        check_domains(task, "cuda:0", [cpu])
    assert refused.value.exit_code == 2
    check_domains(task, "cuda:0", [cpu, gpu])
    check_domains(task, "cpu", [cpu])


@pytest.mark.parametrize(("given", "allowed"), [("1", True), ("0", False), ("", False)])
def test_the_environment_may_allow_a_busy_machine(monkeypatch, given, allowed):
    monkeypatch.setenv("JOULEBENCH_ALLOW_BUSY", given)
    assert plan(linear_task(), allow_busy=False).task.protocol.allow_busy is allowed
    assert plan(linear_task(), allow_busy=True).task.protocol.allow_busy


def test_another_value_of_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("JOULEBENCH_ALLOW_BUSY", "false")
    with pytest.raises(InputError, match=r"JOULEBENCH_ALLOW_BUSY.*'false'"):
        plan(linear_task())


def begun_with_data(tmp_path: Path) -> tuple[RunFolder, Path]:
    """A run on a text given with --data, as if its process had been killed at the end."""
    text = tmp_path / "mine" / "text.txt"
    text.parent.mkdir()
    text.write_text("abcdefgh " * 4000)
    task = str(write_toy(tmp_path, method="random", sobol=1, search=1))
    folder = run(task, out=tmp_path / "runs", replay="100")
    manifest = json.loads(folder.manifest_path.read_text())
    folder.manifest_path.write_text(json.dumps({**manifest, "data_path": str(text)}))
    return unfinished(folder), text


def test_a_resumed_run_takes_its_data_from_where_the_user_is_or_says(tmp_path, monkeypatch):
    folder, text = begun_with_data(tmp_path)
    monkeypatch.chdir(tmp_path / "runs")
    said = rf"began with --data {re.escape(str(text))}, which is not in the current folder: give --data again"
    with pytest.raises(InputError, match=said):
        resume(folder.path)
    assert resumed_data(folder, text, Sources(), silent) == text
    assert resumed_data(folder, None, Sources.of([text.parent]), silent) == text
    notes = []
    monkeypatch.chdir(text.parent)
    resume(folder.path, observer=lambda event: notes.append(event.text))
    assert f"data: {text}, as when the run began" in notes


def test_no_path_of_a_record_is_read_that_is_not_there(tmp_path):
    folder, text = begun_with_data(tmp_path)
    text.unlink()
    for given in (str(text), "x" * 5000):
        manifest = json.loads(folder.manifest_path.read_text())
        folder.manifest_path.write_text(json.dumps({**manifest, "data_path": given}))
        with pytest.raises(InputError, match="give --data again"):
            resumed_data(folder, None, Sources.of([text.parent]), silent)
