"""Attention over patches of an image: the encoder of Vaswani et al. 2017, as a classifier."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from joulebench.workloads.networks.blocks import Residual, Shape

PATCH = 4  # pixels a side
HEAD_WIDTH = 32  # channels of one attention head


class Attention(nn.Module):
    """Multi-head attention without projections: q, k, v (n, tokens, 3·width) → (n, tokens, width)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, qkv: torch.Tensor) -> torch.Tensor:
        n, tokens, triple = qkv.shape
        q, k, v = qkv.view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(n, tokens, triple // 3)


class Positions(nn.Module):
    """Learned position embeddings, added to the tokens (n, tokens, width)."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.vectors


class Tokens(nn.Module):
    """A feature map as tokens: (n, width, rows, columns) → (n, tokens, width)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).transpose(1, 2)


class TokenMean(nn.Module):
    """The mean over tokens: (n, tokens, width) → (n, width)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


def make_encoder(shape: Shape, classes: int, width: int, depth: int) -> nn.Sequential:
    """Dosovitskiy et al., "An image is worth 16×16 words", 2021, with patches of 4×4: pre-norm layers of attention
    in heads of 32 channels and a feed-forward part four times as wide, the mean of the tokens, a linear head.

    Raises:
        ValueError: the width is not in whole heads, or the image not in whole patches.
    """
    channels, height, columns = shape
    if width % HEAD_WIDTH or height % PATCH or columns % PATCH:
        raise ValueError(
            f"width must be a multiple of {HEAD_WIDTH} and both sides of the image of {PATCH} (got width {width}, "
            f"image {height}×{columns})"
        )
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, PATCH, stride=PATCH),
        Tokens(),
        Positions(height // PATCH * (columns // PATCH), width),
    ]
    for _ in range(depth):
        attend = (nn.Linear(width, 3 * width), Attention(width // HEAD_WIDTH), nn.Linear(width, width))
        feed = (nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        layers += [Residual(nn.Sequential(nn.LayerNorm(width), *part), nn.Identity()) for part in (attend, feed)]
    return nn.Sequential(*layers, nn.LayerNorm(width), TokenMean(), nn.Linear(width, classes))
