"""The tour of a GPU, with commands that stand in for its steps. Needs no GPU."""

from __future__ import annotations

import sys

import pytest

from joulebench.spec.catalog import find_task
from joulebench.spec.hardware import Host
from tests.gpu import tour as module
from tests.gpu.tour import Step, execute, main, steps, tour


def step(title, code, limit_s=20):
    return Step(title, (sys.executable, "-S", "-c", code), limit_s)


def test_a_step_that_fails_or_hangs_does_not_stop_the_next_and_the_page_says_what_each_did(tmp_path, capsys):
    todo = [
        step("first", "print('report: runs/a/report.html')"),
        step("second", "import sys; print('no | data'); sys.exit(3)"),
        step("third", "import time; print('begun', flush=True); time.sleep(60)", limit_s=1),
        step("fourth", "print('well')"),
    ]
    folder = tmp_path / "tour"
    assert tour("NVIDIA H100", folder, todo) == 1
    text = (folder / "tour.md").read_text()
    for ending in ("first | done", "second | exit code 3", "third | cut off", "fourth | done"):
        assert f"| {ending} |" in text
    assert "no / data" in text
    assert "begun" in text
    assert "- runs/a/report.html" in text
    assert f"page: {folder / 'tour.md'}" in capsys.readouterr().out


def test_a_whole_tour_ends_with_0_and_the_page_holds_what_the_probe_said(tmp_path):
    probe = Step("probe", (sys.executable, "-S", "-c", "print('every 100 ms')", "--probe"), 20)
    assert tour("NVIDIA H100", tmp_path, [probe]) == 0
    assert "```\nevery 100 ms\n```" in (tmp_path / "tour.md").read_text()


def test_the_page_is_there_after_every_step(tmp_path):
    seen = []

    def run(todo):
        seen.append((tmp_path / "tour.md").exists())
        return execute(todo)

    tour("NVIDIA H100", tmp_path, [step("first", "1"), step("second", "1")], run)
    assert seen == [False, True]


def test_its_steps_are_commands_that_exist(tmp_path):
    todo = steps(tmp_path, "cifar.tar.gz")
    runs = [s.command[s.command.index("run") + 1 :] for s in todo if "run" in s.command]
    for name, *options in runs:
        assert "short" in find_task(name).budgets
        assert options[:2] == ["--budget", "short"]
    assert [name for name, *_ in runs] == ["meter_consistency", "cifar10", "transformer_batch"]
    assert sum("--data" in s.command for s in todo) == 1
    assert not any("--data" in s.command for s in steps(tmp_path))
    assert sum(s.limit_s for s in todo) <= 20 * 60


def test_without_a_gpu_it_is_one_line_and_2(monkeypatch, capsys):
    monkeypatch.setattr(module, "detect_host", lambda: Host("A CPU", 2, ()))
    assert main([]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_options_it_does_not_know_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--dat", "x", "--nothing"])
