"""What is bounded: measured outcomes, memory, and whether a configuration runs at all."""

from __future__ import annotations

import math
import random

import pytest

from joulebench.search import propose
from joulebench.search.observations import Observation, Observations, Value, observations
from joulebench.stats.estimate import effective_n
from tests.factories import ENERGY, make_task, make_trial
from tests.synthetic_search import STAGES, problem, simulate

GIB = 1 << 30
PLANE = {n: {"type": "int", "low": 0, "high": 99, "default": 0} for n in ("x", "y")}
BOTH = {n: {"goal": "maximize", "reference": 0.0} for n in ("f", "g")}


def plane(**fields):
    """Both objectives grow without end: what bounds them is what is asked for."""
    return make_task(PLANE, STAGES, BOTH, **fields)


def go_on(task, plan, seed, result):
    """A study of `plane`: `result` gives status, metrics and costs of x and y."""
    records, rng = [], random.Random(seed)
    for stage in (stage for stage, trials in plan for _ in range(trials)):
        proposal = propose(task, stage, records, seed)
        x, y = proposal.params["x"], proposal.params["y"]
        status, metrics, costs = result(x, y, rng)
        values = {"f": x + 0.1 * y + 1, "g": y + 0.1 * x + 1, **metrics}
        records.append(
            make_trial(task, proposal.params, values if status == "ok" else {}, trial=len(records), stage=stage,
                       status=status, costs=costs, origin=proposal.origin,
                       expected=proposal.expected)
        )  # fmt: skip
    return records


def beyond(records, limit):
    return [r.params["x"] + r.params["y"] > limit for r in records]


@pytest.mark.slow
def test_a_bound_on_a_metric_is_learnt_and_used():
    task = plane(constraints={"size": {"at_most": 60.0}})
    records = go_on(task, [("init", 10), ("search", 20)], 0, lambda x, y, rng: ("ok", {"size": float(x + y)}, {}))
    assert sum(beyond(records[-10:], 60)) <= 2
    # and right up to it, where the front is
    assert max(r.params["x"] + r.params["y"] for r in records[-10:] if r.params["x"] + r.params["y"] <= 60) >= 58


@pytest.mark.slow
def test_a_bound_may_be_a_least_and_on_a_cost():
    task = plane(constraints={"rest": {"at_least": 40.0}, "peak_memory_bytes": {"at_most": 60.0 * GIB}})

    def result(x, y, rng):
        return "ok", {"rest": 100.0 - x - y}, {"peak_memory_bytes": (x + y + 1) * GIB}

    records = go_on(task, [("init", 10), ("search", 15)], 0, result)
    assert sum(beyond(records[-8:], 60)) <= 2


def test_a_bound_on_a_latency_and_on_energy_is_modelled_as_a_logarithm():
    from joulebench.search import surrogate

    constraints = {
        "step_s": {"at_most": 0.1, "phase": "inference", "quantile": 0.5},
        "j_per_sample": {"at_most": 0.02, **ENERGY},
        "f": {"at_least": 1.0},
    }
    task = plane(constraints=constraints)
    seen = Observation({}, (), (Value(0.1, None), Value(0.02, None), Value(1.0, None)), None, False, True)
    series = surrogate._constraints(task, Observations((seen, seen), None))
    assert [s.log for s, _, _ in series] == [True, True, False]


def test_values_of_constraints_come_with_their_noise():
    task = plane(constraints={"j_per_sample": {"at_most": 0.02, **ENERGY}, "size": {"at_most": 5.0}})
    trials = [
        make_trial(task, {"x": 1}, {"f": 1.0, "g": 1.0, "size": 3.0}, 0.01, sems={"size": 0.5},
                   phases=["inference"]),
        make_trial(task, {"x": 2}, {"f": 1.0, "g": 1.0}, 0.03, trial=1, phases=["inference"]),
    ]  # fmt: skip
    first, second = observations(task, trials).seen
    energy, size = first.constraints
    assert energy.mean == pytest.approx(0.01)
    assert energy.variance == pytest.approx(
        (0.01 * 0.01 * math.sqrt(2.5) / 2) ** 2 / effective_n([-2, -1, 0, 1, 2])
    )
    assert (size.mean, size.variance) == (3.0, 0.25)
    assert first.feasible
    assert second.constraints[1] is None
    assert not second.feasible
    assert [o.params["x"] for o in observations(task, trials).feasible] == [1]


def oom(task, x, number, **costs):
    return make_trial(task, {"x": x}, trial=number, status="oom", costs=costs)


def fits(task, x, number, **costs):
    return make_trial(task, {"x": x}, {"f": 1.0, "g": 1.0}, trial=number, costs=costs)


def test_memory_is_modelled_once_it_ran_out_and_peaks_and_limit_are_known():
    task = plane()
    two = [fits(task, x, x, peak_memory_bytes=x * GIB, memory_limit_bytes=9 * GIB) for x in (1, 2)]
    assert observations(task, two).memory_limit_bytes is None
    out = oom(task, 8, 3, peak_memory_bytes=7 * GIB, memory_limit_bytes=8 * GIB)
    more = oom(task, 9, 4, peak_memory_bytes=12 * GIB, memory_limit_bytes=9 * GIB)
    known = observations(task, [*two, out, more])
    assert known.memory_limit_bytes == 8 * GIB
    # what ran out counts with what it asked for in all, and at least with the limit
    assert [o.memory_bytes for o in known.seen] == [1 * GIB, 2 * GIB, 8 * GIB, 12 * GIB]
    assert not any(o.refused for o in known.seen)


@pytest.mark.parametrize("costs", [{}, {"peak_memory_bytes": GIB}, {"memory_limit_bytes": GIB}])
def test_where_memory_is_not_known_running_out_is_a_refusal(costs):
    task = plane()
    known = observations(task, [fits(task, 1, 0, **costs), oom(task, 8, 1, **costs)])
    assert known.memory_limit_bytes is None
    assert [o.refused for o in known.seen] == [False, True]


def test_the_search_keeps_within_memory():
    task = plane()

    def result(x, y, rng):
        need = int((20 + x + y) * GIB * (1 + 0.01 * rng.random()))
        if need > 80 * GIB:
            return "oom", {}, {"peak_memory_bytes": int(need * 0.9), "memory_limit_bytes": 80 * GIB}
        return "ok", {}, {"peak_memory_bytes": need, "memory_limit_bytes": 80 * GIB}

    records = go_on(task, [("init", 10), ("search", 20)], 0, result)
    assert sum(r.status == "oom" for r in records[-12:]) <= 3
    assert max(r.params["x"] + r.params["y"] for r in records if r.status == "ok") >= 56
    assert {r.origin for r in records[-12:]} == {"qnehvi"}  # until two configurations fit there is no model


@pytest.mark.slow
@pytest.mark.parametrize("status", ["failed", "infeasible"])
def test_the_search_learns_what_does_not_run(status):
    task = plane()
    records = go_on(
        task, [("init", 10), ("search", 20)], 0, lambda x, y, rng: (status if x + y > 60 else "ok", {}, {})
    )
    assert (
        sum(r.status != "ok" for r in records[-10:]) <= 7
    )  # every other gain lies beyond; unbounded, all ten would


def test_by_the_rule_of_ecopt_running_out_is_worth_nothing():
    task = plane(on_oom="zero")
    known = observations(task, [fits(task, 1, 0), oom(task, 8, 1)])
    assert [o.means for o in known.seen] == [(1.0, 1.0), (0.0, 0.0)]
    assert [o.feasible for o in known.seen] == [True, False]
    assert not any(o.refused for o in known.seen)
    records = go_on(
        task, [("init", 8), ("search", 4)], 0, lambda x, y, rng: ("oom" if x + y > 60 else "ok", {}, {})
    )
    assert {r.origin for r in records[8:]} == {"qnehvi"}


def test_nothing_that_fits_is_no_reason_to_stop():
    task = plane(constraints={"size": {"at_most": -1.0}})
    records = go_on(task, [("init", 5), ("search", 3)], 0, lambda x, y, rng: ("ok", {"size": float(x + y)}, {}))
    assert {r.origin for r in records[5:]} == {"qnehvi"}


def test_one_objective_and_a_bound():
    objectives = {"f": {"goal": "maximize"}}
    task = make_task(PLANE, STAGES, objectives, constraints={"size": {"at_most": 60.0}})
    records = go_on(task, [("init", 8), ("search", 12)], 0, lambda x, y, rng: ("ok", {"size": float(x + y)}, {}))
    best = max(r.metrics["f"] for r in records if r.metrics["size"] <= 60)
    assert best >= 60.5  # x + y/10 + 1 is 61 at most


@pytest.mark.slow
def test_the_front_of_the_cnn_space_within_a_memory_limit():
    task = problem()

    def costs(params):
        need = 1000 * int(params["width"]) * int(params["depth"])
        return {"peak_memory_bytes": need, "memory_limit_bytes": 200_000}

    def status(params):
        return "oom" if int(params["width"]) * int(params["depth"]) > 200 else "ok"

    records = simulate(task, [("default", 3), ("init", 10), ("search", 12)], 0, status, costs)
    assert sum(r.status == "oom" for r in records[-8:]) <= 2
