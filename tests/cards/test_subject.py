"""Which configuration a card is about."""

from __future__ import annotations

import pytest

from joulebench.cards.boamps import boamps_card
from joulebench.cards.eu import eu_card
from joulebench.cards.hub import FIELDS, hub_card, metadata
from joulebench.cards.sci import sci_card
from joulebench.cards.subject import hardware_used
from joulebench.errors import InputError
from tests.card_subjects import GRID, subject_of
from tests.cards.test_boamps import ENVIRONMENT, INFRA
from tests.factories import fault
from tests.run_factory import RunBuilder, confirmed_run, full_run, make_task


def test_without_a_choice_it_is_the_frontiers_best_in_quality():
    found = subject_of(full_run())
    best = max(found.summary.members, key=lambda m: m.outcomes["val_accuracy"].value.mean)
    assert found.member.trials == best.trials
    assert "val_accuracy" in found.why


def test_quality_comes_before_energy_in_that_choice():
    objectives = full_run().task.model_dump(mode="json")["objectives"]
    swapped = {name: objectives[name] for name in ("samples_per_j", "val_accuracy")}
    assert subject_of(full_run(make_task(swapped))).member.trials == subject_of(full_run()).member.trials


def test_without_a_frontier_it_is_the_default_configuration():
    found = subject_of(full_run(make_task(analyses=["repeatability"])))
    assert found.member.trials == (0, 1)
    assert "default configuration" in found.why


def test_a_trial_brings_every_run_of_its_configuration():
    found = subject_of(full_run(), trial=1)
    assert found.member.trials == (0, 1)
    assert [t.trial for t in found.trials] == [0, 1]
    (target,) = found.targets
    gross = found.phase(target.phase, target.families).gross
    assert gross.n == 2
    assert gross.varied == "runs of the configuration"


def test_a_trial_without_a_result_is_refused_by_name():
    with pytest.raises(InputError, match=r"no trial 99 \(it has 0 … 13\)"):
        subject_of(full_run(), trial=99)
    with pytest.raises(InputError, match="trial 5 is 'oom'"):
        subject_of(full_run(), trial=5)


def test_a_run_without_any_result_asks_for_a_choice():
    run = RunBuilder(make_task())
    run.fail({}, "failed", "broke")
    with pytest.raises(InputError, match="choose one with --trial"):
        subject_of(run)


def test_training_is_one_value_a_training():
    one = subject_of(full_run(), trial=3).training
    assert one is not None
    assert (one.gross.mean, one.gross.n, one.gross.low) == (240.0, 1, 240.0)  # the default's two differ by nothing
    assert (one.seconds.mean, one.units, one.gross.kind) == (pytest.approx(3.0), (1200,), "estimated")
    both = subject_of(full_run(), trial=0).training
    assert both is not None
    assert (both.gross.n, both.gross.varied) == (2, "runs of the configuration")


def test_a_faulty_training_window_is_no_training_energy():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    reset = {"fault": fault("counter reset")}
    windows = [w.model_copy(update=reset) if w.phase == "train" else w for w in run.trials[0].windows]
    run.trials[0] = run.trials[0].model_copy(update={"windows": tuple(windows)})
    assert subject_of(run).training is None


def test_trainings_are_added_up_over_the_domains_that_all_of_them_read():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.watts = {"cpu": 60.0}
    run.add({}, 8000, {"val_accuracy": 0.9})
    found = subject_of(run, trial=0).training
    assert found is not None
    assert found.gross.domains == ("cpu",)
    assert found.gross.mean == pytest.approx(180.0)


def test_carbon_is_joules_times_pue_times_intensity_once():
    assert subject_of(full_run(), hardware=GRID).carbon_g(240.0) == pytest.approx(0.01)
    assert subject_of(full_run()).carbon_g(240.0) is None


def test_the_device_that_worked():
    host = {"cpu": "A CPU", "logical_cpus": 8, "accelerators": ["A GPU", "A GPU"]}
    on_gpu = {"host": host, "device": "cuda:0", "torch": {"gpu": "A GPU"}}
    assert hardware_used(subject_of(full_run(), environment=on_gpu)) == "1 × A GPU"
    assert (
        hardware_used(subject_of(full_run(), environment={"host": host, "device": "cpu"}))
        == "A CPU, 8 logical CPUs"
    )
    assert hardware_used(subject_of(full_run(), environment={})) is None


FORMATS = {"hf": hub_card, "sci": sci_card, "eu": eu_card, "boamps": boamps_card}
SITE = {"environment": ENVIRONMENT, "hardware": GRID}


def _disturbed(run: RunBuilder) -> None:
    """One trial loses its windows to other processes."""
    record = run.trials[3]
    busy = {"other_load_cpus": 0.9}
    windows = tuple(w.model_copy(update={"conditions": busy}) for w in record.windows)
    run.trials[3] = record.model_copy(update={"windows": windows})


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("busy", [False, True])
def test_labels_say_what_was_not_confirmed_and_that_the_machine_was_busy(confirmed, busy):
    run = confirmed_run(confirmed=confirmed)
    if busy:
        _disturbed(run)
    labels = set(subject_of(run, trial=1).labels)
    assert labels == ({"busy machine"} if busy else set()) | (set() if confirmed else {"provisional"})


def test_the_default_was_not_chosen_by_its_numbers():
    assert subject_of(confirmed_run(confirmed=False), trial=0).labels == {}


def test_a_run_that_was_allowed_a_busy_machine_is_labelled():
    task = make_task(protocol={"window_s": 1.0, "idle_s": 2.0, "allow_busy": True})
    run = RunBuilder(task)
    run.add({}, 8000, {"val_accuracy": 0.9})
    assert set(subject_of(run).labels) == {"busy machine"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_card_shows_the_labels(name):
    run = confirmed_run(confirmed=False, measured=True)
    clean = subject_of(confirmed_run(measured=True), trial=1, **SITE)
    _disturbed(run)
    busy = subject_of(run, trial=1, **SITE)
    for text in busy.labels.values():
        assert text in FORMATS[name](busy, INFRA if name == "boamps" else {})
        assert text not in FORMATS[name](clean, INFRA if name == "boamps" else {})
    assert len(busy.labels) == 2


def test_a_hubs_numbers_carry_the_labels_in_their_names():
    results = metadata(subject_of(confirmed_run(confirmed=False), trial=1), dict.fromkeys(FIELDS)).eval_results
    (energy,) = [r.metric_name for r in results if r.metric_type == "samples_per_j"]
    assert energy.endswith(", provisional)")
