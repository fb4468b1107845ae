"""The published tables: what they are read as, and what the analyses make of them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from joulebench.errors import InputError
from joulebench.studies.extrapolation.analysis import Extrapolation
from joulebench.studies.prediction.analysis import evaluate as predict_energy
from joulebench.studies.pue.analysis import Subject, compare_scenarios
from tests.ecnas.published_tables import EcNasRun, cases, read_ec_nas, samples

ROW = {
    "hash": "001a", "adj": "b110101", "ops": "-1,2,2,-2", "params": "1756298", "e0_kwh": "0.001",
    "emid_kwh": "0.003", "e4_kwh": "0.009", "mid_steps": "156", "steps": "625", "tmid_s": "20", "t4_s": "80",
    "gpu_w": "150", "cpu_w": "100", "val4": "0.4",
}  # fmt: skip


def write(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_row_is_a_training_in_joules(tmp_path):
    (run,) = read_ec_nas(write(tmp_path / "t.csv", ROW))
    (case,) = cases([run])
    assert case.training.startup_j == pytest.approx(3600.0)
    assert [s.energy_j for s in case.training.segments] == pytest.approx([7200.0, 21600.0])
    assert [s.seconds for s in case.training.segments] == [20.0, 60.0]
    assert case.training.units == 625


def test_repeats_of_an_architecture_are_one_sample(tmp_path):
    runs = read_ec_nas(write(tmp_path / "t.csv", ROW, {**ROW, "e4_kwh": "0.011"}, {**ROW, "hash": "002b"}))
    found = samples(runs)
    assert [s.label for s in found] == ["001a", "002b"]
    assert found[0].energy_j == pytest.approx(36000.0)
    assert found[0].figures["parameters"] == 1756298


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"e4_kwh": "0.002"}, "line 2: energy, steps and time must grow"),
        ({"t4_s": "soon"}, "line 2: could not convert"),
        ({"gpu_w": "nan"}, "line 2: a number that is not finite"),
        ({"ops": "-1,9,2,-2"}, "line 2: operations"),
        ({"params": "5"}, "the table says 5"),
    ],
)
def test_a_row_that_is_no_training_is_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_ec_nas(write(tmp_path / "t.csv", {**ROW, **change}))


def test_another_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="it lacks adj"):
        read_ec_nas(write(tmp_path / "t.csv", {"hash": "1"}))
    with pytest.raises(InputError, match="cannot be read"):
        read_ec_nas(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="no rows"):
        read_ec_nas(tmp_path / "empty.csv")


@pytest.fixture(scope="module")
def quarter_runs(shared_data: Path) -> list[EcNasRun]:
    """91 architectures × 3, a quarter of each seen at its middle; reading checks every parameter count."""
    return read_ec_nas(shared_data / "ecnas_4v_measured.csv")


@pytest.fixture(scope="module")
def half_runs(shared_data: Path) -> list[EcNasRun]:
    """2,532 architectures, once each, half seen."""
    return read_ec_nas(shared_data / "ecnas_5v_measured.csv")


@pytest.fixture(scope="module")
def quarter(quarter_runs) -> Extrapolation:
    return Extrapolation(cases(quarter_runs))


@pytest.fixture(scope="module")
def half(half_runs) -> Extrapolation:
    return Extrapolation(cases(half_runs))


def test_half_a_run_tells_the_whole(half):
    two, proportional = (half.of("energy_j", rule, 1) for rule in ("two-term", "proportional"))
    assert two.n == 2532
    assert two.share == pytest.approx(0.5, abs=0.001)
    assert two.median_error.mean <= 0.008
    assert two.p95_error.mean <= 0.035
    assert proportional.median_error.mean > 0.06  # start-up taken for work


def test_half_a_run_calibrated_is_no_worse(half):
    two, calibrated = (half.of("energy_j", rule, 1) for rule in ("two-term", "calibrated"))
    assert calibrated.median_error.mean <= two.median_error.mean
    assert calibrated.p95_error.mean <= two.p95_error.mean
    assert 0.92 <= calibrated.covered <= 0.97
    assert half.of("seconds", "calibrated", 1).median_error.mean < 0.002


def test_a_quarter_of_a_run_needs_to_know_others(quarter):
    two, calibrated = (quarter.of("energy_j", rule, 1) for rule in ("two-term", "calibrated"))
    assert (two.n, two.models) == (273, 91)
    assert two.median_error.mean == pytest.approx(0.102, abs=0.001)
    assert calibrated.n == 273
    assert calibrated.median_error.high < 0.016
    assert calibrated.p95_error.mean < 0.04
    assert 0.92 <= calibrated.covered <= 0.97
    assert quarter.first_excess == pytest.approx(0.149, abs=0.001)


def test_the_mean_excess_of_others_alone_leaves_the_noise_of_one_epoch(quarter_runs):
    """Fewer finished trainings than a regression needs: bias is mended, the first epoch's sensor noise is not."""
    few = Extrapolation(cases(quarter_runs), known_models=2).of("energy_j", "calibrated", 1)
    assert 0.015 < few.median_error.mean < 0.05


def test_figures_tell_the_energy_of_architectures_held_out(half_runs):
    found = predict_energy(samples(half_runs))
    errors = {s.rule.name: s.median_error for s in found.scores}
    assert found.models == 351  # of 2,532: the others are twins in every figure
    assert errors["mean"].mean == pytest.approx(0.242, abs=0.003)
    assert errors["parameters"].high < errors["mean"].low
    assert errors["all, quadratic"].high < errors["parameters"].low


def test_measured_domains_scale_apart(quarter_runs):
    """GPU and CPU joules of one measured run each: a factor on all moves nothing, counting the GPU alone does."""
    subjects = [
        Subject(r.model, {"gpu": r.gpu_w * r.end_s, "cpu": r.cpu_w * r.end_s}, (r.val_accuracy,))
        for r in quarter_runs[::3]
    ]
    found = compare_scenarios(subjects, 1.56)
    assert not found.constant.changes
    alone = next(v for v in found.effects if v.scenario.name == "GPU joules only")
    assert alone.moved > 40
    assert 0.9 < alone.kendall < 0.99
