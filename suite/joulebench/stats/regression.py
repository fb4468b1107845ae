"""Straight lines through measurements, by least squares. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import special

from joulebench.stats.estimate import Estimate


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

    Standard errors are those of independent errors of one size (Draper and Smith, Applied Regression Analysis):
    s² = Σ residual² / (n − 2), se(slope) = s / √Sxx, se(intercept) = s √(1/n + x̄²/Sxx); the intervals are
    Student's t with n − 2 degrees of freedom.

    Raises:
        ValueError: `x` and `y` differ in length.
    """
    n = len(x)
    if n != len(y):
        raise ValueError(f"{n} x but {len(y)} y")
    if n < 2:
        return None
    mean_x, mean_y = fmean(x), fmean(y)
    sxx = math.fsum((a - mean_x) ** 2 for a in x)
    if sxx == 0:
        return None
    slope = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sxx
    intercept = mean_y - slope * mean_x
    total = math.fsum((b - mean_y) ** 2 for b in y)
    squares = math.fsum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    r2 = 1 - squares / total if total > 0 else None
    if n == 2:
        return Line(_bare(intercept, n), _bare(slope, n), r2, None, n)
    sd = math.sqrt(squares / (n - 2))
    errors = sd * math.sqrt(1 / n + mean_x**2 / sxx), sd / math.sqrt(sxx)
    t = float(special.stdtrit(n - 2, 0.975))
    a, b = (
        Estimate(mean, n, sem, mean - t * sem, mean + t * sem, "runs")
        for mean, sem in zip((intercept, slope), errors, strict=True)
    )
    return Line(a, b, r2, sd, n)


def _bare(value: float, n: int) -> Estimate:
    return Estimate(value, n, None, None, None, "runs")
