"""Key-value caches: made, emptied without clearing them, and put back to where prefill left them.

Decoding is measured over and over from the same prefilled cache, so each repeat has to begin by putting it back.
What that takes depends on the layer, and is as little as is exact:

dynamic, whole context
    It grows into new tensors. A view of their first positions is what prefill left.
dynamic, sliding window
    The same until positions are dropped. Then the tensors it had are kept beside it: nothing writes to them.
static, whole context
    It is written in place behind the prompt. Its length is set back: what lies beyond is masked until overwritten.
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
        InfeasibleError: the model keeps a state that cannot be put back.
    """
    text = config.get_text_config(decoder=True)
    cache = DynamicCache(config=text) if kind == "dynamic" else StaticCache(config=text, max_cache_len=positions)
    for layer in cache.layers:
        if type(layer) not in _KNOWN:
            raise InfeasibleError(
                f"{config.model_type} keeps its context in a {type(layer).__name__}, which cannot be put back "
                "between repeats; only attention over keys and values can be measured"
            )
    return cache


def rewind(cache: Any) -> None:
    """Make a static cache empty again, in place. Its old content is masked until it is overwritten."""
    layers = [layer for layer in cache.layers if layer.is_initialized]
    if layers:
        torch._foreach_zero_([layer.cumulative_length for layer in layers])
    for layer in layers:
        if isinstance(layer, StaticSlidingWindowLayer):
            layer.cumulative_length_int = 0


def set_length(cache: Any, length: int) -> None:
    """Write a cache's length anew as the whole number it is: tracing makes a tensor of it, since it is a shape."""
    for layer in cache.layers:
        if isinstance(layer, StaticSlidingWindowLayer):
            layer.cumulative_length_int = length
        elif isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = length


class Snapshot:
    """A prefilled cache, to be put back after `steps` more tokens."""

    def __init__(self, cache: Any, steps: int) -> None:
        self._cropped: list[Any] = []
        self._attributes: list[tuple[Any, str, Any]] = []
        self._copies: dict[torch.dtype, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}  # to, from
        self._length = 0
        for layer in cache.layers:
            if isinstance(layer, StaticLayer):
                self._remember_static(layer, steps)
            else:
                self._remember_dynamic(layer, steps)

    def _remember_static(self, layer: Any, steps: int) -> None:
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

    def _remember_dynamic(self, layer: Any, steps: int) -> None:
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
        """Put the cache back."""
        for to, saved in self._copies.values():
            torch._foreach_copy_(to, saved)  # one kernel for all layers, where there are kernels
        for layer in self._cropped:
            layer.keys = layer.keys[:, :, : self._length]
            layer.values = layer.values[:, :, : self._length]
        for layer, name, value in self._attributes:
            setattr(layer, name, value)
