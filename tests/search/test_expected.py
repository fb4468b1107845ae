"""Closed forms against sampling, and what a proposal says it expects."""

from __future__ import annotations

import math

import pytest

from joulebench.errors import InputError
from joulebench.search import propose
from tests.factories import ENERGY, make_task, make_trial
from tests.synthetic_search import CNN, STAGES, problem, simulate

torch = pytest.importorskip("torch")

from joulebench.search import bayes  # noqa: E402
from joulebench.search.closed_form import cells, excess, normal_excess, undominated  # noqa: E402
from joulebench.search.kernels import Matern52, SharedMatern  # noqa: E402
from joulebench.search.observations import observations  # noqa: E402
from joulebench.search.space import Space  # noqa: E402

SAMPLES = 1_000_000


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("threshold", [-0.5, 0.4, 1.5, math.inf, -math.inf])
def test_excesses_are_the_mean_of_samples(log, sign, threshold):
    mean, sd = torch.tensor(0.3, dtype=torch.double), torch.tensor(0.5, dtype=torch.double)
    levels = (torch.arange(SAMPLES, dtype=torch.double) + 0.5) / SAMPLES
    drawn = mean + sd * torch.special.ndtri(levels)
    drawn = drawn.exp() if log else drawn
    expected = 0.0 if math.isinf(threshold) else float((sign * (drawn - threshold)).clamp_min(0).mean())
    found = excess(mean, sd, torch.tensor(threshold, dtype=torch.double), sign, log)
    assert float(found) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_boxes_fill_what_is_not_dominated(objectives):
    generator = torch.Generator().manual_seed(0)
    fronts = torch.rand(6, 9, objectives, generator=generator, dtype=torch.double) - 0.2
    fronts[1] = fronts[1].round(decimals=1)  # ties
    fronts[2, :, 0] = -0.1  # nothing above the reference
    allowed = torch.rand(6, 9, generator=generator) < 0.7
    allowed[3] = False
    lower, upper = cells(fronts, allowed)
    assert torch.equal(cells(fronts[:, :0], allowed[:, :0])[0], torch.zeros(6, 1, objectives, dtype=torch.double))
    points = 1.2 * torch.rand(500, objectives, generator=generator, dtype=torch.double)
    for front, kept, low, high in zip(fronts, allowed, lower, upper, strict=True):
        inside = ((points[:, None] >= low) & (points[:, None] < high)).all(dim=-1).sum(dim=1)
        above = front[kept & (front > 0).all(dim=-1)]
        dominated = (above[None] >= points[:, None]).all(dim=-1).any(dim=1)
        assert torch.equal(inside, (~dominated).long())


@pytest.mark.parametrize("objectives", [2, 3])
def test_what_no_row_dominates_is_found(objectives):
    generator = torch.Generator().manual_seed(1)
    fronts = torch.rand(20, 12, objectives, generator=generator, dtype=torch.double) - 0.2
    allowed = torch.rand(20, 12, generator=generator) < 0.7
    for front, kept, found in zip(fronts, allowed, undominated(fronts, allowed), strict=True):
        counts = kept & (front > 0).all(dim=-1)
        beaten = [bool((counts & (front > row).all(dim=-1)).any()) for row in front]
        assert found.tolist() == [bool(c) and not b for c, b in zip(counts, beaten, strict=True)]


def test_the_kernel_and_its_derivative_are_those_of_the_formula():
    kernel = SharedMatern((0, 1, 1)).double()
    points = torch.rand(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    points[5] = points[0]  # no distance: the root has no derivative there

    def covariance(scales, x):
        apart = ((x[:, None] - points[None]) / scales[[0, 1, 1]]).square().sum(-1)
        return Matern52.apply(5 * apart)

    scales = torch.tensor([0.5, 0.8], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(covariance, (scales, points[:4].clone().requires_grad_()))
    kernel.lengthscale = scales.detach()
    distance = math.sqrt(5) * ((points[:, None] - points[None]) / scales.detach()[[0, 1, 1]]).norm(dim=-1)
    expected = (1 + distance + distance**2 / 3) * torch.exp(-distance)
    assert torch.allclose(kernel(points, points).to_dense(), expected, atol=1e-7)


ACCURACY = {"goal": "maximize", "reference": 0.1}
EFFICIENCY = {"goal": "maximize", "reference": 50.0, "scale": "log", **ENERGY}
JOULES = {"goal": "minimize", "reference": 0.02, "scale": "log", **ENERGY}
SCALES = {
    "linear": None,
    "log": {"val_accuracy": ACCURACY, "samples_per_j": EFFICIENCY},
    "log, minimised": {"val_accuracy": ACCURACY, "j_per_sample": JOULES},
}


@pytest.fixture(scope="module", params=SCALES.values(), ids=SCALES)
def scored(request):
    """A model of eleven configurations of the CIFAR-10 space, and candidates of it."""
    task = make_task(CNN, STAGES, request.param)
    records = simulate(task, [("default", 3), ("init", 20)], 0)
    space, known = Space.of(task, task.stages["search"]), observations(task, records)
    rows = space.listed_rows[::311]
    with bayes._model().fitted(task, space.encoding, known, [], 0) as scorer:
        yield scorer, rows


def test_the_closed_form_agrees_with_monte_carlo(scored):
    scorer, rows = scored
    closed, sampled = scorer.closed_form(rows, 256), scorer.monte_carlo(rows)
    large = closed > 1e-4 * closed.max()
    assert large.sum() > 5
    apart = [abs(math.log(r) - e) for r, e in zip(closed[large], sampled[large], strict=True)]
    assert sorted(apart)[len(apart) // 2] < 0.25


def test_the_closed_form_agrees_with_the_posterior(scored):
    scorer, rows = scored
    points = scorer.tensor(rows)
    for process, modelled in zip(scorer.processes, scorer.surrogate.all, strict=True):
        mean, sd = process.marginals(points)
        posterior = modelled.gp.posterior(points.unsqueeze(1))
        assert torch.allclose(mean, posterior.mean.flatten(), rtol=1e-6)
        assert torch.allclose(sd, posterior.variance.flatten().sqrt(), rtol=1e-4, atol=1e-6)
        draws = torch.randn(
            3000, len(scorer._baseline), dtype=torch.double, generator=torch.Generator().manual_seed(0)
        )
        given, left = process.conditioned(points, draws)
        whole = given.var(dim=1) + left**2
        assert torch.allclose(whole, sd**2, rtol=0.1, atol=1e-4 * float(process.spread) ** 2)


def test_a_proposal_says_what_it_expects():
    task = problem()
    records = simulate(task, [("default", 3), ("init", 20)], 0)
    expected = propose(task, "search", records, 0).expected
    medians = {"median_val_accuracy", "median_samples_per_j"}
    assert set(expected) == {"hypervolume_gain", "model_gain", "saving_j_per_unit"} | medians
    assert 0 < expected["median_val_accuracy"] < 1
    assert expected["hypervolume_gain"] == expected["model_gain"]  # no promise has been broken yet
    assert expected["hypervolume_gain"] > 0
    assert 0 <= expected["saving_j_per_unit"] < 1
    assert propose(task, "init", records, 0).expected == {}
    # a late proposal expects less than an early one
    later = simulate(task, [("default", 3), ("init", 120)], 0)
    assert propose(task, "search", later, 0).expected["hypervolume_gain"] < expected["hypervolume_gain"]


def line(goal, energy, name):
    """Joules fall and accuracy rises along x: the end of the line is best in both."""
    objectives = {
        "val_accuracy": {"goal": "maximize", "reference": 0.1},
        name: {"goal": goal, "reference": energy, **ENERGY},
    }
    task = make_task({"x": {"type": "int", "low": 0, "high": 20, "default": 0}}, STAGES, objectives)
    records = [
        make_trial(task, {"x": x}, {"val_accuracy": 0.5 + x / 100}, 0.03 - x / 1000, trial=x)
        for x in range(0, 17, 2)
    ]
    return task, records


@pytest.mark.parametrize(("goal", "reference", "name"), [
    ("maximize", 0.0, "samples_per_j"), ("minimize", 0.1, "j_per_sample"),
])  # fmt: skip
def test_a_saving_is_in_joules_per_unit_whatever_the_objective(goal, reference, name):
    task, records = line(goal, reference, name)
    proposal = propose(task, "search", records, 0)
    assert proposal.params["x"] > 16
    saved = 0.014 - (0.03 - proposal.params["x"] / 1000)  # against the best so far, x = 16
    assert proposal.expected["saving_j_per_unit"] == pytest.approx(saved, rel=0.35)


def test_a_saving_that_costs_accuracy_is_none():
    task, records = line("maximize", 0.0, "samples_per_j")
    worse = [r.model_copy(update={"metrics": {"val_accuracy": 0.9 - r.params["x"] / 50}}) for r in records]
    proposal = propose(task, "search", worse, 0)
    assert proposal.expected["saving_j_per_unit"] < 1e-4


def test_without_energy_there_is_no_saving():
    objectives = {n: {"goal": "minimize", "reference": 2.0} for n in ("f", "g")}
    task = make_task({"x": {"type": "int", "low": 0, "high": 20, "default": 0}}, STAGES, objectives)
    records = [make_trial(task, {"x": x}, {"f": x / 20, "g": 1 - x / 20}, trial=x) for x in (0, 5, 20)]
    expected = set(propose(task, "search", records, 0).expected)
    assert expected == {"hypervolume_gain", "model_gain", "median_f", "median_g"}


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_on_a_log_scale_improvement_is_of_the_logarithm_itself(goal):
    """With one objective: E[(ln y - ln best)⁺] of the normal ln y, whatever predicts better."""
    name, reference = ("samples_per_j", 1.0) if goal == "maximize" else ("j_per_sample", 1.0)
    objectives = {name: {"goal": goal, "reference": reference, "scale": "log", **ENERGY}}
    task = make_task({"x": {"type": "int", "low": 0, "high": 40, "default": 0}}, STAGES, objectives)
    records = [make_trial(task, {"x": x}, {}, 0.05 - x / 1000, trial=x) for x in range(0, 31, 3)]
    space, known = Space.of(task, task.stages["search"]), observations(task, records)
    with bayes._model().fitted(task, space.encoding, known, [], 0) as scorer, torch.no_grad():
        (modelled,) = scorer.surrogate.objectives
        assert modelled.log
        sign = scorer.scale.sign[0]
        assert float(scorer.scale.reference[0]) == pytest.approx(0.0)  # ln 1
        assert scorer.scale.volume == pytest.approx(abs(math.log(0.02)))  # from the reference to the best
        rows = space.listed_rows[31:]
        found = scorer.closed_form(rows, 256) * scorer.scale.volume
        draws = scorer._fronts(256)[2][0]
        fronts = scorer.processes[0].sample_base(draws)
        mean, sd = scorer.processes[0].conditioned(scorer.tensor(rows), draws)
        best = (sign * fronts).max(dim=1).values
        expected = normal_excess(sign * mean, sd[:, None], best).mean(dim=1)
        assert found == pytest.approx(expected.numpy(), rel=1e-6)


@pytest.mark.parametrize("unit", [1e-3, 1e4])
def test_the_unit_of_energy_does_not_matter_on_a_log_scale(unit):
    """Joules and their reference in another unit: the same proposal, the same promise in nats."""

    def proposal(unit):
        objectives = {"val_accuracy": ACCURACY, "j_per_sample": {**JOULES, "reference": 0.05 * unit}}
        task = make_task({"x": {"type": "int", "low": 0, "high": 40, "default": 0}}, STAGES, objectives)
        truth = {x: (0.9 - (x / 60) ** 2, unit * 0.03 * math.exp(-x / 20)) for x in range(0, 41, 5)}
        records = [make_trial(task, {"x": x}, {"val_accuracy": a}, j, trial=x) for x, (a, j) in truth.items()]
        return propose(task, "search", records, 0)

    here, there = proposal(1.0), proposal(unit)
    assert here.params == there.params
    assert here.expected["hypervolume_gain"] > 0
    assert there.expected["hypervolume_gain"] == pytest.approx(here.expected["hypervolume_gain"], rel=1e-3)
    assert there.expected["saving_j_per_unit"] == pytest.approx(unit * here.expected["saving_j_per_unit"], rel=1e-3)


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_a_value_without_a_logarithm_is_named(value):
    objectives = {"loss": {"goal": "minimize", "reference": 2.0, "scale": "log"}, "g": {"goal": "minimize"}}
    task = make_task({"x": {"type": "int", "low": 0, "high": 20, "default": 0}}, STAGES, objectives)
    records = [make_trial(task, {"x": x}, {"loss": x / 20 + value, "g": 1.0}, trial=x) for x in (0, 5, 20)]
    with pytest.raises(InputError, match=f"objectives.loss.scale: 'log' needs values above 0.*has {value:g};"):
        propose(task, "search", records, 0)
