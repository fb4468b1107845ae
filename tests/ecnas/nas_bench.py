"""Static costs of a NAS-Bench-101 network from its cell: parameters, MACs and activations. Pure.

The network of Ying et al. (arXiv 1902.09635), which EC-NAS-Bench trained: a 3×3 stem of 128 channels, three stacks
of three equal cells on 32×32 images, 2×2 pooling and twice the channels between stacks, global pooling and a linear
head. A cell is a graph; its inner vertices are convolution + batch norm + ReLU (3×3 or 1×1) or 3×3 max-pooling. The
input comes to a vertex through a 1×1 convolution; what flows into the output is concatenated, and the channels are
shared among those vertices. Counted per sample: MACs of convolutions and of the head, and the values that the stem,
convolutions (with norm and ReLU as one), pooling and projections give out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEM_CHANNELS, STACKS, CELLS, SIDE, CLASSES = 128, 3, 3, 32, 10
#: Weights per pair of channels of each operation; -1 and -2 are input and output.
_WEIGHTS = {0: 9, 1: 1, 2: 0}

Matrix = tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class NetworkCosts:
    """Of one network; per sample where it is work."""

    parameters: int
    macs: int
    activations: int


def adjacency(bits: Sequence[bool]) -> Matrix:
    """The upper triangle of a graph of n vertices, row by row, as a matrix.

    Raises:
        ValueError: not n (n − 1) / 2 bits.
    """
    n = (1 + math.isqrt(1 + 8 * len(bits))) // 2
    if n * (n - 1) // 2 != len(bits):
        raise ValueError(f"{len(bits)} bits are no triangle")
    left = iter(bits)
    return tuple(tuple(bool(next(left)) if j > i else False for j in range(n)) for i in range(n))


def costs(matrix: Matrix, operations: Sequence[int]) -> NetworkCosts:
    """Of the network with this cell.

    Raises:
        ValueError: the operations do not fit the graph.
    """
    inner = operations[1:-1]
    if len(operations) != len(matrix) or any(op not in _WEIGHTS for op in inner):
        raise ValueError(f"operations {list(operations)} do not fit a cell of {len(matrix)} vertices")
    side, channels_in = SIDE, STEM_CHANNELS
    total = _convolution(3, STEM_CHANNELS, 9, SIDE**2)
    for stack in range(STACKS):
        if stack:
            side //= 2
            total = _plus(total, NetworkCosts(0, 0, channels_in * side**2))
        for _ in range(CELLS):
            channels = STEM_CHANNELS << stack
            total = _plus(total, _cell(matrix, inner, channels_in, channels, side**2))
            channels_in = channels
    head = NetworkCosts((channels_in + 1) * CLASSES, channels_in * CLASSES, 0)
    return _plus(total, head)


def _cell(matrix: Matrix, inner: Sequence[int], channels_in: int, channels_out: int, pixels: int) -> NetworkCosts:
    last, channels = len(matrix) - 1, _channels(matrix, channels_in, channels_out)
    total = NetworkCosts(0, 0, 0)
    for vertex, operation in enumerate(inner, start=1):
        own = channels[vertex]
        if matrix[0][vertex]:
            total = _plus(total, _convolution(channels_in, own, 1, pixels))
        weights = _WEIGHTS[operation]
        done = _convolution(own, own, weights, pixels) if weights else NetworkCosts(0, 0, own * pixels)
        total = _plus(total, done)
    if matrix[0][last]:
        total = _plus(total, _convolution(channels_in, channels_out, 1, pixels))
    return total


def _convolution(channels_in: int, channels_out: int, weights: int, pixels: int) -> NetworkCosts:
    """With a batch norm's scale and shift, and no bias."""
    pairs = channels_in * channels_out * weights
    return NetworkCosts(pairs + 2 * channels_out, pairs * pixels, channels_out * pixels)


def _channels(matrix: Matrix, channels_in: int, channels_out: int) -> list[int]:
    """Channels of every vertex: the output's are shared evenly among those before it, the first taking what is left
    over; any other vertex has as many as the widest that it feeds."""
    last = len(matrix) - 1
    channels = [channels_in, *[0] * (last - 1), channels_out]
    feeding = [v for v in range(1, last) if matrix[v][last]]
    for place, vertex in enumerate(feeding):
        channels[vertex] = channels_out // len(feeding) + (place < channels_out % len(feeding))
    for vertex in range(last - 1, 0, -1):
        if not matrix[vertex][last]:
            channels[vertex] = max((channels[w] for w in range(vertex + 1, last) if matrix[vertex][w]), default=0)
    return channels


def _plus(a: NetworkCosts, b: NetworkCosts) -> NetworkCosts:
    return NetworkCosts(a.parameters + b.parameters, a.macs + b.macs, a.activations + b.activations)
