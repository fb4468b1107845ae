"""FLOPs of training against closed forms; and a count that leaves a model as it was."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from joulebench.records.model import Costs
from joulebench.workloads.architectures import Sizes, make_config
from joulebench.workloads.cnn import make_cnn
from joulebench.workloads.flops import count, with_training
from joulebench.workloads.transformer import random_model
from joulebench.workloads.zoo import MODELS

BATCH = 4
CIFAR = (3, 32, 32)


def step(*shape, classes=10):
    """Cross-entropy of a batch of `shape`, as with_training asks for it."""

    def loss(model):
        x = torch.empty(BATCH, *shape, device="meta")
        return F.cross_entropy(model(x), torch.zeros(BATCH, dtype=torch.int64, device="meta")), BATCH

    return loss


def trained(model, *shape) -> Costs:
    costs = with_training(Costs(), model, step(*shape))
    assert costs.train_uncounted is None
    return costs


def summed(model):
    """A network that takes a sequence of vectors; all of its output is the loss."""
    return with_training(
        Costs(),
        model,
        lambda copy: (copy(torch.empty(BATCH, LENGTH, WIDTH, device="meta")).sum(), BATCH),
    )


def test_mlp_by_hand():
    """The first layer needs no gradient of its input."""
    sizes = [(20, 30), (30, 40), (40, 10)]
    layers = [nn.Linear(*size) for size in sizes]
    forward = 2 * sum(n_in * n_out for n_in, n_out in sizes)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    costs = trained(model, 20)
    assert costs.phase_flops == {"train": 3 * forward - 2 * 20 * 30}
    assert costs.train_unsupported_ops == {}


def test_cnn_by_hand():
    """Each product of a convolution: kernel² · channels in · channels out · pixels out, two FLOPs each."""
    model = make_cnn((3, 8, 8), 10, 6, 2, 3, True)
    first, second, head = 2 * 9 * 3 * 6 * 64, 2 * 9 * 6 * 6 * 64, 2 * 6 * 16 * 10
    assert trained(model, 3, 8, 8).phase_flops == {"train": 2 * first + 3 * second + 3 * head}


def test_convolutions_in_groups_and_transposed_by_hand():
    """torch's own formula counts the weights' gradient of groups as if there were none."""
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    up = nn.ConvTranspose2d(8, 4, 2, stride=2)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), depthwise, up, nn.Flatten(), nn.Linear(4 * 256, 10))
    first, middle, last, head = 2 * 3 * 8 * 64, 2 * 9 * 8 * 64, 2 * 8 * 4 * 4 * 64, 2 * 4 * 256 * 10
    assert trained(model, 3, 8, 8).phase_flops == {"train": 2 * first + 3 * (middle + last + head)}


def test_ecopts_default_network_as_torch_counts_a_real_step():
    model = make_cnn(CIFAR, 10, 51, 6, 3, True)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(torch.zeros(BATCH, *CIFAR)), torch.zeros(BATCH, dtype=torch.int64)).backward()
    costs = trained(model, *CIFAR)
    assert BATCH * costs.phase_flops["train"] == counter.get_total_flops()
    forward = count(model, torch.zeros(1, *CIFAR)).flops
    assert costs.phase_flops["train"] == 3 * forward - 2 * 27 * 51 * 1024
    assert costs.phase_flops["train"] / forward == pytest.approx(2.958, abs=0.001)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "dpn26"])
def test_known_networks_take_nearly_three_forward_passes(name):
    """Less the first layer's gradient; more for norms of a batch's own statistics."""
    model = MODELS[name](CIFAR, 10)
    forward = count(model, torch.zeros(1, *CIFAR))
    costs = trained(model, *CIFAR)
    assert costs.train_unsupported_ops == {}
    assert 0.98 < costs.phase_flops["train"] / (3 * forward.flops) < 1


def test_gpt2_small_by_hand():
    """6 FLOPs a weight of a matrix and token, 12 · length · width a layer and token for attention, and norms."""
    layers, width, vocabulary, length = 12, 768, 50257, 256
    model = random_model(make_config("gpt2", Sizes()), torch.float32, "sdpa", 0, "meta")

    def loss(copy):
        tokens = torch.zeros(2, length, dtype=torch.int64, device="meta")
        mask = torch.ones(1, 1, length, length, dtype=torch.bool, device="meta")
        logits = copy(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten()), tokens.numel()

    costs = with_training(Costs(), model, loss)
    weights = layers * 12 * width**2 + vocabulary * width
    by_hand = 6 * weights + 12 * layers * length * width + 5 * (2 * layers + 1) * width
    assert costs.phase_flops["train"] == by_hand
    assert costs.train_unsupported_ops == {}
    every = sum(p.numel() for p in model.parameters())  # positions and biases too
    assert by_hand == pytest.approx(6 * every + 12 * layers * length * width, rel=0.01)


LENGTH, WIDTH = 16, 32
LSTM, GRU = 4 * 64 * (WIDTH + 64), 3 * 64 * (WIDTH + 64)  # MACs a step
PROJECTIONS, SCORES = LENGTH * 4 * WIDTH**2, 2 * LENGTH**2 * WIDTH
FEEDFORWARD = 2 * LENGTH * WIDTH * 64


class First(nn.Module):
    """A layer's first output."""

    def __init__(self, layer, *arguments, **keywords):
        super().__init__()
        self.layer, self.arguments, self.keywords = layer, arguments, keywords

    def forward(self, x):
        return self.layer(x, *(x for _ in self.arguments), **self.keywords)[0]


@pytest.mark.parametrize(
    ("model", "macs", "unneeded"),
    [
        # of the input, and of the state that the first step begins with
        (First(nn.LSTM(WIDTH, 64, batch_first=True)), LENGTH * LSTM, 4 * 64 * (LENGTH * WIDTH + 64)),
        (First(nn.GRU(WIDTH, 64, batch_first=True)), LENGTH * GRU, 3 * 64 * (LENGTH * WIDTH + 64)),
        # of queries, keys and values' common input
        (
            First(nn.MultiheadAttention(WIDTH, 4, batch_first=True), 1, 2, need_weights=False),
            PROJECTIONS + SCORES,
            PROJECTIONS * 3 // 4,
        ),
        (
            nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True),
            PROJECTIONS + SCORES + FEEDFORWARD,
            PROJECTIONS * 3 // 4,
        ),
    ],
)
def test_training_of_recurrent_and_attention_layers_by_hand(model, macs, unneeded):
    costs = summed(model)
    norms = 2 * 5 * LENGTH * WIDTH if isinstance(model, nn.TransformerEncoderLayer) else 0
    assert costs.phase_flops["train"] == 2 * (3 * macs - unneeded) + norms
    assert costs.train_unsupported_ops == {}


@pytest.mark.parametrize("fused", [True, False])
def test_a_fused_encoder_layer_counts_as_its_parts(fused):
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True)
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        costs = count(layer, torch.zeros(1, LENGTH, WIDTH))
        assert torch.backends.mha.get_fastpath_enabled() is fused
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert (costs.macs, costs.unsupported_ops) == (PROJECTIONS + SCORES + FEEDFORWARD, {})


class MatrixVector(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix, self.vector = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return self.matrix(x) @ self.vector


def test_what_a_counter_sees_in_part_is_named():
    """The gradient of a matrix times a vector is an outer product, which looks elementwise."""
    costs = summed(MatrixVector())
    assert costs.train_unsupported_ops == {"aten::mv": 2}  # forward, and the gradient of the vector
    assert costs.unsupported_ops == {}  # of the forward pass alone
    assert costs.phase_flops["train"] >= 2 * LENGTH * WIDTH * (2 * WIDTH + 2)


def test_frozen_layers_need_fewer_gradients():
    model = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 10))
    model[0].requires_grad_(False)
    assert trained(model, 20).phase_flops == {"train": 2 * (20 * 30 + 2 * 30 * 10)}


def test_the_count_leaves_everything_as_it_was():
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 10)]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        F.cross_entropy(model(torch.randn(8, 3, 8, 8)), torch.zeros(8, dtype=torch.int64)).backward()
        optimizer.step()
    model.eval()
    model[2].train()

    def everything():
        state = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
        state += [v for s in optimizer.state.values() for v in s.values()]
        drawn = random.getstate(), np.random.get_state()[1].sum()
        return [t.clone() for t in (*state, torch.get_rng_state())], *drawn

    before, modes = everything(), [m.training for m in model.modules()]

    def loss(copy):
        torch.rand(3)  # of the step's own, on the CPU
        return step(3, 8, 8)(copy)

    assert with_training(Costs(), model, loss).phase_flops["train"] > 0
    after = everything()
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]
    assert [m.training for m in model.modules()] == modes
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_a_training_that_is_not_known_adds_nothing():
    costs = Costs(macs=5, flops=10)
    assert with_training(costs, nn.Linear(2, 2), lambda _: None) == costs


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (lambda copy: (copy.weight.sum() * float(copy.weight.detach().sum()), 3), "meta"),
        (lambda copy: (copy(torch.zeros(3, 2, device="meta")).sum(), 0), "at least 1 unit"),
        (lambda copy: (copy(torch.zeros(3, 2, device="meta")).sum(), -3), "at least 1 unit"),  # not negative FLOPs
        (lambda copy: (copy(torch.zeros(3, 2, device="meta")).sum(), 2.5), "TypeError"),
        (lambda copy: 5, "TypeError"),
    ],
)
def test_a_step_that_fails_is_named_and_the_forward_count_stands(loss, why):
    costs = with_training(Costs(macs=5, flops=10), nn.Linear(2, 2), loss)
    assert (costs.macs, costs.flops, costs.phase_flops) == (5, 10, {})
    assert why in costs.train_uncounted


def test_operators_without_a_rule_make_it_the_least():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            return torch.fft.rfft(self.linear(x)).real

    costs = summed(Spectral())
    assert "aten::_fft_r2c" in costs.train_unsupported_ops
    assert costs.phase_flops["train"] == 2 * 2 * LENGTH * WIDTH**2
