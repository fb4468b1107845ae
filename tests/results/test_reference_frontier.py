"""A search's frontier over known models: dominance and hypervolume by hand, what is refused, what is kept."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
from joulebench.results.reference_frontier import keep_reference, read_reference
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


def search(tmp_path, name="search", objectives=None, accuracy=0.95, units=5000, **manifest) -> RunFolder:
    made = RunBuilder(make_task(objectives or OBJECTIVES))
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
