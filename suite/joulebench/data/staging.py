"""Staging: decoded data as training, validation and test tensors on the device."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from math import fsum, sqrt
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from joulebench.data.arrays import (
    STAGE_CUT,
    FloatArray,
    ImageArrays,
    Integers,
    Pixels,
    check_room,
    held_out,
    shuffled,
    take_stratified,
)
from joulebench.data.text import Bytes, Decoded, LabelledTexts, TextBytes
from joulebench.errors import InputError
from joulebench.host.memory import is_out_of_memory
from joulebench.spec.task import Dataset

if TYPE_CHECKING:
    import torch

CHUNK = 4_096  # images counted at a time
SPLITS = ("train", "validation", "test")

S = TypeVar("S", bound=Sized)


class StagedData(Protocol):
    """Staged data of any kind, as a run sees them."""

    @property
    def fingerprint(self) -> str:
        """A hash of the data: equal on two machines if their data are."""

    def describe(self) -> dict[str, Any]:
        """JSON-ready description for the run manifest."""


@dataclass(frozen=True)
class Split:
    """Images on the device: `x` float32 (n, channels, height, width), normalised; `y` int64 (n,)."""

    x: torch.Tensor  # channels_last in memory where there is more than one channel
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class TextSplit:
    """Labelled texts: `x` as strings, `y` int64 (n,) on the device; `x[i:j]` and `y[i:j]` are a batch."""

    x: tuple[str, ...]
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Splits(Generic[S]):
    """Training, validation and test split: disjoint, on one device."""

    train: S
    validation: S
    test: S

    def split(self, name: str) -> S:
        """The split called `train`, `validation` or `test`.

        Raises:
            InputError: another name.
        """
        if name not in SPLITS:
            raise InputError(f"no split '{name}' (allowed: {', '.join(SPLITS)})")
        split: S = getattr(self, name)
        return split

    @property
    def counts(self) -> dict[str, int]:
        """Images, texts or bytes of each split."""
        return {name: len(self.split(name)) for name in SPLITS}


@dataclass(frozen=True)
class StagedImages(Splits[Split]):
    """Splits of labelled images.

    `shape` is (channels, height, width); `mean` and `std` are per channel, of pixels scaled to 0 … 1, from the
    training split alone.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: tuple[str, ...]
    source: str = ""
    fingerprint: str = ""
    remarks: tuple[str, ...] = ()
    part: str = ""  # how much of what was left for training is used, where not all is

    def describe(self) -> dict[str, Any]:
        """JSON-ready description for the run manifest."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "counts": self.counts,
            "shape": list(self.shape),
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": list(self.classes),
            "augment": list(self.augment),
            **({"part": self.part} if self.part else {}),
            **({"remarks": list(self.remarks)} if self.remarks else {}),
        }


@dataclass(frozen=True)
class StagedText(Splits["torch.Tensor"]):
    """Splits of a text, each uint8 (bytes,) and contiguous: test passages are not next to training passages."""

    unigram_nats_per_byte: float  # the loss of a unigram model
    floor_nats_per_byte: float | None = None  # the text's entropy, if known
    source: str = ""
    fingerprint: str = ""
    part: str = ""  # how much of what was left for training is used, where not all is

    def describe(self) -> dict[str, Any]:
        """JSON-ready description for the run manifest; counts are of bytes."""
        return {
            **({"part": self.part} if self.part else {}),
            "source": self.source,
            "fingerprint": self.fingerprint,
            "counts": self.counts,
            "unigram_nats_per_byte": self.unigram_nats_per_byte,
            "floor_nats_per_byte": self.floor_nats_per_byte,
        }


@dataclass(frozen=True)
class StagedTexts(Splits[TextSplit]):
    """Splits of labelled texts; how they become numbers (a tokeniser) is the workload's."""

    classes: tuple[str, ...]
    source: str = ""
    fingerprint: str = ""
    remarks: tuple[str, ...] = ()
    part: str = ""  # how much of what was left for training is used, where not all is

    def describe(self) -> dict[str, Any]:
        """JSON-ready description for the run manifest."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "counts": self.counts,
            "classes": list(self.classes),
            **({"part": self.part} if self.part else {}),
            **({"remarks": list(self.remarks)} if self.remarks else {}),
        }


def tensors_of(data: Any) -> list[torch.Tensor]:
    """The tensors of staged data: of each split its images and labels, its labels alone, or its text."""
    parts = [data.split(name) for name in SPLITS] if isinstance(data, Splits) else []
    tensors: list[torch.Tensor] = []
    for part in parts:
        if isinstance(part, Split):
            tensors += [part.x, part.y]
        else:
            tensors.append(part.y if isinstance(part, TextSplit) else part)
    return tensors


def stage(decoded: Decoded, dataset: Dataset, device: str) -> StagedData:
    """Split decoded data as `dataset` says and put the splits on `device`.

    Raises:
        InputError: there are fewer images, texts or bytes than the data set asks for, or memory runs out.
    """
    try:
        if isinstance(decoded, TextBytes):
            return stage_text(decoded, dataset, device)
        if isinstance(decoded, LabelledTexts):
            return stage_texts(decoded, dataset, device)
        return stage_images(decoded, dataset, device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"dataset '{dataset.name}' does not fit in the memory of {device}; lower dataset.train or its shape"
        ) from None


def stage_texts(texts: LabelledTexts, dataset: Dataset, device: str) -> StagedTexts:
    """Split labelled texts as images are split, with the labels on `device`.

    Raises:
        InputError: there are fewer texts than the data set asks for.
    """
    import torch

    train, validation = split_indices(texts.train_y, dataset, "texts")

    def put(x: tuple[str, ...], y: Integers) -> TextSplit:
        return TextSplit(x, torch.from_numpy(y).to(device))

    def cut(indices: Integers) -> TextSplit:
        return put(tuple(texts.train_x[i] for i in indices), texts.train_y[indices])

    return StagedTexts(
        train=cut(train),
        validation=cut(validation),
        test=put(texts.test_x, texts.test_y),
        classes=texts.classes,
        source=texts.source,
        fingerprint=texts.fingerprint,
        remarks=texts.remarks,
        part=_part(len(train), len(texts.train_y) - len(validation), "texts"),
    )


def stage_text(text: TextBytes, dataset: Dataset, device: str) -> StagedText:
    """Split `text` into training, validation and test, in this order, as uint8 tensors on `device`.

    The last fifth is the test, the `validation` bytes before it are for validation, and the first `train` bytes
    (all that are left, where that is None) for training.

    Raises:
        InputError: there are fewer bytes than that.
    """
    import torch

    train, validation, test = (text.content[cut] for cut in text_cuts(len(text.content), dataset))

    def put(content: Bytes) -> torch.Tensor:
        return torch.from_numpy(content.copy()).to(device)  # a copy, since the array is read-only

    return StagedText(
        train=put(train),
        validation=put(validation),
        test=put(test),
        unigram_nats_per_byte=unigram_entropy(train),
        floor_nats_per_byte=text.floor_nats_per_byte,
        source=text.source,
        fingerprint=text.fingerprint,
        part=_part(len(train), len(text.content) - len(validation) - len(test), "bytes"),
    )


def _part(used: int, left: int, what: str) -> str:
    """`5000 of 49000 training images`; nothing where all are used."""
    return f"{used} of {left} training {what}" if used < left else ""


def text_cuts(n: int, dataset: Dataset) -> tuple[slice, slice, slice]:
    """Slices of a text's `n` bytes for training, validation and test: disjoint, of exact size.

    Raises:
        InputError: there are fewer bytes than the data set asks for.
    """
    test = held_out(n)
    left = n - test - dataset.validation  # for training
    if left < (dataset.train or 1):
        asked = "at least 1" if dataset.train is None else str(dataset.train)
        raise InputError(
            f"dataset '{dataset.name}' has {n} bytes, of which {test} are the test: too few for "
            f"train = {asked} and validation = {dataset.validation}"
        )
    return slice(0, dataset.train or left), slice(left, n - test), slice(n - test, n)


def unigram_entropy(content: Bytes) -> float:
    """Unigram entropy of bytes in nats per byte."""
    counts = np.bincount(content, minlength=256)
    shares = counts[counts > 0] / len(content)
    return float(-(shares * np.log(shares)).sum())


def stage_images(arrays: ImageArrays, dataset: Dataset, device: str) -> StagedImages:
    """Split `arrays` as `dataset` says and put the splits on `device`, normalised.

    Validation and training images are cut from the training arrays, stratified and in random order; the
    indices depend on `dataset.seed` alone. Pixels travel as uint8 and become (x / 255 - mean) / std on the
    device, where a channel that never varies is left at 0.

    Raises:
        InputError: there are fewer images than the data set asks for.
    """
    import torch

    if dataset.augment and arrays.noun == "rows":
        raise InputError(f"dataset.augment: '{dataset.name}' holds rows, no images")
    train, validation = split_indices(arrays.train_y, dataset, arrays.noun)
    if not device.startswith("cuda"):
        one = 4 * int(np.prod(arrays.train_x.shape[1:]))
        check_room(one * (len(train) + len(validation) + len(arrays.test_y)), f"dataset '{dataset.name}'")
    mean, std = channel_statistics(arrays.train_x, train)
    scale = tuple(value if value > 0 else 1.0 for value in std)

    def put(x: Pixels | FloatArray, y: Integers) -> Split:
        # (n, h, w, c) in memory is what torch calls channels_last, so a change of view is enough
        images = torch.from_numpy(x).to(device).permute(0, 3, 1, 2).to(torch.float32)
        layout = torch.channels_last if x.shape[3] > 1 else torch.contiguous_format
        if x.dtype == np.uint8:
            images = images.div_(255)
        images = images.sub_(_per_channel(mean, images)).div_(_per_channel(scale, images))
        return Split(images.contiguous(memory_format=layout), torch.from_numpy(y).to(device))

    height, width, channels = arrays.train_x.shape[1:]
    return StagedImages(
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
        remarks=arrays.remarks,
        part=_part(len(train), len(arrays.train_y) - len(validation), arrays.noun),
    )


def split_indices(labels: Integers, dataset: Dataset, noun: str = "images") -> tuple[Integers, Integers]:
    """Indices of the training and the validation images: disjoint, stratified, of exact size.

    The validation images depend on the seed and their number, not on how many are trained on.

    Raises:
        InputError: there are fewer images than that.
    """
    wanted = dataset.validation + (dataset.train or 1)
    if wanted > len(labels):
        asked = "at least 1" if dataset.train is None else str(dataset.train)
        raise InputError(
            f"dataset '{dataset.name}' has {len(labels)} training {noun}, too few for "
            f"train = {asked} and validation = {dataset.validation}"
        )
    order = shuffled(len(labels), dataset.seed, STAGE_CUT)
    validation, rest = take_stratified(order, labels, dataset.validation)
    train, _ = take_stratified(rest, labels, len(rest) if dataset.train is None else dataset.train)
    return train, validation


def channel_statistics(x: Pixels | FloatArray, indices: Integers) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of the chosen images (n, h, w, c), of pixels scaled to 0 … 1.

    Computed in integers on the CPU, so that every machine normalises alike.
    """
    if x.dtype != np.uint8:
        return _exact_statistics(x, indices)
    counts = np.zeros((x.shape[3], 256), dtype=np.int64)
    for start in range(0, len(indices), CHUNK):
        images = x[indices[start : start + CHUNK]]
        for channel in range(x.shape[3]):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    levels = np.arange(256, dtype=np.int64)
    mean, std = [], []
    for channel_counts in counts:
        # Python's integers: exact however many pixels, so that a constant channel has a deviation of exactly 0
        n, first, second = (int(channel_counts @ levels**power) for power in range(3))
        mean.append(first / (255 * n))
        std.append(sqrt((n * second - first**2) / (255 * n) ** 2))
    return tuple(mean), tuple(std)


def _exact_statistics(x: Pixels | FloatArray, indices: Integers) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of numbers that are no pixels, by sums that are exactly rounded."""
    mean, std = [], []
    for channel in range(x.shape[3]):
        values = x[indices, ..., channel].astype(np.float64).ravel()
        middle = fsum(values.tolist()) / len(values)
        mean.append(middle)
        constant = bool((values == values[0]).all())
        std.append(0.0 if constant else sqrt(fsum(((values - middle) ** 2).tolist()) / len(values)))
    return tuple(mean), tuple(std)


def _per_channel(values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1)
