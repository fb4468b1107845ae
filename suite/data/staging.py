"""From decoded arrays to normalised tensors on the device, split with a seed."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.data.arrays import STAGE_CUT, ImageArrays, Integers, Pixels, shuffled, take_stratified
from suite.errors import InputError
from suite.task import Dataset

if TYPE_CHECKING:
    import torch

CHUNK = 4_096  # images counted at a time


@dataclass(frozen=True)
class Split:
    """Images on the device: `x` float32 (n, channels, height, width), normalised; `y` int64 (n,)."""

    x: torch.Tensor  # channels_last in memory where there is more than one channel
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class StagedData:
    """Three disjoint splits on one device, and what is needed to say where they came from.

    `shape` is (channels, height, width); `mean` and `std` are per channel, of pixels scaled to 0 … 1, and
    come from the training split alone.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: tuple[str, ...]
    source: str = ""
    fingerprint: str = ""

    def split(self, name: str) -> Split:
        """The split called `train`, `validation` or `test`.

        Raises:
            InputError: another name.
        """
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if name not in splits:
            raise InputError(f"no split '{name}' (allowed: {', '.join(splits)})")
        return splits[name]

    def describe(self) -> dict[str, Any]:
        """What the run manifest keeps, ready for JSON."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "counts": {name: len(self.split(name)) for name in ("train", "validation", "test")},
            "shape": list(self.shape),
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": list(self.classes),
            "augment": list(self.augment),
        }


def stage(arrays: ImageArrays, dataset: Dataset, device: str) -> StagedData:
    """Split `arrays` as `dataset` says and put the splits on `device`, normalised.

    Validation and training images are cut from the training arrays, stratified and in random order; the
    indices depend on `dataset.seed` alone. Pixels travel as uint8 and become (x / 255 - mean) / std on the
    device, where a channel that never varies is left at 0.

    Raises:
        InputError: there are fewer images than the data set asks for.
    """
    import torch

    train, validation = split_indices(arrays.train_y, dataset)
    mean, std = channel_statistics(arrays.train_x, train)
    scale = tuple(value if value > 0 else 1.0 for value in std)

    def put(x: Pixels, y: Integers) -> Split:
        # (n, h, w, c) in memory is what torch calls channels_last, so a change of view is enough
        images = torch.from_numpy(x).to(device).permute(0, 3, 1, 2).to(torch.float32)
        layout = torch.channels_last if x.shape[3] > 1 else torch.contiguous_format
        images = images.div_(255).sub_(_per_channel(mean, images)).div_(_per_channel(scale, images))
        return Split(images.contiguous(memory_format=layout), torch.from_numpy(y).to(device))

    height, width, channels = arrays.train_x.shape[1:]
    return StagedData(
        train=put(arrays.train_x[train], arrays.train_y[train]),
        validation=put(arrays.train_x[validation], arrays.train_y[validation]),
        test=put(arrays.test_x, arrays.test_y),
        classes=arrays.classes,
        shape=(channels, height, width),
        mean=mean,
        std=std,
        augment=tuple(dataset.augment),
        source=arrays.source,
        fingerprint=arrays.fingerprint,
    )


def split_indices(labels: Integers, dataset: Dataset) -> tuple[Integers, Integers]:
    """Which training images are for training and which for validation: disjoint, stratified, exact in number.

    The validation images depend on the seed and their number, not on how many are trained on.

    Raises:
        InputError: there are fewer images than that.
    """
    wanted = dataset.validation + (dataset.train or 1)
    if wanted > len(labels):
        asked = "at least 1" if dataset.train is None else str(dataset.train)
        raise InputError(
            f"dataset '{dataset.name}' has {len(labels)} training images, too few for "
            f"train = {asked} and validation = {dataset.validation}"
        )
    order = shuffled(len(labels), dataset.seed, STAGE_CUT)
    validation, rest = take_stratified(order, labels, dataset.validation)
    train, _ = take_stratified(rest, labels, len(rest) if dataset.train is None else dataset.train)
    return train, validation


def channel_statistics(x: Pixels, indices: Integers) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of the chosen images (n, h, w, c), of pixels scaled to 0 … 1.

    Counted in whole numbers on the CPU, so every machine normalises by the same numbers.
    """
    counts = np.zeros((x.shape[3], 256), dtype=np.int64)
    for start in range(0, len(indices), CHUNK):
        images = x[indices[start : start + CHUNK]]
        for channel in range(x.shape[3]):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    levels = np.arange(256, dtype=np.int64)
    mean, std = [], []
    for channel_counts in counts:
        # Python's integers: exact however many pixels, so that a constant channel has a spread of exactly 0
        n, first, second = (int(channel_counts @ levels**power) for power in range(3))
        mean.append(first / (255 * n))
        std.append(sqrt((n * second - first**2) / (255 * n) ** 2))
    return tuple(mean), tuple(std)


def _per_channel(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1)
