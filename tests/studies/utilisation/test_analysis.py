"""Conditions by configuration, curves by epoch and power over a trial, recomputed by hand; the report."""

from __future__ import annotations

import csv
import io
import json

import pytest

from joulebench.records.model import EpochRecord, Fault, FaultKind
from joulebench.reporting import write_report
from joulebench.studies.utilisation.analysis import utilisation
from joulebench.studies.utilisation.section import CONDITIONS, OTHER, UtilisationStudy
from tests.run_factory import RunBuilder, make_task

GPU = {"gpu:0": 100.0, "cpu": 60.0}
#: width: samples a second, accuracy, utilisation of the GPU in its windows of 1 s
MODELS = {8: (100, 0.80, (0.2, 0.4, 0.6)), 9: (200, 0.85, (0.5, 0.5, 0.5)), 10: (50, 0.95, (0.9, 0.9, 0.9))}


def conditions(share: float) -> dict[str, float]:
    return {
        "gpu:0_utilisation": share, "gpu:0_memory_utilisation": share / 2, "gpu:0_sm_clock_mhz": 1500.0,
        "gpu:0_temperature_c": 60.0, "gpu:0_memory_used_bytes": 2.0**30, "cpu_utilisation": 0.25,
    }  # fmt: skip


def add(made: RunBuilder, width: int, gpu: bool = True, **fields) -> None:
    units, accuracy, shares = MODELS[width]

    def recorded(share: float) -> dict[str, float]:
        return conditions(share) if gpu else {"cpu_utilisation": share}

    windows = [made.window("build", 0.001)]
    for seconds in (1.0, 3.0):
        windows.append(made.window("train", seconds, 500, conditions=recorded(seconds / 4)))
        windows.append(made.window("validate", 0.5))
    windows += [made.window("inference", 1.0, units, conditions=recorded(share)) for share in shares]
    epochs = [EpochRecord(index=i, units=500, metrics={"val_accuracy": accuracy - 0.1 + i / 10}) for i in (0, 1)]
    made.add(
        {"width": width}, units, {"val_accuracy": accuracy}, windows=tuple(windows), epochs=tuple(epochs), **fields
    )


def full(gpu: bool = True, **fields) -> RunBuilder:
    made = RunBuilder(make_task(**fields), watts=GPU if gpu else {"cpu": 60.0, "ram": 20.0})
    for width in MODELS:
        add(made, width, gpu)
    return made


def subject(result, width: int):
    return next(s for s in result.subjects if s.params["width"] == width)


def test_conditions_and_utilisation_per_watt_of_each_phase():
    result = utilisation(full().read())
    inference, train = subject(result, 8).phases["inference"], subject(result, 8).phases["train"]
    assert inference.conditions["gpu_utilisation"] == pytest.approx(0.4)
    assert inference.utilisation_per_w("gpu") == pytest.approx(0.4 / 160)
    assert train.conditions["gpu_utilisation"] == pytest.approx((1 * 0.25 + 3 * 0.75) / 4)
    assert train.power_w == pytest.approx(160)
    assert (result.run.device, inference.conditions["gpu_memory_used_bytes"]) == ("gpu", 2**30)


def test_a_window_that_does_not_count_has_no_part_in_a_mean():
    made = full()
    trial = made.trials[0]
    fault = Fault(kind=FaultKind.SAMPLING_GAP, text="gap")
    last = trial.windows[-1].model_copy(update={"fault": fault})
    made.trials[0] = trial.model_copy(update={"windows": (*trial.windows[:-1], last)})
    assert subject(utilisation(made.read()), 8).phases["inference"].conditions["gpu_utilisation"] == pytest.approx(
        0.3
    )


def test_curves_are_of_cumulated_training_energy_without_validation():
    result = utilisation(full().read())
    assert [c.trial.params["width"] for c in result.curves] == [8, 9, 10]
    assert result.curves[0].energy_j == pytest.approx((160, 640))
    assert result.curves[0].values == pytest.approx((0.7, 0.8))
    assert result.metric == "val_accuracy"


def test_power_over_a_trial_takes_short_windows_together():
    made = RunBuilder(make_task(), watts=GPU)
    windows = [made.window("build", 0.01), made.window("train", 1.0, 500), made.window("idle", 2.0)]
    windows += [made.window("inference", 1.0, 100, scale=2.0) for _ in range(3)]
    made.add({}, 100, {"val_accuracy": 0.9}, windows=tuple(windows))
    spans = utilisation(made.read()).trace
    assert [s.phase for s in spans] == ["train", "idle", *["inference"] * 3]  # 10 ms of 6 s are less than 1/250
    assert (spans[0].start_s, spans[0].end_s) == (0.0, pytest.approx(1.01))
    assert [s.power_w for s in spans] == pytest.approx([160, 40, 320, 320, 320])


def test_without_a_gpu_the_cpus_count_and_its_columns_are_left_out():
    made = full(gpu=False)
    result = utilisation(made.read())
    assert result.of("inference")[0][1] == pytest.approx(0.4)
    section = UtilisationStudy().section(result, made.read())
    assert not [name for name in section.rows[0] if name.startswith("gpu")]
    assert "gpu" not in " ".join(c.title for c in section.tables[0].columns).lower()
    assert utilisation(RunBuilder(make_task()).read()) is None


def test_its_report_and_csv(tmp_path):
    folder = full().write(tmp_path / "run")
    write_report(folder)
    rows = list(csv.DictReader(io.StringIO((folder.path / "utilisation.csv").read_text())))
    assert [(row["param_width"], row["phase"]) for row in rows[:2]] == [("8", "inference"), ("8", "train")]
    assert float(rows[0]["gpu_utilisation"]) == pytest.approx(0.4)
    assert float(rows[0]["gpu_utilisation_per_w"]) == pytest.approx(0.0025)
    assert "memory_used_bytes" not in rows[0]
    parts = json.loads((folder.path / "report.json").read_text())["analyses"]
    (section,) = (part for part in parts if part["name"] == "utilisation")
    titles = [c["title"] if isinstance(c, dict) else c for c in section["tables"][0]["columns"]]
    assert CONDITIONS["gpu_sm_clock_mhz"][0] in titles
    assert CONDITIONS["memory_used_bytes"][0] not in titles
    page = (folder.path / "report.html").read_text()
    assert all(f'id="chart-utilisation-{name}"' in page for name in ("epochs", "power"))
    power = UtilisationStudy().section(utilisation(full().read()), full().read()).plots[1]
    assert [s.name for s in power.series] == ["power", "training", "validation", "inference"]
    assert OTHER not in [s.name for s in power.series]
    assert power.y.detail == "gross, estimated, cpu + gpu:0"


def test_it_is_part_of_the_report_where_a_gpu_told_its_utilisation_or_the_task_asks(tmp_path):
    for number, (made, shown) in enumerate(((full(), True), (full(gpu=False), False))):
        folder = made.write(tmp_path / str(number))
        write_report(folder)
        assert (folder.path / "utilisation.csv").exists() == shown
    asked = full(gpu=False, analyses=["frontier", "utilisation"]).write(tmp_path / "asked")
    write_report(asked)
    assert (asked.path / "utilisation.csv").exists()


def test_a_curve_says_which_training_it_is():
    made = full()
    add(made, 9)  # once more: the curve is of the first
    run = made.read()
    section = UtilisationStudy().section(utilisation(run), run)
    curves = section.plots[0]
    assert [s.name for s in curves.series] == ["width 8 (trial 0)", "width 9 (trial 1)", "width 10 (trial 2)"]
    assert curves.caption.endswith("against training energy, first training of each configuration")
    shown = {(row["param_width"].value, row["phase"]): row.get("curve_trial") for row in section.rows}
    assert {w: n for (w, phase), n in shown.items() if phase == "train"} == {8: 0, 9: 1, 10: 2}
    assert {n for (_, phase), n in shown.items() if phase != "train"} == {None}
