"""Which model of a quantity predicts better: each value from all others, against a process made without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from joulebench.search.kernels import Covariance, Sparse
from joulebench.search.observations import Value
from joulebench.search.surrogate import KERNELS, Series, _density, _fitted, _kernels


@pytest.mark.parametrize("noise", [0.05, None])
@pytest.mark.parametrize("logged", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_density_is_that_of_every_value_given_all_others(noise, logged, kernel):
    rng = np.random.default_rng(3)
    rows = rng.random((12, 2))
    values = np.exp(np.sin(3 * rows[:, 0]) + rows[:, 1] + 0.1 * rng.normal(size=12))
    series = Series("energy", False, tuple(Value(float(v), noise and (noise * v) ** 2) for v in values))
    series = series.logged() if logged else series
    (gp,) = _fitted([(series, kernel)], rows, (0, 1)).values()
    with torch.no_grad():
        inputs = gp.train_inputs[0]
        prior = gp.covar_module(inputs).to_dense().numpy()
        mean = gp.mean_module(inputs).numpy()
        covariance = prior + np.diag(gp.likelihood.noise.expand(12).numpy())
        shift, spread = float(gp.outcome_transform.means), float(gp.outcome_transform.stdvs)
    modelled = np.log(values) if logged else values
    residuals = (modelled - shift) / spread - mean
    total = 0.0
    for i in range(12):
        others = np.arange(12) != i
        weights = np.linalg.solve(covariance[np.ix_(others, others)], prior[others, i])
        variance = covariance[i, i] - weights @ prior[others, i]
        expected = shift + spread * (mean[i] + weights @ residuals[others])
        total += stats.norm.logpdf(modelled[i], expected, spread * np.sqrt(variance))
    total -= np.log(values).sum() if logged else 0.0  # of the value before its logarithm: dx = x d(log x)
    assert _density(gp, logged) == pytest.approx(total, rel=1e-6)


def test_of_many_parameters_few_that_matter_are_told_from_the_rest():
    rng = np.random.default_rng(5)
    groups = tuple(range(24))
    rows, unseen = rng.random((30, 24)), rng.random((200, 24))

    def truth(x):
        return np.sin(5 * x[:, 3]) + 2 * x[:, 7] ** 2

    series = Series("f", False, tuple(Value(float(v), None) for v in truth(rows)))
    fits = _fitted([(series, k) for k in (Covariance, Sparse)], rows, groups)
    errors = {}
    for kernel in (Covariance, Sparse):
        gp = fits["f", kernel]
        with torch.no_grad():
            predicted = gp.posterior(torch.as_tensor(unseen)).mean.squeeze(-1).numpy()
        errors[kernel] = float(np.sqrt(np.mean((predicted - truth(unseen)) ** 2)))
    assert errors[Sparse] < 0.7 * errors[Covariance]
    assert _density(fits["f", Sparse], False) > _density(fits["f", Covariance], False)
    lengths = fits["f", Sparse].covar_module.near.base_kernel.lengthscale.detach().numpy().ravel()
    assert set(np.argsort(lengths)[:2]) == {3, 7}
    assert Sparse in _kernels(groups)
    assert Sparse not in _kernels(groups[:15])
