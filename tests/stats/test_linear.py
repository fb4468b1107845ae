"""Regressions on several figures, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge, LinearRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from joulebench.stats.linear import bayesian, least_squares, quadratic, ridge

PENALTIES = tuple(10.0**power for power in range(-4, 4))


def drawn(seed: int, n: int, p: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(3.0, [0.5, 2.0, 1.0, 4.0][:p], (n, p))
    y = 7.0 + x @ random.normal(size=p) + noise * random.normal(size=n)
    return x, y, random.normal(3.0, 2.0, (5, p))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "p"), [(8, 1), (12, 2), (30, 4), (9, 4)])
def test_each_is_scikit_learns(seed: int, n: int, p: int) -> None:
    x, y, new = drawn(seed, n, p, noise=[0.0, 0.1, 1.0, 10.0][seed])
    assert least_squares(x, y).at(new) == pytest.approx(LinearRegression().fit(x, y).predict(new), rel=1e-9)
    # nine rows have fourteen features
    theirs = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), RidgeCV(PENALTIES))
    features = quadratic(x)
    ours = ridge(features(x), y, PENALTIES).at(features(new))
    assert ours == pytest.approx(theirs.fit(x, y).predict(new), rel=1e-7)
    means, deviations = BayesianRidge().fit(x, y).predict(new, return_std=True)
    plane = bayesian(x, y)
    for row, mean, deviation in zip(new, means, deviations, strict=True):
        assert plane.at(row) == (pytest.approx(mean, rel=1e-9), pytest.approx(deviation, rel=1e-7))


def test_the_exact_plane_is_found_and_what_does_not_vary_or_repeats_does_no_harm() -> None:
    x = np.array([[1.0, 2.0], [2.0, 1.0], [4.0, 5.0], [3.0, 0.0]])
    y = 1.5 + x @ np.array([2.0, -3.0])
    plane = least_squares(x, y)
    assert plane.coefficients == pytest.approx([2.0, -3.0])
    assert plane.at([[0.0, 0.0]]) == pytest.approx([1.5])
    twice = np.column_stack([x, x[:, 0], np.full(4, 0.1)])
    again = least_squares(twice, y)
    assert again.coefficients == pytest.approx([1.0, -3.0, 1.0, 0.0])
    features = quadratic(np.column_stack([x[:, 0], np.full(4, 0.1)]))
    assert np.isfinite(features(np.array([[2.5, 0.1], [9.0, 0.3]]))).all()
    assert features(np.array([[2.5, 0.1]]))[0] == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.0])


def test_a_bayesian_planes_spread_grows_away_from_what_it_has_seen() -> None:
    x, y, _ = drawn(1, 200, 2, noise=0.5)
    plane = bayesian(x, y)
    centre = tuple(x.mean(axis=0))
    assert plane.at(centre) == (pytest.approx(y.mean()), pytest.approx(0.5, rel=0.15))
    assert plane.at((centre[0] + 50, centre[1]))[1] > 5 * plane.at(centre)[1]
