"""Decoded image data sets, and seeded stratified splitting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
FloatArray = NDArray[np.float32]
Integers = NDArray[np.int64]
Progress = Callable[[str, int, int], None]  # (label, done, total)


def no_progress(label: str, done: int, total: int) -> None:
    """Ignore progress: the default callback."""


@dataclass(frozen=True)
class ImageArrays:
    """Decoded images, uint8 (n, height, width, channels), with labels int64 (n,) that index `classes`.

    Numbers that are no pixels are float32 in the same form; rows of a table are (n, 1, 1, columns).

    `source` describes the origin; `fingerprint` is the start of a SHA-256 over the four arrays: equal fingerprints
    mean the same pixels in the same order. `remarks` say what whoever relies on the data should know.
    """

    train_x: Pixels | FloatArray
    train_y: Integers
    test_x: Pixels | FloatArray
    test_y: Integers
    classes: tuple[str, ...]
    source: str
    fingerprint: str = ""  # computed unless given
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", self._fingerprint())

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            # byte order spelled out: the fingerprint has to be the same on every machine
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{little.dtype.str}{little.shape}".encode())
            digest.update(little.reshape(-1).data)
        return digest.hexdigest()[:16]

    def with_leaks(self) -> ImageArrays:
        """Itself, with a remark if images of test stand in train too, to the pixel."""
        known = {_digest(image) for image in self.train_x}
        repeated = sum(_digest(image) in known for image in self.test_x)
        if not repeated:
            return self
        remark = (
            f"{repeated} of {len(self.test_x)} test images stand in train too, to the pixel: scores are too good"
        )
        return replace(self, remarks=(*self.remarks, remark))


def _digest(image: Pixels | FloatArray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


TEST_CUT, PIXELS, STAGE_CUT, GRAMMAR = range(4)  # purposes of a seed, each with its own random stream


def held_out(n: int) -> int:
    """The size of the test split of `n` items: a fifth, rounded, at least 1."""
    return max(1, (n + 2) // 5)


def shuffled(n: int, seed: int, purpose: int) -> Integers:
    """The indices 0 … n-1 in a random order that depends on seed and purpose alone.

    It sorts the raw stream of PCG64, which numpy guarantees to be stable; `Generator.permutation` may change with
    numpy's version.
    """
    keys = np.random.PCG64([seed, purpose]).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64)


def take_stratified(order: Integers, labels: Integers, size: int) -> tuple[Integers, Integers]:
    """Split `order` (indices into `labels`) into a stratified sample of exactly `size` and the rest, order kept.

    Each class gives its share, rounded up or down; up to rounding, a smaller sample from one order is part of a
    larger one. Expects 0 <= size <= len(order).
    """
    ordered = labels[order]
    counts = np.bincount(ordered)
    # largest-remainder method in integers: exact, with the same ties everywhere
    quotas, remainders = np.divmod(counts * size, max(len(order), 1))
    short = size - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:short]] += 1

    by_class = np.argsort(ordered, kind="stable")
    rank = np.empty_like(by_class)  # how many of its class come before
    rank[by_class] = np.arange(len(ordered)) - (np.cumsum(counts) - counts)[ordered[by_class]]
    chosen = rank < quotas[ordered]
    return order[chosen], order[~chosen]


def with_test_cut(
    x: Pixels | FloatArray, y: Integers, classes: tuple[str, ...], source: str, seed: int
) -> ImageArrays:
    """Hold out a stratified fifth of the images as the test split."""
    order = shuffled(len(y), seed, TEST_CUT)
    test, train = (np.sort(part) for part in take_stratified(order, y, held_out(len(y))))
    return ImageArrays(x[train], y[train], x[test], y[test], classes, source)
