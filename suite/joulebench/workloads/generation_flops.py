"""MACs and FLOPs of text generation by fvcore, on the meta device: no weights are allocated, for any model size.

One prompt is counted; a batch is proportional. Prefill computes the logits of the last prompt token alone, and
decode feeds the new tokens back one by one, all but the last. With a dynamic cache a token attends to all before it
(in a sliding-window layer to those in the window), so its FLOPs are a piecewise linear function of its position:
counted where the pieces meet, and interpolated exactly in between. With a static cache every token attends to the
cache's whole length, masked where it is not filled yet.

The counting rule is that of `joulebench.workloads.flops`: a causal mask reduces nothing, although attention kernels
may skip masked blocks. Kernels that do not run there (flash_attention_2) count as scaled-dot-product attention,
whose arithmetic is the same.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from joulebench.records.model import Costs
from joulebench.workloads.flops import Tally, tally
from joulebench.workloads.generation import last_only
from joulebench.workloads.generation_settings import Settings
from joulebench.workloads.kv_cache import make_cache, set_length

#: Models whose layers of a kind are all alike: one of each kind is traced, however many there are.
UNIFORM = frozenset({"gpt2", "qwen3", "gemma3_text", "llama"})
FEW_LAYERS = 4  # that many are traced as they are, in no more time


@dataclass(frozen=True)
class GenerationTally:
    """MACs and FLOPs of one request of one prompt."""

    prefill: Tally  # of the whole prompt, with the first new token
    decode: Tally  # of all tokens after the first together

    def costs(self, parameters: int, settings: Settings) -> Costs:
        """Static costs: MACs and FLOPs per new token of a whole request, and FLOPs per unit of each phase."""
        new = settings.new_tokens
        macs, flops = self.prefill.macs + self.decode.macs, self.prefill.flops + self.decode.flops
        phase_flops = {"prefill": self.prefill.flops / settings.prompt_tokens, "request": flops / new}
        if new > 1:
            phase_flops["decode"] = self.decode.flops / (new - 1)
        return Costs(
            parameters=parameters,
            macs=round(macs / new),
            flops=round(flops / new),
            phase_flops=phase_flops,
            unsupported_ops=self.decode.unsupported_ops | self.prefill.unsupported_ops,
        )


_counted: dict[tuple[object, ...], GenerationTally] = {}


def count_generation(config: Any, settings: Settings) -> GenerationTally:
    """Count one request to a model of `config`, once per process for the same model and request."""
    attention = "eager" if settings.attention == "eager" else "sdpa"
    key = (config.to_json_string(), settings.prompt_tokens, settings.new_tokens, settings.cache, attention)
    if key not in _counted:
        _counted[key] = _count(config, settings, attention)
    return _counted[key]


def _count(config: Any, settings: Settings, attention: str) -> GenerationTally:
    if config.model_type not in UNIFORM or config.num_hidden_layers <= FEW_LAYERS:
        return _traced(_copy(config), settings, attention)
    kinds = getattr(config, "layer_types", None) or ["only"] * config.num_hidden_layers
    one = total = _traced(_cut(config, kinds[:1]), settings, attention)
    for kind, layers in Counter(kinds).items():
        two = _traced(_cut(config, [kinds[0], kind]), settings, attention)
        further = layers - (kind == kinds[0])
        total = GenerationTally(
            _with_layers(total.prefill, further, two.prefill, one.prefill),
            _with_layers(total.decode, further, two.decode, one.decode),
        )
    return total


def _with_layers(total: Tally, further: int, two: Tally, one: Tally) -> Tally:
    """`total` with `further` more layers, each of which costs `two` − `one`."""
    unsupported = {
        op: total.unsupported_ops.get(op, 0) + further * (count - one.unsupported_ops.get(op, 0))
        for op, count in two.unsupported_ops.items()
    }
    macs, flops = two.macs - one.macs, two.flops - one.flops
    return Tally(total.macs + further * macs, total.flops + further * flops, unsupported)


def _copy(config: Any) -> Any:
    """A copy of `config`: a model writes its attention and its dtype into its configuration."""
    return type(config).from_dict(config.to_dict())


def _cut(config: Any, kinds: list[str]) -> Any:
    """`config` with only layers of these kinds."""
    cut = _copy(config)
    cut.num_hidden_layers = len(kinds)
    if getattr(config, "layer_types", None):
        cut.layer_types = list(kinds)
    return cut


def _traced(config: Any, settings: Settings, attention: str) -> GenerationTally:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    sequence = _Sequence(model.eval(), make_cache(config, settings.cache, settings.positions))
    prefill = sequence.count(settings.prompt_tokens)
    first, last = settings.prompt_tokens + 1, settings.positions
    if last < first:
        return GenerationTally(prefill, Tally(0, 0, {}))
    counted = {}
    for context in _contexts(config, settings, first, last):
        sequence.skip_to(context - 1)
        counted[context] = sequence.count(1)
    macs = {context: each.macs for context, each in counted.items()}
    flops = {context: each.flops for context, each in counted.items()}
    decode = Tally(_total(macs, last), _total(flops, last), counted[first].unsupported_ops)
    return GenerationTally(prefill, decode)


def _contexts(config: Any, settings: Settings, first: int, last: int) -> list[int]:
    """Context lengths at which to count a decoded token: ends and knots of the piecewise linear function."""
    if settings.cache == "static":
        return [first]
    layers = make_cache(config, "dynamic", settings.positions).layers
    bends = {layer.sliding_window for layer in layers if layer.is_sliding and first < layer.sliding_window < last}
    return sorted({first, last} | bends if bends else {first, min(first + 1, last)})


class _Sequence(nn.Module):
    """A model with its cache on the meta device, as one module, whose calls are counted."""

    def __init__(self, model: nn.Module, cache: Any) -> None:
        super().__init__()
        self.model, self.cache, self.filled = model, cache, 0

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(
            input_ids=tokens,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            **last_only(self.model),
        ).logits
        return logits

    def _next(self, tokens: int) -> torch.Tensor:
        positions = torch.arange(self.filled, self.filled + tokens, device="meta")[None]
        self.filled += tokens
        return positions

    def count(self, tokens: int) -> Tally:
        """Count a forward pass of that many further tokens."""
        before, positions = deepcopy(self.cache), self._next(tokens)  # on the meta device it holds no memory
        counted = tally(self, (positions, positions), lambda: setattr(self, "cache", before))
        set_length(self.cache, self.filled)
        return counted

    def skip_to(self, filled: int) -> None:
        """Fill the cache up to `filled` tokens without counting."""
        if filled > self.filled:
            positions = self._next(filled - self.filled)
            with torch.no_grad():
                self(positions, positions)


def _total(counted: dict[int, int], last: int) -> int:
    """Sum over contexts from the first counted one to `last`, inter- and extrapolated linearly."""
    points = sorted(counted.items())
    if len(points) == 1:
        return (last - points[0][0] + 1) * points[0][1]
    total = points[0][1]
    for (left, low), (right, high) in pairwise(points):
        end = last if right == points[-1][0] else right
        total += sum(
            low + (high - low) * (context - left) // (right - left) for context in range(left + 1, end + 1)
        )
    return total
