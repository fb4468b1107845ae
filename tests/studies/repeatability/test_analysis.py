"""Repeats, batch sizes and epochs: numbers checked by hand on synthetic records, and the report."""

from __future__ import annotations

import csv
import io

import pytest

from joulebench.reporting import write_report
from joulebench.spec.task import Task
from joulebench.studies.repeatability.analysis import Repeatability
from joulebench.studies.repeatability.section import RepeatabilityStudy
from tests.run_factory import ENERGY, RunBuilder, make_task

OBJECTIVES = {
    "j_per_sample": {"goal": "minimize", **ENERGY},
    "j_per_training_sample": {"goal": "minimize", **ENERGY, "phase": "train"},
}
BATCHES, EPOCHS = (256, 16, 64), (5, 1, 3, 2)


def study_task() -> Task:
    return make_task(
        OBJECTIVES,
        analyses=["repeatability"],
        parameters={
            "batch_size": {"type": "choice", "values": [16, 64, 100, 256], "ordered": True, "default": 100},
            "epochs": {"type": "int", "low": 1, "high": 10, "default": 5},
        },
        stages={
            "repeats": {"method": "default", "repeats": 6},
            "batches": {"method": "points", "points": [{"batch_size": b} for b in BATCHES]},
            "epochs": {"method": "points", "points": [{"epochs": e} for e in EPOCHS], "repeats": 2},
        },
    )


def add(run: RunBuilder, stage: str, epoch_s=1.0, units=1000, first_s=None, **params) -> None:
    """Training windows of `epoch_s` s and 1200 samples an epoch, and five inference windows."""
    resolved = run.task.resolve(params)
    epochs, batch = int(resolved["epochs"]), int(resolved["batch_size"])
    lengths = [first_s or epoch_s, *[epoch_s] * (epochs - 1)]
    windows = [run.window("train", seconds, 1200) for seconds in lengths]
    windows += [run.window("inference", 1.0, units * batch, steps=units) for _ in range(5)]
    run.add(params, units, {}, stage, windows=tuple(windows))


def full(scale=(1.0, 1.01, 0.99, 1.02, 0.98, 1.0), **builder) -> RunBuilder:
    run = RunBuilder(study_task(), **builder)
    for factor in scale:
        add(run, "repeats", epoch_s=factor)
    for batch in BATCHES:
        add(run, "batches", units=10 if batch == 64 else 2, batch_size=batch)
    for repeat in range(2):
        for epochs in EPOCHS:
            add(run, "epochs", epoch_s=1.0 + 0.01 * repeat, epochs=epochs)
    return run


def result(run: RunBuilder):
    return Repeatability(run.read())


def test_identical_runs_are_those_of_the_default_stage():
    repeated = result(full())
    assert repeated.repeats == 6
    energy = repeated.spread("training energy")
    assert energy.runs.values == pytest.approx([80 * f for f in (1.0, 1.01, 0.99, 1.02, 0.98, 1.0)])
    assert energy.runs.rsd.value == pytest.approx(0.01414, abs=1e-4)
    assert energy.kind == "estimated"
    assert repeated.spread("training time").kind is None
    assert repeated.spread("inference energy").runs.rsd.value == 0


def test_a_first_run_may_be_an_outlier():
    repeated = result(full((2.0, 1.01, 0.99, 1.02, 0.98, 1.0)))
    energy = repeated.spread("training energy")
    assert energy.first_is_outlier
    assert energy.first_excess == pytest.approx(1.0)
    assert energy.rsd_of_others.value == pytest.approx(0.0158, abs=1e-4)
    assert not result(full()).spread("training energy").first_is_outlier


def test_energy_by_batch_size():
    repeated = result(full())
    assert [b.batch_size for b in repeated.batches] == [16, 64, 256]
    by_size = {b.batch_size: b for b in repeated.batches}
    assert by_size[16].phase_j.mean == pytest.approx(80 / (2 * 16))
    assert by_size[64].phase_j.mean == pytest.approx(80 / (10 * 64))
    assert by_size[16].train_j_per_sample.mean == pytest.approx(80 / 1200)
    assert repeated.best_batch.batch_size in (64, 256)
    assert repeated.runs[6].phase.step_units == 256  # the first point of the sweep: what a step really did


def test_training_is_a_line_in_epochs():
    repeated = result(full())
    assert repeated.energy_fit.n == 8
    assert repeated.energy_fit.slope.mean == pytest.approx(80 * 1.005, rel=0.01)
    assert repeated.energy_fit.intercept.low < 0 < repeated.energy_fit.intercept.high
    assert repeated.energy_fit.r2 > 0.999
    assert repeated.time_fit.slope.mean == pytest.approx(1.005, rel=0.01)


def test_an_offset_of_the_first_epoch():
    run = RunBuilder(study_task())
    for epochs in (1, 2, 3, 4, 5):
        add(run, "epochs", epochs=epochs, first_s=3.0)
    repeated = result(run)
    assert repeated.energy_fit.intercept.mean == pytest.approx(160)
    assert repeated.first_epoch_excess == pytest.approx(2.0)
    assert repeated.energy_fit.intercept.low > 0


def test_a_stage_that_varies_two_parameters_is_no_sweep():
    run = RunBuilder(study_task())
    for epochs, batch in ((1, 16), (2, 64), (3, 256)):
        add(run, "epochs", epochs=epochs, batch_size=batch)
    repeated = result(run)
    assert not repeated.batches
    assert repeated.energy_fit is None


def test_trials_without_a_value_are_left_out_and_counted():
    run = full()
    run.fail({"batch_size": 256}, "oom", "out of memory")
    repeated = result(run)
    assert repeated.lost == 1


def test_its_report_and_csv(tmp_path):
    run = full(measured=True)
    folder = run.write(tmp_path / "run")
    written = write_report(folder)
    assert written.passed is None
    rows = list(csv.DictReader(io.StringIO((folder.path / "repeatability.csv").read_text())))
    assert len(rows) == len(run.trials)
    assert float(rows[0]["train_j"]) == pytest.approx(400)
    assert rows[0]["train_kind"] == "measured"
    assert float(rows[7]["measured_batch"]) == 16
    text = (folder.path / "report.md").read_text()
    for heading in ("Distribution over identical runs", "By batch size", "Linearity of training in epochs"):
        assert heading in text
    assert "![" in text
    assert not (folder.path / "frontier.csv").exists()
    assert (folder.path / "repeatability.png").read_bytes().startswith(b"\x89PNG")
    page = (folder.path / "report.html").read_text()
    for chart in ("runs", "batch", "energy", "time"):
        assert f'id="chart-repeatability-{chart}"' in page


@pytest.mark.parametrize("stage", ["repeats", "batches", "epochs", None])
def test_any_part_of_it_has_a_report(tmp_path, stage):
    run = RunBuilder(study_task())
    if stage:
        add(run, stage, epochs=2 if stage == "epochs" else 5)
    write_report(run.write(tmp_path / "run"))
    section = RepeatabilityStudy().section(result(run), run.read())
    assert section.columns[:2] == ("trial", "stage")
    assert len(section.rows) == (1 if stage else 0)
