"""Networks of depthwise separable convolutions: MobileNet, MobileNetV2, EfficientNet-B0."""

from __future__ import annotations

from torch import nn

from joulebench.workloads.networks.blocks import Residual, Shape, conv_norm, head, shortcut

#: Output channels and stride of MobileNet's 13 separable convolutions (Howard et al. 2017, table 1).
_MOBILENET = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1),
)  # fmt: skip


def make_mobilenet(shape: Shape, classes: int) -> nn.Sequential:
    """Howard et al., "MobileNets", 2017: a depthwise 3×3 and a pointwise 1×1 convolution for each full one."""
    layers: list[nn.Module] = [conv_norm(shape[0], 32, 3)]
    channels = 32
    for out, stride in _MOBILENET:
        layers += [conv_norm(channels, channels, 3, stride, groups=channels), conv_norm(channels, out, 1)]
        channels = out
    return nn.Sequential(*layers, head(channels, classes))


#: Expansion, output channels, blocks, stride (Sandler et al. 2018, table 2; the second stage's stride is 1 here).
_MOBILENET_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def make_mobilenet_v2(shape: Shape, classes: int) -> nn.Sequential:
    """Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", 2018.

    As the published CIFAR figures count it: the stem and the second stage keep the image's size, a 1×1 convolution
    also comes before an expansion of 1, and a block of stride 1 whose width changes has a projected shortcut. The
    paper's and torchvision's network has neither of the last two, and 2.6 % fewer parameters.
    """
    layers: list[nn.Module] = [conv_norm(shape[0], 32, 3)]
    channels = 32
    for expansion, out, blocks, stride in _MOBILENET_V2:
        for block in range(blocks):
            layers.append(_inverted(channels, expansion * channels, out, stride if block == 0 else 1))
            channels = out
    return nn.Sequential(*layers, conv_norm(channels, 1280, 1), head(1280, classes))


def _inverted(channels: int, width: int, out: int, stride: int) -> nn.Module:
    body = nn.Sequential(
        conv_norm(channels, width, 1),
        conv_norm(width, width, 3, stride, groups=width),
        conv_norm(width, out, 1, activation=None),
    )
    return Residual(body, shortcut(channels, out, 1)) if stride == 1 else body


def make_efficientnet_b0(shape: Shape, classes: int) -> nn.Sequential:
    """Tan and Le, "EfficientNet", 2019, table 1: torchvision's blocks of B0.

    As the published CIFAR figures count it: a stem of stride 1, and no 1×1 convolution to 1280 channels before the
    head. Neither dropout nor stochastic depth: training is the same for every network of the zoo.
    """
    from torchvision.models import efficientnet_b0  # takes seconds, and few workloads need it

    model = efficientnet_b0(num_classes=classes, dropout=0.0, stochastic_depth_prob=0.0)
    stem, *stages, _ = model.features
    stem[0] = nn.Conv2d(shape[0], 32, 3, padding=1, bias=False)
    return nn.Sequential(stem, *stages, head(320, classes))


def make_separable(shape: Shape, classes: int, width: int, depth: int) -> nn.Sequential:
    """`depth` separable convolutions of one width behind a 3×3 stem, all at full resolution."""
    layers: list[nn.Module] = [conv_norm(shape[0], width, 3)]
    for _ in range(depth):
        layers += [conv_norm(width, width, 3, groups=width), conv_norm(width, width, 1)]
    return nn.Sequential(*layers, head(width, classes))
