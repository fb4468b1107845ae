"""The model hub's card: huggingface_hub reads it, its grams and joules are right, and nothing in it breaks out."""

from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joulebench.cards import make_card
from joulebench.cards.hub import hub_card
from joulebench.errors import InputError
from tests.card_subjects import GRID, leaves, subject_of
from tests.generation_runs import add, generation_task
from tests.run_factory import TRAINED, RunBuilder, full_run, make_task

NASTY = (
    "<script>alert(1)</script>\n---\n| `x` [a](javascript:b) **b** {{ 7*7 }} {% x %} 'y': \"z\" # & *r\x00\ud800"
)


def metadata_of(text: str) -> dict[str, object]:
    return ModelCard(text).data.to_dict()


def emissions_of(text: str) -> dict[str, object] | None:
    found = metadata_of(text).get("co2_eq_emissions")
    assert found is None or isinstance(found, dict)
    return found


def test_huggingface_hub_reads_back_what_was_written(tmp_path):
    path = tmp_path / "README.md"
    folder = full_run().write(tmp_path / "run", hardware=GRID)
    made = make_card(folder, given={"license": "mit", "model_name": "tiny-digits"})
    path.write_text(made.text, encoding="utf-8")
    card = ModelCard.load(path)
    assert str(card) == made.text
    assert metadata_load(path) == card.data.to_dict()
    name, results = model_index_to_eval_results(metadata_load(path)["model-index"])
    assert name == "tiny-digits"
    assert card.data.eval_results == results
    assert card.data.license == "mit"


def test_the_test_score_is_there_once_and_named_so():
    text = hub_card(subject_of(full_run(), trial=2), {})
    results = ModelCard(text).data.eval_results
    (score,) = [r for r in results if r.dataset_split == "test"]
    assert (score.metric_type, score.metric_value) == ("accuracy", 0.9)
    assert "scored once, after the search" in score.metric_name
    (validation,) = [r for r in results if r.dataset_split == "validation" and r.metric_type == "accuracy"]
    assert "the search saw it" in validation.metric_name
    assert (score.task_type, score.dataset_name) == ("image-classification", "digits")
    assert re.search(r"\| accuracy \| test \| 0\.9 \(single run\) \| scored once", text)


def test_a_task_that_searches_on_the_test_split_does_not_call_it_validation():
    dataset = {"name": "digits", "validation": 300, "search_split": "test"}
    run = full_run(make_task(dataset=dataset, deviations=["the paper searched on the test set"]))
    run.scores.clear()
    results = ModelCard(hub_card(subject_of(run), {})).data.eval_results
    assert {r.dataset_split for r in results if r.metric_type == "accuracy"} == {"test"}
    assert all("the search saw it" in r.metric_name for r in results if r.metric_type == "accuracy")


def test_emissions_are_grams_of_the_training_with_pue_once():
    found = emissions_of(hub_card(subject_of(full_run(), trial=2, hardware=GRID), {}))
    assert found is not None
    assert found["emissions"] == pytest.approx(240 / 3.6e6 * 1.5 * 100)
    assert found["training_type"] == "pre-training"
    assert found["geographical_location"] == "FRA"
    assert found["hardware_used"] == "Example CPU"
    assert "estimated" in str(found["source"])
    assert "PUE 1.5" in str(found["source"])


def test_without_a_grid_there_are_no_emissions():
    text = hub_card(subject_of(full_run()), {})
    assert emissions_of(text) is None
    assert "Carbon is not stated" in text


def test_what_is_not_known_is_absent():
    task = make_task(workload="my_models:Mine", dataset=None)
    run = full_run(task)
    grid = {k: v for k, v in GRID.items() if k != "country"}
    text = hub_card(subject_of(run, hardware=grid, environment={}), {})
    found = emissions_of(text)
    assert found is not None
    assert set(found) == {"emissions", "source"}
    assert set(metadata_of(text)) == {"tags", "co2_eq_emissions"}


def test_replayed_joules_are_no_emissions_and_say_so_first():
    text = hub_card(subject_of(full_run(), hardware=GRID, replay="65 W"), {})
    assert emissions_of(text) is None
    assert text.index("REPLAYED") < text.index("## Energy")


def test_joules_by_hand_gross_and_net_with_interval_and_n():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    text = hub_card(subject_of(run), {})
    # 80 W over 8000 samples a second, and 30 W of it idle
    (row,) = [line for line in text.splitlines() if line.startswith("| inference | cpu + ram")]
    assert "10 mJ/sample (\\[9.938, 10.06\\], n = 5 windows within a run, estimated)" in row
    assert "6.25 mJ/sample" in row
    assert "| inference | cpu | 7.5 mJ/sample" in text
    assert "| inference | ram | 2.5 mJ/sample" in text
    assert "240 J (single run, estimated)" in text
    assert "One training run: it has no interval." in text
    assert "Measured share of the run's joules: 0 %." in text


def test_several_runs_of_a_configuration_have_an_interval_between_them():
    text = hub_card(subject_of(full_run(), trial=0), {})
    assert "n = 2 runs of the configuration" in text
    assert "The interval is between trainings" in text


def test_every_phase_of_a_generation_is_there():
    run = RunBuilder(generation_task())
    add(run, {"batch_size": 1}, stage="default", idle=True)
    text = hub_card(subject_of(run), {})
    for phase, unit in (("prefill", "prompt token"), ("decode", "token"), ("request", "token")):
        assert re.search(rf"\| {phase} \| cpu \+ ram .*J/{unit}", text)
    assert "Training: Not measured" in text
    assert "model-index" not in metadata_of(text)


def test_the_command_is_the_reports():
    assert "joulebench run digits_nas --budget standard --hardware generic_cpu --seed 3" in hub_card(
        subject_of(full_run()), {}
    )


def test_a_field_it_does_not_have_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="--set licence: no field of the hf card; did you mean 'license'"):
        hub_card(subject_of(full_run()), {"licence": "mit"})


def test_several_base_models_are_a_list():
    subject = subject_of(full_run())
    card = ModelCard(hub_card(subject, {"base_model": '["a/b", "c/d"]', "language": "en"}))
    assert (card.data.base_model, card.data.language) == (["a/b", "c/d"], "en")
    for wrong in ('["a/b", 7]', "[]", '["a/b"', '[""]'):
        with pytest.raises(InputError, match="base_model"):
            hub_card(subject, {"base_model": wrong})


def test_the_same_records_give_the_same_bytes(tmp_path):
    folder = full_run().write(tmp_path / "run", hardware=GRID)
    assert make_card(folder).text == make_card(folder).text


def nasty_run(text: str, value: float) -> RunBuilder:
    task = make_task(
        parameters={
            "width": {"type": "int", "low": 1, "high": 2000, "default": 8},
            "act": {"type": "choice", "values": ["relu", text or "x"], "default": "relu"},
        },
        title=(text or "x")[:200],
        description=text,
    )
    run = RunBuilder(task)
    metrics = {"val_accuracy": 0.9, f"val_{text}": value, "val_loss": value}
    run.add({"act": text or "x"}, 8000, metrics, "default", error=text)
    return run


def check_card(card: str) -> None:
    """Metadata that YAML reads whole and finite, one block of them, and a body without HTML or links."""
    card.encode()
    data = metadata_of(card)
    block, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(block) == data
    assert all(not isinstance(v, float) or abs(v) < float("inf") for v in leaves(data))
    prose = re.sub(r"```.*?```", "", body, flags=re.S)
    assert not re.search(r"<[a-zA-Z/!]", prose)
    assert not re.search(r"(?<!\\)\]\(", prose)
    assert body.count("\n```") == 2
    assert next(line for line in body.splitlines() if line.startswith("## ")) == "## Task"


NASTY_TEXT = NASTY.replace("\ud800", "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e308])
def test_hostile_text_and_numbers_break_nothing(value):
    hostile = {**GRID, "title": NASTY, "country": NASTY, "name": NASTY}
    subject = subject_of(
        nasty_run(NASTY_TEXT, value),
        hardware=hostile,
        data={NASTY: NASTY},
        data_path=NASTY,
        environment={"host": {"cpu": NASTY, "logical_cpus": NASTY}, NASTY: NASTY},
    )
    check_card(hub_card(subject, {"model_name": NASTY, "license": "mit\n---\nevil: true"}))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60), st.text(st.characters(exclude_categories=()), max_size=60), st.floats())
def test_any_text_and_number_breaks_nothing(text, other, value):
    text = text.encode("utf-8", "ignore").decode()
    subject = subject_of(
        nasty_run(text, value),
        hardware={**GRID, "title": other, "country": other},
        data={other: text},
        environment={"host": {"cpu": other}},
    )
    check_card(hub_card(subject, {}))


def test_flops_of_the_training_are_among_the_costs():
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, **TRAINED)
    text = hub_card(subject_of(run), {})
    assert "FLOPs of one unit of train | 3 M" in text
    assert "FLOPs of the training | 3.6 G (" in text
