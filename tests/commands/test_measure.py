"""The command `measure`: what it prints and records, and its exit codes."""

from __future__ import annotations

import csv
import os
import shlex
import signal
import subprocess
import sys
import time

import psutil
import pytest

from joulebench.commands.measure import named
from joulebench.comparison.join import Machine, join
from joulebench.comparison.machines import confounders, differences
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.results.run import Run
from tests.commands.calling import call

DRY = ("--replay", "65", "--idle", "0", "--quiet", "--allow-busy")


def folder_of(tmp_path):
    (path,) = (tmp_path / "runs").glob("measure/*/*")
    return RunFolder.open(path)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_joules_of_a_program_by_domain(tmp_path, monkeypatch, capsys):
    """65 W for 0.2 s are 13 J, and a few milliseconds that it takes to start."""
    words = ("--repeats", "2", "--units", "13", "--unit", "image", "--", "sleep", "0.2")
    code, out, _ = call(monkeypatch, capsys, "measure", *DRY, *words)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("cpu ")]
    domain, kind, source, joules = line.split()[:4]
    assert (domain, kind, source) == ("cpu", "estimated", "replay")
    assert 1.0 <= float(joules) < 1.5
    folder = folder_of(tmp_path)
    assert folder.task().options["commands"] == {"sleep 0.2": ["sleep", "0.2"]}
    assert (folder.path / "report.html").is_file()


def test_commands_beside_each_other_have_a_ratio(tmp_path, monkeypatch, capsys):
    commands = ("-c", "sleep 0.06", "-c", "sleep 0.12", "--name", "short", "--name", "long")
    code, out, _ = call(monkeypatch, capsys, "measure", *DRY, "--repeats", "6", *commands)
    assert code == 0
    folder = folder_of(tmp_path)
    with (folder.path / "variants.csv").open(newline="", encoding="utf-8") as file:
        short, long = csv.DictReader(file)
    ratio = float(long["energy_ratio"])
    assert 1.3 <= ratio <= 2.1
    assert (short["energy_ratio"], long["answer"]) == ("", "more")
    (shown, _) = [line.split() for line in out.splitlines() if line.startswith("long ")]
    assert f"{ratio:.4g}" in shown
    assert [t.params["command"] for t in folder.trials()].count("long") == 6


def test_a_card_says_how_to_measure_again(tmp_path, monkeypatch, capsys):
    """Not by `joulebench run RUN`, which runs no command that a record names."""
    arguments = ("--repeats", "2", "--units", "3", "--unit", "image", "-c", "sleep '0.06'", "--name", "a b")
    assert call(monkeypatch, capsys, "measure", *DRY, *arguments)[0] == 0
    folder = folder_of(tmp_path)
    code, out, _ = call(monkeypatch, capsys, "card", folder.path)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("joulebench ")]
    words = shlex.split(line)
    assert words[:2] == ["joulebench", "measure"]
    assert call(monkeypatch, capsys, *words[1:], "--out", tmp_path / "again")[0] == 0
    (path,) = (tmp_path / "again").glob("measure/*/*")
    again = RunFolder.open(path)
    assert again.task() == folder.task()
    assert len(again.trials()) == len(folder.trials()) == 2


def test_other_commands_of_the_same_name_are_a_difference(tmp_path, monkeypatch, capsys):
    for number, command in enumerate(("sleep 0.06", "sleep 0.07")):
        arguments = ("--repeats", "2", "--out", tmp_path / str(number), "-c", command, "--name", "it")
        assert call(monkeypatch, capsys, "measure", *DRY, *arguments)[0] == 0
    runs = [next((tmp_path / number).glob("measure/*/*")) for number in "01"]
    joined = join([Machine(path.parts[-4], str(path), Run.of(RunFolder.open(path))) for path in runs])
    rows = dict(differences(joined))
    assert "options.commands.it" in dict(confounders(joined))
    assert [words[-4:] for words in rows["options.commands.it"]] == ["0.06", "0.07"]


def test_where_no_run_counts_it_is_said_and_is_no_success(monkeypatch, capsys):
    """Every run draws next to nothing, which no meter reads."""
    dry = ("--replay", "1e-12", "--idle", "0", "--quiet", "--allow-busy")
    code, _, err = call(monkeypatch, capsys, "measure", *dry, "--repeats", "2", "--", "true")
    assert code == 3
    assert "no run counts; the last: " in err


def test_options_of_the_program_are_its_own(tmp_path, monkeypatch, capsys):
    code, _, _ = call(monkeypatch, capsys, "measure", *DRY, "--repeats", "1", "env", "--ignore-environment", "true")
    assert code == 0
    assert list(folder_of(tmp_path).task().options["commands"].values()) == [
        ["env", "--ignore-environment", "true"]
    ]


def test_the_exit_code_of_a_failing_program_is_kept(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "measure", *DRY, "--", "sh", "-c", "exit 7")
    assert code == 7
    assert err == "joulebench: exit code 7: sh -c 'exit 7'; its last output: nothing\n"


def test_a_program_that_ends_as_an_interrupt_does_is_no_interrupt(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "measure", *DRY, "--", "sh", "-c", "exit 130")
    assert code == 130
    assert err == "joulebench: exit code 130: sh -c 'exit 130'; its last output: nothing\n"


def test_a_program_that_takes_too_long_is_said_in_one_line(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "measure", *DRY, "--timeout", "0.2", "--", "sleep", "30")
    assert code == 3
    assert err == "joulebench: sleep 30 took longer than 0.2 s and was killed; its last output: nothing\n"


def test_what_was_measured_before_an_interrupt_is_shown(tmp_path):
    """Ctrl-C in the third run or later: the runs before have their joules, and nothing goes on."""
    words = (sys.executable, "-m", "joulebench", "measure", *DRY, "--repeats", "1000", "--", "sleep", "0.31")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("[2/"):
                break
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "joulebench: interrupted; the runs before are kept\n"  # they are not resumed
    assert any(line.startswith("cpu ") for line in out.splitlines())
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "0.31"]]
    assert len(folder_of(tmp_path).trials()) >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "measure: needs a program"),
        (["--", "no-such-program"], "no program 'no-such-program'"),
        (["--unit", "Two words", "true"], "--unit: 'Two words'"),
        (["-c", "unclosed '"], "--command: "),
        (["-c", " "], "--command: needs a program"),
        (["-c", "true", "-c", "true"], "--name: two commands are called 'true'"),
        (["--name", "a", "--name", "b", "true"], "--name: 2 names for 1 commands"),
        (["--name", " ", "true"], "--name: must not be blank"),
        (["./text"], "'./text' is not executable"),
        (["--units", str(10**13), "true"], "from 1 to 10^12"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "text").write_text("no program")
    code, _, err = call(monkeypatch, capsys, "measure", *DRY, *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_names_go_to_commands_in_their_order():
    assert named([["a", "b c"], ["d"]], ["x"]) == {"x": ["a", "b c"], "d": ["d"]}
    assert list(named([["a", "b c"]], [])) == ["a 'b c'"]
    with pytest.raises(InputError):
        named([], [])


@pytest.mark.parametrize(("repeats", "runs"), [(3, 3), (9, 5)])
def test_runs_whose_windows_do_not_count_end_it_only_after_five(tmp_path, monkeypatch, capsys, repeats, runs):
    """As where others were at work: the next may count. Here each reads next to nothing."""
    words = ("--replay", "1e-12", "--repeats", repeats, "--", "sleep", "0.05")
    found, _, err = call(monkeypatch, capsys, "measure", *DRY, *words)
    assert (found, [t.status for t in folder_of(tmp_path).trials()]) == (3, ["invalid"] * runs), err
