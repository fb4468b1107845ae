"""Linear regression on several figures: by least squares, with a ridge penalty, and Bayesian. Pure.

Each is scikit-learn's of the same settings, number for number; written here, since that takes 100 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: Directions in which the figures vary by less than this share of the widest one do not count.
_COLLINEAR = 1e-6
#: Iterations of the Bayesian fit at most, and the change of all coefficients together that ends it.
_ITERATIONS, _TOLERANCE = 300, 1e-3
#: Shape and rate of the priors of both precisions: as good as none.
_PRIOR = 1e-6


@dataclass(frozen=True, eq=False)
class Plane:
    """y = y₀ + (x − x₀) · coefficients, of figures x (n, p)."""

    coefficients: Array
    x0: Array
    y0: float

    def at(self, x: ArrayLike) -> Array:
        """The expected y of figures (n, p)."""
        found: Array = np.asarray(x, dtype=float) @ self.coefficients + (self.y0 - self.x0 @ self.coefficients)
        return found


def least_squares(x: Array, y: Array) -> Plane:
    """The plane of least squares; of those that fit equally well, the one with the smallest coefficients."""
    centred, x0, y0 = _centred(x, y)
    coefficients: Array = np.linalg.lstsq(centred, y - y0, rcond=_COLLINEAR)[0].astype(float)
    return Plane(coefficients, x0, y0)


def ridge(x: Array, y: Array, penalties: Sequence[float]) -> Plane:
    """Ridge regression, with the penalty of the least squared errors of leave-one-out; the first of equal ones."""
    centred, x0, y0 = _centred(x, y)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    projected = left.T @ (y - y0)

    def squared_errors(penalty: float) -> float:
        shrunk = penalty / (singular**2 + penalty)
        if len(x) > x.shape[1]:
            residual, own = left @ ((shrunk - 1) * projected) + (y - y0), ((shrunk - 1) * left**2).sum(axis=1) + 1
            ones = left @ ((shrunk - 1) * left.sum(axis=0)) + 1
        else:
            residual, own = left @ (shrunk * projected), (shrunk * left**2).sum(axis=1)
            ones = left @ (shrunk * left.sum(axis=0))
        return float(((residual / (own - ones / len(x))) ** 2).mean())

    best = min(penalties, key=squared_errors)
    return Plane(right.T @ (singular / (singular**2 + best) * projected), x0, y0)


def quadratic(x: Array) -> Callable[[Array], Array]:
    """What turns figures into themselves and their products of two, in units of `x`'s means and deviations."""
    mean, variance, n = x.mean(axis=0), x.var(axis=0), len(x)
    eps = float(np.finfo(float).eps)
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    scale = np.where(constant, 1.0, np.sqrt(variance))

    def features(figures: Array) -> Array:
        scaled = (figures - mean) / scale
        pairs = combinations_with_replacement(range(scaled.shape[1]), 2)
        return np.column_stack([scaled, *(scaled[:, i] * scaled[:, j] for i, j in pairs)])

    return features


@dataclass(frozen=True, eq=False)
class BayesianPlane:
    """Plane with the uncertainty of its coefficients and of one y about it."""

    plane: Plane
    covariance: Array  # of the coefficients
    noise: float  # variance of y about the plane

    def at(self, x: Sequence[float]) -> tuple[float, float]:
        """The expected y of figures (p,), and the standard deviation of one y there."""
        away = np.asarray(x, dtype=float) - self.plane.x0
        return float(self.plane.at([x])[0]), float(np.sqrt(away @ self.covariance @ away + self.noise))


def bayesian(x: ArrayLike, y: ArrayLike) -> BayesianPlane:
    """Bayesian ridge regression with both precisions by the evidence (MacKay 1992), for more rows than figures."""
    figures, values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    centred, x0, y0 = _centred(figures, values)
    target = values - y0
    _, singular, right = np.linalg.svd(centred, full_matrices=False)
    squares, product = singular**2, centred.T @ target

    def fitted(noise: float, prior: float) -> tuple[Array, float]:
        coefficients = right.T @ (right / (squares + prior / noise)[:, None]) @ product
        return coefficients, float(((target - centred @ coefficients) ** 2).sum())

    noise, prior = 1.0 / (float(values.var()) + float(np.finfo(float).eps)), 1.0  # precisions
    before: Array | None = None
    for _ in range(_ITERATIONS):
        coefficients, squared = fitted(noise, prior)
        known = float((noise * squares / (prior + noise * squares)).sum())
        prior = (known + 2 * _PRIOR) / (float((coefficients**2).sum()) + 2 * _PRIOR)
        noise = (len(values) - known + 2 * _PRIOR) / (squared + 2 * _PRIOR)
        if before is not None and float(np.abs(before - coefficients).sum()) < _TOLERANCE:
            break
        before = coefficients
    coefficients, _ = fitted(noise, prior)
    covariance = right.T @ (right / (noise * squares + prior)[:, None])
    return BayesianPlane(Plane(coefficients, x0, y0), covariance, 1.0 / noise)


def _centred(x: Array, y: Array) -> tuple[Array, Array, float]:
    x0 = x.mean(axis=0)
    return x - x0, x0, float(y.mean())
