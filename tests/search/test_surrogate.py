"""Which model of a quantity predicts better: each value from all others, against a process made without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from joulebench.search.observations import Value
from joulebench.search.surrogate import KERNELS, Series, _density, _fitted


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
