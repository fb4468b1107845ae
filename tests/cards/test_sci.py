"""Software carbon intensity: three terms, a score only where all are known, PUE once."""

from __future__ import annotations

import json

import pytest

from joulebench.cards.sci import SECONDS_PER_YEAR, sci_card
from joulebench.errors import InputError
from tests.card_subjects import GRID, subject_of
from tests.generation_runs import add, generation_task
from tests.run_factory import TRAINED, RunBuilder, full_run, make_task

HARDWARE = {"embodied_kg": 1000, "lifetime_years": 4, "resource_share": 0.5}


def one_trial() -> RunBuilder:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    return run


def card(run: RunBuilder, fields=None, trial=None, **manifest) -> dict:
    return json.loads(sci_card(subject_of(run, trial=trial, **manifest), fields or {}))


def test_all_three_terms_by_hand():
    found = card(one_trial(), HARDWARE, hardware=GRID)
    e = 0.01 * 1.5 / 3.6e6  # 10 mJ a sample
    m = 1000 * 1000 * (1 / 8000) / (4 * SECONDS_PER_YEAR) * 0.5
    assert found["E"]["value"] == pytest.approx(e, rel=1e-5)
    assert found["I"]["value"] == 100.0
    assert found["M"]["value"] == pytest.approx(m, rel=1e-5)
    assert found["operational"]["value"] == pytest.approx(e * 100, rel=1e-5)
    assert found["sci"]["value"] == pytest.approx(e * 100 + m, rel=1e-5)
    assert found["R"]["functional_unit"] == "one sample of inference"
    assert found["sci"]["high"] - found["sci"]["value"] == pytest.approx(
        100 * (found["E"]["high"] - found["E"]["value"]), rel=1e-3
    )


def test_training_stands_beside_the_score_and_is_not_in_it():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, **TRAINED)
    found = card(run, HARDWARE, hardware=GRID)
    assert found["training (not in the score)"]["value"] == 3.6e9
    assert found["sci"] == card(one_trial(), HARDWARE, hardware=GRID)["sci"]
    assert "training (not in the score)" not in card(one_trial())


def test_the_specifications_own_example_of_embodied_emissions():
    """1000 kg over four years, reserved for one hour: about 28 g."""
    run = RunBuilder(make_task())
    run.add({}, 1, {"val_accuracy": 0.9})  # one sample a second
    found = card(run, {**HARDWARE, "resource_share": 1}, trial=0, hardware=GRID)
    assert 3600 * found["M"]["value"] == pytest.approx(28.5, rel=0.01)


def test_the_kind_and_the_pue_stand_with_the_energy():
    found = card(one_trial(), hardware=GRID)["E"]
    assert (found["kind"], found["measured_share"], found["basis"]) == ("estimated", 0.0, "gross")
    assert found["pue"] == {"value": 1.5, "source": "a made-up building"}
    assert card(one_trial())["E"]["pue"] == "not given, so none applied"


def test_what_is_not_known_is_said_and_nothing_is_scored():
    found = card(one_trial())
    assert found["I"].startswith("not known")
    assert found["M"].startswith("not measured")
    assert found["operational"] == "not computed: I is not known"
    assert found["sci"] == "not computed: I and M are not known"
    assert found["E"]["value"] == pytest.approx(0.01 / 3.6e6, rel=1e-5)
    assert card(one_trial(), hardware=GRID)["sci"] == "not computed: M is not known"
    assert card(one_trial(), HARDWARE)["sci"] == "not computed: I is not known"


def test_a_phase_can_be_chosen():
    run = RunBuilder(generation_task())
    add(run, {"batch_size": 1}, stage="default")
    assert card(run)["R"]["functional_unit"] == "one token of request"
    assert card(run, {"phase": "prefill"})["R"]["functional_unit"] == "one prompt token of prefill"
    with pytest.raises(InputError, match="no phase 'prefil'; did you mean 'prefill'"):
        card(run, {"phase": "prefil"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embodied_kg": 5}, "missing: lifetime_years, resource_share"),
        ({**HARDWARE, "resource_share": 1.5}, "above 0 and at most 1"),
        ({**HARDWARE, "embodied_kg": 0}, "must be a number above 0"),
        ({**HARDWARE, "embodied_kg": float("inf")}, "must be a number above 0"),
        ({**HARDWARE, "embodied_kg": "much"}, "must be a number above 0"),
        ({**HARDWARE, "embodied_kg": True}, "must be a number above 0"),
        ({"embodied": 5}, "did you mean 'embodied_kg'"),
    ],
)
def test_embodied_emissions_are_given_whole_or_not_at_all(fields, message):
    with pytest.raises(InputError, match=message):
        card(one_trial(), fields)


def test_nothing_measured_and_replays_are_refused():
    with pytest.raises(InputError, match="replayed"):
        card(one_trial(), replay="65 W")
    run = RunBuilder(make_task(), watts={})
    run.add({}, 8000, {"val_accuracy": 0.9})
    with pytest.raises(InputError, match="E: the energy of phase 'inference' was not measured"):
        card(run, trial=0)


def test_several_runs_have_an_interval_between_them():
    found = card(full_run(), trial=0)["E"]
    assert (found["n"], found["varied"]) == (2, "runs of the configuration")
