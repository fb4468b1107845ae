"""What a qNEHVI candidate of the CIFAR-10 space costs, by the number of observations, beside Ax's own default.

Budgets: 3 s a candidate at 120 observations, 5 minutes for all candidates of a study of 200 trials.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from joulebench.records.model import TrialRecord
from joulebench.results.promises import RECENTLY_KEPT
from joulebench.search import model, prepare, propose
from tests.synthetic_search import CNN, categorical, problem, simulate, truth

CANDIDATE_S, STUDY_S = 3.0, 300.0
OBSERVED = [10, 50, 120, 200]


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    """Imports, and a first candidate: what is loaded on first use is not what a candidate costs."""
    task = problem()
    prepare(task)
    simulate(task, [("init", 4), ("search", 1)], 0)


def records(observed: int) -> list[TrialRecord]:
    return simulate(problem(), [("default", 3), ("init", observed)], 0)


@pytest.mark.parametrize("observed", OBSERVED)
def test_candidate(benchmark, observed):
    task, seen = problem(), records(observed)
    seeds = iter(range(1000))
    made = []
    benchmark.pedantic(
        lambda: made.append(propose(task, "search", seen, next(seeds))),
        setup=model._fits.clear,  # a study's records grow, so each of its candidates needs a fit of its own
        rounds=5,
        iterations=1,
    )
    proposal = made[0]
    assert proposal.origin == "qnehvi"
    if benchmark.enabled:
        assert benchmark.stats.stats.median <= CANDIDATE_S


@pytest.mark.parametrize("observed", [40, 120])
@pytest.mark.parametrize("routine", ["joulebench", "botorch"])
def test_fit(benchmark, routine, observed):
    """One model of the six unordered choices of the made-up recipe, to the same optimum; warmed, three rounds."""
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    from joulebench.search.fitting import FastGP
    from joulebench.search.kernels import Linear
    from joulebench.search.space import Space

    made, rng = categorical(), np.random.default_rng(0)
    space = Space.of(made.task, made.task.stages["search"])
    chosen = [space.listed[i] for i in rng.permutation(len(space.listed))[:observed]]
    rows = torch.tensor(space.encoding.encode(chosen))
    values = torch.tensor([[made.truth(p)[0]] for p in chosen], dtype=torch.double)
    kind = FastGP if routine == "joulebench" else SingleTaskGP

    def fit() -> None:
        gp = kind(rows, values, covar_module=Linear(space.encoding.groups).double())
        fit_gpytorch_mll(ExactMarginalLogLikelihood(gp.likelihood, gp))

    with model._threads(1):  # as in a search
        benchmark.pedantic(fit, rounds=3, iterations=1, warmup_rounds=1)


@pytest.mark.parametrize("observed", OBSERVED)
def test_candidate_of_ax_by_default(benchmark, observed):
    client = ax_client(records(observed))
    found = benchmark.pedantic(lambda: client.get_next_trials(max_trials=1), rounds=1, iterations=1)
    assert len(found) == 1


def test_all_candidates_of_a_study_of_200_trials(benchmark):
    spent: list[float] = []

    def study() -> list[TrialRecord]:
        begun = time.perf_counter()
        made = simulate(problem(), [("default", 3), ("init", 40), ("search", 157)], 0)
        spent.append(time.perf_counter() - begun)
        return made

    made = benchmark.pedantic(study, rounds=1, iterations=1)
    assert sum(r.origin == "qnehvi" or RECENTLY_KEPT in r.expected for r in made) == 157
    if benchmark.enabled:
        assert spent[0] <= STUDY_S


def ax_client(seen: Sequence[TrialRecord]) -> Any:
    """Ax as its users call it, with the same space, objectives, thresholds and data."""
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    client = Client()
    client.configure_experiment(
        parameters=[
            RangeParameterConfig(name="width", parameter_type="int", bounds=(1, 128)),
            RangeParameterConfig(name="depth", parameter_type="int", bounds=(1, 6)),
            ChoiceParameterConfig(
                name="kernel", parameter_type="int", values=list(CNN["kernel"]["values"]), is_ordered=True
            ),
            ChoiceParameterConfig(name="pool", parameter_type="bool", values=[True, False]),
        ]
    )
    client.configure_optimization(
        objective="accuracy, efficiency", outcome_constraints=["accuracy >= 0.1", "efficiency >= 0"]
    )
    client.configure_generation_strategy(method="fast", initialization_budget=1)
    for record in seen:
        params = {name: record.params[name] for name in ("width", "depth", "kernel", "pool")}
        index = client.attach_trial(parameters=params)
        accuracy, efficiency = truth(record.params)
        client.complete_trial(trial_index=index, raw_data={"accuracy": accuracy, "efficiency": efficiency})
    return client
