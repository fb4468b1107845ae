"""Language models small enough to test with: every shipped architecture in miniature, its weights far from ties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

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
