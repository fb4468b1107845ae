"""The covariance of a search's models. Imported when a search needs a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.priors import GammaPrior, LogNormalPrior
from torch import Tensor


class Matern52(torch.autograd.Function):
    """(1 + r + r²/3) e^(-r) of 5 times a squared distance, r²; its derivative by that is -(1 + r) e^(-r) / 6.

    In one step: the derivative by way of the root takes longer, and is undefined at 0.
    """

    @staticmethod
    def forward(context: Any, squared: Tensor) -> Tensor:
        root = squared.sqrt()
        fading = torch.exp(-root)
        context.save_for_backward(root, fading)
        found: Tensor = (1 + root + squared / 3) * fading
        return found

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        root, fading = context.saved_tensors
        found: Tensor = gradients[0] * (1 + root) * fading / -6
        return found


class SharedMatern(Kernel):  # type: ignore[misc]
    """Matérn 5/2 of the distance √Σ (x_i - x'_i)² / ℓ_g(i)², the columns of one parameter sharing a length scale.

    So unordered choices, one-hot, are equally alike: what differs counts (a Hamming distance), and one number says
    how much. Prior of the length scales: log-normal with location √2 + ½ log d over d parameters and scale √3
    (Hvarfner et al. 2024), as BoTorch's own default.
    """

    has_lengthscale = True

    def __init__(self, groups: Sequence[int]) -> None:
        number = max(groups) + 1
        prior = LogNormalPrior(loc=math.sqrt(2) + math.log(number) * 0.5, scale=math.sqrt(3))
        smallest = GreaterThan(2.5e-2, transform=None, initial_value=prior.mode)
        super().__init__(ard_num_dims=number, lengthscale_prior=prior, lengthscale_constraint=smallest)
        self.ard_num_dims = None  # there are more columns than length scales, which it would refuse
        self.register_buffer("groups", torch.tensor(list(groups), dtype=torch.long))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        scale = self.lengthscale[..., self.groups]
        squared = self.covar_dist(x1 / scale, x2 / scale, diag=diag, square_dist=True, **params)
        found: Tensor = Matern52.apply(5 * squared)
        return found


class Covariance(ScaleKernel):  # type: ignore[misc]
    """The above times a variance, which the values of a few observations, standardised, do not settle at 1."""

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__(SharedMatern(groups), outputscale_prior=GammaPrior(2.0, 0.15))


class Trended(Covariance):
    """`Covariance` and a plane: k + v/d Σ (x_i - ½)(x'_i - ½), whose slopes have the prior variance v/d.

    For what goes on growing outside the observations, as memory does: a stationary process alone returns to the
    mean there, and would promise room beyond the place where memory ran out.
    """

    SLOPE_VARIANCE = 9.0  # of a standardised value, over the whole range of one parameter

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        near: Tensor = super().forward(x1, x2, diag=diag, **params)
        left, right = x1 - 0.5, x2 - 0.5
        plane = (left * right).sum(-1) if diag else left @ right.transpose(-1, -2)
        return near + self.SLOPE_VARIANCE / x1.shape[-1] * plane
