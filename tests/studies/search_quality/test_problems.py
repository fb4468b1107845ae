"""Problems whose best is known: no point beats a stated front, and hypervolumes are those of the fronts."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.results.frontier import hypervolume, non_dominated, objective_goals
from joulebench.spec.task import Task
from joulebench.studies.search_quality import functions
from joulebench.studies.search_quality.problems import BUILT_IN, Problem, configurations, find_problem
from joulebench.workloads.base import InfeasibleError

ENUMERATED = ("architecture", "recipe", "serving", "table_zeus")
CIRCLES = [
    ("dtlz2", {"dimension": 2}),
    ("dtlz2", {"dimension": 10}),
    ("cliffs", {"dimension": 2, "jump": 2.0}),
    ("cliffs", {"dimension": 6, "jump": 0.0}),
    ("cliffs", {"dimension": 20, "jump": 0.5}),
]


def draw(problem, rng):
    return problem.task.resolve({name: rng.random() for name in problem.task.free})


def optimum(name, dimension, x1):
    """The point of the front that x1 belongs to."""
    rest = [
        0.5 if name == "dtlz2" else 0.25 + 0.5 * math.fmod(i * functions.GOLDEN, 1.0)
        for i in range(2, dimension + 1)
    ]
    return dict(zip((f"x{i}" for i in range(1, dimension + 1)), [x1, *rest], strict=True))


@pytest.mark.parametrize(("name", "settings_"), CIRCLES)
def test_no_point_dominates_the_circle(name, settings_):
    problem, rng = find_problem(name, settings_), random.Random(0)
    for _ in range(2000):
        f1, f2 = problem.true_point(draw(problem, rng))
        assert f1 >= 0
        assert f2 >= 0
        assert f1**2 + f2**2 >= 1


@pytest.mark.parametrize(("name", "settings_"), CIRCLES)
def test_the_circle_is_reached_and_has_the_stated_hypervolume(name, settings_):
    problem = find_problem(name, settings_)
    points = []
    for x1 in np.linspace(0, 1, 2001):
        params = problem.task.resolve(optimum(name, settings_["dimension"], float(x1)))
        points.append(problem.true_point(params))
        assert math.hypot(*points[-1]) == pytest.approx(1.0, abs=1e-12)
    found = problem.hypervolume(points)
    assert 0 < problem.best - found < 1e-3


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 20), st.floats(0.01, 5), st.randoms(use_true_random=False))
def test_cliffs_only_ever_make_it_worse(dimension, jump, rng):
    x = {f"x{i}": rng.random() for i in range(1, dimension + 1)}
    flat = math.hypot(*functions.cliffs({**x, "jump": 0.0}, 0).values())
    high = math.hypot(*functions.cliffs({**x, "jump": jump}, 0).values())
    fallen = (high - flat) / jump
    assert fallen == pytest.approx(round(fallen), abs=1e-9 / jump)
    assert 0 <= round(fallen) <= functions.CLIFFS


def test_most_of_the_space_lies_behind_cliffs_and_the_front_at_their_foot():
    for dimension in (2, 6, 20):
        rng, here = random.Random(1), 0
        for _ in range(500):
            x = {f"x{i}": rng.random() for i in range(1, dimension + 1)}
            low, high = (math.hypot(*functions.cliffs({**x, "jump": j}, 0).values()) for j in (0.0, 1.0))
            here += high > low + 0.5
        assert here > 200
        best = optimum("cliffs", dimension, 0.3)
        stepped = 0
        for _ in range(200):  # a step of 0.2 is enough to fall, whatever the dimension
            raw = [rng.gauss(0, 1) for _ in range(dimension - 1)]
            norm = math.sqrt(sum(r * r for r in raw))
            moved = {f"x{i}": best[f"x{i}"] + 0.2 * r / norm * (dimension - 1) ** 0.5 for i, r in enumerate(raw, 2)}
            stepped += math.hypot(*functions.cliffs({**best, **moved, "jump": 1.0}, 0).values()) > 1.9
        assert stepped > 20


def test_branin_and_currin_are_botorch_s():
    torch = pytest.importorskip("torch")
    from botorch.test_functions.multi_objective import BraninCurrin

    theirs, rng = BraninCurrin(negate=False).to(torch.double), random.Random(0)
    for _ in range(50):
        x1, x2 = rng.random(), rng.random()
        ours = functions.branin_currin({"x1": x1, "x2": x2}, 0)
        expected = theirs(torch.tensor([[x1, x2]], dtype=torch.double))[0].tolist()
        assert list(ours.values()) == pytest.approx(expected, rel=1e-9)
    assert functions.branin_currin({"x1": 0.5, "x2": 0.0}, 0)["currin"] == pytest.approx(
        theirs(torch.tensor([[0.5, 0.0]], dtype=torch.double))[0, 1].item()
    )
    assert find_problem("branin_currin", {}).best == pytest.approx(theirs._max_hv)


def test_branin_currin_s_hypervolume_is_neared_from_below():
    problem = find_problem("branin_currin", {})
    grid = np.linspace(0, 1, 201)
    values = np.array([list(functions.branin_currin({"x1": a, "x2": b}, 0).values()) for a in grid for b in grid])
    goals = objective_goals(problem.task)
    found = hypervolume(values[non_dominated(values, goals)], [18.0, 6.0], goals)
    assert 0.97 * problem.best < found < problem.best


@pytest.mark.parametrize("name", ENUMERATED)
def test_the_best_of_finite_problems_is_that_of_all_their_configurations(name):
    problem = find_problem(name, {})
    every = list(configurations(problem.task))
    assert len(every) == problem.task.space_size
    rng = random.Random(3)
    points = [p for c in rng.sample(every, min(400, len(every))) if (p := problem.true_point(c)) is not None]
    assert 0.5 < problem.hypervolume(points) / problem.best <= 1


def test_problems_are_of_the_size_they_are_meant_to_be():
    sizes = {name: find_problem(name, {}).task.space_size for name in BUILT_IN}
    continua = dict.fromkeys(("branin_currin", "dtlz2", "cliffs"))
    assert sizes == {**continua, "architecture": 7680, "recipe": 15625, "serving": 15360}


def test_architecture_is_the_function_that_the_search_is_tuned_on():
    from tests.synthetic_search import truth

    for width, depth, kernel, pool in ((51, 6, 3, True), (128, 6, 9, False), (1, 1, 1, True)):
        params = {"width": width, "depth": depth, "kernel": kernel, "pool": pool, "noise": 1.0}
        found = functions.architecture(params, 0)
        assert (found["accuracy"], found["samples_per_joule"]) == pytest.approx(truth(params))


def test_serving_runs_out_of_memory_only_where_it_must():
    at = {"batch": 64, "threads": 8, "precision": "fp32", "compiled": False, "cache": 0}
    assert set(functions.serving(at, 0)) == {"latency_ms", "energy_mj"}
    with pytest.raises(InfeasibleError, match="memory"):
        functions.serving({**at, "cache": 7}, 0)
    assert find_problem("serving", {}).true_point({**at, "cache": 7}) is None


@pytest.mark.parametrize("name", ["branin_currin", "cliffs", "architecture"])
def test_noise_is_what_the_settings_say(name):
    def spread(noise, seed):
        problem = find_problem(name, {"noise": noise, "noise_known": True})
        workload = problem.simulated(seed)
        workload.build(problem.task.defaults)
        true = workload.noise_free()
        found = {m: (workload.outcomes()[m] - true[m]) for m in problem.task.objectives}
        return found, workload.standard_errors()

    off, exact = spread(0.0, 1)
    assert set(off.values()) == {0.0}
    assert set(exact.values()) == {0.0}
    (one, sd), (double, _) = spread(1.0, 1), spread(2.0, 1)
    for metric in one:
        assert double[metric] == pytest.approx(2 * one[metric])
        z = [spread(1.0, seed)[0][metric] / sd[metric] for seed in range(150)]
        assert abs(float(np.mean(z))) < 0.35
        assert 0.8 < float(np.std(z)) < 1.2


def test_noise_that_is_not_told_has_no_standard_error():
    problem = find_problem("branin_currin", {"noise_known": False})
    workload = problem.simulated(0)
    workload.build(problem.task.defaults)
    assert workload.standard_errors() == {}


# (problem, settings, words the message must hold)
REFUSED = [
    ("braninn", {}, ["no problem 'braninn'", "did you mean 'branin_currin'", "or a task"]),
    ("dtlz2", {"dimensions": 3}, ["no setting 'dimensions'", "did you mean 'dimension'"]),
    ("dtlz2", {"dimension": 1}, ["dimension = 1 is outside", "'low': 2"]),
    ("dtlz2", {"dimension": 2.5}, ["dimension = 2.5 is outside"]),
    ("cliffs", {"jump": -1.0}, ["jump = -1.0 is outside"]),
    ("table_zeus", {"noise": 1.0}, ["'table_zeus' is a task", "takes no settings (got noise)"]),
    ("cifar10", {}, ["problem 'cifar10'", "objective '", "metered"]),
]


@pytest.mark.parametrize(("name", "settings_", "words"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_cannot_be_judged_is_refused(name, settings_, words):
    with pytest.raises(InputError) as caught:
        find_problem(name, settings_)
    assert all(word in str(caught.value) for word in words), str(caught.value)


TASK = """
name = "mine"
title = "A user's own problem"
workload = "{workload}"
options.function = "tests.studies.search_quality.test_problems:own"
[parameters]
a = {{ type = "int", low = 1, high = 4, default = 1 }}
{parameter}
[objectives.{objective}]
goal = "maximize"
{reference}
[stages.s]
method = "grid"
"""


def own(params, seed):
    return {"gain": float(params["a"]), "time": 5.0 - params["a"]}


def written(folder, workload="function", parameter="", objective="gain", reference="reference = 0.0", more=""):
    path = folder / "mine.toml"
    path.write_text(
        TASK.format(workload=workload, parameter=parameter, objective=objective, reference=reference) + more
    )
    return str(path)


def test_a_task_of_the_user_s_own_is_a_problem(tmp_path):
    problem = find_problem(written(tmp_path), {})
    assert problem.best == 4.0


def test_a_bound_keeps_what_breaks_it_out_of_the_best(tmp_path):
    problem = find_problem(written(tmp_path, more="[constraints.time]\nat_least = 2.5\n"), {})
    assert problem.best == 2.0


def test_nobody_knows_the_best_of_a_continuum(tmp_path):
    b = 'b = { type = "float", low = 0.0, high = 1.0, default = 0.5 }'
    assert find_problem(written(tmp_path, parameter=b), {}).best is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": ""}, ["objective 'gain' needs a reference"]),
        ({"objective": "gian"}, ["no 'gian'", "did you mean 'gain'", "they give: gain, time"]),
        ({"workload": "tests.problems:Linear"}, ["runs its trials", "table, function"]),
    ],
)
def test_a_task_that_a_search_cannot_be_judged_on_is_refused(tmp_path, changes, words):
    with pytest.raises(InputError) as caught:
        find_problem(written(tmp_path, **changes), {})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_problem_s_hypervolume_is_on_its_task_s_scale():
    problem = find_problem("table_zeus", {})
    given = problem.task.model_dump()
    given["objectives"]["energy_per_epoch_j"]["scale"] = "log"
    log = Problem("log", Task.model_validate(given), None)
    assert log.hypervolume([(10.0, 800.0), (8.0, 1200.0)]) == pytest.approx(
        2.0 * math.log(2) + 2.0 * math.log(1600 / 1200)
    )
    assert log.hypervolume([]) == 0.0
    with pytest.raises(InputError, match="problem 'log': no hypervolume: a value on a log scale is not positive"):
        log.hypervolume([(10.0, 0.0)])
