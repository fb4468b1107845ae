"""A multi-layer perceptron: `depth` hidden layers of `width` units with ReLU, and a linear head."""

from __future__ import annotations

from math import prod

from torch import nn

from joulebench.spec.parameters import Params
from joulebench.workloads.classifier import ImageClassifier
from joulebench.workloads.networks.blocks import Shape


def make_mlp(shape: Shape, classes: int, width: int, depth: int) -> nn.Sequential:
    """The network for images of `shape`, each taken as one row of pixels."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = prod(shape)
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class MLP(ImageClassifier):
    """An image classifier of `width` and `depth`."""

    def make_model(self, params: Params) -> nn.Module:
        return make_mlp(self.data.shape, len(self.data.classes), int(params["width"]), int(params["depth"]))
