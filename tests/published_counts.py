"""Figures of the networks of Computing Within Limits, as published."""

#: Parameters and MACs (convolutions and linear layers) in millions: arXiv 2406.14328.
PUBLISHED = {
    "lenet5_unpadded": (0.062, 0.65),
    "efficientnet_b0": (3.600, 30.3),
    "mobilenet": (3.217, 46.4),
    "mobilenet_v2": (2.297, 91.2),
    "regnetx_200mf": (2.322, 223),
    "vgg19": (20.041, 398),
    "resnet18": (11.174, 555),
    "preactresnet18": (11.171, 555),
    "senet18": (11.260, 556),
    "dpn26": (11.575, 665),
    "densenet121": (6.956, 888),
    "simple_dla": (15.143, 914),
    "resnext29_2x64d": (9.129, 1409),
    "googlenet": (6.166, 1522),
}
