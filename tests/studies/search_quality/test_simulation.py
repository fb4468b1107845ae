"""Whole searches as trials: seeded, paired, judged without noise, metered apart from the trials they propose."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.results.outcome import configuration_key
from joulebench.runner import local
from joulebench.search import Proposal
from joulebench.spec.catalog import find_task
from joulebench.studies.search_quality import simulation
from joulebench.studies.search_quality.problems import find_problem
from joulebench.studies.search_quality.simulation import Simulation, find_method
from joulebench.studies.search_quality.workload import SearchQuality
from joulebench.workloads.base import Context
from tests.factories import make_task

PARAMS = {"problem": "table_zeus", "method": "random", "repeat": 1, "trials": 12, "initial": 4}


def searched(name="table_zeus", method="random", seed=1, trials=20, initial=6, settings=None, given=None):
    found = Simulation(
        find_problem(name, settings or {}), find_method(method, given, trials, initial), seed, RealClock()
    )
    while found.propose():
        found.settle()
    return found


def workload(params=None, stop_after=None, **options):
    asked = itertools.count(1)
    context = Context(
        "cpu", 0, RealClock(), None, options, lambda: stop_after is not None and next(asked) >= stop_after
    )
    made = SearchQuality(context)
    made.build({**PARAMS, **(params or {})})
    return made


def harnessed(made):
    """Epochs with their validation metrics, as the harness takes them."""
    return [(epoch.index, made.evaluate("validation")) for epoch in made.train()]


def test_a_search_is_a_function_of_problem_method_and_seed():
    def said(found):
        return [(r.params, r.metrics, r.status, r.seed) for r in found.records], found.volumes

    assert said(searched("architecture", seed=3)) == said(searched("architecture", seed=3))
    assert said(searched("architecture", seed=3)) != said(searched("architecture", seed=4))


@pytest.mark.parametrize("method", ["nsga2", "mine"])
def test_methods_with_one_seed_begin_alike_and_have_the_same_noise(method):
    sobol = searched("architecture", "sobol", trials=8, initial=4)
    given = {"proposer": f"{__name__}:nothing_but_defaults"} if method == "mine" else None
    other = searched("architecture", method, trials=8, initial=4, given=given)
    same = 2 if method == "nsga2" else 4  # its first generation
    assert [(r.params, r.metrics) for r in other.records[:same]] == [
        (r.params, r.metrics) for r in sobol.records[:same]
    ]
    assert [r.seed for r in other.records] == [r.seed for r in sobol.records]


def test_hypervolume_is_of_true_values_and_never_falls():
    found = searched("architecture", settings={"noise": 20.0})
    true = [found.problem.true_point(r.params) for r in found.records]
    assert found.volumes[-1] == pytest.approx(found.problem.hypervolume(true))
    assert found.volumes == sorted(found.volumes)
    assert found.volumes[-1] <= found.problem.best
    accuracy = [(r.metrics["accuracy"], t[0]) for r, t in zip(found.records, true, strict=True)]
    assert max(abs(noisy - exact) for noisy, exact in accuracy) > 0.1


def test_all_of_a_finite_space_is_its_best():
    found = searched("table_zeus", trials=1000)
    assert len(found.records) == 140
    assert found.volumes[-1] == pytest.approx(found.problem.best)
    assert len({configuration_key(found.task, r.params) for r in found.records}) == 140
    assert found.duplicates == 0


def test_what_is_infeasible_is_recorded_as_the_harness_would_and_earns_nothing():
    found = searched("serving", trials=60)
    lost = [r for r in found.records if r.status == "infeasible"]
    assert lost
    assert all(r.error == "batch and cache do not fit in memory" and not r.metrics for r in lost)
    assert found.count("infeasible") == len(lost)
    assert {r.status for r in found.records} == {"ok", "infeasible"}


def test_the_cost_of_trials_adds_up():
    found = searched("table_zeus", trials=5)
    assert found.cost_j == pytest.approx(sum(r.metrics["energy_per_epoch_j"] for r in found.records))
    assert searched("architecture", trials=3).cost_j is None


def test_each_proposal_is_in_an_epoch_and_each_trial_outside_of_it():
    made = workload()
    epochs = made.train()
    next(epochs)
    sim = made._search
    assert sim.records == []  # proposed, not run
    first = made.evaluate("validation")
    assert len(sim.records) == 1
    assert made.evaluate("validation") == first  # asking again runs nothing
    next(epochs)
    next(epochs)  # a caller that does not evaluate loses no trial
    assert len(sim.records) == 2
    assert made.evaluate("test") == {}


def test_a_search_says_what_it_found():
    made = workload({"trials": 140, "problem": "table_zeus"})
    epochs = harnessed(made)
    found = made.outcomes()
    assert found["hypervolume"] == epochs[-1][1]["hypervolume"]
    assert found["hypervolume_share"] == pytest.approx(1.0)
    assert found["trials_done"] == 140
    shares = [e["hypervolume"] / found["best_hypervolume"] for _, e in epochs]
    for level in (0.90, 0.95, 0.98):
        reached = found[f"trials_to_{round(100 * level)}"]
        assert shares[int(reached) - 1] >= level
        assert all(s < level for s in shares[: int(reached) - 1])
    assert (found["duplicates"], found["fallbacks"], found["infeasible"], found["failed"]) == (0, 0, 0, 0)
    assert found["proposing_s"] > 0
    assert made.phases() == {}


def test_a_level_that_was_not_reached_is_absent():
    made = workload({"trials": 2, "problem": "recipe"})
    harnessed(made)
    assert not any(name.startswith("trials_to_9") and name != "trials_to_90" for name in made.outcomes())


def test_no_share_without_a_best(tmp_path):
    from tests.studies.search_quality.test_problems import written

    made = workload(
        {"problem": written(tmp_path, parameter='b = { type = "float", low = 0.0, high = 1.0, default = 0.5 }')}
    )
    harnessed(made)
    assert "hypervolume" in made.outcomes()
    assert "hypervolume_share" not in made.outcomes()


def test_time_that_is_up_ends_a_search_and_keeps_its_trials():
    made = workload(stop_after=3)
    assert len(harnessed(made)) == 3
    assert made.outcomes()["trials_done"] == 3


def nothing_but_defaults(task, stage, records, seed):
    return task.defaults


def learns_from_records(task, stage, records, seed):
    best = max(records, key=lambda r: -r.metrics["time_per_epoch_s"])
    batch = random.Random(seed + len(records)).choice(task.parameters["batch_size"].values)
    return Proposal(task.resolve({**best.params, "batch_size": batch}), f"near {best.trial}")


def ends_at_once(task, stage, records, seed):
    return None


def breaks(task, stage, records, seed):
    raise RuntimeError("no more ideas")


def mine(name):
    return {"mine": {"proposer": f"tests.studies.search_quality.test_simulation:{name}"}}


def test_a_user_s_proposer_is_a_method():
    made = workload({"method": "mine"}, methods=mine("learns_from_records"))
    assert len(harnessed(made)) == 12
    origins = [r.origin for r in made._search.records]
    assert origins[:4] == ["sobol"] * 4
    assert all(origin.startswith("near ") for origin in origins[4:])


def test_duplicates_are_counted():
    made = workload({"method": "mine"}, methods=mine("nothing_but_defaults"))
    harnessed(made)
    assert made.outcomes()["duplicates"] >= 7
    assert made.outcomes()["trials_done"] == 12


def test_a_proposer_may_end_the_search():
    made = workload({"method": "mine"}, methods=mine("ends_at_once"))
    assert len(harnessed(made)) == 4


def test_fallbacks_are_counted_where_the_model_gave_none(monkeypatch):
    def propose(task, stage, records, seed):
        found = original(task, "init" if stage == "init" else "search", records, seed)
        return found and replace(found, fallback="no model yet" if stage == "search" else None)

    original = simulation.search.propose
    method = find_method("sobol-ish", {"method": "qnehvi"}, 9, 4)
    stages = {"init": method.stages["init"], "search": find_method("random", None, 5, 0).stages["init"]}
    found = Simulation(find_problem("table_zeus", {}), simulation.Method("x", stages, propose), 0, RealClock())
    while found.propose():
        found.settle()
    assert found.fallbacks == 5


# (parameters, options, words the message must hold)
REFUSED = [
    ({"method": "qnehv"}, {}, ["no method 'qnehv'", "did you mean 'qnehvi'", "options.methods"]),
    ({"method": "m"}, {"methods": {"m": 3}}, ["options.methods.m", "must be a table"]),
    ({"method": "m"}, {"methods": {"m": {"method": "qnehv"}}}, ["options.methods.m", "did you mean 'qnehvi'"]),
    ({"method": "m"}, {"methods": {"m": {"method": "qnehvi", "repeats": 2}}}, ["options.methods.m", "repeats"]),
    (
        {"method": "m"},
        {"methods": {"m": {"proposer": "nothing:here"}}},
        ["options.methods.m", "no module 'nothing'"],
    ),
    ({"method": "m"}, {"methods": {"m": {"proposer": "a:b", "batch": 2}}}, ["options.methods.m", "nothing else"]),
    ({}, {"methods": 3}, ["options.methods", "must be a table"]),
    ({}, {"problems": {"table_zeus": {"name": "x"}}}, ["options.problems.table_zeus", "must read"]),
    ({"problem": 3}, {}, ["parameters.problem", "must be a name"]),
    ({"trials": 2.5}, {}, ["parameters.trials", "whole number"]),
    ({"dimension": 4}, {}, ["takes no settings (got dimension)"]),
]


@pytest.mark.parametrize(("params", "options", "words"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_is_no_search_is_refused(params, options, words):
    with pytest.raises(InputError) as caught:
        workload(params, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_options_it_does_not_know_are_refused():
    with pytest.raises(InputError, match=r"options.method: no such option; did you mean 'methods'"):
        SearchQuality(Context("cpu", 0, RealClock(), None, {"method": {}}))


def test_parameters_it_needs_are_named():
    made = SearchQuality(Context("cpu", 0, RealClock()))
    with pytest.raises(InputError, match="needs repeat, trials, initial"):
        made.build({"problem": "dtlz2", "method": "random"})


def task_of(methods, options=None, **fixed):
    values = {"trials": 6, "initial": 3, "problem": "table_zeus", **fixed}
    return make_task(
        {
            "repeat": {"type": "int", "low": 1, "high": 2, "default": 1},
            "method": {"type": "choice", "values": methods, "default": methods[0]},
            **{name: {"type": "fixed", "value": value} for name, value in values.items()},
        },
        {"searches": {"method": "grid", "order": "given"}},
        {"hypervolume_share": {"goal": "maximize", "reference": 0.0}},
        workload="search",
        analyses=["search_quality"],
        options=options or {},
        protocol={"idle_s": 0.0},
    )


def test_a_run_meters_each_proposal(tmp_path):
    run = local.run(task_of(["random", "sobol"]), out=tmp_path, replay="65")
    trials = run.trials()
    assert [(t.params["repeat"], t.params["method"]) for t in trials] == [
        (1, "random"), (1, "sobol"), (2, "random"), (2, "sobol"),
    ]  # fmt: skip
    for trial in trials:
        assert trial.status == "ok"
        assert [w.phase for w in trial.windows if w.phase in ("train", "validate")] == ["train", "validate"] * 6
        assert all(w.units == 1 for w in trial.windows if w.phase == "train")
        assert len(trial.epochs) == 6
        spent = [e.metrics["val_trial_cost_j"] for e in trial.epochs]
        assert spent == sorted(spent)
        assert trial.metrics["hypervolume"] == trial.epochs[-1].metrics["val_hypervolume"]
    assert (tmp_path / "made").exists()


def test_a_method_that_fails_keeps_what_it_had(tmp_path):
    run = local.run(task_of(["mine", "random"], {"methods": mine("breaks")}), out=tmp_path, replay="65")
    failed = [t for t in run.trials() if t.status == "failed"]
    assert [len(t.epochs) for t in failed] == [3, 3]
    assert all("no more ideas" in (t.error or "") for t in failed)


@pytest.mark.parametrize("name", ["search_quality", "search_robustness"])
def test_the_shipped_studies_ask_for_what_there_is(name):
    task = find_task(name)
    for budget in (None, *task.budgets):
        merged = task.with_budget(budget)
        for problem in getattr(merged.parameters["problem"], "values", [merged.parameters["problem"].default]):
            made = workload({**merged.defaults, "problem": problem}, **merged.options)
            assert made._search.problem.best is not None
            made.close()


@pytest.mark.slow
def test_the_model_beats_chance_on_the_table():
    shares = {
        method: [
            (s := searched("table_zeus", method, seed, trials=40, initial=10)).volumes[-1] / s.problem.best
            for seed in range(5)
        ]
        for method in ("random", "qnehvi")
    }
    assert sorted(shares["qnehvi"])[2] > sorted(shares["random"])[2]
