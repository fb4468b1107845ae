"""The fit of the hyperparameters, against BoTorch's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.optimize import approx_fprime

from joulebench.search.fitting import FastGP, Target
from joulebench.search.kernels import Covariance, Linear, Sparse, Trended

GROUPS = (0, 1, 1, 1, 2)


def data(noise: float | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    rng = np.random.default_rng(1)
    choice = np.eye(3)[rng.integers(0, 3, 24)] / math.sqrt(2)
    rows = np.column_stack([rng.random(24), choice, rng.random(24)])
    values = np.sin(4 * rows[:, 0]) + 2 * rows[:, 1] - rows[:, 2] * rows[:, 4] + rng.normal(0, 0.05, 24)
    known = None if noise is None else torch.full((24, 1), noise, dtype=torch.double)
    return torch.tensor(rows), torch.tensor(values).unsqueeze(-1), known


@pytest.mark.parametrize("kernel", [Covariance, Linear, Sparse, Trended])
@pytest.mark.parametrize("noise", [None, 0.01])
def test_no_worse_than_botorchs_own_and_where_that_ends(kernel, noise):
    rows, values, known = data(noise)
    fast = FastGP(rows, values, known, covar_module=kernel(GROUPS).double())
    slow = SingleTaskGP(rows, values, known, covar_module=kernel(GROUPS).double())
    found = []
    for gp in (fast, slow):
        mll = fit_gpytorch_mll(ExactMarginalLogLikelihood(gp.likelihood, gp))
        mll.train()
        with torch.no_grad():
            found.append(float(mll(gp(*gp.train_inputs), gp.train_targets)))  # a value, priors included
        gp.eval()
    assert found[0] >= found[1] - 1e-3
    asked = torch.tensor(np.random.default_rng(2).random((10, 5)))
    with torch.no_grad():
        means = [gp.posterior(asked).mean for gp in (fast, slow)]
    if found[0] - found[1] < 1e-3:
        assert torch.allclose(*means, atol=0.05)


@pytest.mark.parametrize("kernel", [Covariance, Linear, Sparse, Trended])
@pytest.mark.parametrize("noise", [None, 0.01])
def test_the_gradient_is_that_of_the_density(kernel, noise):
    rows, values, known = data(noise)
    gp = FastGP(rows, values, known, covar_module=kernel(GROUPS).double())
    target = Target(gp)
    for start in target.starts():
        _, gradient = target.density(start)
        numeric = approx_fprime(start, lambda logs: target.density(logs)[0], 1e-6)
        assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_intervals_are_widened_for_the_number_of_hyperparameters():
    rows, values, _ = data(None)
    gp = FastGP(rows, values, covar_module=Linear(GROUPS).double())
    before = gp.covar_module.near.outputscale.item(), gp.likelihood.noise.item()
    gp.widen()
    factor = 1 + 2 * (3 + 2) / 24  # three parameters, a mean and a variance, over 24 values
    assert gp.covar_module.near.outputscale.item() == pytest.approx(factor * before[0])
    assert gp.likelihood.noise.item() == pytest.approx(factor * before[1])
