"""Workload `zoo`: published image classifiers, chosen by the parameter `model`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from joulebench.errors import did_you_mean
from joulebench.spec.parameters import Params
from joulebench.workloads.classifier import ImageClassifier
from joulebench.workloads.networks.aggregate import make_densenet121, make_dpn26, make_simple_dla
from joulebench.workloads.networks.blocks import Shape
from joulebench.workloads.networks.mobile import make_efficientnet_b0, make_mobilenet, make_mobilenet_v2
from joulebench.workloads.networks.plain import make_googlenet, make_lenet5, make_vgg19
from joulebench.workloads.networks.residual import (
    make_preactresnet18,
    make_regnetx_200mf,
    make_resnet18,
    make_resnext29_2x64d,
    make_senet18,
)

MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "lenet5": make_lenet5,
    "lenet5_unpadded": partial(make_lenet5, padding=0),
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
    """Workload `zoo`: the network that the parameter `model` names."""

    def make_model(self, params: Params) -> nn.Module:
        name = str(params["model"])
        if name not in MODELS:
            raise ValueError(f"no model '{name}'{did_you_mean(name, MODELS)} (allowed: {', '.join(MODELS)})")
        return MODELS[name](self.data.shape, len(self.data.classes))
