"""What staging gives: three disjoint splits on one device, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from joulebench.errors import InputError

if TYPE_CHECKING:
    import torch

S = TypeVar("S")


class StagedData(Protocol):
    """Three disjoint splits on one device, of whatever kind: what a run needs to know of them."""

    @property
    def fingerprint(self) -> str:
        """Two machines that show the same one have the same data."""

    def describe(self) -> dict[str, Any]:
        """What the run manifest keeps, ready for JSON."""


@dataclass(frozen=True)
class Split:
    """Images on the device: `x` float32 (n, channels, height, width), normalised; `y` int64 (n,)."""

    x: torch.Tensor  # channels_last in memory where there is more than one channel
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class StagedImages:
    """Three disjoint splits of labelled images, and what is needed to say where they came from.

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
        return _named(name, {"train": self.train, "validation": self.validation, "test": self.test})

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


@dataclass(frozen=True)
class StagedText:
    """Three disjoint stretches of one text, each uint8 (bytes,) in the text's order.

    They are not interleaved: a passage that is judged would else lie between two that were trained on.
    """

    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    unigram_nats_per_byte: float  # the loss of who knows how frequent each byte is, and nothing else
    floor_nats_per_byte: float | None = None  # the text's entropy, where it is known
    source: str = ""
    fingerprint: str = ""

    def split(self, name: str) -> torch.Tensor:
        """The stretch called `train`, `validation` or `test`.

        Raises:
            InputError: another name.
        """
        return _named(name, {"train": self.train, "validation": self.validation, "test": self.test})

    def describe(self) -> dict[str, Any]:
        """What the run manifest keeps, ready for JSON; counts are of bytes."""
        return {
            "source": self.source,
            "fingerprint": self.fingerprint,
            "counts": {name: len(self.split(name)) for name in ("train", "validation", "test")},
            "unigram_nats_per_byte": self.unigram_nats_per_byte,
            "floor_nats_per_byte": self.floor_nats_per_byte,
        }


def _named(name: str, splits: dict[str, S]) -> S:
    if name not in splits:
        raise InputError(f"no split '{name}' (allowed: {', '.join(splits)})")
    return splits[name]
