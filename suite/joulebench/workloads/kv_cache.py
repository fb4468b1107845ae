"""Key-value caches: creation, reset, and snapshots that restore the state after prefill.

Decoding is measured repeatedly from the same prefilled cache, so each repeat begins by restoring it. The cheapest
exact way depends on the layer:

dynamic, full attention
    It grows into new tensors. A view of their first positions is the prefilled state.
dynamic, sliding window
    The same until positions are dropped. Then copies of the prefilled tensors are kept: nothing writes to them.
static, full attention
    It is written in place behind the prompt. Its length is set back: later positions are masked until overwritten.
static, sliding window
    The same until its content is shifted in place. Then a copy of the content is kept and copied back.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, StaticLayer, StaticSlidingWindowLayer

from joulebench.workloads.base import InfeasibleError

_KNOWN = (DynamicLayer, DynamicSlidingWindowLayer, StaticLayer, StaticSlidingWindowLayer)


def make_cache(config: Any, kind: str, positions: int) -> Any:
    """An empty cache for a model of `config`; a static one is `positions` long.

    Raises:
        InfeasibleError: the model keeps a state that cannot be restored.
    """
    text = config.get_text_config(decoder=True)
    cache = DynamicCache(config=text) if kind == "dynamic" else StaticCache(config=text, max_cache_len=positions)
    for layer in cache.layers:
        if type(layer) not in _KNOWN:
            raise InfeasibleError(
                f"{config.model_type} has a cache layer {type(layer).__name__}, which cannot be restored between "
                f"repeats (allowed: {', '.join(known.__name__ for known in _KNOWN)})"
            )
    return cache


def rewind(cache: Any) -> None:
    """Reset a static cache to empty, in place. Its old content is masked until it is overwritten."""
    layers = [layer for layer in cache.layers if layer.is_initialized]
    if layers:
        torch._foreach_zero_([layer.cumulative_length for layer in layers])
    for layer in layers:
        if isinstance(layer, StaticSlidingWindowLayer):
            layer.cumulative_length_int = 0


def set_length(cache: Any, length: int) -> None:
    """Set a cache's length to an int again: tracing turns it into a tensor, since it is a shape."""
    for layer in cache.layers:
        if isinstance(layer, StaticSlidingWindowLayer):
            layer.cumulative_length_int = length
        elif isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = length


class Snapshot:
    """State of a prefilled cache, to be restored after `steps` more tokens."""

    def __init__(self, cache: Any, steps: int) -> None:
        self._cropped: list[Any] = []
        self._attributes: list[tuple[Any, str, Any]] = []
        self._copies: dict[torch.dtype, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}  # to, from
        self._length = 0
        for layer in cache.layers:
            if isinstance(layer, StaticLayer):
                self._save_static(layer, steps)
            else:
                self._save_dynamic(layer, steps)

    def _save_static(self, layer: Any, steps: int) -> None:
        written = [layer.cumulative_length]
        if isinstance(layer, StaticSlidingWindowLayer):
            length = layer.cumulative_length_int
            self._attributes.append((layer, "cumulative_length_int", length))
            if length + steps > layer.max_cache_len:
                written += [layer.keys, layer.values]
        for tensor in written:
            to, saved = self._copies.setdefault(tensor.dtype, ([], []))
            to.append(tensor)
            saved.append(tensor.clone())

    def _save_dynamic(self, layer: Any, steps: int) -> None:
        length = layer.get_seq_length()
        if not isinstance(layer, DynamicSlidingWindowLayer):
            self._cropped.append(layer)
            self._length = length
            return
        self._attributes.append((layer, "cumulative_length", length))
        if length + steps < layer.sliding_window:
            self._cropped.append(layer)
            self._length = length
        else:
            # cloned: what the layer holds are views, which would keep the whole prompt's keys alive
            self._attributes += [(layer, "keys", layer.keys.clone()), (layer, "values", layer.values.clone())]

    def restore(self) -> None:
        """Restore the cache in place."""
        for to, saved in self._copies.values():
            torch._foreach_copy_(to, saved)  # one kernel for all layers, where there are kernels
        for layer in self._cropped:
            layer.keys = layer.keys[:, :, : self._length]
            layer.values = layer.values[:, :, : self._length]
        for layer, name, value in self._attributes:
            setattr(layer, name, value)
