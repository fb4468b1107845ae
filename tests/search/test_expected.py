"""Closed forms against sampling, and what a proposal says it expects."""

from __future__ import annotations

import math

import pytest

from joulebench.search import propose
from tests.factories import ENERGY, make_task, make_trial
from tests.synthetic_search import STAGES, problem, simulate

torch = pytest.importorskip("torch")

from joulebench.search import bayes  # noqa: E402
from joulebench.search.closed_form import cells, excess, undominated  # noqa: E402
from joulebench.search.observations import observations  # noqa: E402
from joulebench.search.space import Space  # noqa: E402
from joulebench.search.surrogate import Matern52, SharedMatern  # noqa: E402

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


@pytest.fixture(scope="module")
def scored():
    """A model of eleven configurations of the CIFAR-10 space, and candidates of it."""
    task = problem()
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
    assert set(expected) == {"hypervolume_gain", "saving_j_per_unit"}
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
    assert set(propose(task, "search", records, 0).expected) == {"hypervolume_gain"}
