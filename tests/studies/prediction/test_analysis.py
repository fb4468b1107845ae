"""Energy told from figures: laws that are found again, twins that do not leak, and the report."""

from __future__ import annotations

import csv
import io
import math
import random

import pytest

from joulebench.presentation.numbers import significant
from joulebench.reporting import write_report
from joulebench.studies.prediction.analysis import MIN_MODELS, RATIO, Sample, evaluate, prediction, rules_for
from joulebench.studies.prediction.section import answer, prediction_section, sentences
from tests.run_factory import ENERGY, RunBuilder, make_task

LAW = {"j_per_sample": {"goal": "minimize", **ENERGY}}


def models(n=24, noise=0.0, law=lambda p, m: 1e-9 * p**0.25 * m**0.5, seed=0) -> list[Sample]:
    draw = random.Random(seed)
    made = []
    for i in range(n):
        parameters, macs = 10 ** draw.uniform(4, 7), 10 ** draw.uniform(6, 9)
        energy_j = law(parameters, macs) * math.exp(draw.gauss(0, noise))
        made.append(Sample(f"m{i}", {"parameters": parameters, "macs": macs}, energy_j))
    return made


def by_name(found):
    return {s.rule.name: s for s in found.scores}


def test_a_power_law_is_found_again():
    found = evaluate(models())
    scores = by_name(found)
    assert found.models == found.parts == 24  # one at a time
    assert scores["all"].median_error.mean < 1e-9
    assert scores["all"].r2 == pytest.approx(1.0)
    assert scores["macs"].median_error.mean > 0.1
    assert found.best in (scores["all"], scores["all, quadratic"])
    assert scores["mean"].r2 < 0  # the mean of the others tells nothing


def test_a_curved_law_needs_the_quadratic_rule():
    found = by_name(evaluate(models(60, law=lambda p, m: math.exp(0.05 * math.log(p) * math.log(m)))))
    assert found["all, quadratic"].p95_error.mean < 0.01 < found["all"].p95_error.mean


def test_macs_per_parameter_is_a_figure_of_its_own():
    found = by_name(evaluate(models(law=lambda p, m: 1e-3 * (m / p) ** 0.7)))
    assert found["macs per parameter"].median_error.mean < 1e-9
    assert "macs per parameter" not in {r.name for r in rules_for(("parameters",))}
    assert set(RATIO) == {"macs", "parameters"}


def test_twins_are_held_out_together():
    """Every model twice under another name, with energy that no figure tells: a leak would tell it exactly."""
    draw = random.Random(3)
    once = [Sample(f"a{i}", {"parameters": 10.0 + i}, math.exp(draw.gauss(0, 1))) for i in range(20)]
    twins = once + [Sample(f"b{i}", s.figures, s.energy_j) for i, s in enumerate(once)]
    found = evaluate(twins)
    assert (found.models, len(found.samples)) == (20, 40)
    for a, b in zip(found.scores[0].predicted[:20], found.scores[0].predicted[20:], strict=True):
        assert a == b
    assert min(s.median_error.mean for s in found.scores) > 0.2


def test_the_interval_widens_with_fewer_models():
    wide, narrow = (evaluate(models(n, noise=0.2)) for n in (10, 120))
    a, b = (by_name(f)["all"].median_error for f in (wide, narrow))
    assert a.high - a.low > b.high - b.low


def test_too_few_models_or_no_figures_are_none():
    assert evaluate(models(MIN_MODELS - 1)) is None
    assert evaluate([Sample("x", {}, 1.0)] * 20) is None


def test_a_figure_that_few_have_is_not_used_and_one_that_most_have_is_asked_for():
    made = models(20)
    rare = [Sample(s.label, {**s.figures, "bytes_moved": 3.0}, s.energy_j) for s in made[:3]] + made[3:]
    assert "bytes_moved" not in {r.rule.name for r in evaluate(rare).scores}
    common = [Sample(s.label, {**s.figures, "bytes_moved": 3.0 + i}, s.energy_j) for i, s in enumerate(made)]
    found = evaluate([*common[:-2], *made[-2:]])
    assert (found.lost, len(found.samples)) == (2, 18)


def test_a_figure_that_does_not_vary_is_no_rule():
    same = [Sample(s.label, {"parameters": 5.0, "macs": s.figures["macs"]}, s.energy_j) for s in models()]
    assert {s.rule.name for s in evaluate(same).scores} == {"mean", "macs", "all, quadratic"}


def test_families_are_held_out_whole_where_there_are_three():
    made = [
        Sample(s.label, s.figures, s.energy_j * 10 ** (i % 3), family="abc"[i % 3])
        for i, s in enumerate(models(30))
    ]
    found = evaluate(made)
    assert len(found.across) == len(found.scores)
    assert min(s.median_error.mean for s in found.across) > min(s.median_error.mean for s in found.scores) / 2
    assert any("family that was not fitted" in s for s in sentences(found))


def study(n=12) -> RunBuilder:
    run = RunBuilder(make_task(LAW, analyses=["prediction"]))
    for i in range(n):
        run.add({"width": 8 * (i + 1)}, 2000 // (i + 1), {})
    return run


def test_records_are_told_from_their_costs(tmp_path):
    run = study()
    found = prediction(run.read())
    assert found.unit == "J/sample"
    assert found.kind == "estimated"
    assert len(found.samples) == 12
    # the factory's costs are multiples of the units per window, and energy goes as one over them
    assert by_name(found)["parameters"].median_error.mean < 0.02
    section = prediction_section(found)
    rows = list(csv.DictReader(io.StringIO(section.csv)))
    assert rows[0]["rule"] == "mean"
    assert float(rows[1]["median_error"]) == significant(by_name(found)["parameters"].median_error.mean)
    page = write_report(run.write(tmp_path / "run")).page
    assert "Energy told from static figures" in page.with_name("report.md").read_text()


def test_the_answer_says_when_nothing_is_told():
    draw = random.Random(1)
    noise = [Sample(f"m{i}", {"macs": 10.0 + i}, math.exp(draw.gauss(0, 1))) for i in range(12)]
    assert "chance may explain" in answer(evaluate(noise)) or "No figure" in answer(evaluate(noise))
    assert "told from all figures" in answer(evaluate(models()))
