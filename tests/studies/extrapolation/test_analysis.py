"""Rules judged on finished trainings, and the report on them."""

from __future__ import annotations

import csv
import io

import pytest

from joulebench.reporting import write_report
from joulebench.results.forecast import Segment, Training
from joulebench.studies.extrapolation.analysis import (
    Case,
    Extrapolation,
    extrapolation,
    first_excess,
    startup_share,
)
from joulebench.studies.extrapolation.section import answer, extrapolation_section, sentences
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
    found = extrapolation(run.read())
    (case,) = found.cases
    assert case.training.total("energy_j") == pytest.approx(22.5 * 80)
    assert found.of("energy_j", "proportional", 1).median_error.mean == pytest.approx(32.5 / 22.5 - 1)
    assert found.of("energy_j", "two-term", 1).bias == pytest.approx(28.5 / 22.5 - 1)
    assert found.of("energy_j", "steady", 2).median_error.mean == pytest.approx(0, abs=1e-12)
    assert found.of("energy_j", "steady", 1) is None
    assert found.of("energy_j", "calibrated", 1) is None  # nothing to learn from
    assert found.startup_share == pytest.approx(1 / 22.5)
    assert found.first_excess == pytest.approx(5.5 / 4 - 1)
    assert found.points == (1, 2, 3, 4)
    assert found.of("energy_j", "two-term", 3).share == pytest.approx(0.6)


def test_calibrated_never_sees_its_own_configuration():
    """Two configurations that go on in opposite ways: each is told by the other, and so wrongly."""
    rising = Training(0.0, 0.0, (Segment(1, 1.0, 1.0), Segment(1, 2.0, 1.0)))
    falling = Training(0.0, 0.0, (Segment(1, 2.0, 1.0), Segment(1, 1.0, 1.0)))
    found = Extrapolation([Case("up", rising)] * 3 + [Case("down", falling)] * 3)
    errors = found.of("energy_j", "calibrated", 1)
    assert errors.n == 6
    assert errors.median_error.mean == pytest.approx(0.75)  # 1.5 for 3, and 6 for 3: half of each size, 0.5 and 1
    assert errors.p95_error.mean == pytest.approx(1.0)


def test_intervals_are_judged():
    cases = [Case(i, training(epochs=8, excess=0.2, noise=0.02, seed=i, scale=1 + i / 10)) for i in range(30)]
    found = Extrapolation(cases).of("energy_j", "steady", 4)
    assert found.with_interval == 30
    assert 0.8 <= found.covered <= 1
    assert found.half_width < 0.1
    assert found.median_error.low < found.median_error.mean < found.median_error.high


def test_known_models_are_as_few_as_asked():
    cases = [Case(i, training(excess=0.2, scale=1 + i)) for i in range(12)]
    assert Extrapolation(cases, known_models=1).of("energy_j", "calibrated", 1) is None
    assert Extrapolation(cases, known_models=2).of("energy_j", "calibrated", 1).n == 12


def test_what_is_not_known_is_left_out():
    unread = Training(None, 0.0, (Segment(5, None, 1.0), Segment(5, None, 1.0)))
    assert first_excess(unread) is startup_share(unread) is None
    found = Extrapolation([Case(0, unread)])
    assert found.of("energy_j", "two-term", 1) is None
    assert found.of("seconds", "two-term", 1).median_error.mean == 0


def test_no_training_of_two_epochs_is_no_section():
    run = study(epochs=1)
    assert extrapolation(run.read()) is None


def test_the_answer_names_every_rule():
    run = study()
    found = extrapolation(run.read())
    text = answer(found)
    assert "two-term" in text
    assert "4 trainings of 4 configurations" in text
    assert "estimated" in text
    assert any("Start-up took" in s for s in sentences(found))
    measured = study(measured=True)
    assert "(measured)" in answer(extrapolation(measured.read()))


def test_the_section_holds_every_value(tmp_path):
    run = study()
    run.fail({"width": 5}, "oom", "out of memory")
    section = extrapolation_section(extrapolation(run.read()))
    rows = list(csv.DictReader(io.StringIO(section.csv)))
    assert {r["rule"] for r in rows} == {"proportional", "two-term", "steady", "calibrated"}
    assert float(rows[0]["share_seen"]) == pytest.approx(0.2)
    assert len(section.plots) == 2
    assert any("1 trials have no training" in s for s in section.sentences)
    page = write_report(run.write(tmp_path / "run"))
    assert "The whole training from its first epochs" in page.page.with_name("report.md").read_text()
