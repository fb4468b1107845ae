"""The commands, as a user types them, and the exit code of each way they end."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib import metadata

import pytest
import typer.main

from joulebench.commands.main import app
from joulebench.commands.progress import _Tolerant
from joulebench.errors import GateError, IncompleteError, InputError, MeterError
from joulebench.records.folder import RunFolder
from joulebench.records.model import SCHEMA
from joulebench.runner.events import Event
from joulebench.spec.catalog import task_files
from tests.commands.calling import call, call_anyhow
from tests.runner.test_local import run_toy, write_toy
from tests.runner.test_meter_check import GATED

COMMANDS = typer.main.get_command(app).commands


def test_tasks_lists_every_task(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "tasks")
    assert code == 0
    assert all(name in out for name in task_files())


def test_check_reads_the_whole_catalogue(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "check")
    assert code == 0
    assert out.count(": ok (") >= len(task_files())


def test_a_run_its_report_and_its_resume(monkeypatch, capsys, tmp_path):
    path = write_toy(tmp_path, method="random")
    code, out, _ = call(monkeypatch, capsys, "run", path, "--replay", "100", "--out", tmp_path / "runs", "--quiet")
    assert code == 0
    assert "digest" in out
    assert "Frontier of" in out
    (run,) = (tmp_path / "runs").glob("toy/*/*")
    assert {"report.html", "report.md", "frontier.csv", "frontier.png", "frontier.svg"} <= {
        p.name for p in run.iterdir()
    }
    for command in ("report", "resume"):
        (run / "report.html").unlink()
        assert call(monkeypatch, capsys, command, run)[0] == 0
        assert (run / "report.html").exists()


def only_run(folder):
    (path,) = folder.glob("runs/*/*/*")
    return RunFolder.open(path)


def run_options(tmp_path):
    return "--replay", "100", "--out", tmp_path / "runs", "--quiet"


def test_a_run_that_its_budget_ends_is_complete(monkeypatch, capsys, tmp_path):
    path = write_toy(tmp_path, method="random")
    code, out, err = call(monkeypatch, capsys, "run", path, *run_options(tmp_path), "--max-energy", "10kJ")
    assert (code, err) == (0, "")
    assert "stopped: " in out
    folder = only_run(tmp_path)
    assert folder.ledger()[-1].ending == "done"
    assert 0 < len(folder.trials()) < 14


def test_a_run_that_missed_its_gate_ends_with_1(monkeypatch, capsys, tmp_path):
    path = tmp_path / "gated.toml"
    path.write_text(GATED.format(max_rsd=1e-9))
    code, out, err = call(monkeypatch, capsys, "run", path, "--out", tmp_path / "runs", "--quiet")
    assert (code, err) == (1, "")
    assert "FAIL: " in out


def test_too_many_failures_in_a_row_end_with_3(monkeypatch, capsys, tmp_path):
    path = write_toy(tmp_path, function="always_fails")
    code, _, err = call(monkeypatch, capsys, "run", path, *run_options(tmp_path))
    assert code == 3
    assert err.startswith("joulebench: stopped after 5 failing trials in a row")
    assert err.count("\n") == 1
    assert len(only_run(tmp_path).trials()) == 5


def test_a_meter_that_fails_ends_with_3(monkeypatch, capsys, tmp_path):
    def fail(*_, **__):
        raise MeterError("the sampling thread died")

    monkeypatch.setattr("joulebench.runner.execution.run_trial", fail)
    path = write_toy(tmp_path, method="random")
    code, _, err = call(monkeypatch, capsys, "run", path, *run_options(tmp_path))
    assert (code, err) == (3, "joulebench: the sampling thread died\n")
    assert only_run(tmp_path).ledger()[-1].note == "the sampling thread died"


def test_a_full_disk_ends_with_3(monkeypatch, capsys, tmp_path):
    from joulebench.records import folder as records

    written = []

    def append_line(path, line):
        if len(written) >= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        append(path, line)

    append = records.append_line
    monkeypatch.setattr(records, "append_line", append_line)
    path = write_toy(tmp_path, method="random")
    code, _, err = call(monkeypatch, capsys, "run", path, *run_options(tmp_path))
    assert code == 3
    assert "No space left on device" in err
    assert err.count("\n") == 1
    monkeypatch.undo()
    assert only_run(tmp_path).trials()


@pytest.mark.parametrize("failure", [ZeroDivisionError("a\nbug"), EOFError("a bug"), BrokenPipeError("a bug")])
def test_a_fault_of_the_program_shows_where_it_is_and_ends_with_3(monkeypatch, capsys, tmp_path, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("joulebench.runner.scoring.score_models", fail)
    path = write_toy(tmp_path, method="random", sobol=1, search=1)
    code, _, err = call_anyhow(monkeypatch, capsys, "run", path, *run_options(tmp_path))
    assert code == 3
    assert err.startswith("Traceback (most recent call last):")
    assert "raise failure" in err
    last = err.splitlines()[-1]
    assert last.startswith("joulebench: failed unexpectedly: ")
    assert last.endswith(" bug")
    assert len(only_run(tmp_path).trials()) == 4


def test_a_file_that_cannot_be_read_ends_with_2(monkeypatch, capsys):
    def fail():
        raise PermissionError(errno.EACCES, "Permission denied", "tasks/x.toml")

    monkeypatch.setattr("joulebench.spec.catalog.task_files", fail)
    assert call(monkeypatch, capsys, "tasks") == (2, "", "joulebench: tasks/x.toml: Permission denied\n")


@pytest.mark.parametrize("error", [InputError, MeterError, IncompleteError, GateError])
def test_every_error_of_ours_is_caught_as_bad_input_and_has_its_exit_code(error):
    assert issubclass(error, InputError)
    codes = {InputError: 2, MeterError: 3, IncompleteError: 3, GateError: 1}
    assert error("why\nso").exit_code == codes[error]
    assert str(error("why\nso")) == "why so"


def test_the_version(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "--version") == (0, f"joulebench {metadata.version('joulebench')}\n", "")

    def nothing(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", nothing)
    code, out, _ = call(monkeypatch, capsys, "--version")
    assert (code, out.startswith("joulebench ")) == (0, True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(monkeypatch, capsys, command):
    code, out, err = call(monkeypatch, capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: joulebench {command} ")
    first = COMMANDS[command].help.split("\n")[0]
    assert 20 < len(first) < 80
    assert first.endswith(".")


def test_the_commands_stand_in_the_order_of_their_use(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0
    listed = [line.split()[0] for line in out.split("Commands:\n")[1].splitlines() if line.strip()]
    assert listed == list(COMMANDS)
    assert listed[:6] == ["tasks", "check", "hardware", "run", "resume", "measure"]
    assert listed[6:] == ["report", "compare", "gate", "card", "export", "publish", "verify", "wall"]


def test_what_is_named_alike_is_explained_alike():
    texts: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            for name in parameter.opts:
                texts.setdefault(name, set()).add(parameter.help)
    shared = {name for name, found in texts.items() if name.startswith("-") and len(found) > 1}
    assert not shared, {name: texts[name] for name in shared}
    assert {"--out", "--strict", "--set", "-q", "--replay"} <= texts.keys()


@pytest.mark.parametrize(("typed", "meant"), [("compair", "compare"), ("gates", "gate"), ("taks", "tasks")])
def test_an_unknown_command_is_told_the_nearest(monkeypatch, capsys, typed, meant):
    code, _, err = call(monkeypatch, capsys, typed)
    assert code == 2
    assert f"No such command '{typed}'. Did you mean " in err
    assert f"'{meant}'" in err


def test_a_model_that_calls_exit_is_a_failed_trial(monkeypatch, capsys, tmp_path):
    path = write_toy(tmp_path, function="leaves", method="random", sobol=1, search=1)
    code, _, err = call(monkeypatch, capsys, "run", path, "--replay", "9", "--out", tmp_path / "runs", "--quiet")
    assert err.count("\n") == 1
    (run,) = (tmp_path / "runs").glob("toy/*/*")
    trials = RunFolder.open(run).trials()
    assert [(t.status, "SystemExit" in t.error) for t in trials] == [("failed", True)] * 4
    assert code == 3  # no trial has a value
    assert (run / "report.html").exists()


def test_code_that_exits_elsewhere_does_not_end_well(monkeypatch, capsys, tmp_path):
    def leaves(*_, **__):
        sys.exit(0)

    monkeypatch.setattr("joulebench.runner.scoring.score_models", leaves)
    path = write_toy(tmp_path, method="random", sobol=1, search=1)
    code, _, err = call(monkeypatch, capsys, "run", path, "--replay", "9", "--out", tmp_path / "runs", "--quiet")
    assert code == 3
    assert "exit(0)" in err


def test_a_module_that_exits_is_bad_input(monkeypatch, capsys, tmp_path):
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    path = write_toy(tmp_path)
    path.write_text(path.read_text().replace("tests.problems:", "leaving:"))
    code, _, err = call(monkeypatch, capsys, "run", path, "--replay", "9", "--out", tmp_path / "runs")
    assert code == 2
    assert "leaving" in err


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_of_any_encoding_shows_a_run_to_its_end(tmp_path, encoding):
    path = write_toy(tmp_path, method="random", sobol=1, search=1)
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", "run", path, "--replay", "9", "--out", tmp_path / "runs"],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding).count("[4/4]") == 1


def test_a_run_goes_on_when_nobody_reads_what_it_prints():
    said = []

    def broken(event):
        said.append(event)
        raise BrokenPipeError

    observe = _Tolerant(broken)
    for _ in range(3):
        observe(Event("note", "…"))
    assert len(said) == 1


def test_quick_says_that_it_does_not_compare(monkeypatch, capsys, tmp_path):
    path = write_toy(tmp_path, method="random")
    path.write_text(path.read_text() + "[budgets.quick]\nstages.init.trials = 2\n")
    code, out, _ = call(
        monkeypatch, capsys, "run", path, "--replay", "9", "--out", tmp_path / "r", "--budget", "quick"
    )
    assert code == 0
    assert "budget quick" in out
    assert [line for line in out.splitlines() if line.startswith("quick ")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "cifar"], "no task 'cifar'; did you mean 'cifar10'?"),
        (["run", "digits", "--budget", "fast"], "no budget 'fast'"),
        (["run", "digits", "--hardware", "generic_cpus"], "did you mean 'generic_cpu'"),
        (["run", "digits", "--hardware", "generic_nvidia_gpu"], "describes *, but this host has"),
        (["run", "digits", "--set", "widht=3"], "did you mean 'width'"),
        (["run", "digits", "--set", "width"], "name=value"),
        (["run", "digits", "--set", "width=1000"], "outside"),
        (["run", "digits", "--seed", "-1"], "--seed"),
        (["run", "digits", "--replay", "no.csv"], "--replay"),
        (["run", "no/such/file.toml"], "cannot be read"),
        (["resume", "nowhere"], "not a run folder"),
        (["report", "nowhere"], "not a run folder"),
        (["run", "cifar10", "--data", "/no/such/path"], "/no/such/path"),
        (["run", "digits", "--trials-from", "nowhere"], "not a run folder"),
        (["run"], "Missing argument"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert not list(tmp_path.glob("runs/*/*/*")), "nothing may be begun on bad input"


def test_cifar10_without_data_names_the_three_remedies(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOULEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JOULEBENCH_DATA", raising=False)

    def offline(*_, **__):
        raise OSError("network is unreachable")

    monkeypatch.setattr("socket.socket.connect", offline)
    monkeypatch.setattr("socket.getaddrinfo", offline)
    code, _, err = call(monkeypatch, capsys, "run", "cifar10")
    assert code == 2
    assert "--data" in err
    assert "JOULEBENCH_DATA" in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_of_another_schema_is_refused(monkeypatch, capsys, tmp_path):
    folder = run_toy(tmp_path, method="random")
    text = folder.trials_path.read_text().replace(f'"schema_version":{SCHEMA}', '"schema_version":7')
    folder.trials_path.write_text(text)
    code, _, err = call(monkeypatch, capsys, "report", folder.path)
    assert code == 2
    assert "schema version 7" in err


@pytest.mark.parametrize(
    "module",
    [
        "joulebench",
        "joulebench.commands.main",
        "joulebench.spec.task",
        "joulebench.records.model",
        "joulebench.reporting",
        "joulebench.search",
    ],
)
def test_what_does_not_measure_loads_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'ax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_commands_that_do_not_measure_load_no_torch(tmp_path):
    folder = run_toy(tmp_path, method="random")
    heavy = ("torch", "pandas", "matplotlib")
    commands = (["tasks"], (*heavy, "scipy")), (["check"], heavy), (["report", str(folder.path)], heavy[:1])
    for arguments, forbidden in commands:
        code = (
            "import sys\nfrom joulebench.commands.main import main\n"
            f"sys.argv = ['joulebench', *{arguments!r}]\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            f"sys.exit(any(m in sys.modules for m in {forbidden}))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_what_a_run_announces_is_true_of_its_space(capsys):
    from joulebench.commands.run import _announce
    from joulebench.spec.catalog import find_task
    from tests.synthetic_search import branin_currin, categorical, mixed

    for task, told in (
        (categorical().task, "search space: 15,625 configurations;"),
        (mixed().task, "search space: 46,080 combinations of values, some not allowed or equivalent;"),
        (branin_currin().task, "search space: continuous;"),
        (find_task("cifar10"), "search space: 7,680 "),
    ):
        _announce(task, None, "here")
        assert told in capsys.readouterr().out
