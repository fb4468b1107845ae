"""Published networks in their CIFAR form: their sizes are those of the literature's table."""

from __future__ import annotations

import pytest
import torch

from joulebench.workloads.flops import count
from joulebench.workloads.networks.encoder import make_encoder
from joulebench.workloads.zoo import MODELS
from tests.published_counts import PUBLISHED

CIFAR = (3, 32, 32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_size_is_the_published_one(name):
    parameters, macs = PUBLISHED[name]
    model = MODELS[name](CIFAR, 10)
    costs = count(model, torch.zeros(1, *CIFAR))
    assert costs.parameters == pytest.approx(parameters * 1e6, rel=0.001)
    assert costs.macs == pytest.approx(macs * 1e6, rel=0.003)
    assert costs.unsupported_ops == {}


@pytest.mark.parametrize("name", [n for n in MODELS if n != "lenet5"])
def test_it_takes_its_shape_and_classes_from_the_data(name):
    model = MODELS[name]((1, 32, 32), 7).eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_the_known_sizes_by_hand():
    def parameters(name):
        return sum(p.numel() for p in MODELS[name](CIFAR, 10).parameters())

    # LeNet: 6 · (75 + 1) + 16 · (150 + 1) + 120 · 401 + 84 · 121 + 10 · 85
    assert parameters("lenet5_unpadded") == 456 + 2416 + 48120 + 10164 + 850
    # squeeze-and-excitation adds two blocks a stage of p · p/16 + p/16 + p/16 · p + p to the pre-activation network
    gates = sum(2 * (p * p // 8 + p // 16 + p) for p in (64, 128, 256, 512))
    assert parameters("senet18") - parameters("preactresnet18") == gates


@pytest.mark.parametrize("name", ["lenet5_unpadded", "vgg19"])
def test_an_image_too_small_is_refused(name):
    with pytest.raises(ValueError, match="8×8"):
        MODELS[name]((3, 8, 8), 10)


def test_the_encoders_arithmetic():
    width, depth, tokens = 64, 3, 64
    costs = count(make_encoder(CIFAR, 10, width, depth), torch.zeros(1, *CIFAR))
    a_layer = tokens * 12 * width**2 + 2 * tokens**2 * width  # projections and feed-forward; q·k and ·v
    assert costs.macs == tokens * width * 3 * 16 + depth * a_layer + width * 10
    assert costs.unsupported_ops == {}


@pytest.mark.parametrize(("shape", "width"), [(CIFAR, 40), ((3, 30, 32), 64)])
def test_the_encoder_needs_whole_heads_and_patches(shape, width):
    with pytest.raises(ValueError, match=r"width .* 32"):
        make_encoder(shape, 10, width, 1)
