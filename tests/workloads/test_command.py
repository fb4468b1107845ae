"""Programs as what is measured: their joules are watts times seconds, all that they start is in them and ends."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.commands.measure import command_task
from joulebench.errors import IncompleteError, InputError
from joulebench.host.clock import RealClock
from joulebench.runner import local
from joulebench.spec.task import Task
from joulebench.workloads.base import Context
from joulebench.workloads.command import Command, CommandError, ending, exit_code, failure

WATTS = 50.0
FORKS = "import os, time\nif os.fork() == 0:\n    end = time.process_time() + 0.2\n" \
        "    while time.process_time() < end: pass\nelse:\n    os.wait()\n"  # fmt: skip


def run(tmp_path, commands, repeats=2, replay=str(WATTS), **options):
    task = command_task(commands, repeats, options, idle_s=0.0)
    return local.run(
        task, out=tmp_path, replay=replay, hardware="generic_cpu", force_hardware=True, allow_busy=True
    )


def windows(folder):
    return [w for t in folder.trials() for w in t.windows if w.phase == "run"]


def made(tmp_path, words, **options):
    command = Command(Context("cpu", 0, RealClock(), None, {"commands": {"it": words}, **options}))
    command.build({"command": "it"})
    return command


def test_joules_of_a_program_are_those_of_its_time(tmp_path):
    folder = run(tmp_path, {"sleep": ["sleep", "0.2"]}, units=4, unit="image")
    each = windows(folder)
    assert len(each) == 2
    for window in each:
        assert (window.units, window.steps) == (4, 1)
        (joules,) = [r.energy_j for r in window.readings]
        assert joules == pytest.approx(WATTS * window.duration_s, rel=1e-3)
        assert 0.2 <= window.duration_s < 0.35
    (trial, _) = folder.trials()
    assert trial.unit == {"run": "image"}


def test_short_programs_run_several_times_in_a_window(tmp_path):
    (window, *_) = windows(run(tmp_path, {"true": ["true"]}, units=3))
    assert window.steps > 1
    assert window.units == 3 * window.steps
    assert window.duration_s >= 0.05


def test_rounds_have_each_command_once_and_warm_ups_are_not_in_them(tmp_path):
    log = tmp_path / "log"
    commands = {name: ["sh", "-c", f"echo {name} >> {log}; sleep 0.06"] for name in "abc"}
    folder = run(tmp_path / "runs", commands, repeats=4, warmup=2)
    trials = folder.trials()
    rounds = [{t.params["command"] for t in trials[n : n + 3]} for n in range(0, 12, 3)]
    assert rounds == [set("abc")] * 4
    assert [len(t.windows) > 0 and t.status for t in trials] == ["ok"] * 12
    counted = log.read_text().split()
    assert {name: counted.count(name) for name in "abc"} == dict.fromkeys("abc", 2 + 4)


def test_processor_time_of_what_a_program_forks_is_its_own(tmp_path):
    (window, *_) = windows(run(tmp_path, {"forks": [sys.executable, "-S", "-c", FORKS]}, 1, replay=None))
    assert window.conditions["own_load_cpus"] * window.duration_s >= 0.18


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [("echo no >&2; exit 7", 7, "exit code 7: "), ("kill -TERM $$", 143, "signal 15: ")],
)
def test_a_program_that_fails_ends_the_run_and_keeps_what_was_measured(tmp_path, script, code, said):
    marker = tmp_path / "marker"
    script = f"sleep 0.06; if [ -e {marker} ]; then {script}; fi; touch {marker}"
    with pytest.raises(IncompleteError, match=said):
        run(tmp_path / "runs", {"it": ["sh", "-c", script]}, repeats=3)
    (path,) = (tmp_path / "runs").glob("measure/*/*")
    trials = local.RunFolder.open(path).trials()
    assert [t.status for t in trials] == ["ok", "failed"]
    assert exit_code(trials[1].error) == code
    assert failure(trials[1].error).startswith(said)


def test_failures_count_where_they_are_to_be_ignored(tmp_path):
    folder = run(tmp_path, {"it": ["sh", "-c", "sleep 0.06; exit 3"]}, ignore_failure=True)
    assert [t.status for t in folder.trials()] == ["ok", "ok"]


def test_a_program_that_takes_too_long_is_killed_with_what_it_started(tmp_path):
    command = made(tmp_path, ["sh", "-c", "sleep 600.125 & sleep 600.125"], limit_s=0.2)
    began_s = time.monotonic()
    with pytest.raises(CommandError, match=r"longer than 0\.2 s"):
        command.phases()["run"].step()
    assert time.monotonic() - began_s < 5
    assert not [p for p in psutil.process_iter(["cmdline"]) if "600.125" in (p.info["cmdline"] or ())]
    command.close()


def test_the_last_output_is_in_the_failure(tmp_path):
    command = made(tmp_path, ["sh", "-c", "echo first; echo the last; exit 1"])
    with pytest.raises(CommandError, match=r"exit code 1: .*; its last output: the last$"):
        command.phases()["run"].step()
    command.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "options.commands: "),
        ({"commands": {}}, "options.commands: "),
        ({"commands": {"a": []}}, "options.commands.a: "),
        ({"commands": {"a": "true"}}, "options.commands.a: "),
        ({"commands": {"a": ["true", 3]}}, "options.commands.a: "),
        ({"commands": {"a": ["no-such-program-here"]}}, "options.commands.a: no program 'no-such-program-here'"),
        ({"commands": {"a": ["true"]}, "units": 0}, "options.units: "),
        ({"commands": {"a": ["true"]}, "units": True}, "options.units: "),
        ({"commands": {"a": ["true"]}, "unit": "Two words"}, "options.unit: "),
        ({"commands": {"a": ["true"]}, "warmup": -1}, "options.warmup: "),
        ({"commands": {"a": ["true"]}, "show_output": 1}, "options.show_output: "),
        ({"commands": {"a": ["true"]}, "limit_s": 0}, "options.limit_s: "),
        ({"commands": {"a": ["true"]}, "repeats": 3}, "options.repeats: no such option"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(options, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")) as error:
        Command(Context("cpu", 0, RealClock(), None, options))
    assert "\n" not in str(error.value)


def test_a_task_needs_the_parameter_and_its_values_are_commands():
    task = command_task({"a": ["true"], "b": ["false"]}, 2, {}, 0.0)
    Command.check_task(task)
    data = task.model_dump(mode="json")
    data["options"]["commands"].pop("b")
    with pytest.raises(InputError, match="no command 'b'"):
        Command.check_task(Task.model_validate(data))
    with pytest.raises(InputError, match="'command'"):
        Command.check_task(SimpleNamespace(options=task.options, parameters={}))


def test_commands_of_a_record_are_never_run(tmp_path, monkeypatch):
    """Neither resumed nor run again: whoever wrote the record could have anything run."""
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    folder = run(tmp_path, {"it": ["sh", "-c", f"sleep 0.06; touch {marker}"]})
    marker.unlink()
    lines = folder.ledger_path.read_text().splitlines()
    folder.ledger_path.write_text("\n".join(lines[:-1]) + "\n")  # as if it had been stopped
    folder.trials_path.write_text(folder.trials_path.read_text().splitlines()[0] + "\n")
    for again in (lambda: local.resume(folder.path, sources=[tmp_path]), lambda: local.run(str(folder.path))):
        with pytest.raises(InputError, match="are not run"):
            again()
    assert not marker.exists()


@pytest.mark.parametrize("name", ["joulebench.workloads:command.Command", "own_command:Own"])
def test_commands_of_a_record_are_not_run_by_another_name_of_the_workload(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_command.py").write_text(
        "from joulebench.workloads.command import Command as C\nclass Own(C): ..."
    )
    marker = tmp_path / "marker"
    folder = run(tmp_path, {"it": ["sh", "-c", f"sleep 0.06; touch {marker}"]})
    marker.unlink()
    manifest = json.loads(folder.manifest_path.read_text())
    manifest["task"]["workload"] = name
    folder.manifest_path.write_text(json.dumps(manifest))
    lines = folder.ledger_path.read_text().splitlines()
    folder.ledger_path.write_text("\n".join(lines[:-1]) + "\n")
    folder.trials_path.write_text(folder.trials_path.read_text().splitlines()[0] + "\n")
    for again in (lambda: local.resume(folder.path, sources=[tmp_path]), lambda: local.run(str(folder.path))):
        with pytest.raises(InputError, match="are not run"):
            again()
    assert not marker.exists()


@given(st.integers(-64, 255).filter(bool), st.text(max_size=30))
def test_an_exit_code_is_read_back_whatever_the_program_says(code, text):
    error = f"CommandError: {ending(code)}: sh -c {text!r}; its last output: exit code 99: x (command.py:93)"
    assert exit_code(error) == (code if code > 0 else 128 - code)
    assert exit_code(f"ValueError: exit code: {text}") is None
