"""Covariances of configurations against formulas by hand."""

from __future__ import annotations

import torch

from joulebench.search.encoding import HOT
from joulebench.search.kernels import Covariance, Linear, Plane

GROUPS = (0, 1, 1, 1)  # a number, and a choice of three


def test_a_plane_counts_common_choices_and_products_of_numbers():
    points = torch.tensor([[0.0, HOT, 0.0, 0.0], [1.0, HOT, 0.0, 0.0], [0.75, 0.0, 0.0, HOT]], dtype=torch.double)
    found = Plane(GROUPS).double()(points, points).to_dense()
    # over two parameters: the ends of the number are +-1, the same choice counts 1 and another 0
    expected = torch.tensor([[2.0, 0.0, -0.5], [0.0, 2.0, 0.5], [-0.5, 0.5, 1.25]], dtype=torch.double) / 2
    assert torch.allclose(found, expected, atol=1e-7)
    assert torch.allclose(Plane(GROUPS).double()(points, diag=True), expected.diag(), atol=1e-7)


def test_main_effects_and_what_departs_from_them_add_up():
    points = torch.rand(5, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    kernel = Linear(GROUPS).double()
    kernel.near.outputscale, kernel.plane.outputscale = 2.0, 3.0
    alone = Covariance(GROUPS).double()
    alone.near.outputscale = 2.0
    expected = alone(points, points).to_dense() + 3.0 * Plane(GROUPS).double()(points, points).to_dense()
    assert torch.allclose(kernel(points, points).to_dense(), expected, atol=1e-7)
