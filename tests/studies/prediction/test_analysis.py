"""Energy predicted from static figures: known laws are recovered, equal models do not leak, and the section."""

from __future__ import annotations

import math
import random

import pytest

from joulebench.reporting import write_report
from joulebench.studies.prediction.analysis import MIN_MODELS, RATIO, Sample, evaluate, prediction, rules_for
from joulebench.studies.prediction.section import PredictionStudy, below
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


def by_name(result):
    return {s.rule.name: s for s in result.scores}


def test_a_power_law_is_recovered():
    result = evaluate(models())
    scores = by_name(result)
    assert result.models == result.n_folds == 24  # one at a time
    assert scores["all"].median_error.mean < 1e-9
    assert scores["all"].r2 == pytest.approx(1.0)
    assert scores["macs"].median_error.mean > 0.1
    assert result.best in (scores["all"], scores["all, quadratic"])
    assert scores["mean"].r2 < 0  # the mean of the others explains nothing


def test_a_curved_law_needs_the_quadratic_rule():
    scores = by_name(evaluate(models(60, law=lambda p, m: math.exp(0.05 * math.log(p) * math.log(m)))))
    assert scores["all, quadratic"].p95_error.mean < 0.01 < scores["all"].p95_error.mean


def test_macs_per_parameter_is_a_figure_of_its_own():
    scores = by_name(evaluate(models(law=lambda p, m: 1e-3 * (m / p) ** 0.7)))
    assert scores["macs per parameter"].median_error.mean < 1e-9
    assert "macs per parameter" not in {r.name for r in rules_for(("parameters",))}
    assert set(RATIO) == {"macs", "parameters"}


def test_twins_are_held_out_together():
    """Every model twice under another name, with energy unrelated to figures: a leak would predict it exactly."""
    draw = random.Random(3)
    once = [Sample(f"a{i}", {"parameters": 10.0 + i}, math.exp(draw.gauss(0, 1))) for i in range(20)]
    twins = once + [Sample(f"b{i}", s.figures, s.energy_j) for i, s in enumerate(once)]
    result = evaluate(twins)
    assert (result.models, len(result.samples)) == (20, 40)
    for a, b in zip(result.scores[0].predicted[:20], result.scores[0].predicted[20:], strict=True):
        assert a == b
    assert min(s.median_error.mean for s in result.scores) > 0.2


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
    result = evaluate([*common[:-2], *made[-2:]])
    assert (result.lost, len(result.samples)) == (2, 18)


def test_a_figure_that_does_not_vary_is_no_rule():
    same = [Sample(s.label, {"parameters": 5.0, "macs": s.figures["macs"]}, s.energy_j) for s in models()]
    assert {s.rule.name for s in evaluate(same).scores} == {"mean", "macs", "all, quadratic"}


def test_families_are_held_out_whole_where_there_are_three():
    made = [
        Sample(s.label, s.figures, s.energy_j * 10 ** (i % 3), family="abc"[i % 3])
        for i, s in enumerate(models(30))
    ]
    result = evaluate(made)
    assert len(result.across_families) == len(result.scores)
    assert (
        min(s.median_error.mean for s in result.across_families)
        > min(s.median_error.mean for s in result.scores) / 2
    )
    rows = PredictionStudy().section(result, study().read()).rows
    assert [r["held_out"] for r in rows] == ["model"] * len(result.scores) + ["family"] * len(result.scores)


def study(n=12) -> RunBuilder:
    run = RunBuilder(make_task(LAW, analyses=["prediction"]))
    for i in range(n):
        run.add({"width": 8 * (i + 1)}, 2000 // (i + 1), {})
    return run


def test_energy_of_a_run_is_predicted_from_its_costs(tmp_path):
    built = study()
    run = built.read()
    result = prediction(run)
    assert result.unit == "J/sample"
    assert result.kind == "estimated"
    assert len(result.samples) == 12
    # the factory's costs are multiples of the units per window, and energy goes as one over them
    assert by_name(result)["parameters"].median_error.mean < 0.02
    rows = PredictionStudy().section(result, run).rows
    assert rows[0]["rule"] == "mean"
    assert rows[1]["median_error"] == by_name(result)["parameters"].median_error.mean
    assert [r["figures"] for r in rows[:2]] == [(), ("parameters",)]
    folder = write_report(built.write(tmp_path / "run")).page.parent
    assert {"prediction.csv", "prediction.png"} <= {p.name for p in folder.iterdir()}


def test_a_rule_has_to_beat_the_mean_by_more_than_the_intervals():
    draw = random.Random(1)
    noise = evaluate([Sample(f"m{i}", {"macs": 10.0 + i}, math.exp(draw.gauss(0, 1))) for i in range(12)])
    assert not below(noise.best, noise.scores[0])
    law = evaluate(models())
    assert below(law.best, law.scores[0])
