"""Fits of the surrogate's Gaussian processes. Imported when a model is needed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from gpytorch.likelihoods import FixedNoiseGaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, HalfCauchyPrior, LogNormalPrior
from gpytorch.utils.cholesky import psd_safe_cholesky
from scipy.optimize import minimize
from torch import Tensor

from joulebench.search.encoding import Array
from joulebench.search.kernels import Family, Matern52

TRIED, ITERATIONS = 15, 100  # of L-BFGS-B from each start, and then from where the better one has come to
#: Natural logarithms between which hyperparameters are sought.
LENGTHS, VARIANCES, NOISES = (
    (math.log(0.025), math.log(1e3)),
    (math.log(1e-4), math.log(1e3)),
    (math.log(1e-4), 2.0),
)


class FastGP(SingleTaskGP):  # type: ignore[misc]
    """BoTorch's `SingleTaskGP` with a faster fit of the covariances of `kernels`.

    The same maximum a posteriori as BoTorch's own, which `custom_fit` takes the place of: over the logarithms of
    the hyperparameters, with distances worked out once, from two starts. BoTorch's passes every step through its
    modules, in coordinates in which L-BFGS-B takes several times as many (`nox -s bench -- -k fit` times both).
    """

    def custom_fit(self, mll: ExactMarginalLogLikelihood, **_: Any) -> ExactMarginalLogLikelihood:
        """Set the hyperparameters to their most probable values; the hook of `botorch.fit.fit_gpytorch_mll`."""
        target = Target(self)
        tried = [target.maximised(start, TRIED) for start in target.starts()]
        target.set(target.maximised(max(tried, key=lambda found: found[0])[1], ITERATIONS)[1])
        return mll.eval()

    @torch.no_grad()
    def widen(self) -> None:
        """Enlarge all variances to allow for the p hyperparameters that n values have settled: by 1 + 2 p / n.

        A plug-in of fitted hyperparameters is too sure of itself. By this factor, to first order, the error of
        prediction exceeds that of the fit (Akaike 1969, final prediction error). docs/search.md has how often
        intervals hold with it.
        """
        number = int(self.covar_module.near.base_kernel.groups.max()) + 3  # a mean and a variance besides
        factor = 1 + 2 * number / len(self.train_targets)
        for part in (self.covar_module.near, self.covar_module.plane):
            if part is not None:
                part.outputscale = part.outputscale * factor
        if not isinstance(self.likelihood, FixedNoiseGaussianLikelihood):
            self.likelihood.noise = self.likelihood.noise * factor


class Target:
    """Log posterior density of the hyperparameters of one process, up to a constant."""

    def __init__(self, gp: FastGP) -> None:
        self.gp, self.family = gp, gp.covar_module
        assert isinstance(self.family, Family)
        inputs = gp.train_inputs[0]
        self.y, near = gp.train_targets, self.family.near.base_kernel
        groups = near.groups
        self.lengths = int(groups.max()) + 1
        apart = (inputs.unsqueeze(1) - inputs.unsqueeze(0)).square()
        self.squared = torch.zeros(*apart.shape[:2], self.lengths, dtype=inputs.dtype).index_add(2, groups, apart)
        with torch.no_grad():
            self.fixed = self.family.fixed(inputs)  # of no hyperparameter; None
            self.plane = None if self.family.plane is None else self.family.plane.base_kernel(inputs).to_dense()
        known = isinstance(gp.likelihood, FixedNoiseGaussianLikelihood)
        self.noise = gp.likelihood.noise.detach() if known else None
        self.bounds = [LENGTHS] * self.lengths + [VARIANCES] * (1 + (self.plane is not None))
        self.bounds += [] if known else [NOISES]

    def starts(self) -> list[Array]:
        """Short length scales with little noise, and long ones with more."""
        starts = []
        for length, noise in ((1.0, -5.0), (4.0, -2.0)):
            logs = [math.log(length * math.sqrt(self.lengths))] * self.lengths
            logs += [0.0] * (1 + (self.plane is not None)) + ([noise] if self.noise is None else [])
            starts.append(np.array(logs))
        return starts

    def maximised(self, start: Array, iterations: int) -> tuple[float, Array]:
        """The highest density found from `start`, and where."""

        def loss(logs: Array) -> tuple[float, Array]:
            value, gradient = self.density(logs)
            return -value, -gradient

        options = {"maxiter": iterations, "ftol": 1e-9}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=self.bounds, options=options)
        return -float(found.fun), found.x

    @torch.no_grad()
    def density(self, logs: Array) -> tuple[float, Array]:
        """Log density and its gradient, at logarithms of length scales, variances and, if not known, the noise.

        Of the likelihood by a hyperparameter θ: ½ Σ W ∂K/∂θ with W = α αᵀ - K⁻¹ (Rasmussen & Williams 2006,
        eq. 5.9); the mean is at its optimum, where it adds nothing.
        """
        at = torch.tensor(logs, dtype=self.y.dtype)
        values = at.exp()
        root, _, residual, near = self._factored(values)
        solved = torch.cholesky_solve(residual.unsqueeze(-1), root).squeeze(-1)
        density = -0.5 * (residual @ solved) - root.diagonal().log().sum()
        weights = torch.outer(solved, solved) - torch.cholesky_inverse(root)
        inverse_squares = values[: self.lengths].square().reciprocal()
        distance = (5 * (self.squared @ inverse_squares)).sqrt()
        slope = (5 / 6) * values[self.lengths] * weights * (1 + distance) * torch.exp(-distance)
        parts = [
            torch.tensordot(slope, self.squared, dims=2) * inverse_squares,
            0.5 * (weights * near).sum().view(1),
        ]
        if self.plane is not None:
            parts.append(0.5 * values[self.lengths + 1] * (weights * self.plane).sum().view(1))
        if self.noise is None:
            parts.append(0.5 * values[-1] * weights.diagonal().sum().view(1))
        prior, slopes = self._prior(at)
        return float(density + prior), (torch.cat(parts) + slopes).numpy()

    def _factored(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cholesky factor of the covariance, the most likely constant mean, the values less it, the Matérn part."""
        near = values[self.lengths] * Matern52.apply(
            5 * (self.squared @ values[: self.lengths].square().reciprocal())
        )
        covariance = near
        if self.plane is not None:
            covariance = covariance + values[self.lengths + 1] * self.plane
        if self.fixed is not None:
            covariance = covariance + self.fixed
        noise = values[-1].expand(len(self.y)) if self.noise is None else self.noise
        root = psd_safe_cholesky(covariance + noise.diag_embed())
        weights = torch.cholesky_solve(torch.ones_like(self.y).unsqueeze(-1), root).squeeze(-1)
        mean = (weights @ self.y) / weights.sum()
        return root, mean, self.y - mean, near

    def _prior(self, logs: Tensor) -> tuple[Tensor, Tensor]:
        """Log density of the priors that the modules state, up to a constant, and its gradient."""
        near, plane = self.family.near, self.family.plane
        lengths, sparse = logs[: self.lengths], getattr(near.base_kernel, "relevance_prior", None)
        parts = [
            _lognormal(lengths, near.base_kernel.lengthscale_prior)
            if sparse is None
            else _half_cauchy(lengths, sparse)
        ]
        parts.append(_gamma(logs[self.lengths : self.lengths + 1], near.outputscale_prior))
        if plane is not None:
            parts.append(_gamma(logs[self.lengths + 1 : self.lengths + 2], plane.outputscale_prior))
        if self.noise is None:
            parts.append(_lognormal(logs[-1:], self.gp.likelihood.noise_covar.noise_prior))
        densities, slopes = zip(*parts, strict=True)
        return torch.stack(densities).sum(), torch.cat(slopes)

    @torch.no_grad()
    def set(self, logs: Array) -> None:
        """Write hyperparameters into the process's modules."""
        values = torch.tensor(logs, dtype=self.y.dtype).exp()
        self.family.near.base_kernel.lengthscale = values[: self.lengths]
        self.family.near.outputscale = values[self.lengths]
        if self.family.plane is not None:
            self.family.plane.outputscale = values[self.lengths + 1]
        if self.noise is None:
            self.gp.likelihood.noise = values[-1]
        self.gp.mean_module.constant = self._factored(values)[1]


def _lognormal(logs: Tensor, prior: LogNormalPrior) -> tuple[Tensor, Tensor]:
    apart = (logs - prior.loc) / prior.scale
    return (-0.5 * apart.square() - logs).sum(), -apart / prior.scale - 1


def _half_cauchy(logs: Tensor, prior: HalfCauchyPrior) -> tuple[Tensor, Tensor]:
    """Of 1 / ℓ² at the logarithms of ℓ."""
    square = (torch.exp(-2 * logs) / prior.scale).square()
    return -torch.log1p(square).sum(), 4 * square / (1 + square)


def _gamma(logs: Tensor, prior: GammaPrior) -> tuple[Tensor, Tensor]:
    rest = prior.concentration - 1
    return (rest * logs - prior.rate * logs.exp()).sum(), rest - prior.rate * logs.exp()
