"""Decoded image data sets, and seeded stratified splitting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from joulebench.errors import InputError
from joulebench.host.memory import available_bytes

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

    @property
    def noun(self) -> str:
        """What one of them is called in messages."""
        return "rows" if self.train_x.dtype != np.uint8 and self.train_x.shape[1:3] == (1, 1) else "images"

    def with_leaks(self) -> ImageArrays:
        """Itself, with a remark if images of test stand in train too, to the pixel."""
        repeated = repeated_in(map(_digest, self.train_x), map(_digest, self.test_x))
        if not repeated:
            return self
        exactly = ", to the pixel" if self.noun == "images" else ""
        remark = (
            f"{repeated} of {len(self.test_x)} test {self.noun} stand in train too{exactly}: scores are too good"
        )
        return replace(self, remarks=(*self.remarks, remark))


def absent_classes(
    train_y: Integers, test_y: Integers, classes: tuple[str, ...], noun: str = "images"
) -> tuple[str, ...]:
    """A remark for each split that lacks classes."""
    found = []
    for split, labels in (("train", train_y), ("test", test_y)):
        lacking = sorted(set(classes) - {classes[label] for label in np.unique(labels)})
        if lacking:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            found.append(f"{split} has no {noun} of {', '.join(lacking[:3])}{more}")
    return tuple(found)


def repeated_in(train: Iterable[object], test: Iterable[object]) -> int:
    """How many of test stand in train too."""
    known = set(train)
    return sum(one in known for one in test)


def _digest(image: Pixels | FloatArray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def check_room(size_bytes: int, what: str) -> None:
    """Refuse what does not fit in memory, where Linux would rather kill the process.

    Raises:
        InputError: it needs more than is available.
    """
    room = available_bytes()
    if room is not None and size_bytes > room:
        raise InputError(f"{what} would take {size_bytes >> 20} MiB of memory, of which {room >> 20} MiB are free")


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


def test_indices(labels: Integers, seed: int) -> tuple[Integers, Integers]:
    """Indices of train and of a stratified fifth held out as the test split, each in order."""
    order = shuffled(len(labels), seed, TEST_CUT)
    test, train = (np.sort(part) for part in take_stratified(order, labels, held_out(len(labels))))
    return train, test


def with_test_cut(
    x: Pixels | FloatArray, y: Integers, classes: tuple[str, ...], source: str, seed: int
) -> ImageArrays:
    """Hold out a stratified fifth of the images as the test split."""
    train, test = test_indices(y, seed)
    return ImageArrays(x[train], y[train], x[test], y[test], classes, source)
