"""Language models small enough to test with: every shipped architecture in miniature, its weights far from ties."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from joulebench.host.clock import RealClock
from joulebench.workloads.architectures import Sizes, make_config
from joulebench.workloads.base import Context
from joulebench.workloads.transformer import Transformer

#: Parameters that shrink an architecture; Gemma keeps one layer in six that sees the whole context.
MINIATURE: dict[str, dict[str, int]] = {
    "gpt2": {"hidden_size": 48, "heads": 4, "layers": 2, "vocabulary": 500},
    "qwen3-0.6b": {"hidden_size": 64, "heads": 4, "layers": 2, "vocabulary": 500},
    "gemma-3-4b": {"hidden_size": 80, "heads": 4, "layers": 7, "vocabulary": 500},
    "llama-3.1-8b": {"hidden_size": 64, "heads": 8, "layers": 2, "vocabulary": 500},
    "tiny": {"layers": 2, "vocabulary": 500},
    "custom": {"hidden_size": 64, "heads": 4, "layers": 2, "vocabulary": 500},
}
END = "<end>"
WINDOW = 12  # of the miniature's sliding layers


class Miniature(Transformer):
    """A transformer whose sliding window is short, and whose weights make every token depend on all before it.

    As its architecture draws them, a model with tied embeddings repeats its last token for ever.
    """

    def config(self, params: Any) -> Any:
        config = super().config(params)
        if getattr(config, "sliding_window", None):
            config.sliding_window = WINDOW
        return config

    def make_model(self, params: Any, config: Any) -> Any:
        model = super().make_model(params, config)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                drawn = torch.empty_like(parameter).normal_(0, 1, generator=generator)
                if parameter.dim() > 1:
                    parameter.copy_(0.3 * drawn)
                elif not name.endswith("bias"):
                    parameter.add_(drawn)  # norms: of queries and keys too, or attention is nearly even
            model.get_input_embeddings().weight.mul_(0.1)
        return model


def sizes_of(name: str) -> Sizes:
    """The sizes of a miniature."""
    return Sizes(**MINIATURE[name])


def miniature_config(name: str) -> Any:
    """The configuration of a miniature, its window as published."""
    return make_config(name, sizes_of(name))


def build(name: str, options: Mapping[str, Any] | None = None, **params: Any) -> Miniature:
    """A miniature of the architecture, built on the CPU."""
    workload = Miniature(Context("cpu", 3, RealClock(), options=options or {}))
    workload.build({"architecture": name, **MINIATURE[name], **params})
    return workload


def byte_tokenizer(folder: Any) -> Any:
    """A tokenizer whose tokens are the 256 bytes and the end of a text, saved to a folder."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = sorted(byte_level.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)} | {END: 256}, []))
    made.pre_tokenizer, made.decoder = byte_level, decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, pad_token=END)
    tokenizer.save_pretrained(folder)
    return tokenizer


class KnowsSome(Transformer):
    """A model that answers with what a file of JSON lines says: `knows` is the text after each prompt.

    All other bytes are equally likely, so its loss over any other text is that of 257 tokens.
    """

    OPTIONS = Transformer.OPTIONS | {"knows"}

    def config(self, params: Any) -> Any:
        return make_config("gpt2", Sizes(hidden_size=8, heads=1, layers=1, vocabulary=257))

    def make_model(self, params: Any, config: Any) -> Any:
        model = super().make_model(params, config)
        tokenizer = self._tokenizer()
        told = [tuple(tokenizer(text)["input_ids"]) for text in self.context.options.get("knows", [])]
        following = {known[:n]: known[n] for known in told for n in range(len(known) // 2, len(known))}
        lengths = {len(known) for known in following}
        plain = model.forward

        def forward(input_ids: Any, **given: Any) -> Any:
            found = plain(input_ids=input_ids, **given)
            logits = torch.zeros((*input_ids.shape, 257))
            for row, tokens in enumerate(map(tuple, input_ids.tolist())):
                for at, length in product(range(len(tokens)), lengths):
                    if (token := following.get(tokens[max(0, at + 1 - length) : at + 1])) is not None:
                        logits[row, at, token] = 50.0
            found.logits = logits if found.logits.shape[1] == logits.shape[1] else logits[:, -1:]
            return found

        model.forward = forward
        return model
