"""What one qNEHVI candidate of the CIFAR-10 space costs, by the number of observations; the budget is 2 s."""

from __future__ import annotations

import pytest

from suite.search import prepare, propose
from tests.synthetic_search import problem, simulate

BUDGET_S = 2.0


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    """Imports, and a first candidate: what is loaded on first use is not what a candidate costs."""
    task = problem()
    prepare(task)
    simulate(task, [("init", 4), ("search", 1)], 0)


@pytest.mark.parametrize("observed", [5, 10, 20, 30, 60])
def test_candidate(benchmark, observed):
    task = problem()
    records = simulate(task, [("default", 3), ("init", observed)], 0)
    seeds = iter(range(1000))
    proposal = benchmark.pedantic(lambda: propose(task, "search", records, next(seeds)), rounds=5, iterations=1)
    assert proposal.origin == "qnehvi"
    if benchmark.enabled and 10 <= observed <= 30:
        assert benchmark.stats.stats.median <= BUDGET_S
