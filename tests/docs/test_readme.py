"""The README is true: its task file, its model and its commands work as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from joulebench.cards.eu import FIELDS as EU_FIELDS
from joulebench.cards.hub import FIELDS as HF_FIELDS
from joulebench.cards.sci import FIELDS as SCI_FIELDS
from joulebench.commands.options import assignments
from joulebench.runner.plan import plan
from joulebench.spec.catalog import find_task, task_files
from joulebench.spec.task import load_task
from tests.conftest import REPOSITORY

#: The command as it was installed: nothing of the project, and not the current folder, is on its path.
JOULEBENCH = str(Path(sys.executable).parent / "joulebench")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


CARD_FIELDS = {*EU_FIELDS, *HF_FIELDS, *SCI_FIELDS}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


@pytest.fixture
def project(tmp_path):
    """The README's files, in a folder of their own."""
    (toml,) = blocks("toml")
    (tmp_path / "slim_digits.toml").write_text(toml)
    for code in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", code)[1]
        (tmp_path / name).write_text(code)
    return tmp_path


def start(project, *command) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([*command], cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_task_file_runs(project):
    assert load_task(project / "slim_digits.toml").stages["search"].trials == 5
    out = start(project, JOULEBENCH, "run", "slim_digits.toml", "--quiet")
    assert re.search(r"\[(\d+)/\1\]", out)
    assert re.search(r"Frontier of \d+ (confirmed )?configuration", out)


def test_its_own_model_runs_from_python(project):
    out = start(project, sys.executable, "search.py").splitlines()
    at = out.index("hidden,status,val_accuracy,j_per_sample")
    printed, table = [[float(cell) for cell in line.split()] for line in out[:at]], out[at + 1 : -2]
    rows = [line.split(",") for line in table]
    assert sorted(row[0] for row in rows[:5]) == sorted(["64", "64", "4", "45", "512"])
    assert {row[0] for row in rows} == {row[0] for row in rows[:5]}
    usable = [row for row in rows if row[1] == "ok"]
    assert len(usable) >= len(rows) // 2  # others on the machine may spoil some
    assert [line[0] for line in printed] == [float(row[0]) for row in usable]
    assert all(0.1 < quality <= 1 and low <= joules <= high for _, quality, joules, low, high in printed)
    assert (project / out[-1]).is_file()


def test_its_own_model_runs_from_a_task_file(project):
    text = (project / "slim_digits.toml").read_text()
    parameters = '[parameters]\nhidden = { type = "int", low = 4, high = 64, default = 8 }\n' + (
        'learning_rate = { type = "fixed", value = 0.001 }\nepochs = { type = "fixed", value = 1 }\n'
    )
    text = re.sub(r"\[parameters\].*?(?=\[objectives)", parameters, text, count=1, flags=re.S)
    text = text.replace('"cnn"', '"my_model:MLP"').replace("slim_digits", "mlp").replace("trials = 5", "trials = 1")
    # what the search and the protocol do is in the test of the task file itself
    text = text.replace('"qnehvi"', '"random"').replace("window_s = 0.5", "window_s = 0.1")
    text = text.replace("idle_s = 2.0", "idle_s = 0.0").replace("max_repeats = 5", "max_repeats = 20")
    (project / "mlp.toml").write_text(text)
    assert re.search(r"\[(\d+)/\1\]", start(project, JOULEBENCH, "run", "mlp.toml", "--quiet"))


def test_its_sessions_and_options_exist():
    noxfile = (REPOSITORY / "noxfile.py").read_text()
    for session in re.findall(r"nox -s (\w+)", README):
        assert f"def {session}(" in noxfile
    help_text = subprocess.run(
        [sys.executable, "-m", "joulebench", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in re.findall(r"--[a-z][a-z-]+", " ".join(re.findall(r"\$ joulebench run.*", README))):
        assert option in help_text, option


def test_what_it_sets_can_be_set():
    """`--set` fixes a parameter or a field of a task, or a field of a card."""
    known = {"name", *CARD_FIELDS}.union(*(find_task(name).parameters for name in task_files()))
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"joulebench run .*", text):
            for name, value in re.findall(r"--set ([\w.]+)=([\w.]+)", line):
                task = re.match(r"joulebench run (\w+)", line)[1]
                plan(task, overrides=assignments([f"{name}={value}"]))
        for name in re.findall(r"`--set ([\w.]+)=", text):
            assert "." in name or name in known, (page, name)


def test_what_it_points_to_exists():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (REPOSITORY / target).exists(), target
