"""Published networks by name: the parameter `model` chooses one."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from joulebench.errors import did_you_mean
from joulebench.spec.parameters import Params
from joulebench.workloads.classifier import ImageClassifier
from joulebench.workloads.networks.aggregate import make_densenet121, make_dpn26, make_simple_dla
from joulebench.workloads.networks.blocks import Shape
from joulebench.workloads.networks.mobile import make_efficientnet_b0, make_mobilenet, make_mobilenet_v2
from joulebench.workloads.networks.plain import make_googlenet, make_lenet5_unpadded, make_vgg19
from joulebench.workloads.networks.residual import (
    make_preactresnet18,
    make_regnetx_200mf,
    make_resnet18,
    make_resnext29_2x64d,
    make_senet18,
)


def make_lenet5(shape: Shape, classes: int) -> nn.Sequential:
    """LeNet-5 as it is mostly built today, with ReLU and max-pooling: 61,706 parameters on 1×28×28 and 10 classes.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998, had trainable sub-sampling,
    sigmoids and a partly connected second convolution instead. The first convolution pads 28×28 to the paper's
    32×32, so its maps have 28×28 pixels.

    Raises:
        ValueError: an image too small for two 5×5 convolutions and two poolings.
    """
    channels, height, breadth = shape
    rows, columns = ((side // 2 - 4) // 2 for side in (height, breadth))
    if min(rows, columns) < 1:
        raise ValueError(f"LeNet-5 leaves no pixel of a {height}×{breadth} image; 12×12 is the least")
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * rows * columns, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "lenet5": make_lenet5,
    "lenet5_unpadded": make_lenet5_unpadded,
    "efficientnet_b0": make_efficientnet_b0,
    "mobilenet": make_mobilenet,
    "mobilenet_v2": make_mobilenet_v2,
    "regnetx_200mf": make_regnetx_200mf,
    "vgg19": make_vgg19,
    "resnet18": make_resnet18,
    "preactresnet18": make_preactresnet18,
    "senet18": make_senet18,
    "dpn26": make_dpn26,
    "densenet121": make_densenet121,
    "simple_dla": make_simple_dla,
    "resnext29_2x64d": make_resnext29_2x64d,
    "googlenet": make_googlenet,
}


class Zoo(ImageClassifier):
    """An image classifier of the network that the parameter `model` names."""

    def make_model(self, params: Params) -> nn.Module:
        name = str(params["model"])
        if name not in MODELS:
            raise ValueError(f"no model '{name}'{did_you_mean(name, MODELS)} (allowed: {', '.join(MODELS)})")
        return MODELS[name](self.data.shape, len(self.data.classes))
