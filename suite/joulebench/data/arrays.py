"""A decoded data set, and the seeded stratified order that every split is cut from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Integers = NDArray[np.int64]
Progress = Callable[[str, int, int], None]  # (label, done, total)


def silent(label: str, done: int, total: int) -> None:
    """The progress of who does not watch."""


@dataclass(frozen=True)
class ImageArrays:
    """Images decoded once: uint8 (n, height, width, channels), labels int64 (n,) that index `classes`.

    `source` says in words where they came from; `fingerprint` is the start of a SHA-256 over the four
    arrays, so two machines that show the same one trained on the same pixels in the same order.
    """

    train_x: Pixels
    train_y: Integers
    test_x: Pixels
    test_y: Integers
    classes: tuple[str, ...]
    source: str
    fingerprint: str = ""  # computed unless given

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


TEST_CUT, PIXELS, STAGE_CUT, GRAMMAR = range(4)  # what one seed is used for, each with a stream of its own


def fifth(n: int) -> int:
    """The nearest whole number to a fifth of `n`, at least 1: what is set aside for the test."""
    return max(1, (n + 2) // 5)


def shuffled(n: int, seed: int, purpose: int) -> Integers:
    """The indices 0 … n-1 in a random order that depends on seed and purpose alone.

    It sorts the raw stream of PCG64, which numpy promises never to change; `Generator.permutation` may
    change with numpy's version, and with it the meaning of a seed.
    """
    keys = np.random.PCG64([seed, purpose]).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64)


def take_stratified(order: Integers, labels: Integers, size: int) -> tuple[Integers, Integers]:
    """Cut `order` (indices into `labels`) into exactly `size` indices and the rest, both still in its order.

    Each class gives its share, rounded up or down; of two cuts from one order the smaller shares all but
    rounding with the larger. Expects 0 <= size <= len(order).
    """
    own = labels[order]
    counts = np.bincount(own)
    # largest remainder in whole numbers: exact, and ties fall the same way everywhere
    quotas, remainders = np.divmod(counts * size, max(len(order), 1))
    short = size - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:short]] += 1

    by_class = np.argsort(own, kind="stable")
    rank = np.empty_like(by_class)  # how many of its class come before
    rank[by_class] = np.arange(len(own)) - (np.cumsum(counts) - counts)[own[by_class]]
    chosen = rank < quotas[own]
    return order[chosen], order[~chosen]
