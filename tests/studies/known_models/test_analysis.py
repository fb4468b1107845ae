"""Known against found models: verdicts and probabilities by hand, and the section that shows them."""

from __future__ import annotations

import csv
import io

import pytest
from scipy import special

from joulebench.records.model import Found, ScoreRecord
from joulebench.reporting import write_report
from joulebench.studies.known_models.analysis import known_models
from joulebench.studies.known_models.section import KnownModelsStudy, answer
from tests.run_factory import ENERGY, RunBuilder, make_task

OBJECTIVES = {
    "val_accuracy": {"goal": "maximize", "reference": 0.1},
    "j_per_sample": {"goal": "minimize", **ENERGY},
}
#: model, width of a found one, mean test accuracy, samples a second at 80 W
MODELS = (("plain", None, 0.80, 100), ("deep", None, 0.95, 200), ("found", 10, 0.90, 400), ("found", 20, 0.70, 50))
SPREAD = (-0.01, 0.0, 0.01)  # of three trainings


def study_task(models=MODELS, **fields):
    points = [{"model": m, **({"width": w} if w else {})} for m, w, *_ in models]
    return make_task(
        OBJECTIVES,
        analyses=["known_models"],
        test_scores="all",
        parameters={
            "model": {"type": "choice", "values": ["plain", "deep", "found"], "default": "plain"},
            "width": {"type": "int", "low": 1, "high": 99, "default": 1, "only_if": "model == 'found'"},
            "epochs": {"type": "fixed", "value": 3},
        },
        stages={"models": {"method": "points", "points": points, "repeats": 3}},
        **fields,
    )


def made(models=MODELS, spread=SPREAD, **fields) -> RunBuilder:
    run = RunBuilder(study_task(models))
    for lean in spread:
        for model, width, accuracy, units in models:
            params = {"model": model, **({"width": width} if width else {})}
            trial = run.add(params, units, {"val_accuracy": accuracy}, "models", wobble=0.002, **fields)
            metrics = {"accuracy": accuracy + lean}
            run.scores.append(ScoreRecord(trial=trial.trial, split="test", metrics=metrics))
    run.span("end")
    return run


def result(*args, **fields):
    return known_models(made(*args, **fields).read())


def test_verdicts_where_no_interval_overlaps():
    known = result()
    assert [m.name for m in known.models] == ["found 1", "deep", "plain", "found 2"]  # 0.2, 0.4, 0.8 and 1.6 J
    assert {m.name: known.verdict(m) for m in known.models} == {
        "plain": "dominated",  # by found 1: 0.90 against 0.80, 0.2 J against 0.8
        "deep": "not dominated",  # 0.95
        "found 1": "new",  # deep has a higher accuracy and takes more
        "found 2": "not new",  # both known ones have a higher accuracy and take less
    }
    assert (known.count("dominated"), known.count("new")) == (1, 1)
    assert known.probability == {"plain": 1.0, "deep": 0.0, "found 1": 0.0, "found 2": 1.0}
    plain = known.models[2]
    assert (plain.quality.mean, plain.energy.mean) == pytest.approx((0.80, 0.8))
    assert plain.quality.sem == pytest.approx(0.01 / 3**0.5)


def scatter(runs, dearer=1.0):
    """Let the joules of trainings differ by 2 %, those of every second model `dearer` times as many."""
    for number, trial in enumerate(runs.trials):
        scale = (1 + 0.02 * (number // 2 - 1)) * (dearer if number % 2 else 1.0)
        windows = (
            w.model_copy(
                update={
                    "readings": tuple(r.model_copy(update={"energy_j": r.energy_j * scale}) for r in w.readings)
                }
            )
            for w in trial.windows
        )
        runs.trials[number] = trial.model_copy(update={"windows": tuple(windows)})


def test_equal_models_dominate_each_other_in_a_quarter_of_draws():
    # each is the better one in accuracy with 1/2 and, independently, in joules with 1/2
    runs = made((("plain", None, 0.9, 400), ("found", 10, 0.9, 400)))
    scatter(runs)
    known = known_models(runs.read())
    assert known.probability["plain"] == pytest.approx(0.25, abs=0.03)
    assert known.probability["found 1"] == pytest.approx(0.25, abs=0.03)
    assert {known.verdict(m) for m in known.models} == {"undecided"}


def test_the_probability_is_that_of_students_t():
    # joules leave no doubt; accuracies differ by 0.02, each mean has the error 0.02/√3 with 4 degrees of freedom
    known = result((("plain", None, 0.80, 100), ("found", 10, 0.82, 400)), spread=(-0.02, 0.0, 0.02))
    t = 0.02 / (2**0.5 * 0.02 / 3**0.5)
    assert known.probability["plain"] == pytest.approx(special.stdtr(4, t), abs=0.03)
    assert known.verdict(known.models[1]) == "undecided"


def test_one_of_several_models_must_dominate_with_more_than_that_any_does():
    # 0.0344 apart, errors 0.02/√3 with 6 degrees of freedom: each of two dominates with 96 %, which is below 97.5 %
    models = (("plain", None, 0.80, 100), ("found", 10, 0.8344, 400), ("found", 20, 0.8344, 500))
    known = result(models, spread=(-0.02, 0.0, 0.02))
    t = 0.0344 / (2**0.5 * 0.02 / 3**0.5)
    assert special.stdtr(6, t) == pytest.approx(0.96, abs=0.001)
    assert known.chances["plain"].by_one == pytest.approx(0.96, abs=0.01)
    assert known.probability["plain"] > 0.97
    assert known.verdict(known.models[2]) == "undecided"


def test_a_small_product_of_two_middling_probabilities_decides_nothing():
    # worse in both by 1.33 errors of a mean, 0.02/√3: as good in each with 1/5, in both with 1/25
    apart = special.stdtrit(4, 0.8) * 2**0.5 * 0.02 / 3**0.5
    runs = made((("plain", None, 0.8, 400), ("found", 10, 0.8 - apart, 400)), spread=(-0.02, 0.0, 0.02))
    scatter(runs, dearer=1 + apart)
    known = known_models(runs.read())
    plain = known.chances["plain"]
    assert (plain.by_any, plain.as_good) == (pytest.approx(0.04, abs=0.015), pytest.approx(0.2, abs=0.03))
    assert known.verdict(known.known[0]) == "undecided"


def test_energies_are_over_the_domains_that_every_model_has():
    run = made()
    for i, trial in enumerate(run.trials):
        if trial.params["model"] == "deep":  # without RAM, of 20 W, it would take less than it does
            windows = (
                w.model_copy(update={"readings": tuple(r for r in w.readings if r.domain == "cpu")})
                for w in trial.windows
            )
            run.trials[i] = trial.model_copy(update={"windows": tuple(windows)})
    known = known_models(run.read())
    assert [m.energy.mean for m in known.models] == pytest.approx([60 / 400, 60 / 200, 60 / 100, 60 / 50])
    assert {m.inference.domains for m in known.models} == {("cpu",)}


def test_n_is_that_of_the_fewest_scores():
    run = made()
    run.scores = [s for s in run.scores if s.trial != 0]
    assert "n = 2 trainings of each" in answer(known_models(run.read()))


def test_from_one_training_nothing_is_decided():
    known = result(spread=(0.0,))
    assert known.probability == {}
    assert {known.verdict(m) for m in known.models} == {"undecided"}
    text = answer(known)
    assert text.startswith(
        "0 of 2 known models are dominated by a found one (probability ≥ 0.95; with 2 undecided 0 to 2)"
    )
    assert "n = 1 training of each" in text
    section = KnownModelsStudy().section(known, known.run)
    assert any("without intervals nothing is decided" in s for s in section.sentences)


def test_a_training_cut_short_or_without_a_score_is_not_compared():
    run = made()
    run.trials[2] = run.trials[2].model_copy(update={"stopped_by": "time"})  # of found 1
    run.scores = [s for s in run.scores if run.trials[s.trial].params["model"] != "deep"]
    known = known_models(run.read())
    assert [m.name for m in known.compared] == ["plain", "found 2"]
    assert {m.name: known.verdict(m) for m in known.models if m not in known.compared} == {
        "found 1": "not compared",
        "deep": "not compared",
    }
    assert answer(known).startswith("0 of 1 known model is dominated")
    sentences = KnownModelsStudy().section(known, known.run).sentences
    assert "Not compared, for want of test scores or of a whole training: found 1, deep." in sentences


def test_without_a_found_model_nothing_is_compared():
    assert answer(result(MODELS[:2])).startswith("Nothing is compared: no found model has test scores")


def test_the_report(tmp_path):
    found = Found(
        path="runs/cifar10/a/b", task="cifar10, quick", digest="0" * 16, confirmed=False, search_split="test",
        trials=((4, 5), (7,)),
    )  # fmt: skip
    folder = made().write(tmp_path / "run", found=found)
    write_report(folder)
    report = (folder.path / "report.md").read_text()
    assert (
        "1 of 2 known models is dominated by a found one (probability ≥ 0.95) and 1 of 2 "
        "found models is new, dominated by no known one (probability ≥ 0.95): "
        "test_accuracy and gross energy of inference (estimated), n = 3 trainings of each, after 3 epochs on "
        "1 200 images, which says nothing about models trained longer."
        in report.replace("\N{NARROW NO-BREAK SPACE}", " ")
    )
    assert "nothing of it was confirmed by new runs" in report
    assert "found 1: 4, 5; found 2: 7" in report
    assert "judged by the test split" in report
    rows = {r["model"]: r for r in csv.DictReader(io.StringIO((folder.path / "known_models.csv").read_text()))}
    assert (rows["plain"]["verdict"], rows["plain"]["p_dominated"], rows["found 1"]["param_width"]) == (
        "dominated", "1.0", "10",
    )  # fmt: skip
    assert float(rows["plain"]["train_j_gross"]) == pytest.approx(80 * 3)
    assert "param_model" not in rows["plain"]
    figure = (folder.path / "known_models.svg").read_text()
    assert "found models" in figure
    assert '"deep"' in (folder.path / "report.json").read_text()


def test_what_the_study_needs():
    study = KnownModelsStudy()
    assert study.needs(study_task()) is None
    assert "test_scores = 'all'" in study.needs(make_task(OBJECTIVES))
    assert "energy objective" in study.needs(make_task({"val_accuracy": {"goal": "maximize"}}))


def test_a_model_that_may_only_guess_is_named():
    known = result((("plain", None, 0.105, 100), ("found", 10, 0.90, 400)))
    sentences = KnownModelsStudy().section(known, known.run).sentences
    assert "Not above guessing (0.1) for certain: plain." in sentences
