"""Residual networks: ResNet-18, its pre-activation and squeeze-and-excitation forms, ResNeXt-29, RegNetX-200MF."""

from __future__ import annotations

import torch
from torch import nn

from joulebench.workloads.networks.blocks import Residual, Shape, SqueezeExcite, conv, conv_norm, head, shortcut

WIDTHS = (64, 128, 256, 512)  # of the four stages of an 18-layer ResNet, two blocks each


def make_resnet18(shape: Shape, classes: int) -> nn.Module:
    """He et al., "Deep residual learning for image recognition", 2016: torchvision's, with the CIFAR stem."""
    from torchvision.models import resnet18  # takes seconds, and few workloads need it

    model: nn.Module = resnet18(num_classes=classes)
    model.conv1 = conv(shape[0], 64, 3)
    model.maxpool = nn.Identity()
    return model


class PreActivation(nn.Module):
    """Normalise and activate before each of two 3×3 convolutions (He et al., "Identity mappings", 2016).

    The projection, where there is one, starts from the activated input. `reduction` adds squeeze-and-excitation.
    """

    def __init__(self, channels: int, out: int, stride: int, reduction: int | None) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        body = [conv(channels, out, 3, stride), nn.BatchNorm2d(out), nn.ReLU(), conv(out, out, 3)]
        self.body = nn.Sequential(*body, *([SqueezeExcite(out, reduction)] if reduction else []))
        self.projection = conv(channels, out, 1, stride) if stride != 1 or channels != out else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = self.first(x)
        kept = x if self.projection is None else self.projection(active)
        result: torch.Tensor = self.body(active) + kept
        return result


def make_preactresnet18(shape: Shape, classes: int) -> nn.Sequential:
    """ResNet-18 of pre-activation blocks."""
    return _pre_activation(shape, classes, None)


def make_senet18(shape: Shape, classes: int) -> nn.Sequential:
    """The same with squeeze-and-excitation, reduction 16 (Hu et al., "Squeeze-and-excitation networks", 2018)."""
    return _pre_activation(shape, classes, 16)


def _pre_activation(shape: Shape, classes: int, reduction: int | None) -> nn.Sequential:
    layers: list[nn.Module] = [conv(shape[0], 64, 3)]
    channels = 64
    for stage, out in enumerate(WIDTHS):
        layers.append(PreActivation(channels, out, 1 if stage == 0 else 2, reduction))
        layers.append(PreActivation(out, out, 1, reduction))
        channels = out
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), head(channels, classes))


def make_resnext29_2x64d(shape: Shape, classes: int) -> nn.Sequential:
    """Xie et al., "Aggregated residual transformations", 2017, section 5.2: three stages of three bottlenecks,
    here with 2 groups of 64 channels that double from stage to stage; a block's output is twice as wide."""
    groups, width, channels = 2, 2 * 64, 64
    layers: list[nn.Module] = [conv_norm(shape[0], channels, 3)]
    for stage in range(3):
        for block in range(3):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(_bottleneck(channels, width, 2 * width, stride, groups))
            channels = 2 * width
        width *= 2
    return nn.Sequential(*layers, head(channels, classes))


def _bottleneck(channels: int, width: int, out: int, stride: int, groups: int) -> Residual:
    body = nn.Sequential(
        conv_norm(channels, width, 1),
        conv_norm(width, width, 3, stride, groups),
        conv_norm(width, out, 1, activation=None),
    )
    return Residual(body, shortcut(channels, out, stride), nn.ReLU())


def make_regnetx_200mf(shape: Shape, classes: int) -> nn.Sequential:
    """Radosavovic et al., "Designing network design spaces", 2020: 1, 1, 4 and 7 X blocks of 24, 56, 152 and 368
    channels in groups of 8, no bottleneck. As the published CIFAR figures count it, the stem has 64 channels in
    place of 32, and only the third and fourth stages halve the image."""
    layers: list[nn.Module] = [conv_norm(shape[0], 64, 3)]
    channels = 64
    for depth, width, stride in ((1, 24, 1), (1, 56, 1), (4, 152, 2), (7, 368, 2)):
        for block in range(depth):
            layers.append(_bottleneck(channels, width, width, stride if block == 0 else 1, width // 8))
            channels = width
    return nn.Sequential(*layers, head(channels, classes))
