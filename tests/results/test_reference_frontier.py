"""A search's frontier over known models: dominance and hypervolume by hand, what is refused, what is kept."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
from joulebench.results.reference_frontier import Difference, keep_reference, read_reference
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate, point
from joulebench.studies.training_inference.analysis import training_inference
from joulebench.studies.training_inference.dominance import compare_frontier, dominance
from tests.run_factory import ENERGY, RunBuilder, make_task
from tests.studies.training_inference.test_analysis import MODELS, OBJECTIVES, add, study_task

FILES = ("report.md", "report.json", "training_inference.csv", "training_inference.svg")


def pair(quality: float, energy_j: float, half: float | None = None) -> tuple[Estimate, Estimate]:
    if half is None:
        return point(quality), point(energy_j)
    return point(quality), Estimate(energy_j, 5, half / 2.8, energy_j - half, energy_j + half, "windows")


def known(tmp_path, **task) -> RunFolder:
    made = RunBuilder(study_task(**task))
    for model in MODELS:
        add(made, model)
    return made.write(tmp_path / "known")


#: As the known models have none either.
NO_BATCH = {"width": {"type": "int", "low": 1, "high": 2000, "default": 8}}


def search(tmp_path, name="search", objectives=None, accuracy=0.95, units=5000, task=None, **manifest) -> RunFolder:
    fields = {"name": "other_nas", "parameters": NO_BATCH, **(task or {})}
    made = RunBuilder(make_task(objectives or OBJECTIVES, **fields))
    made.add({}, 8, {"val_accuracy": 0.5}, "default", idle=True)
    made.add({"width": 40}, units, {"val_accuracy": accuracy})
    return made.write(tmp_path / name, **manifest)


def test_dominance_and_hypervolume_are_those_by_hand():
    models = [pair(0.6, 0.5), pair(0.8, 1.0)]  # 0.5 × 2 and 0.7 × 1, of which 0.5 × 1 is common: 1.2
    comparison = compare_frontier(models, [pair(0.7, 0.5)], floor=0.1)  # 0.6 × 2
    assert (comparison.known, comparison.dominated, comparison.beaten) == (2, 1, 0)
    assert comparison.known_volume == pytest.approx(1.2)
    assert comparison.frontier_volume == pytest.approx(1.2)
    assert comparison.both_volume == pytest.approx(1.3)
    assert comparison.gain == pytest.approx(0.1 / 1.2)


def test_equal_models_do_not_dominate_and_intervals_must_lie_apart():
    assert compare_frontier([pair(0.6, 1.0)], [pair(0.6, 1.0)], 0.0).dominated == 0
    close = compare_frontier([pair(0.6, 1.0, 0.2)], [pair(0.7, 0.9, 0.2)], 0.0)
    assert (close.dominated, close.clearly) == (1, 0)
    far = compare_frontier([pair(0.6, 1.0, 0.2)], [pair(0.7, 0.5, 0.2)], 0.0)
    assert (far.dominated, far.clearly) == (1, 1)
    assert compare_frontier([pair(0.7, 0.5)], [pair(0.6, 1.0)], 0.0).beaten == 1
    assert compare_frontier([pair(0.1, 1.0)], [pair(0.6, 1.0)], floor=0.2).gain is None  # no volume to add to


@pytest.mark.parametrize(
    ("accuracy", "units", "dominated", "improves"),
    # 80 W over 5 000 samples a second: 16 mJ, better than all but "poor" (8 mJ at 0.09, below the reference)
    [(0.95, 5000, 4, True), (0.5, 100, 0, False)],
)
def test_a_search_is_compared_with_the_runs_architectures(tmp_path, accuracy, units, dominated, improves):
    folder = known(tmp_path)
    keep_reference(folder, search(tmp_path, accuracy=accuracy, units=units).path)
    records = Run.of(folder)
    comparison = dominance(training_inference(records), read_reference(records, "val_accuracy"))
    assert (comparison.known, comparison.dominated, comparison.clearly) == (5, dominated, dominated)
    assert (comparison.both_volume > comparison.known_volume) is improves
    if improves:
        assert comparison.beaten == 0
    write_report(folder)
    assert '"labels"' in (folder.path / "report.json").read_text()


ALIKE = {"name": "digits", "fingerprint": "0123abcd", "counts": {"train": 1200, "validation": 300}}
#: What differs in the search's task or manifest, and what the report says of it.
UNLIKE = {
    "split (600 train, 300 validation there, 1200 train, 300 validation here)": {
        "data": {**ALIKE, "counts": {"train": 600, "validation": 300}}
    },
    "preprocessing (mean 0.4, std 0.2 there, none here)": {"data": {**ALIKE, "mean": [0.4], "std": [0.2]}},
    "augmentation (flip there, none here)": {
        "task": {"dataset": {"name": "digits", "validation": 300, "augment": ["flip"]}}
    },
    "optimiser (sgd there, adam here)": {"optimizer": "sgd"},
    "learning rate (0.1 there, not stated here)": {"learning_rate": 0.1},
    "momentum (0.9 there, 0 here)": {"momentum": 0.9},
    "epochs (3 there, not stated here)": {"epochs": 3},
    "batch size (16 there, not stated here)": {"batch_size": 16},
    "early stopping (val_loss, 3 epochs there, none here)": {"task": {"training": {"patience": 3}}},
    "machine (Other CPU, not stated, none there, Example CPU, not stated, none here)": {
        "environment": {"host": {"cpu": "Other CPU", "accelerators": []}}
    },
    "threads (2 there, not stated here)": {
        "environment": {"host": {"cpu": "Example CPU", "accelerators": []}, "torch": {"threads": 2}}
    },
}


@pytest.mark.parametrize("text", UNLIKE)
def test_of_unlike_experiments_every_difference_is_listed_and_nothing_claimed(tmp_path, text):
    change = dict(UNLIKE[text])
    task = change.pop("task", {})
    settings = {n: change.pop(n) for n in list(change) if n not in ("data", "environment")}
    task["parameters"] = NO_BATCH | {n: {"type": "fixed", "value": v} for n, v in settings.items()}
    folder = known(tmp_path)
    keep_reference(folder, search(tmp_path, task=task, **change).path)
    records = Run.of(folder)
    reference = read_reference(records, "val_accuracy")
    differs = [str(d) for d in reference.differs]
    assert differs[0].startswith("task (other_nas version 1 there")
    assert reference.unlike
    assert text in differs
    assert dominance(training_inference(records), reference) is None
    write_report(folder)
    report = (folder.path / "report.md").read_text()
    assert "From two unlike experiments nothing is claimed" in report
    assert "Hypervolume" not in report
    assert f"it differs in {len(differs)} facts, listed in the last table" in report
    _, _, table = report.partition("Differences between the search and this run")
    lines = [line for line in table.splitlines() if line.startswith("|")][2 : 2 + len(differs)]
    assert [line.split("|")[1].strip() for line in lines] == [d.what for d in reference.differs]


def test_all_differences_of_two_experiments_are_listed_together(tmp_path):
    settings = {"optimizer": "sgd", "epochs": 3, "batch_size": 16}
    parameters = NO_BATCH | {n: {"type": "fixed", "value": v} for n, v in settings.items()}
    parameters["learning_rate"] = {"type": "float", "low": 0.001, "high": 0.1, "default": 0.01}
    task = {"parameters": parameters, "training": {"patience": 3}, "protocol": {"max_train_s": 60, "window_s": 1}}
    folder = known(tmp_path)
    keep_reference(folder, search(tmp_path, task=task, data={**ALIKE, "counts": {"train": 600}}).path)
    differs = read_reference(Run.of(folder), "val_accuracy").differs
    assert [d.what for d in differs] == [
        "task", "split", "optimiser", "learning rate", "epochs", "early stopping", "time limit of training, s",
        "batch size",
    ]  # fmt: skip
    assert Difference("learning rate", "varied", "not stated") in differs


def test_it_is_kept_beside_the_run_and_needs_the_other_no_more(tmp_path):
    folder, other = known(tmp_path), search(tmp_path)
    keep_reference(folder, other.path)
    write_report(folder)
    before = {name: (folder.path / name).read_bytes() for name in FILES}
    shutil.rmtree(other.path)
    write_report(folder)
    assert {name: (folder.path / name).read_bytes() for name in FILES} == before
    assert not any(str(tmp_path).encode() in content for content in before.values())
    keep_reference(folder, folder.path / "overlay")  # itself again: nothing to do


NET = {**OBJECTIVES, "j_per_sample": {**OBJECTIVES["j_per_sample"], "basis": "net"}}
CPU_ONLY = {**OBJECTIVES, "j_per_sample": {"goal": "minimize", **ENERGY, "domains": ["cpu"]}}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"hardware": {"name": "nvidia_h200", "title": "H200"}}, "another hardware"),
        ({"data": {"fingerprint": "ffff"}}, "another data"),
        ({"objectives": NET}, "another basis"),
        ({"objectives": CPU_ONLY}, "another basis"),
        ({"replay": "100"}, "another replay"),
        ({"objectives": {"other": {"goal": "maximize"}}}, "does not judge by val_accuracy"),
    ],
)
def test_what_does_not_compare_is_refused_in_one_line(tmp_path, other, message):
    folder = known(tmp_path)
    with pytest.raises(InputError, match=message):
        keep_reference(folder, search(tmp_path, **other).path)
    assert not (folder.path / "overlay").exists()


def test_the_command_refuses_and_draws(tmp_path):
    folder = known(tmp_path)
    command = [sys.executable, "-m", "joulebench", "report", str(folder.path), "--overlay"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "not a run folder" in done.stderr
    subprocess.run([*command, str(search(tmp_path).path)], capture_output=True, check=True)
    assert (folder.path / "overlay" / "trials.jsonl").is_file()
