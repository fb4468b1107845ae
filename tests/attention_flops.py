"""A decoder's arithmetic in closed form, from its configuration alone: the check on what is counted by tracing it.

A decoder of L layers has width h, H heads of d channels of which H / K share one of K key-value heads, feed-forward
layers of i channels with m weight matrices each (up and down; a gate too makes three), and V tokens.

*Linear layers.* A weight matrix of a × b costs a·b MACs a token. In each layer these are queries (h × Hd), keys and
values (h × Kd each), the output (Hd × h) and the feed-forward layer (m of h × i):

    W = h·Hd + 2·h·Kd + Hd·h + m·h·i

The head costs h·V for tokens whose logits are wanted: the last of a prompt, and every token fed back. The
embedding looks up and multiplies nothing.

*Attention.* A query multiplies each key it is given (d MACs a head) and weighs each value (d again): 2·Hd MACs a
query and key. That grouped heads share keys saves memory and no arithmetic. In prefill all p queries meet all p
keys, in sliding layers too: masks hide products, they do not avoid them. A token fed back as the c-th of its
context meets c keys, in a layer whose window is w the last min(c, w) of them:

    prefill(p) = p·L·W + h·V + 2·Hd·L·p²
    decode(c)  =   L·W + h·V + 2·Hd·Σ_layers min(c, w)

A static cache of n positions gives every token fed back n keys (min(n, w) in a sliding layer), c or not. It may
give them to prompts too, of which this knows nothing: for p far below n, prefill then counts more than prefill(p).

What is left out is elementwise or nearly so, and grows with h, not h²: norms, activations, rotary positions,
softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decoder:
    """The sizes in the formulas; `windows` has one entry a layer, None for the whole context."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    mlp_matrices: int
    vocabulary: int
    windows: tuple[int | None, ...]

    @property
    def _layer_weights(self) -> int:
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return attention + self.mlp_matrices * self.hidden * self.intermediate

    @property
    def _head_weights(self) -> int:
        return self.hidden * self.vocabulary

    def prefill_macs(self, prompt: int) -> int:
        """MACs of a prompt of that many tokens, with the logits of its last."""
        layers = len(self.windows)
        attention = 2 * self.heads * self.head_dim * layers * prompt**2
        return prompt * layers * self._layer_weights + self._head_weights + attention

    def decode_macs(self, context: int) -> int:
        """MACs of one token fed back that is given `context` keys, itself among them."""
        keys = sum(context if window is None else min(context, window) for window in self.windows)
        weights = len(self.windows) * self._layer_weights + self._head_weights
        return weights + 2 * self.heads * self.head_dim * keys

    def request_macs(self, prompt: int, new: int, static: bool = False) -> int:
        """MACs of a prompt and the `new` tokens that answer it."""
        positions = prompt + new - 1
        contexts = [positions if static else context for context in range(prompt + 1, positions + 1)]
        return self.prefill_macs(prompt) + sum(map(self.decode_macs, contexts))


def decoder_of(config: Any, mlp_matrices: int) -> Decoder:
    """The sizes of a transformers configuration."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    sliding = [kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or ()]
    windows = [config.sliding_window if slides else None for slides in sliding]
    return Decoder(
        hidden=hidden,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", heads),
        head_dim=getattr(config, "head_dim", None) or hidden // heads,
        intermediate=getattr(config, "intermediate_size", None) or 4 * hidden,  # GPT-2 has no field for it
        mlp_matrices=mlp_matrices,
        vocabulary=config.vocab_size,
        windows=tuple(windows) if windows else (None,) * config.num_hidden_layers,
    )
