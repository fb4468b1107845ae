"""Counts agree with published figures and with torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from joulebench.workloads.cnn import make_cnn
from joulebench.workloads.flops import count

CIFAR = (3, 32, 32)


def test_ecopts_default_network():
    costs = count(make_cnn(CIFAR, 10, 51, 6, 3, True), torch.zeros(1, *CIFAR))
    assert costs.parameters == 119_248
    assert costs.macs == pytest.approx(33.3e6, rel=0.005)
    assert costs.unsupported_ops == {}


def test_ecopts_largest_network():
    model = make_cnn(CIFAR, 10, 128, 6, 9, False)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(7.98e6, rel=0.001)
    costs = count(model, torch.zeros(1, *CIFAR))
    assert costs.macs == pytest.approx(6.83e9, rel=0.001)


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_agrees_with_torchs_counter(kernel, pool):
    model, x = make_cnn(CIFAR, 10, 8, 3, kernel, pool), torch.zeros(1, *CIFAR)
    with FlopCounterMode(display=False) as counter:
        model(x)
    costs = count(model, x)
    assert 2 * costs.macs == counter.get_total_flops()
    assert costs.flops == 2 * costs.macs


def test_norms_are_flops_but_no_macs_and_unknown_operators_are_listed():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = nn.BatchNorm1d(16), nn.Linear(16, 4)

        def forward(self, x):
            return torch.cumsum(self.linear(self.norm(x)), 1)

    model = Odd()
    model.train()
    costs = count(model, torch.zeros(1, 16))
    assert costs.macs == 64
    assert costs.flops > 2 * costs.macs
    assert costs.unsupported_ops == {"aten::cumsum": 1}
    assert model.training  # its mode is restored


def test_pooling_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="leaves no pixel"):
        make_cnn((1, 8, 8), 10, 4, 6, 3, True)


@pytest.mark.parametrize("kernel", [2, 4])
def test_even_kernels_fit_their_head(kernel):
    assert make_cnn((1, 8, 8), 10, 4, 2, kernel, True)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
