"""Data augmentation of image batches on the device: random crops and flips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.errors import InputError

if TYPE_CHECKING:
    import torch

PAD = 4  # pixels on each side
KINDS = ("crop", "flip")


def augment(x: torch.Tensor, kinds: tuple[str, ...], generator: torch.Generator) -> torch.Tensor:
    """Augment a batch `x` (n, channels, height, width); without kinds `x` itself is returned.

    `crop` shifts each image by up to 4 pixels in each direction, padded with 0, the mean of normalised images.
    `flip` mirrors horizontally with probability 0.5. `generator` is on the device of `x`; the crop draws first,
    whatever the order of `kinds`. One gather, no loop over images, no synchronisation.

    Raises:
        InputError: an unknown kind.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InputError(f"augment: no kind '{unknown[0]}' (allowed: {', '.join(KINDS)})")
    if not kinds:
        return x
    import torch

    n, channels, height, width = x.shape
    device = x.device
    rows = torch.arange(height, device=device).expand(n, height)
    columns = torch.arange(width, device=device).expand(n, width)
    images = x.permute(0, 2, 3, 1)
    if "crop" in kinds:
        shift = torch.randint(0, 2 * PAD + 1, (2, n, 1), generator=generator, device=device)
        images = torch.nn.functional.pad(images, (0, 0, PAD, PAD, PAD, PAD))
        rows, columns = rows + shift[0], columns + shift[1]
    if "flip" in kinds:
        mirrored = torch.rand((n, 1), generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(n, device=device)[:, None, None]
    changed = images[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    layout = torch.channels_last if channels > 1 else torch.contiguous_format
    return changed.contiguous(memory_format=layout)
