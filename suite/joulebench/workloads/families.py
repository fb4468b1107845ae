"""One image classifier from any of six families of networks, so that figures of one can be held against another's.

The parameter `family` chooses: dense, recurrent, convolutional without and with pooling, separable, attention;
`width` and `depth` mean what they do in that family. `cell` (lstm or gru) is the recurrent one's alone.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from joulebench.errors import did_you_mean
from joulebench.records.model import Costs
from joulebench.spec.parameters import Params
from joulebench.workloads.base import InfeasibleError
from joulebench.workloads.classifier import ImageClassifier
from joulebench.workloads.cnn import make_cnn
from joulebench.workloads.mlp import make_mlp
from joulebench.workloads.networks.blocks import Shape
from joulebench.workloads.networks.encoder import make_encoder
from joulebench.workloads.networks.mobile import make_separable
from joulebench.workloads.recurrent import RowReader, with_recurrent_macs

KERNEL = 3

FAMILIES: dict[str, Callable[[Shape, int, int, int, str], nn.Module]] = {
    "dense": lambda shape, classes, width, depth, _: make_mlp(shape, classes, width, depth),
    "recurrent": lambda shape, classes, width, depth, cell: RowReader(shape, classes, cell, width, depth),
    "convolutional": lambda shape, classes, width, depth, _: make_cnn(shape, classes, width, depth, KERNEL, False),
    "pooled": lambda shape, classes, width, depth, _: make_cnn(shape, classes, width, depth, KERNEL, True),
    "separable": lambda shape, classes, width, depth, _: make_separable(shape, classes, width, depth),
    "attention": lambda shape, classes, width, depth, _: make_encoder(shape, classes, width, depth),
}


class Families(ImageClassifier):
    """An image classifier of `family`, `width`, `depth` and, where it is recurrent, `cell`."""

    def make_model(self, params: Params) -> nn.Module:
        name = str(params["family"])
        if name not in FAMILIES:
            raise ValueError(f"no family '{name}'{did_you_mean(name, FAMILIES)} (allowed: {', '.join(FAMILIES)})")
        width, depth, cell = int(params["width"]), int(params["depth"]), str(params.get("cell", "lstm"))
        try:
            return FAMILIES[name](self.data.shape, len(self.data.classes), width, depth, cell)
        except ValueError as error:  # a family that has no network of this size
            raise InfeasibleError(f"{name}: {error}") from None

    def costs(self) -> Costs:
        costs = super().costs()
        return with_recurrent_macs(costs, self.model) if isinstance(self.model, RowReader) else costs
