"""Small image classifiers: six families of networks, so that figures of one can be compared with another's.

`width` and `depth` mean what they do in each family. `cell` (lstm or gru) is the recurrent family's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import ClassVar

import torch
from torch import nn

from joulebench.errors import did_you_mean
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import InfeasibleError, check_values
from joulebench.workloads.classifier import ImageClassifier
from joulebench.workloads.cnn import make_cnn
from joulebench.workloads.networks.blocks import Shape
from joulebench.workloads.networks.encoder import make_encoder
from joulebench.workloads.networks.mobile import make_separable

KERNEL = 3
CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def make_mlp(shape: Shape, classes: int, width: int, depth: int) -> nn.Sequential:
    """A multi-layer perceptron over all pixels: `depth` hidden layers of `width` units with ReLU, a linear head."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = prod(shape)
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class RowReader(nn.Module):
    """An LSTM or GRU that reads an image row by row: `depth` layers of `width` units, a linear head on the last
    step. A step's input is one row of pixels of all channels."""

    def __init__(self, shape: Shape, classes: int, cell: str, width: int, depth: int) -> None:
        super().__init__()
        channels, _, columns = shape
        sizes = [channels * columns, *[width] * (depth - 1)]
        self.layers = nn.ModuleList(CELLS[cell](size, width, batch_first=True) for size in sizes)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.permute(0, 2, 1, 3).flatten(2)  # (n, rows, channels · columns)
        for layer in self.layers:
            steps, _ = layer(steps)
        logits: torch.Tensor = self.head(steps[:, -1])
        return logits


FAMILIES: dict[str, Callable[[Shape, int, int, int, str], nn.Module]] = {
    "dense": lambda shape, classes, width, depth, _: make_mlp(shape, classes, width, depth),
    "recurrent": lambda shape, classes, width, depth, cell: RowReader(shape, classes, cell, width, depth),
    "convolutional": lambda shape, classes, width, depth, _: make_cnn(shape, classes, width, depth, KERNEL, False),
    "pooled": lambda shape, classes, width, depth, _: make_cnn(shape, classes, width, depth, KERNEL, True),
    "separable": lambda shape, classes, width, depth, _: make_separable(shape, classes, width, depth),
    "attention": lambda shape, classes, width, depth, _: make_encoder(shape, classes, width, depth),
}


class Families(ImageClassifier):
    """Workload `families`: a network of `family`, `width`, `depth` and, if recurrent, `cell` (default lstm)."""

    OPTIONS = ()
    #: The family of a subclass; None: the parameter `family`.
    FAMILY: ClassVar[str | None] = None

    @classmethod
    def check_task(cls, task: Task) -> None:
        super().check_task(task)
        check_values(task, "family", FAMILIES)
        check_values(task, "cell", CELLS)

    def make_model(self, params: Params) -> nn.Module:
        name = self.FAMILY or str(params["family"])
        if name not in FAMILIES:
            raise ValueError(f"no family '{name}'{did_you_mean(name, FAMILIES)} (allowed: {', '.join(FAMILIES)})")
        width, depth, cell = int(params["width"]), int(params["depth"]), str(params.get("cell", "lstm"))
        try:
            return FAMILIES[name](self.data.shape, len(self.data.classes), width, depth, cell)
        except ValueError as error:  # a family that has no network of this size
            raise InfeasibleError(f"{name}: {error}") from None


class MLP(Families):
    """Workload `mlp`: the family `dense`, of `width` and `depth`."""

    FAMILY = "dense"


class Recurrent(Families):
    """Workload `recurrent`: the family `recurrent`, of `cell`, `width` and `depth`."""

    FAMILY = "recurrent"
