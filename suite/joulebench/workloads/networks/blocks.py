"""Building blocks of the networks: convolution, residual connection, squeeze-and-excitation, classifier head."""

from __future__ import annotations

import torch
from torch import nn

Shape = tuple[int, int, int]  # channels, height, width


def conv(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the image's size at stride 1; without a bias, since a normalisation follows it."""
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)


def conv_norm(
    channels: int,
    out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution, batch normalisation and, unless it is None, an activation."""
    layers: list[nn.Module] = [conv(channels, out, kernel, stride, groups), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def shortcut(channels: int, out: int, stride: int) -> nn.Module:
    """The identity where the shape stays, else a projection (He et al. 2016, option B)."""
    same = channels == out and stride == 1
    return nn.Identity() if same else conv_norm(channels, out, 1, stride, activation=None)


class Residual(nn.Module):
    """A residual connection: after(body(x) + shortcut(x))."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut, after or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(self.body(x) + self.shortcut(x))
        return result


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from all channels' means (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        squeezed = channels // reduction
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(),
            nn.Conv2d(squeezed, channels, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x * self.gate(x)
        return result


def head(channels: int, classes: int) -> nn.Sequential:
    """A classifier head: global average pooling and one linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
