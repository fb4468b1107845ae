"""Augmentation: content is moved or mirrored, never changed, and the generator decides alone."""

from __future__ import annotations

import pytest
import torch

from joulebench.data import augment
from joulebench.errors import InputError

PAD = 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 64, channels: int = 3, height: int = 8, width: int = 10) -> torch.Tensor:
    """Images whose pixels all differ and none of which is 0."""
    return 1 + torch.arange(n * channels * height * width, dtype=torch.float32).view(n, channels, height, width)


def windows(image: torch.Tensor) -> list[torch.Tensor]:
    """Every window that a crop of `image` (c, h, w) may show, by row shift, then column shift."""
    height, width = image.shape[1:]
    padded = torch.nn.functional.pad(image, (PAD, PAD, PAD, PAD))
    steps = range(2 * PAD + 1)
    return [padded[:, top : top + height, left : left + width] for top in steps for left in steps]


def test_without_kinds_the_batch_comes_back() -> None:
    x = batch()
    assert augment(x, (), generator()) is x


def test_every_crop_is_a_window_of_the_padded_image() -> None:
    x = batch(n=500)
    shifts = []
    for image, cropped in zip(x, augment(x, ("crop",), generator()), strict=True):
        fits = [index for index, window in enumerate(windows(image)) if torch.equal(window, cropped)]
        assert len(fits) == 1
        shifts += fits
    assert len(set(shifts)) > 70  # of 81: each image has its own
    assert {shift // 9 for shift in shifts} == {shift % 9 for shift in shifts} == set(range(9))


def test_a_crop_by_no_shift_is_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def centre(low: int, high: int, size: tuple[int, ...], **_: object) -> torch.Tensor:
        return torch.full(size, (low + high) // 2)

    monkeypatch.setattr(torch, "randint", centre)
    x = batch()
    assert torch.equal(augment(x, ("crop",), generator()), x)


def test_half_of_the_images_are_mirrored_whole() -> None:
    x = batch(n=4000, channels=1, height=2, width=3)
    flipped = augment(x, ("flip",), generator())
    mirrored = (flipped == x.flip(3)).all(dim=(1, 2, 3))
    same = (flipped == x).all(dim=(1, 2, 3))
    assert bool((mirrored ^ same).all())
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.04)  # 5 standard errors


def test_crop_and_flip_make_a_mirrored_window() -> None:
    x = batch(n=40)
    for image, changed in zip(x, augment(x, ("crop", "flip"), generator()), strict=True):
        possible = windows(image)
        assert any(torch.equal(window, changed) or torch.equal(window.flip(2), changed) for window in possible)


def test_the_generator_decides_and_the_order_of_kinds_does_not() -> None:
    x = batch()
    first = augment(x, ("crop", "flip"), generator(1))
    assert torch.equal(augment(x, ("flip", "crop"), generator(1)), first)
    assert not torch.equal(augment(x, ("crop", "flip"), generator(2)), first)


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_type_and_memory_format_are_kept(channels: int) -> None:
    layout = torch.channels_last if channels > 1 else torch.contiguous_format
    x = batch(channels=channels).contiguous(memory_format=layout)
    before = x.clone()
    changed = augment(x, ("crop", "flip"), generator())
    assert (changed.shape, changed.dtype) == (x.shape, x.dtype)
    assert changed.is_contiguous(memory_format=layout)
    assert torch.equal(x, before)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"no kind 'cutout' \(allowed: crop, flip\)"):
        augment(batch(), ("cutout",), generator())
