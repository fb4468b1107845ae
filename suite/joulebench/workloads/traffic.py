"""Memory traffic of a model's layers: activations and bytes moved, counted by hooks on one forward pass.

*Activations* are the elements of all layers' outputs for one sample. A layer is a module without children; what
only passes its input on in another shape (flatten, identity, dropout out of training) writes nothing and does not
count.

*Bytes moved* are those a layer-by-layer execution moves for one sample at a batch of b:

    element size × (elements layers write + elements layers read) + bytes of the parameters / b

Each layer reads its whole input and writes its whole output; parameters are read once a step, which serves b
samples. Caches and fused operators move less; work space, and weights that are read again (a recurrent layer's,
each step), more: it is a figure of the model, not of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

ACTIVATIONS, BYTES_MOVED = "activations", "bytes_moved"
_WRITE_NOTHING = (nn.Flatten, nn.Unflatten, nn.Identity, _DropoutNd)


@dataclass(frozen=True)
class Traffic:
    """Memory traffic of one sample's forward pass."""

    written: int  # elements
    read: int  # elements
    element_bytes: int
    parameter_bytes: int

    def bytes_moved(self, batch: int) -> float:
        """Bytes moved for one sample at batch size `batch`."""
        return self.element_bytes * (self.written + self.read) + self.parameter_bytes / batch


@torch.no_grad()
def traffic(model: nn.Module, example: torch.Tensor) -> Traffic:
    """Count one forward pass of `example`, one sample on the model's device; the model's mode is restored."""
    written = read = 0

    def count(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal written, read
        read += sum(t.numel() for t in _tensors(inputs))
        written += sum(t.numel() for t in _tensors(output))

    layers = [m for m in model.modules() if not any(m.children()) and not isinstance(m, _WRITE_NOTHING)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    model.eval()
    try:
        model(example)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    parameter_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    return Traffic(written, read, example.element_size(), parameter_bytes)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors among a layer's inputs or outputs: a tensor, or nested tuples of them."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
