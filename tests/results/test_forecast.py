"""Telling a training's end from its first epochs: exact where it can be, honest about the rest."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.results.forecast import (
    MIN_REGRESSED,
    RULES,
    Segment,
    Training,
    calibrate,
    calibrating,
    forecast,
    predict,
)
from tests.factories import fault
from tests.run_factory import RunBuilder, make_task
from tests.trainings import EPOCH_J, EPOCH_S, STARTUP_J, UNITS, training

TOTAL = 10 * UNITS
ALONE = [rule for rule in RULES if rule != "calibrated"]
positive = st.floats(0.01, 1e6)


def test_each_rule_by_hand():
    begun = training(excess=0.2).first(2)  # 30 J, 60 J, 50 J
    assert predict(begun, TOTAL, "proportional").total == pytest.approx(140 * 5)
    assert predict(begun, TOTAL, "two-term").total == pytest.approx(30 + 110 * 5)
    assert predict(begun, TOTAL, "steady").total == pytest.approx(30 + 110 + 8 * 50)
    assert predict(begun, TOTAL, "steady").startup == STARTUP_J


@given(st.integers(2, 8), positive, positive, st.floats(0.0, 3.0))
def test_steady_is_exact_where_later_epochs_are_alike(seen, startup, epoch, excess):
    segments = [Segment(7, epoch * (1 + excess), 1.0), *[Segment(7, epoch, 1.0)] * 9]
    whole = Training(startup, 0.0, tuple(segments))
    found = predict(whole.first(seen), whole.units, "steady")
    assert found.total == pytest.approx(whole.total("energy_j"))


@given(st.integers(1, 9), positive, positive)
def test_two_term_is_exact_without_an_excess_and_proportional_without_a_start(seen, startup, epoch):
    whole = Training(startup, 0.0, (Segment(7, epoch, 1.0),) * 10)
    assert predict(whole.first(seen), 70, "two-term").total == pytest.approx(whole.total("energy_j"))
    bare = Training(0.0, 0.0, whole.segments)
    assert predict(bare.first(seen), 70, "proportional").total == pytest.approx(bare.total("energy_j"))


@given(st.sampled_from(ALONE), st.integers(2, 9), st.floats(0.01, 100))
def test_predictions_do_not_depend_on_the_unit_of_energy(rule, seen, factor):
    begun = training(excess=0.3, noise=0.02).first(seen)
    other = Training(
        STARTUP_J * factor, 0.0, tuple(Segment(s.units, s.energy_j * factor, s.seconds) for s in begun.segments)
    )
    a, b = predict(begun, TOTAL, rule), predict(other, TOTAL, rule)
    assert b.total == pytest.approx(a.total * factor)


@pytest.mark.parametrize("rule", ALONE)
def test_a_finished_training_is_predicted_as_it_was(rule):
    whole = training(noise=0.1)
    found = predict(whole, whole.units, rule)
    assert found.total == pytest.approx(whole.total("energy_j"))
    if rule == "steady":
        assert (found.low, found.high) == (found.total, found.total)


def test_what_cannot_be_told_is_none():
    begun = training().first(1)
    assert predict(begun, TOTAL, "steady") is None  # one epoch: its own excess is not known
    assert predict(begun.first(0), TOTAL, "two-term") is None
    assert predict(begun, UNITS - 1, "two-term") is None  # more was done than there is
    unread = Training(None, 1.0, (Segment(UNITS, None, EPOCH_S),))
    assert predict(unread, TOTAL, "two-term") is None
    assert predict(unread, TOTAL, "two-term", "seconds").total == pytest.approx(1 + 10 * EPOCH_S)
    with pytest.raises(ValueError, match="finished trainings"):
        predict(begun, TOTAL, "calibrated")


def test_the_interval_of_steady_holds_the_truth_as_often_as_it_says():
    held, n = 0, 400
    for seed in range(n):
        whole = training(epochs=20, excess=0.2, noise=0.03, seed=seed)
        found = predict(whole.first(6), whole.units, "steady")
        held += found.low <= whole.total("energy_j") <= found.high
    assert 0.92 <= held / n <= 0.98


def test_few_finished_trainings_lend_their_mean_excess():
    finished = [training(excess=0.2, scale=s) for s in (1.0, 2.0, 5.0)]
    new = training(excess=0.2, scale=3.0)
    found = calibrate(finished, 1).predict(new.first(1), TOTAL)
    assert found.total == pytest.approx(new.total("energy_j"))
    assert calibrate(finished[:1], 1) is None


def test_many_finished_trainings_mend_a_noisy_first_reading():
    """The first epoch's power reading is off at random, as a sensor's that had seconds; later ones are not."""
    reads = [0.9, 1.1, 1.05, 0.93, 1.0, 1.08, 0.95, 1.02, 0.91, 1.09]
    finished = [training(sensor=r, scale=1 + i, noise=0.002, seed=i) for i, r in enumerate(reads)]
    new = training(sensor=1.1, scale=4.5)
    found = calibrate(finished, 1).predict(new.first(1), TOTAL)
    truth = new.total("energy_j")
    naive = predict(new.first(1), TOTAL, "two-term").total
    assert abs(found.total / truth - 1) < 0.02 < abs(naive / truth - 1)
    assert found.low <= truth <= found.high


def test_a_calibration_is_for_one_point_of_the_training():
    finished = [training(excess=0.2, scale=s) for s in (1.0, 2.0)]
    assert calibrate(finished, 1).predict(training().first(2), TOTAL) is None
    assert calibrate(finished, 10) is None  # nothing of them is left to compare with


def test_a_calibration_stands_with_features_that_do_not_vary():
    finished = [training(excess=0.1, seed=s) for s in range(MIN_REGRESSED + 1)]
    found = calibrate(finished, 1).predict(training(excess=0.1, scale=50.0).first(1), TOTAL)
    assert found.total == pytest.approx(training(excess=0.1, scale=50.0).total("energy_j"), rel=1e-3)


def test_windows_become_a_training():
    run = RunBuilder(make_task(), watts={"cpu": 10.0, "ram": 5.0})
    windows = [
        run.window("propose", 9.0), run.window("build", 2.0), run.window("train", 4.0, 100),
        run.window("validate", 1.0), run.window("train", 3.0, 100), run.window("score", 7.0),
    ]  # fmt: skip
    found = Training.of(windows, ("gpu", "cpu", "ram"))
    assert (found.startup_j, found.startup_s) == (30.0, 2.0)
    assert found.segments == (Segment(100, 75.0, 5.0), Segment(100, 45.0, 3.0))
    assert Training.of(windows, ("cpu",)).segments[0].energy_j == 50.0
    assert Training.of(windows, ("gpu",)).total("energy_j") is None


def test_a_faulty_window_leaves_time_only():
    run = RunBuilder(make_task())
    windows = [run.window("build", 1.0), run.window("train", 2.0, 10, fault=fault("counter reset"))]
    found = Training.of(windows, ("cpu",))
    assert found.total("energy_j") is None
    assert found.total("seconds") == 3.0


def test_the_first_training_of_a_process_teaches_nothing():
    run = RunBuilder(make_task())
    run.fail({}, "oom", "out of memory")  # it never trained
    for session in (0, 0, 1, 1):
        run.add({}, 100, {}, session=session)
    run.add({}, 100, {}, session=1, status="invalid")
    assert [t.trial for t in calibrating(run.trials)] == [2, 4]


def test_a_forecast_chooses_what_is_told_best():
    assert forecast(training().first(0), 10) is None
    whole = training(excess=0.2, noise=0.01)
    assert forecast(whole.first(1), 10).energy.rule == "two-term"
    assert forecast(whole.first(2), 10).energy.rule == "steady"
    finished = [training(excess=0.2, noise=0.01, seed=s) for s in range(1, 4)]
    found = forecast(whole.first(1), 10, finished)
    assert found.energy.rule == found.time.rule == "calibrated"
    assert found.energy.low < whole.total("energy_j") < found.energy.high
    assert "J (" in found.words


def test_an_energy_budget_is_broken_only_when_it_is_certain():
    whole = training(excess=1.0)  # 100 J, then 50 J each: 580 J in all
    assert forecast(whole.first(1), 10).energy.total == pytest.approx(1030)
    assert forecast(whole.first(1), 10).over_budget(600) is None  # the first epoch's excess is not known yet
    assert forecast(whole.first(2), 10).over_budget(600) is None
    assert "at least 580 J" in forecast(whole.first(2), 10).over_budget(500)
    assert forecast(whole.first(1), 10).over_budget(100) is not None  # spent already


@given(st.integers(1, 9), st.floats(0.0, 0.3), st.integers(0, 20))
def test_a_budget_that_holds_what_is_spent_and_the_interval_is_kept(seen, noise, seed):
    found = forecast(training(noise=noise, seed=seed).first(seen), 10)
    generous = max(found.spent_j, found.energy.high or found.energy.total, found.at_least_j or 0.0)
    assert found.over_budget(generous) is None


def test_more_epochs_than_announced_are_all_there_are():
    found = forecast(training(epochs=3), 2)
    assert found.energy.total == pytest.approx(STARTUP_J + 3 * EPOCH_J)
    assert math.isfinite(found.time.total)
