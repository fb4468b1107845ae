"""Simple linear regression by least squares. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joulebench.stats.estimate import Estimate, t_quantile


@dataclass(frozen=True)
class Line:
    """y = intercept + slope · x with 95 % intervals (absent for two points).

    `r2` is the explained share of y's variance, None where y does not vary; `residual_sd` has y's unit.
    """

    intercept: Estimate
    slope: Estimate
    r2: float | None
    residual_sd: float | None
    n: int

    def at(self, x: float) -> float:
        return self.intercept.mean + self.slope.mean * x


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """The least-squares line; None for fewer than two points, or if all x are the same.

    Standard errors are those of independent errors of one size, as `scipy.stats.linregress` has them; it resolves
    them to some 1e-8 of slope · x. The intervals are Student's t with n − 2 degrees of freedom.

    Raises:
        ValueError: `x` and `y` differ in length.
    """
    n = len(x)
    if n != len(y):
        raise ValueError(f"{n} x but {len(y)} y")
    if n < 2 or min(x) == max(x):
        return None
    from scipy.stats import linregress  # importing it takes a second, and few reports have a line

    fit = linregress(x, y)
    intercept, slope = float(fit.intercept), float(fit.slope)
    level = min(y) == max(y)  # of which SciPy knows no standard errors
    r2 = None if level else float(fit.rvalue) ** 2
    if n == 2:
        return Line(_within(intercept, None, n), _within(slope, None, n), r2, None, n)
    intercept_sem, slope_sem = (0.0, 0.0) if level else (float(fit.intercept_stderr), float(fit.stderr))
    residual_sd = slope_sem * float(np.std(x)) * math.sqrt(n)  # se(slope) = s / √Σ(x − x̄)²
    return Line(_within(intercept, intercept_sem, n), _within(slope, slope_sem, n), r2, residual_sd, n)


def _within(value: float, sem: float | None, n: int) -> Estimate:
    if sem is None:
        return Estimate(value, n, None, None, None, "runs")
    half = t_quantile(n - 2) * sem
    return Estimate(value, n, sem, value - half, value + half, "runs")
