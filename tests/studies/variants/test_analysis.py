"""Configurations beside each other: ratios of pairs where runs came in rounds, exact on replayed joules."""

from __future__ import annotations

import math

import pytest

from joulebench.results.run import Run
from joulebench.runner import local
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import Answer
from joulebench.studies.variants.analysis import Between, variants
from joulebench.studies.variants.section import VariantsStudy
from tests.run_factory import RunBuilder, make_task

STEP_S = {"first": 0.010, "dear": 0.012, "same": 0.010, "broken": 0.010}
WATTS = 100.0


def paced(params, seed):
    """Steps of a length of its own, and a few percent of the run's, alike for all runs of a round."""
    if params["way"] == "broken" and seed % 2:
        raise ValueError("broken")
    return {"quality": 1.0, "step_s": STEP_S[params["way"]]}


def made(tmp_path, ways, stages, **fields):
    parameter = {"type": "choice", "values": list(ways), "default": ways[0]}
    task = Task.model_validate(
        {
            "name": "ways", "title": "Ways", "workload": "function", "analyses": ["variants"],
            "options": {"function": "tests.studies.variants.test_analysis:paced"},
            "parameters": {"way": parameter if len(ways) > 1 else {"type": "fixed", "value": ways[0]}},
            "objectives": {
                "j_per_sample": {
                    "goal": "minimize", "phase": "inference", "domains": ["cpu", "ram"], "basis": "gross",
                }
            },
            "stages": stages,
            "protocol": {"warmup_s": 0.1, "max_warmup_s": 1.0, "window_s": 1.0, "idle_s": 4.0, "control": False},
            "confirm": {"repeats": 0}, "max_consecutive_failures": 50,
            **fields,
        }
    )  # fmt: skip
    return Run.of(local.run(task, out=tmp_path, replay=str(WATTS), hardware="generic_cpu", force_hardware=True))


def side_by_side() -> RunBuilder:
    """Three widths in eight rounds, the second a third dearer, the third alike; a run of it failed."""
    points = [{"width": width} for width in (8, 16, 32)]
    stages = {"rounds": {"method": "points", "points": points, "repeats": 8, "order": "random"}}
    run = RunBuilder(make_task(stages=stages, analyses=["variants"]))
    units = {8: 8000, 16: 6000, 32: 8040}
    for number in range(8):
        for width, done in units.items():
            if (number, width) == (3, 32):
                run.fail({"width": width}, "failed", "RuntimeError: it broke", "rounds")
            else:
                run.add(
                    {"width": width}, done + 40 * (number % 3), {"val_accuracy": 0.9}, "rounds", idle=number == 0
                )
    return run


def cost(variant):
    """What a configuration takes of the only phase."""
    (only,) = variant.costs.values()
    return only


def rounds(ways, repeats=8, order="random"):
    points = [{"way": way} for way in ways]
    return {"rounds": {"method": "points", "points": points, "repeats": repeats, "order": order}}


def test_ratios_of_rounds_are_exact(tmp_path):
    ways = ("first", "dear", "same")
    result = variants(made(tmp_path, ways, rounds(ways)))
    assert result.each[0] is result.default
    assert result.each[0].params["way"] == "first"
    by_way = {v.params["way"]: cost(v) for v in result.each}
    assert by_way["first"].energy_ratio is None
    assert by_way["first"].gross.mean == pytest.approx(WATTS * 0.010)
    dear, same = by_way["dear"], by_way["same"]
    for value in (dear.energy_ratio, dear.time_ratio):
        assert (value.mean, value.n, value.varied) == (pytest.approx(1.2, rel=1e-4), 8, "rounds")
        assert value.low <= 1.2 <= value.high or value.low == pytest.approx(1.2, rel=1e-4)
    assert dear.answer is Answer.MORE
    assert same.answer is Answer.SAME
    assert dear.power_w == pytest.approx(WATTS)


def test_fewer_than_six_rounds_are_compared_by_their_means(tmp_path):
    """With the spread of all repeated configurations: a randomisation test of so few has no interval."""
    result = variants(made(tmp_path, ("first", "dear"), rounds(("first", "dear"), repeats=5)))
    (dear,) = map(cost, result.each[1:])
    assert (dear.energy_ratio.mean, dear.energy_ratio.varied) == (pytest.approx(1.2, rel=1e-4), "means")
    assert [*result.between.values()] == [Between.REPEATED]
    assert dear.answer is Answer.MORE


def test_rounds_in_a_given_order_are_no_pairs(tmp_path):
    """What comes first in every round may always have the colder machine."""
    ways = ("first", "dear")
    result = variants(made(tmp_path, ways, rounds(ways, order="given")))
    assert cost(result.each[1]).energy_ratio.varied == "means"


def test_runs_on_the_nodes_of_a_cluster_are_no_pairs(tmp_path):
    ways = ("first", "dear")
    run = made(tmp_path, ways, rounds(ways))
    trials = [
        t.model_copy(
            update={"windows": tuple(w.model_copy(update={"node": f"node-{t.trial % 2}"}) for w in t.windows)}
        )
        for t in run.trials
    ]
    assert cost(variants(Run(run.manifest, run.task, trials)).each[1]).energy_ratio.varied == "means"


def test_runs_that_did_not_take_turns_are_compared_by_their_means(tmp_path):
    stages = {
        "default": {"method": "default", "repeats": 3},
        "rest": {"method": "points", "points": [{"way": "dear"}]},
    }
    (dear,) = variants(made(tmp_path, ("first", "dear"), stages)).each[1:]
    assert cost(dear).energy_ratio.mean == pytest.approx(1.2, rel=1e-4)
    assert cost(dear).energy_ratio.varied == "means"


def test_failed_runs_leave_their_round_out_for_that_way_alone(tmp_path):
    ways = ("first", "broken", "dear")
    run = made(tmp_path, ways, rounds(ways, repeats=12))
    by_way = {v.params["way"]: v for v in variants(run).each}
    failed = sum(t.status == "failed" for t in run.trials)
    assert 0 < failed < 12
    assert by_way["broken"].failed == failed
    assert cost(by_way["broken"]).energy_ratio.n == 12 - failed
    assert cost(by_way["dear"]).energy_ratio.n == 12


def test_a_run_that_was_stopped_within_a_round_is_judged_by_its_complete_ones(tmp_path):
    ways = ("first", "dear", "same")
    run = made(tmp_path, ways, rounds(ways))
    for stopped in (1, 2):
        others = [*map(cost, variants(Run(run.manifest, run.task, run.trials[:-stopped])).each[1:])]
        assert {v.energy_ratio.n for v in others} == {7}
        assert all(v.energy_ratio.varied == v.time_ratio.varied == "rounds" for v in others)


def test_the_ratio_of_time_is_of_the_runs_that_the_joules_are_of(tmp_path):
    """A run without a reading of joules has none in either ratio."""
    ways = ("first", "dear")
    run = made(tmp_path, ways, rounds(ways))
    number = next(t.trial for t in run.trials if t.params["way"] == "dear")
    trials = [
        t if t.trial != number
        else t.model_copy(update={"windows": tuple(w.model_copy(update={"readings": ()}) for w in t.windows)})
        for t in run.trials
    ]  # fmt: skip
    (dear,) = map(cost, variants(Run(run.manifest, run.task, trials)).each[1:])
    assert dear.energy_ratio.n == dear.time_ratio.n == 7


def test_with_a_default_that_was_not_run_there_is_no_ratio(tmp_path):
    ways = ("first", "dear", "same")
    run = made(tmp_path, ways, rounds(ways[1:], repeats=2))
    result = variants(run)
    assert result.default is None
    assert [cost(v).energy_ratio for v in result.each] == [None, None]
    assert [row["answer"] for row in VariantsStudy().section(result, run).rows] == [None, None]


def test_one_configuration_has_its_joules_by_domain(tmp_path):
    run = made(tmp_path, ("first",), {"default": {"method": "default", "repeats": 2}})
    result = variants(run)
    (only,) = result.each
    ((domain,),) = [only.domains(target) for target in result.targets]
    assert (domain.domain, domain.gross.mean) == ("cpu", pytest.approx(WATTS * 0.010))
    assert domain.net is None or domain.net.mean == pytest.approx(0.0, abs=0.02)
    section = VariantsStudy().section(result, run)
    assert [len(table.rows) for table in section.tables] == [1]
    assert len(section.rows) == 1
    assert "energy_ratio" in section.rows[0]


def test_the_section_has_a_row_for_each_and_the_numbers_of_the_ratio(tmp_path):
    run = made(tmp_path, ("first", "dear"), rounds(("first", "dear")))
    section = VariantsStudy().section(variants(run), run)
    first, dear = section.rows
    assert (first["energy_ratio"], first["answer"], first["default"]) == (None, None, True)
    assert dear["energy_ratio"] == pytest.approx(1.2, rel=1e-4)
    assert (dear["answer"], dear["ratio_of"]) == ("more", "rounds")
    assert [len(table.rows) for table in section.tables] == [2, 2]
    assert "120" in section.answer


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [(0.8, 0.9, Answer.LESS), (1.1, 1.2, Answer.MORE), (0.9, 1.1, Answer.SAME), (None, None, Answer.UNKNOWN)],
)
def test_the_answer_is_by_the_interval(low, high, answer):
    middle = 1.0 if low is None else math.sqrt(low * high)
    assert Answer.of(Estimate(middle, 8, None, low, high, "rounds")) is answer
    assert Answer.of(None) is Answer.UNKNOWN
