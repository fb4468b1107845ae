"""Networks without shortcuts: LeNet, VGG-19, GoogLeNet."""

from __future__ import annotations

import torch
from torch import nn

from joulebench.workloads.networks.blocks import Shape, conv_norm, head


def make_lenet5(shape: Shape, classes: int, padding: int = 2) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling: 61,706 parameters on 1×28×28 and 10 classes.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998, had trainable sub-sampling,
    sigmoids and a partly connected second convolution instead. `padding` is the first convolution's: 2 pads 28×28
    to the paper's 32×32, so its maps have 28×28 pixels; 0 is for images of 32×32.

    Raises:
        ValueError: an image too small for two 5×5 convolutions and two poolings.
    """
    channels, height, width = shape
    rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))
    if min(rows, columns) < 1:
        least = 16 - 2 * padding
        raise ValueError(f"LeNet-5 leaves no pixel of a {height}×{width} image; {least}×{least} is the least")
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * rows * columns, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
    )  # fmt: skip


#: Simonyan and Zisserman 2015, table 1, E: width and number of 3×3 convolutions, a max-pool after each row.
_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


def make_vgg19(shape: Shape, classes: int) -> nn.Sequential:
    """Simonyan and Zisserman, "Very deep convolutional networks", 2015, with batch normalisation and one linear
    layer in place of three.

    Raises:
        ValueError: an image too small for five poolings.
    """
    channels, height, width = shape
    if min(height, width) < 32:
        raise ValueError(f"VGG-19 leaves no pixel of a {height}×{width} image; 32×32 is the least")
    layers: list[nn.Module] = []
    for out, convolutions in _VGG19:
        for _ in range(convolutions):
            layers.append(conv_norm(channels, out, 3))
            channels = out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, head(channels, classes))


class Inception(nn.Module):
    """Four branches side by side: 1×1, 3×3, 5×5 (as two 3×3) and a max-pool, each behind or before a 1×1."""

    def __init__(self, channels: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            (
                _conv(channels, one, 1),
                nn.Sequential(_conv(channels, three[0], 1), _conv(*three, 3)),
                nn.Sequential(_conv(channels, five[0], 1), _conv(*five, 3), _conv(five[1], five[1], 3)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _conv(channels, pool, 1)),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _conv(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel, padding=kernel // 2), nn.BatchNorm2d(out), nn.ReLU())


#: Table 1 of Szegedy et al. 2015: 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5; pool projection. None: a max-pool.
_INCEPTIONS: tuple[tuple[int, tuple[int, int], tuple[int, int], int] | None, ...] = (
    (64, (96, 128), (16, 32), 32),
    (128, (128, 192), (32, 96), 64),
    None,
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
    None,
    (256, (160, 320), (32, 128), 128),
    (384, (192, 384), (48, 128), 128),
)


def make_googlenet(shape: Shape, classes: int) -> nn.Sequential:
    """Szegedy et al., "Going deeper with convolutions", 2015, without auxiliary heads.

    As the published CIFAR figures count it: batch normalisation after every convolution, one 3×3 convolution of
    192 channels as the stem, and each 5×5 as two 3×3 (Szegedy et al. 2016). torchvision's has one 3×3 there, and a
    tenth fewer parameters.
    """
    layers: list[nn.Module] = [_conv(shape[0], 192, 3)]
    channels = 192
    for sizes in _INCEPTIONS:
        if sizes is None:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            continue
        one, three, five, pool = sizes
        layers.append(Inception(channels, one, three, five, pool))
        channels = one + three[1] + five[1] + pool
    return nn.Sequential(*layers, head(channels, classes))
