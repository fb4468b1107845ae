"""Exact Gaussian process inference, vectorised over candidates. Imported when a model is needed."""

from __future__ import annotations

from typing import Any

import torch
from botorch.models import SingleTaskGP
from gpytorch.utils.cholesky import psd_safe_cholesky
from torch import Tensor

JITTER = 1e-8  # of a standardised value's variance


def _factor(gp: SingleTaskGP, inputs: Tensor) -> Tensor:
    covariance = gp.covar_module(inputs).to_dense() + torch.diag(gp.likelihood.noise.expand(len(inputs)))
    root: Tensor = psd_safe_cholesky(covariance)
    return root


class Process:
    """Noise-free posterior of one fitted process: marginals, and conditioned on sampled values at base points.

    BoTorch has both as joint posteriors; here each candidate stands alone, which takes n² instead of n³ for n
    observations, and matrices instead of batches of them.

    Args:
        base: rows of the unit cube at which values will be sampled.
    """

    @torch.no_grad()
    def __init__(self, gp: SingleTaskGP, base: Tensor) -> None:
        self._gp, self._inputs, self._base = gp, gp.train_inputs[0], base
        unit = torch.eye(len(self._inputs), dtype=base.dtype, device=base.device)
        self._root = torch.linalg.solve_triangular(_factor(gp, self._inputs), unit, upper=False)
        self._weights = self._root.T @ (self._root @ (gp.train_targets - gp.mean_module(self._inputs)))
        mean, known = self._known(base)
        covariance = gp.covar_module(base).to_dense() - known.T @ known
        jitter = JITTER * torch.eye(len(base), dtype=base.dtype, device=base.device)
        self._base_mean, self._base_known = mean, known
        self._base_factor = psd_safe_cholesky(covariance + jitter)
        transform: Any = gp.outcome_transform
        self._offset, self.spread = transform.means.squeeze(), transform.stdvs.squeeze()

    def _known(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised posterior mean, and the root of the variance that the observations explain."""
        cross = self._gp.covar_module(self._inputs, points).to_dense()
        return self._gp.mean_module(points) + cross.T @ self._weights, self._root @ cross

    def marginals(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation at each row of `points`."""
        mean, known = self._known(points)
        return self._scaled(mean, self._gp.covar_module(points, diag=True) - known.square().sum(dim=0))

    @torch.no_grad()
    def sample_base(self, draws: Tensor) -> Tensor:
        """Posterior samples at the base (samples × base) from standard normal draws of that shape."""
        values: Tensor = self._offset + self.spread * (self._base_mean + draws @ self._base_factor.T)
        return values

    def conditioned(self, points: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Means (rows × samples) and standard deviation at each row, given the values sampled at the base.

        With L L' the posterior covariance of the base, c(x) that between it and x, and w = L⁻¹ c(x): the mean
        moves by w·z, the variance falls by w·w.
        """
        mean, known = self._known(points)
        cross = self._gp.covar_module(self._base, points).to_dense() - self._base_known.T @ known
        share = torch.linalg.solve_triangular(self._base_factor, cross, upper=False)
        variance = self._gp.covar_module(points, diag=True) - known.square().sum(dim=0) - share.square().sum(dim=0)
        return self._scaled(mean.unsqueeze(-1) + share.T @ draws.T, variance)

    def _scaled(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        return self._offset + self.spread * mean, self.spread * variance.clamp_min(JITTER).sqrt()
