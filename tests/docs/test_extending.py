"""docs/extending.md is true: its examples are laid down as they are printed, and joulebench uses them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from joulebench.records.folder import RunFolder
from tests.commands.calling import call
from tests.conftest import REPOSITORY
from tests.run_factory import full_run

PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
TASK = """
name = "striped"
title = "Stripes"
workload = "cnn"
analyses = ["frontier", "my_study:Shares"]
[dataset]
name = "my_data:stripes"
validation = 100
[parameters]
width = { type = "fixed", value = 2 }
depth = { type = "fixed", value = 1 }
kernel = { type = "fixed", value = 3 }
pool = { type = "fixed", value = true }
batch_size = { type = "fixed", value = 50 }
learning_rate = { type = "fixed", value = 0.01 }
epochs = { type = "fixed", value = 2 }
[objectives.val_accuracy]
goal = "maximize"
reference = 0.0
[objectives.samples_per_j]
goal = "maximize"
reference = 0.0
phase = "inference"
domains = ["cpu"]
basis = "gross"
[stages.default]
method = "default"
repeats = 1
[protocol]
warmup_s = 0.05
max_warmup_s = 0.2
window_s = 0.2
repeats = 2
max_repeats = 20
idle_s = 0.0
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A package of one's own outside of the tree: the page's examples, and entry points that name them."""
    folder = tmp_path_factory.mktemp("lab")
    for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S):
        (folder / re.match(r"# (\w+\.py)\n", code)[1]).write_text(code)
    (folder / "striped.toml").write_text(TASK)
    installed = folder / "site" / "my_lab-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[joulebench.studies]\nshares = my_study:Shares\n[joulebench.meters]\nboard = my_meter:offer\n"
        "[joulebench.cards]\nline = my_card:line\n[joulebench.datasets]\nstripes = my_data:stripes\n"
    )
    return folder


def joulebench(lab: Path, *arguments: object, installed: bool = False, code: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if installed:
        environment["PYTHONPATH"] = str(lab / "site")
    done = subprocess.run(
        [sys.executable, "-m", "joulebench", *map(str, arguments)],
        cwd=lab, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr + done.stdout
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(lab) -> Path:
    joulebench(lab, "run", "striped.toml", "--meter", "my_meter:offer", "--out", "runs", "--quiet")
    (found,) = (lab / "runs").glob("striped/*/*")
    return found


def test_data_meter_and_study_are_used_by_a_run(run):
    folder = RunFolder.open(run)
    trial, *_ = folder.trials()
    assert trial.status == "ok"
    assert trial.metrics["val_accuracy"] > 0.9
    window = next(w for w in trial.windows if w.phase == "inference")
    by_domain = {r.domain: r for r in window.readings if r.role == "primary"}
    assert (by_domain["cpu"].source, by_domain["ram"].source) == ("board", "ram_model")
    assert by_domain["cpu"].energy_j == pytest.approx(5.0 * window.duration_s, rel=0.05)
    assert folder.manifest().own_meters == ("my_meter:offer",)
    assert folder.manifest().data["source"] == "stripes of my_data.py"
    shares = {row["group"]: row["share"] for row in values(run, "shares")}
    assert sum(shares.values()) == pytest.approx(1.0, rel=1e-4)


def values(run: Path, name: str) -> list[dict]:
    facts = json.loads((run / "report.json").read_text())
    return next(part["values"] for part in facts["analyses"] if part["name"] == name)


def test_a_report_runs_no_code_that_only_the_record_names(lab, run):
    joulebench(lab, "report", run)
    text = (run / "report.md").read_text()
    assert "joulebench report RUN --study my_study:Shares" in text
    assert "Where the joules went" not in text
    joulebench(lab, "report", run, "--study", "my_study:Shares")
    assert "Where the joules went" in (run / "report.md").read_text()


def test_a_resume_uses_the_same_meter(lab, run):
    before = RunFolder.open(run).trials()
    joulebench(lab, "resume", run, "--quiet")
    assert RunFolder.open(run).trials() == before


def test_a_card_of_ones_own(lab, run):
    out = joulebench(lab, "card", run, "--format", "my_card:line", "--set", "name=mine")
    assert re.match(r"mine: \S+ J per unit of inference \(estimated\)\n", out)


def test_entry_points_are_short_names(lab, tmp_path):
    folder = full_run(trials=3).write(tmp_path / "recorded")
    joulebench(lab, "report", folder.path, "--study", "shares", installed=True)
    assert values(folder.path, "shares")
    assert "inference" in joulebench(lab, "card", folder.path, "--format", "line", installed=True)
    listed = joulebench(lab, "hardware", installed=True)
    assert re.search(r"cpu +board +estimated +available: 5.0 W × seconds; .* --meter board, of my-lab 1\n", listed)
    said = joulebench(lab, "report", folder.path, "--study", "shares", code=2)
    assert "no study 'shares'" in said


def test_texts_of_a_table_reach_a_workload_of_ones_own(lab):
    rows = "".join(f'"{"good fine" if i % 2 else "bad poor"}, {i}\n",{i % 2}\n' for i in range(200))
    (lab / "reviews.csv").write_text("review,stars\n" + rows)
    fields = "\n".join(
        line for line in TASK.splitlines() if not line.startswith(("width", "depth", "kernel", "pool", "epochs"))
    )
    for old, new in (
        ("striped", "reviews"),
        ('"cnn"', '"my_reader:Reader"'),
        ('"my_data:stripes"', '"table"\ntext = "review"\nlabel = "stars"'),
        (', "my_study:Shares"', ""),
    ):
        fields = fields.replace(old, new)
    (lab / "reviews.toml").write_text(fields)
    joulebench(lab, "run", "reviews.toml", "--data", "reviews.csv", "--replay", "50", "--out", "runs", "--quiet")
    (found,) = (lab / "runs").glob("reviews/*/*")
    folder = RunFolder.open(found)
    assert {trial.status for trial in folder.trials()} == {"ok"}
    assert folder.trials()[0].metrics["val_accuracy"] > 0.9
    data = folder.manifest().data
    assert data["counts"] == {"train": 60, "validation": 100, "test": 40}
    assert data["classes"] == ["0", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "striped.toml", "--meter", "my_meter:nothing"), "my_meter"),
        (("run", "striped.toml", "--meter", "my_meter:offer", "--replay", "5"), "--meter"),
        (("run", "striped.toml", "--meter", "rapll"), "did you mean 'rapl'"),
        (("card", "{run}", "--format", "my_card:nothing"), "--format"),
        (("report", "{run}", "--study", "my_card:line"), "not a subclass"),
        (("report", "{run}", "--study", "batc"), "did you mean 'batch'"),
    ],
)
def test_what_cannot_be_used_is_one_line(lab, run, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(lab)
    monkeypatch.setattr(sys, "path", list(sys.path))  # which the current folder is added to
    code, _, err = call(monkeypatch, capsys, *(a.replace("{run}", str(run)) for a in arguments))
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
