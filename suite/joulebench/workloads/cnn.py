"""Workload `cnn`: ECOpt's convolutional network (arXiv 2601.08991), searched over width, depth, kernel and pooling.

Each layer is conv (padding k // 2) + ReLU, with a 2×2 max-pool after every one except the first when `pool` is set;
one linear head; no normalisation, no dropout. ECOpt keeps every stride at 1; the study of energy proxies varies it,
which changes the FLOPs but hardly the parameters.
"""

from __future__ import annotations

from torch import nn

from joulebench.spec.parameters import Params
from joulebench.workloads.classifier import ImageClassifier


def make_cnn(
    shape: tuple[int, int, int], classes: int, width: int, depth: int, kernel: int, pool: bool, stride: int = 1
) -> nn.Sequential:
    """The network for images of `shape` (channels, height, width); every convolution has the same `stride`.

    Raises:
        ValueError: an image too small for that many poolings.
    """
    channels, height, breadth = shape
    layers: list[nn.Module] = []
    for layer in range(depth):
        layers += [nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2), nn.ReLU()]
        rim = 2 * (kernel // 2) - kernel  # -1 for odd kernels, 0 for even ones
        channels, height, breadth = width, (height + rim) // stride + 1, (breadth + rim) // stride + 1
        if pool and layer > 0:
            layers.append(nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
    if min(height, breadth) < 1:
        raise ValueError(f"depth {depth} with pooling leaves no pixel of a {shape[1]}×{shape[2]} image")
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * breadth, classes))


class CNN(ImageClassifier):
    """An image classifier of `width`, `depth`, `kernel`, `pool` and `stride` (1 where the task has none)."""

    OPTIONS = ()

    def make_model(self, params: Params) -> nn.Module:
        return make_cnn(
            self.data.shape,
            len(self.data.classes),
            int(params["width"]),
            int(params["depth"]),
            int(params["kernel"]),
            bool(params["pool"]),
            int(params.get("stride", 1)),
        )
