"""Counts agree with published figures and with torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from joulebench.workloads.cnn import make_cnn
from joulebench.workloads.flops import count
from joulebench.workloads.kernels import FORMULAS

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


def test_norms_are_flops_but_no_macs():
    model = nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 4), nn.LayerNorm(4))
    model.train()
    costs = count(model, torch.zeros(1, 16))
    assert (costs.macs, costs.flops) == (64, 2 * 64 + 2 * 16 + 5 * 4)
    assert costs.unsupported_ops == {}
    assert model.training  # its mode is restored


class Product(nn.Module):
    """A function of its input and of matrices of the given sizes."""

    def __init__(self, function, *sizes):
        super().__init__()
        self.function = function
        self.matrices = nn.ParameterList(nn.Parameter(torch.ones(size)) for size in sizes)

    def forward(self, x):
        return self.function(x, *self.matrices)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, matrix):
        return x @ matrix

    @staticmethod
    def backward(ctx, *gradients):
        return gradients


@torch.jit.script
def thrice(x, matrix):
    for _ in range(3):
        x = x @ matrix
    return x


SEQUENCE, WIDTH = 16, 32  # one sample is a sequence of vectors
LSTM = 4 * 64 * (WIDTH + 64)  # MACs a step of four gates, from the input and from the state of 64
ATTENTION = SEQUENCE * 4 * WIDTH**2 + 2 * SEQUENCE**2 * WIDTH
ENCODER = ATTENTION + 2 * SEQUENCE * WIDTH * 64


def first(module):
    return Product(lambda x: module(x)[0])


def packed(module):
    def call(x):
        sequence = nn.utils.rnn.pack_padded_sequence(x, [SEQUENCE], batch_first=True)
        return module(sequence)[0].data

    return Product(call)


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        (Product(lambda x, m: x @ m, (WIDTH,)), SEQUENCE * WIDTH),
        (Product(lambda x, m: m @ x[0, 0], (5, WIDTH)), 5 * WIDTH),
        (Product(lambda x, m: torch.addmv(m[:, 0], m, x[0, 0]), (5, WIDTH)), 5 * WIDTH),
        (Product(lambda x: torch.dot(x[0, 0], x[0, 1])), WIDTH),
        (
            Product(lambda x, m: x @ m, (7, WIDTH, 5)),
            7 * SEQUENCE * WIDTH * 5,
        ),  # by each of 7
        (Product(lambda x, a, m: torch.baddbmm(a, x, m), (1, SEQUENCE, 5), (1, WIDTH, 5)), SEQUENCE * WIDTH * 5),
        (Product(lambda x, a, m: torch.addbmm(a, x, m), (SEQUENCE, 5), (1, WIDTH, 5)), SEQUENCE * WIDTH * 5),
        (Product(lambda x: torch.einsum("bid,bjd->bij", x, x)), SEQUENCE**2 * WIDTH),
        (Product(lambda x: torch.einsum("bid->b", x)), 0),
        (Product(lambda x: nn.functional.scaled_dot_product_attention(x, x, x)), 2 * SEQUENCE**2 * WIDTH),
        (Product(Doubled.apply, (WIDTH, 5)), SEQUENCE * WIDTH * 5),
        (Product(thrice, (WIDTH, WIDTH)), 3 * SEQUENCE * WIDTH**2),
        (Product(lambda x, m: (x @ m, x)[1], (WIDTH, 5)), SEQUENCE * WIDTH * 5),  # computed, and not used
        (torch.jit.script(nn.Linear(WIDTH, 5)), SEQUENCE * WIDTH * 5),
        (nn.Conv1d(SEQUENCE, 8, 3, padding="same"), WIDTH * 3 * SEQUENCE * 8),
        (first(nn.LSTM(WIDTH, 64, batch_first=True)), SEQUENCE * LSTM),
        (packed(nn.LSTM(WIDTH, 64, batch_first=True)), SEQUENCE * LSTM),
        (first(nn.GRU(WIDTH, 64, batch_first=True, bidirectional=True)), 2 * SEQUENCE * LSTM * 3 // 4),
        (first(nn.RNN(WIDTH, 64, batch_first=True, bias=False)), SEQUENCE * LSTM // 4),
        (
            first(nn.LSTM(WIDTH, 64, batch_first=True, num_layers=2, proj_size=8)),
            SEQUENCE * (4 * 64 * (WIDTH + 8) + 4 * 64 * (8 + 8) + 2 * 64 * 8),
        ),
        (Product(lambda x: nn.LSTMCell(WIDTH, 64)(x[0])[0]), SEQUENCE * LSTM),
        (Product(lambda x: nn.MultiheadAttention(WIDTH, 4, batch_first=True).eval()(x, x, x)[0]), ATTENTION),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True), 2), 2 * ENCODER),
    ],
)
def test_macs_by_hand_whatever_calls_the_kernel(model, macs):
    costs = count(model, torch.zeros(1, SEQUENCE, WIDTH))
    assert costs.macs == macs
    assert costs.unsupported_ops == {}
    assert torch.backends.mha.get_fastpath_enabled()  # as before


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: torch.fft.rfft(x).real, "aten::_fft_r2c"),
        (lambda x: torch.linalg.svdvals(x), "aten::_linalg_svd"),
        (lambda x: nn.functional.bilinear(x, x, torch.ones(4, WIDTH, WIDTH)), "aten::_trilinear"),
        (lambda x: torch.from_numpy(2 * x.numpy()), "Tensor.numpy"),
    ],
)
def test_operators_without_a_rule_are_named_and_alone_give_no_count(function, named):
    alone = count(Product(function), torch.zeros(1, SEQUENCE, WIDTH))
    assert (alone.macs, alone.flops, alone.parameters) == (None, None, 0)
    assert named in alone.uncounted
    beside = count(nn.Sequential(nn.Linear(WIDTH, WIDTH), Product(function)), torch.zeros(1, SEQUENCE, WIDTH))
    assert beside.macs == SEQUENCE * WIDTH**2
    assert beside.unsupported_ops == {named: 1}


def test_recurrent_kernels_of_a_gpu_count_alike():
    """cuDNN takes all matrices and biases of all layers in one list: input, hidden, biases, projection."""
    weights = [(256, WIDTH), (256, 8), (256,), (256,), (8, 64)]
    counted = FORMULAS[torch.ops.aten._cudnn_rnn]((SEQUENCE, 3, WIDTH), weights, 5, out_shape=None)
    assert counted == 2 * 3 * SEQUENCE * (256 * WIDTH + 256 * 8 + 8 * 64)


def test_attention_on_the_cpu_counts_as_torch_counts_it_elsewhere():
    """Old releases of torch do not know the CPU's kernel. A key that serves several heads is multiplied by each."""
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    kernel, query, key, value = (
        "_scaled_dot_product_flash_attention_for_cpu",
        (3, 4, 5, 8),
        (3, 4, 7, 8),
        (3, 4, 7, 2),
    )
    forward, backward = (FORMULAS[getattr(torch.ops.aten, name)] for name in (kernel, f"{kernel}_backward"))
    assert (
        forward(query, key, value, 0.0, False) == sdpa_flop_count(query, key, value) == 2 * 3 * 4 * 5 * 7 * (8 + 2)
    )
    told = sdpa_backward_flop_count((3, 4, 5, 2), query, key, value)
    assert backward((3, 4, 5, 2), query, key, value, None) == told
    assert forward(query, (3, 2, 7, 8), (3, 2, 7, 2)) == forward(query, key, value)


def test_products_of_complex_numbers_are_named():
    model = Product(lambda x, m: (x.cfloat() @ m.cfloat()).real, (WIDTH, 5))
    assert set(count(model, torch.zeros(1, SEQUENCE, WIDTH)).unsupported_ops) == {"aten::mm"}


def test_lookups_scans_and_sorting_are_no_arithmetic():
    def call(x, table):
        rows = nn.functional.embedding(x.long()[0, :, 0], table)
        return rows.cumsum(0).sort(0)[0].relu_().clamp_(0, 1).masked_fill(rows > 1, 0).roll(1, 0)

    costs = count(Product(call, (4, 8)), torch.zeros(1, SEQUENCE, WIDTH))
    assert (costs.macs, costs.flops, costs.unsupported_ops) == (0, 0, {})


def test_pooling_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="leaves no pixel"):
        make_cnn((1, 8, 8), 10, 4, 6, 3, True)


@pytest.mark.parametrize("kernel", [2, 4])
def test_even_kernels_fit_their_head(kernel):
    assert make_cnn((1, 8, 8), 10, 4, 2, kernel, True)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
