"""The energy items of the EU's documentation form: MWh, days and FLOP, and "not measured" where nobody knows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.cards.eu import eu_card
from joulebench.errors import InputError
from tests.card_subjects import leaves, subject_of
from tests.generation_runs import add, generation_task
from tests.run_factory import TRAINED, RunBuilder, full_run, make_task

COMPUTE = "Computational resources (during training)"
ENERGY = "Energy consumption (during training and inference)"


def card(run: RunBuilder, fields=None, trial=None, **manifest) -> dict:
    return json.loads(eu_card(subject_of(run, trial=trial, **manifest), fields or {}))


def test_training_in_the_forms_units():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    found = card(run)
    energy = found[ENERGY]["Amount of energy used for training"]
    assert energy["value"] == pytest.approx(240 / 3.6e9, rel=1e-5)
    assert (energy["unit"], energy["kind"], energy["n"]) == ("MWh", "estimated", 1)
    assert "low" not in energy
    assert energy["varied"] == "one training run: no interval"
    time = found[COMPUTE]["Training time"]
    assert time["wall_clock"]["value"] == pytest.approx(3 / 86400, rel=1e-5)
    assert time["range"] == "less than 1 month"
    assert "Example CPU" in time["hardware"]


def test_the_method_names_every_source():
    text = card(full_run(), trial=3)[ENERGY]["Measurement methodology"]
    assert "cpu by cpu_load_model (estimated): TDP 85 W × load" in text
    assert "ram by ram_model (estimated)" in text
    assert "measured share 0 %" in text


def test_inference_is_asked_for_in_flop_and_joules_stand_beside_it():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    found = card(run)
    assert found[ENERGY]["Benchmarked amount of computation used for inference"] == {
        "inference": {"value": 16_000_000.0, "unit": "FLOP", "task": "one sample of inference"}
    }
    joules = found["Energy of inference, estimated (not asked by the form)"]["inference"]
    assert joules["value"] == pytest.approx(0.01)
    assert joules["unit"] == "J/sample"


def test_joules_are_called_measured_only_if_all_of_them_were():
    def heading(watts, measured):
        run = RunBuilder(make_task(), watts=watts, measured=measured)
        run.add({}, 8000, {"val_accuracy": 0.9})
        return next(key for key in card(run) if key.startswith("Energy of inference"))

    assert heading({"cpu": 60.0}, True) == "Energy of inference, measured (not asked by the form)"
    assert heading({"gpu": 60.0, "ram": 20.0}, False) == "Energy of inference, estimated (not asked by the form)"


def test_what_nobody_knows_is_not_measured():
    run = RunBuilder(generation_task())
    add(run, {"batch_size": 1}, stage="default")
    found = card(run, environment={})
    assert found[COMPUTE]["Training time"] == "not measured"
    assert found[COMPUTE]["Amount of computation used for training"] == "not measured"
    assert found[COMPUTE]["Measurement methodology"] == "not known"
    assert found[ENERGY]["Amount of energy used for training"] == "not measured"
    assert found[ENERGY]["Measurement methodology"] == "not measured"


def test_what_the_user_knows_is_marked_as_given():
    fields = {"training_flop": 3.1e12, "training_flop_methodology": "counted by hand", "model_name": "tiny"}
    found = card(full_run(), fields)
    assert found["model"] == "tiny"
    assert found[COMPUTE]["Amount of computation used for training"] == {
        "value": 3.1e12, "unit": "FLOP", "source": "given with --set",
    }  # fmt: skip
    assert found[COMPUTE]["Measurement methodology"] == "counted by hand"
    with pytest.raises(InputError, match="did you mean 'training_flop'"):
        card(full_run(), {"training_flops": 1})


def test_training_is_counted_from_the_record_and_what_is_given_wins():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, **TRAINED)
    found = card(run)[COMPUTE]
    assert found["Amount of computation used for training"] == {
        "value": 3.6e9, "unit": "FLOP", "source": "counted from the model, not observed",
    }  # fmt: skip
    assert found["Measurement methodology"].startswith("Counted by torch's FlopCounterMode")
    found = card(run, {"training_flop": 4e9})[COMPUTE]
    assert found["Amount of computation used for training"]["source"] == "given with --set"
    assert found["Measurement methodology"] == "not known"  # of the given number


def test_training_counted_in_part_is_the_least():
    run = RunBuilder(make_task())
    costs = TRAINED["costs"].model_copy(update={"train_unsupported_ops": {"aten::mv": 2}})
    run.add({}, 8000, {"val_accuracy": 0.9}, **{**TRAINED, "costs": costs})
    found = card(run)[COMPUTE]["Amount of computation used for training"]
    assert found["source"].endswith("at least: no counting rule for aten::mv")


def test_a_replay_is_refused():
    with pytest.raises(InputError, match="replayed"):
        card(full_run(), replay="65 W")


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_hostile_text_stays_text(text):
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    meters = [{"domain": "cpu", "source": "cpu_load_model", "method": text}]
    subject = subject_of(run, environment={"host": {"cpu": text}}, meters=meters, joulebench=text, digest=text)
    made = eu_card(subject, {"training_flop_methodology": f"x{text}"})
    made.encode("ascii")
    assert None not in leaves(json.loads(made, parse_constant=lambda name: pytest.fail(name)))
