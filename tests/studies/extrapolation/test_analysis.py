"""Extrapolation rules judged on finished trainings, and the section on them."""

from __future__ import annotations

import pytest

from joulebench.results.forecast import Segment, Training
from joulebench.studies.extrapolation.analysis import (
    Case,
    Extrapolation,
    extrapolation,
    first_excess,
    startup_share,
)
from joulebench.studies.extrapolation.section import ExtrapolationStudy
from tests.run_factory import ENERGY, RunBuilder, make_task
from tests.trainings import training

OBJECTIVES = {"j_per_training_sample": {"goal": "minimize", **ENERGY, "phase": "train"}}


def study(widths=(4, 8, 16, 32), epochs=5, measured=False) -> RunBuilder:
    """Trainings of 3 s an epoch, the first half as long again, validation 1 s; a second of build."""
    task = make_task(OBJECTIVES, analyses=["extrapolation"])
    run = RunBuilder(task, measured=measured)
    for width in widths:
        windows = [run.window("propose", 0.5), run.window("build", 1.0)]
        for number in range(epochs):
            windows.append(run.window("train", width / 8 * (4.5 if number == 0 else 3.0), 1200))
            windows.append(run.window("validate", 1.0))
        windows.append(run.window("record", 0.1))
        run.add({"width": width}, 1000, {}, windows=tuple(windows))
    return run


def test_errors_by_hand():
    """Start-up 1 s, epochs of 5.5, 4, 4, 4, 4 s (width 8): 22.5 s × 80 W."""
    run = study(widths=(8,))
    result = extrapolation(run.read())
    (case,) = result.cases
    assert case.training.total("energy_j") == pytest.approx(22.5 * 80)
    assert result.of("energy_j", "proportional", 1).median_error.mean == pytest.approx(32.5 / 22.5 - 1)
    assert result.of("energy_j", "two-term", 1).bias == pytest.approx(28.5 / 22.5 - 1)
    assert result.of("energy_j", "steady", 2).median_error.mean == pytest.approx(0, abs=1e-12)
    assert result.of("energy_j", "steady", 1) is None
    assert result.of("energy_j", "calibrated", 1) is None  # nothing to learn from
    assert result.startup_share == pytest.approx(1 / 22.5)
    assert result.first_excess == pytest.approx(5.5 / 4 - 1)
    assert result.points == (1, 2, 3, 4)
    assert result.of("energy_j", "two-term", 3).share == pytest.approx(0.6)


def test_calibrated_never_sees_its_own_configuration():
    """Two configurations that go on in opposite ways: each is predicted from the other, and so wrongly."""
    rising = Training(0.0, 0.0, (Segment(1, 1.0, 1.0), Segment(1, 2.0, 1.0)))
    falling = Training(0.0, 0.0, (Segment(1, 2.0, 1.0), Segment(1, 1.0, 1.0)))
    result = Extrapolation([Case("up", rising)] * 3 + [Case("down", falling)] * 3)
    errors = result.of("energy_j", "calibrated", 1)
    assert errors.n == 6
    assert errors.median_error.mean == pytest.approx(0.75)  # 1.5 for 3, and 6 for 3: half of each size, 0.5 and 1
    assert errors.p95_error.mean == pytest.approx(1.0)


def test_intervals_are_judged():
    cases = [Case(i, training(epochs=8, excess=0.2, noise=0.02, seed=i, scale=1 + i / 10)) for i in range(30)]
    accuracy = Extrapolation(cases).of("energy_j", "steady", 4)
    assert accuracy.with_interval == 30
    assert 0.8 <= accuracy.covered <= 1
    assert accuracy.half_width < 0.1
    assert accuracy.median_error.low < accuracy.median_error.mean < accuracy.median_error.high


def test_known_models_are_as_few_as_asked():
    cases = [Case(i, training(excess=0.2, scale=1 + i)) for i in range(12)]
    assert Extrapolation(cases, known_models=1).of("energy_j", "calibrated", 1) is None
    assert Extrapolation(cases, known_models=2).of("energy_j", "calibrated", 1).n == 12


def test_what_is_not_known_is_left_out():
    unread = Training(None, 0.0, (Segment(5, None, 1.0), Segment(5, None, 1.0)))
    assert first_excess(unread) is startup_share(unread) is None
    result = Extrapolation([Case(0, unread)])
    assert result.of("energy_j", "two-term", 1) is None
    assert result.of("seconds", "two-term", 1).median_error.mean == 0


def test_no_training_of_two_epochs_is_no_section():
    run = study(epochs=1)
    assert extrapolation(run.read()) is None


def test_kind_and_trials_left_out_are_given():
    built = study()
    built.fail({"width": 5}, "oom", "out of memory")
    result = extrapolation(built.read())
    assert (result.kind, result.lost, len(result.cases)) == ("estimated", 1, 4)
    assert extrapolation(study(measured=True).read()).kind == "measured"


def test_the_section_holds_every_value():
    run = study().read()
    section = ExtrapolationStudy().section(extrapolation(run), run)
    rows = section.rows
    assert {(r["trainings"], r["configurations"]) for r in rows} == {(4, 4)}
    assert {r["rule"] for r in rows} == {"proportional", "two-term", "steady", "calibrated"}
    assert rows[0]["share_seen"] == pytest.approx(0.2)
    assert len(section.plots) == 2
