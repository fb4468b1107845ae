"""Straight lines through measurements, by least squares. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

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
    """The least-squares line, by scipy's `linregress`; None for fewer than two points, or if all x are the same.

    Standard errors are those of independent errors of one size (Draper and Smith, Applied Regression Analysis); the
    intervals are Student's t with n − 2 degrees of freedom.

    Raises:
        ValueError: `x` and `y` differ in length.
    """
    from scipy import special
    from scipy.stats import linregress  # takes a second to import, and few reports hold a line

    n = len(x)
    if n != len(y):
        raise ValueError(f"{n} x but {len(y)} y")
    if n < 2 or min(x) == max(x):
        return None
    found = linregress(x, y)
    intercept, slope = float(found.intercept), float(found.slope)
    r2 = float(found.rvalue) ** 2 if min(y) < max(y) else None
    if n == 2:
        return Line(_bare(intercept, n), _bare(slope, n), r2, None, n)
    mean_x = fmean(x)
    sd = float(found.stderr) * math.sqrt(math.fsum((a - mean_x) ** 2 for a in x))
    t = float(special.stdtrit(n - 2, 0.975))
    a, b = (
        Estimate(mean, n, float(sem), mean - t * float(sem), mean + t * float(sem), "runs")
        for mean, sem in ((intercept, found.intercept_stderr), (slope, found.stderr))
    )
    return Line(a, b, r2, sd, n)


def _bare(value: float, n: int) -> Estimate:
    return Estimate(value, n, None, None, None, "runs")
