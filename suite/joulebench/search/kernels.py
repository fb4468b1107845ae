"""Covariance functions of the surrogate models, over configurations in the unit cube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.priors import GammaPrior, HalfCauchyPrior, LogNormalPrior
from torch import Tensor

SHRINKAGE = 0.1  # scale of the sparse prior


class Matern52(torch.autograd.Function):
    """(1 + r + r²/3) e^(-r) of 5 times a squared distance, r²; its derivative by that is -(1 + r) e^(-r) / 6.

    In one step: the derivative by way of the root takes longer, and is undefined at 0.
    """

    @staticmethod
    def forward(context: Any, squared: Tensor) -> Tensor:
        root = squared.sqrt()
        fading = torch.exp(-root)
        context.save_for_backward(root, fading)
        value: Tensor = (1 + root + squared / 3) * fading
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        root, fading = context.saved_tensors
        gradient: Tensor = gradients[0] * (1 + root) * fading / -6
        return gradient


def _relevance(kernel: SharedMatern) -> Tensor:
    """1 / ℓ² of every parameter."""
    value: Tensor = kernel.lengthscale.square().reciprocal()
    return value


def _set_relevance(kernel: SharedMatern, value: Tensor) -> None:
    kernel.lengthscale = value.rsqrt()


class SharedMatern(Kernel):  # type: ignore[misc]
    """Matérn 5/2 of the distance √Σ (x_i - x'_i)² / ℓ_g(i)², the columns of one parameter sharing a length scale.

    So unordered choices, one-hot, are equally alike: what differs counts (a Hamming distance), and one number says
    how much. Prior of the length scales: log-normal with location √2 + ½ log d over d parameters and scale √3
    (Hvarfner et al. 2024), as BoTorch's own default. `sparse`: 1 / ℓ² is half-Cauchy of scale `SHRINKAGE`, so that
    most may be next to 0 and a few large (SAAS, Eriksson & Jankowiak 2021, with their global scale at the scale of
    its own prior, and the most probable values instead of samples, as in BoTorch's `map_saas`).
    """

    has_lengthscale = True

    def __init__(self, groups: Sequence[int], sparse: bool = False) -> None:
        number = max(groups) + 1
        prior = LogNormalPrior(loc=math.sqrt(2) + math.log(number) * 0.5, scale=math.sqrt(3))
        smallest = GreaterThan(2.5e-2, transform=None, initial_value=prior.mode)
        own = None if sparse else prior
        super().__init__(ard_num_dims=number, lengthscale_prior=own, lengthscale_constraint=smallest)
        if sparse:
            self.register_prior("relevance_prior", HalfCauchyPrior(SHRINKAGE), _relevance, _set_relevance)
        self.ard_num_dims = None  # there are more columns than length scales, which it would refuse
        self.register_buffer("groups", torch.tensor(list(groups), dtype=torch.long))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        scale = self.lengthscale[..., self.groups]
        squared = self.covar_dist(x1 / scale, x2 / scale, diag=diag, square_dist=True, **params)
        value: Tensor = Matern52.apply(5 * squared)
        return value


class Plane(Kernel):  # type: ignore[misc]
    """A linear function of the columns: (1/d) Σ w_i (x_i - c_i)(x'_i - c_i) over d parameters.

    Of one-hot columns, which are 0 or 1/√2, c = 0 and w = 2: two configurations are as alike as the share of the
    choices that they have in common. Of single columns, from 0 to 1, c = ½ and w = 4: the ends count as ±1.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__()
        number = max(groups) + 1
        wide = torch.tensor([groups.count(group) > 1 for group in groups])
        self.register_buffer("centre", torch.where(wide, 0.0, 0.5))
        self.register_buffer("root", torch.where(wide, 2.0, 4.0).div(number).sqrt())

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        left, right = ((x - self.centre) * self.root for x in (x1, x2))
        value: Tensor = (left * right).sum(-1) if diag else left @ right.transpose(-1, -2)
        return value


class Family(Kernel):  # type: ignore[misc]
    """A Matérn covariance, by itself or with a plane: what `fitting` fits.

    Attributes:
        near: `SharedMatern` times a variance: a few standardised observations do not settle it at 1.
        plane: `Plane` times a variance; None without one.
    """

    def __init__(self, groups: Sequence[int], plane: bool, sparse: bool = False) -> None:
        super().__init__()
        self.near = ScaleKernel(SharedMatern(groups, sparse), outputscale_prior=GammaPrior(2.0, 0.15))
        self.plane = ScaleKernel(Plane(groups), outputscale_prior=GammaPrior(2.0, 0.15)) if plane else None

    def fixed(self, points: Tensor) -> Tensor | None:  # noqa: ARG002
        """Covariance of points that no hyperparameter changes, if there is one."""
        return None

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        parts = (self.near,) if self.plane is None else (self.near, self.plane)
        value: Tensor = sum(part.forward(x1, x2, diag=diag) for part in parts)
        return value


class Covariance(Family):
    """`SharedMatern` times a variance: configurations tell of one another as far as they are near."""

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__(groups, plane=False)


class Sparse(Family):
    """`Covariance` where few of many parameters matter, which its prior says."""

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__(groups, plane=False, sparse=True)


class Linear(Family):
    """`Covariance` and a `Plane`, each times a variance: main effects, and what departs from their sum.

    From few observations main effects can be told, their interactions cannot: a Matérn kernel alone believes that
    configurations with most choices unlike tell nothing of one another.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__(groups, plane=True)


class Trended(Covariance):
    """`Covariance` and a plane of a fixed size: v/d Σ (x_i - ½)(x'_i - ½), slopes of prior variance v/d.

    For quantities that grow outside the observed range, as memory does: a stationary process alone returns to the
    mean there, and would predict that memory suffices beyond where it ran out.
    """

    SLOPE_VARIANCE = 9.0  # of a standardised value, over the whole range of one parameter

    def fixed(self, points: Tensor) -> Tensor:
        return self._slopes(points, points, diag=False)

    def _slopes(self, x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
        left, right = x1 - 0.5, x2 - 0.5
        plane = (left * right).sum(-1) if diag else left @ right.transpose(-1, -2)
        return self.SLOPE_VARIANCE / x1.shape[-1] * plane

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        return super().forward(x1, x2, diag=diag, **params) + self._slopes(x1, x2, diag)
