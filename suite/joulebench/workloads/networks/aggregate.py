"""Networks that concatenate features of several layers: DenseNet-121, DPN-26, SimpleDLA."""

from __future__ import annotations

import torch
from torch import nn

from joulebench.workloads.networks.blocks import Residual, Shape, conv, conv_norm, head, shortcut


def make_densenet121(shape: Shape, classes: int) -> nn.Module:
    """Huang et al., "Densely connected convolutional networks", 2017: torchvision's, with the CIFAR stem."""
    from torchvision.models import densenet121  # takes seconds, and few workloads need it

    model: nn.Module = densenet121(num_classes=classes)
    features = model.features
    features.conv0 = conv(shape[0], 64, 3)  # type: ignore[union-attr]
    features.pool0 = nn.Identity()  # type: ignore[union-attr]
    return model


class DualPath(nn.Module):
    """A grouped bottleneck whose first `out` channels are added to the input's, and the rest concatenated.

    `first` projects the input, which then has `out + dense` channels; later blocks keep it and grow by `dense`.
    """

    def __init__(self, channels: int, width: int, out: int, dense: int, stride: int, first: bool) -> None:
        super().__init__()
        self.out = out
        self.body = nn.Sequential(
            conv_norm(channels, width, 1),
            conv_norm(width, width, 3, stride, groups=32),
            conv_norm(width, out + dense, 1, activation=None),
        )
        self.kept = conv_norm(channels, out + dense, 1, stride, activation=None) if first else nn.Identity()
        self.after = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, new, d = self.kept(x), self.body(x), self.out
        result: torch.Tensor = self.after(torch.cat([kept[:, :d] + new[:, :d], kept[:, d:], new[:, d:]], 1))
        return result


def make_dpn26(shape: Shape, classes: int) -> nn.Sequential:
    """Chen et al., "Dual path networks", 2017: the widths of DPN-92 (32 groups) with two blocks a stage."""
    layers: list[nn.Module] = [conv_norm(shape[0], 64, 3)]
    channels = 64
    for width, out, dense, stride in ((96, 256, 16, 1), (192, 512, 32, 2), (384, 1024, 24, 2), (768, 2048, 128, 2)):
        layers.append(DualPath(channels, width, out, dense, stride, first=True))
        layers.append(DualPath(out + 2 * dense, width, out, dense, 1, first=False))
        channels = out + 3 * dense
    return nn.Sequential(*layers, head(channels, classes))


class Tree(nn.Module):
    """Two subtrees in sequence, their outputs aggregated by a 1×1 convolution; at level 1 they are basic blocks."""

    def __init__(self, channels: int, out: int, level: int, stride: int) -> None:
        super().__init__()
        if level == 1:
            self.left: nn.Module = _basic(channels, out, stride)
            self.right: nn.Module = _basic(out, out, 1)
        else:
            self.left = Tree(channels, out, level - 1, stride)
            self.right = Tree(out, out, level - 1, 1)
        self.root = conv_norm(2 * out, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = self.left(x)
        result: torch.Tensor = self.root(torch.cat([left, self.right(left)], 1))
        return result


def _basic(channels: int, out: int, stride: int) -> Residual:
    body = nn.Sequential(conv_norm(channels, out, 3, stride), conv_norm(out, out, 3, activation=None))
    return Residual(body, shortcut(channels, out, stride), nn.ReLU())


def make_simple_dla(shape: Shape, classes: int) -> nn.Sequential:
    """Yu et al., "Deep layer aggregation", 2018, with the stages of DLA-34 as plain binary trees: a node
    aggregates its two children alone, without the links from its input and from earlier nodes."""
    return nn.Sequential(
        conv_norm(shape[0], 16, 3), conv_norm(16, 16, 3), conv_norm(16, 32, 3),
        Tree(32, 64, 1, 1), Tree(64, 128, 2, 2), Tree(128, 256, 2, 2), Tree(256, 512, 1, 2),
        head(512, classes),
    )  # fmt: skip
