"""qNEHVI: pure, quiet, without duplicates, and better than sampling."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from statistics import median

import pytest

from joulebench.records.model import TrialRecord
from joulebench.results.outcome import configuration_key, run_to_run
from joulebench.search import bayes, prepare, propose
from joulebench.search.observations import observations
from joulebench.spec.objectives import energy_form
from joulebench.stats.estimate import effective_n
from tests.factories import ENERGY, make_task, make_trial
from tests.synthetic_search import problem, simulate, true_hypervolume, truth

MIXED = {
    "units": {"type": "int", "low": 1, "high": 10_000, "default": 100, "scale": "log"},
    "rate": {"type": "float", "low": 1e-5, "high": 1e-1, "default": 1e-3, "scale": "log"},
    "share": {"type": "float", "low": -1.0, "high": 1.0, "default": 0.0},
    "act": {"type": "choice", "values": ["relu", "gelu", 1, True], "default": "relu"},
    "bias": {"type": "choice", "values": [True, False], "default": True},
    "batch": {"type": "fixed", "value": 64},
    "cap": {"type": "int", "low": 1, "high": 9, "default": 4, "scope": "device"},
}
STAGES = {
    "default": {"method": "default", "repeats": 2},
    "init": {"method": "sobol", "trials": 5},
    "search": {"method": "qnehvi", "trials": 30},
}
TINY = {
    "a": {"type": "int", "low": 0, "high": 1, "default": 0},
    "b": {"type": "choice", "values": [True, False], "default": True},
}


def go_on(task, records, stage, trials=1000, seed=0, metrics=("val_accuracy",), status="ok"):
    """`records` and those of further trials of a stage; their values depend on the trial's number only."""
    records = list(records)
    for _ in range(trials):
        proposal = propose(task, stage, records, seed)
        if proposal is None:
            break
        dice = random.Random(len(records))
        values = {name: dice.uniform(0.2, 0.9) for name in metrics}
        records.append(
            make_trial(task, proposal.params, values, 10 ** dice.uniform(-3, -1), trial=len(records), stage=stage,
                       origin=proposal.origin, fallback=proposal.fallback, expected=proposal.expected,
                       status=status)
        )  # fmt: skip
    return records


def keys(task, records):
    return [configuration_key(task, r.params) for r in records]


@pytest.fixture(scope="module")
def started():
    """Three runs of the default and eight Sobol points of the CIFAR-10 space."""
    task = problem()
    return task, simulate(task, [("default", 3), ("init", 8)], 0)


def test_what_a_run_should_record_about_its_search(started):
    found = prepare(started[0])
    assert set(found["versions"]) == {"ax-platform", "botorch", "gpytorch", "torch"}
    assert found["acquisition"] == "qnehvi"
    single = make_task(TINY, STAGES, {"val_loss": {"goal": "minimize"}})
    assert prepare(single)["acquisition"] == "qlognei"


def test_the_same_records_give_the_same_proposal_in_any_process(started):
    task, records = started
    first = propose(task, "search", records, 3)
    assert first.origin == "qnehvi"
    assert first == propose(task, "search", records, 3)
    code = (
        "import sys; from joulebench.spec.task import Task; from joulebench.records.model import TrialRecord\n"
        "from joulebench.search import propose\n"
        "task = Task.model_validate_json(sys.argv[1])\n"
        "records = [TrialRecord.model_validate_json(line) for line in sys.stdin]\n"
        "print(propose(task, 'search', records, 3).params)"
    )
    lines = "\n".join(r.model_dump_json() for r in records)
    command = [sys.executable, "-c", code, task.model_dump_json()]
    ran = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(first.params)
    assert ran.stderr == ""


def test_a_proposal_leaves_no_trace(started, capfd):
    import torch

    task, records = started
    torch.manual_seed(11)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    one = propose(task, "search", records, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    torch.manual_seed(12)
    assert propose(task, "search", records, 0) == one
    assert capfd.readouterr() == ("", "")


def test_proposals_are_new_and_within_bounds_over_a_mixed_space():
    task = make_task(MIXED, STAGES)
    records = go_on(task, go_on(task, [make_trial(task, {}, {"val_accuracy": 0.5})], "init"), "search", 6)
    assert [r.origin for r in records[-6:]] == ["qnehvi"] * 6
    assert len(set(keys(task, records))) == len(records)
    for record in records:
        assert list(record.params) == list(task.parameters)
        assert all(task.parameters[n].contains(v) for n, v in record.params.items())
        assert (record.params["batch"], record.params["cap"]) == (64, 4)


def test_without_two_configurations_there_is_no_model_and_the_origin_says_so():
    task = make_task(MIXED, STAGES)
    records = [make_trial(task, {}, {"val_accuracy": 0.5}, trial=n) for n in range(3)]
    first = propose(task, "search", [], 0)
    second = propose(task, "search", records, 0)
    assert [(p.origin, p.fallback is not None) for p in (first, second)] == [("sobol", True)] * 2
    failing = go_on(task, records, "search", 4, status="failed")
    assert len(set(keys(task, failing))) == 5
    assert all(r.origin.startswith("sobol") for r in failing[3:])


@pytest.mark.parametrize("parameters", [TINY, {"x": {"type": "choice", "values": ["p", "q", "r"], "default": "p"}}])
def test_a_space_is_tried_once_over_and_then_the_stage_is_finished(parameters):
    task = make_task(parameters, STAGES)
    records = go_on(task, [make_trial(task, {}, {"val_accuracy": 0.5})], "search")
    assert sorted(keys(task, records)) == sorted(set(keys(task, records)))
    assert len(records) == task.space_size
    assert records[-1].origin == "qnehvi"


def test_a_stage_may_vary_some_parameters_and_learn_from_all():
    stages = {**STAGES, "search": {"method": "qnehvi", "trials": 3, "vary": ["act", "share"]}}
    task = make_task(MIXED, stages)
    records = go_on(task, go_on(task, [], "init"), "search")
    assert len(records) == 8
    assert {(r.params["units"], r.params["rate"]) for r in records[5:]} == {(100, 1e-3)}


@pytest.mark.parametrize("status", ["oom", "failed", "invalid"])
def test_what_failed_is_not_proposed_again(started, status):
    task, records = started
    best = propose(task, "search", records, 0)
    refused = make_trial(task, best.params, trial=len(records), stage="search", status=status)
    missing = make_trial(task, {"width": 2}, {"val_accuracy": math.nan}, trial=len(records) + 1, stage="search")
    following = propose(task, "search", [*records, refused, missing], 0)
    assert following.origin == "qnehvi"
    assert configuration_key(task, following.params) not in keys(task, [*records, refused, missing])


def test_the_search_learns_where_memory_ends():
    task = problem()
    plan = [("default", 3), ("init", 8), ("search", 8)]
    # what promises most does not fit; told only of what fits, the search walks into it 7 times out of 8
    records = simulate(task, plan, 0, lambda params: "oom" if truth(params)[0] > 0.55 else "ok")
    assert sum(r.status == "oom" for r in records[-8:]) <= 2
    assert {r.origin for r in records[-8:]} == {"qnehvi"}


def test_one_objective_is_enough_and_goals_may_be_minima():
    parameters = {"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.9}}
    task = make_task(parameters, STAGES, {"val_loss": {"goal": "minimize"}})
    records: list[TrialRecord] = []
    for stage in ["init"] * 5 + ["search"] * 8:
        params = propose(task, stage, records, 0).params
        loss = (params["x"] - 0.3) ** 2
        records.append(make_trial(task, params, {"val_loss": loss}, trial=len(records), stage=stage))
    assert min(abs(r.params["x"] - 0.3) for r in records[5:]) < 0.02


def test_references_may_be_missing_and_both_goals_minima():
    objectives = {
        "val_loss": {"goal": "minimize"},
        "j_per_sample": {"goal": "minimize", "reference": 0.2, **ENERGY},
    }
    task = make_task(MIXED, STAGES, objectives)
    records = go_on(task, go_on(task, [], "init", metrics=["val_loss"]), "search", 2, metrics=["val_loss"])
    assert [r.origin for r in records[-2:]] == ["qnehvi"] * 2


def test_a_reference_out_of_reach_does_not_stop_the_search():
    objectives = {
        "val_accuracy": {"goal": "maximize", "reference": 5.0},
        "samples_per_j": {"goal": "maximize", "reference": 1e9, **ENERGY},
    }
    task = make_task(MIXED, STAGES, objectives)
    records = go_on(task, go_on(task, [], "init"), "search", 1)
    assert records[-1].origin == "qnehvi"


def test_three_objectives():
    more = {"peak": {"goal": "minimize", "reference": 1.0}}
    two = {
        "val_accuracy": {"goal": "maximize", "reference": 0.1},
        "samples_per_j": {"goal": "maximize", "reference": 0.0, **ENERGY},
    }
    task = make_task(MIXED, STAGES, two | more)
    names = ("val_accuracy", "peak")
    records = go_on(task, go_on(task, [], "init", metrics=names), "search", 2, metrics=names)
    assert records[-1].origin == "qnehvi"


def test_a_model_that_fails_says_so(started, monkeypatch):
    task, records = started

    def broken(*_):
        raise ValueError("not positive definite")

    monkeypatch.setattr(bayes._model(), "_fits", {})
    monkeypatch.setattr(bayes._model().surrogate, "fit", broken)
    with pytest.raises(
        RuntimeError, match=r"'made': the model failed after 9 configurations: .*not positive definite"
    ):
        propose(task, "search", records, 0)


def test_noise_is_within_and_between_runs_and_replicates_share_it():
    task = make_task(TINY, STAGES)
    costs = [0.010, 0.011, 0.012]
    records = [make_trial(task, {}, {"val_accuracy": 0.5 + n / 10}, c) for n, c in enumerate(costs)]
    records.append(make_trial(task, {"a": 1}, {"val_accuracy": 0.9}, 0.02, spread=0.0))
    records.append(make_trial(task, {"b": False}, status="oom"))
    rsd = run_to_run(task, records)["samples_per_j"].sd
    replicated, single, refused = observations(task, records).seen

    assert rsd == pytest.approx(0.0914, rel=0.01)
    assert replicated.means == pytest.approx((0.6, sum(1 / c for c in costs) / 3))
    within = (
        0.01 * math.sqrt(2.5) / 2 / math.sqrt(effective_n([-2, -1, 0, 1, 2]))
    )  # windows at -1 … +1 %: their standard error
    each = [(within / c) ** 2 + (rsd / c) ** 2 for c in costs]
    assert [v.variance for v in replicated.objectives] == [None, pytest.approx(sum(each) / 9)]
    assert [v.variance for v in single.objectives] == [None, pytest.approx((rsd * 50.0) ** 2)]
    assert refused.refused
    assert refused.objectives == ()


def test_noise_that_is_not_known_is_inferred():
    metrics = ("val_accuracy", "val_speed")
    task = make_task(TINY, STAGES, {name: {"goal": "maximize", "reference": 0.1} for name in metrics})
    records = go_on(task, [], "init", 3, metrics=metrics)
    assert {v.variance for o in observations(task, records).seen for v in o.objectives} == {None}
    assert propose(task, "search", records, 0).origin == "qnehvi"


@pytest.mark.parametrize("by_factors", [True, False])
def test_energy_is_modelled_on_the_scale_that_predicts_better(by_factors):
    """Efficiency that moves by factors as a logarithm, efficiency that moves by differences as it is."""
    import numpy as np

    from joulebench.search import surrogate
    from joulebench.search.space import Space

    task = make_task({"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5}}, STAGES)
    records = []
    for n, x in enumerate(np.linspace(0, 1, 15).tolist()):
        efficiency = 10 ** (4 * x + 0.3 * math.sin(9 * x)) if by_factors else 100 + 80 * math.sin(3 * x)
        record = make_trial(task, {"x": x}, {"val_accuracy": 0.5 + x / 10}, 1 / efficiency, trial=n)
        records.append(record)
    space, known = Space.of(task, task.stages["search"]), observations(task, records)
    rows = space.encoding.encode([o.params for o in known.seen])
    with bayes._model()._quiet():
        found = surrogate.fit(task, known, rows, space.encoding.groups)
    assert [m.log for m in found.objectives] == [False, by_factors]


def gains(seeds, init, search):
    """True hypervolumes per seed: of Sobol then qNEHVI trials, and of as many Sobol trials alone."""
    task = problem()
    searched = [simulate(task, [("default", 3), ("init", init), ("search", search)], s) for s in seeds]
    sampled = [simulate(task, [("default", 3), ("init", init + search)], s) for s in seeds]
    return [true_hypervolume(task, r) for r in searched], [true_hypervolume(task, r) for r in sampled]


def test_searching_beats_sampling():
    searched, sampled = gains(range(4), 8, 10)
    assert sum(searched) > 1.03 * sum(sampled)


@pytest.mark.slow
def test_searching_beats_sampling_in_the_median():
    searched, sampled = gains(range(6), 10, 20)
    assert median(searched) > 1.05 * median(sampled)


@pytest.mark.parametrize("log", [True, False])
def test_the_expected_saving_is_in_joules_whatever_the_objective_is_stated_in(log):
    import torch

    from joulebench.search.model import _mean_saving
    from joulebench.search.surrogate import Modelled

    def saving(name, factor):
        mean, sd = (math.log(100 * factor), 0.2) if log else (100.0 * factor, 20.0 * factor)
        at = (torch.tensor([v], dtype=torch.double) for v in (mean, sd))
        return float(_mean_saving(Modelled("o", log, 1.0, None), *at, 0.01, energy_form(name)))

    per_joule = saving("samples_per_j", 1.0)
    assert 0 < per_joule < 0.01
    assert saving("samples_per_wh", 3600.0) == pytest.approx(per_joule, rel=1e-9)
