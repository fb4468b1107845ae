"""Batches of prompt tokens on the device: seeded random tokens of exact length, or a text file's, left-padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from joulebench.errors import InputError
from joulebench.workloads.generation_settings import Settings
from joulebench.workloads.model_inputs import load_tokenizer, read_lines

RANDOM_BATCHES = 8  # distinct ones, used in turn


@dataclass(frozen=True)
class Batch:
    """Prompts of one request, with the positions of prompt and new tokens.

    `attended` is the attention mask; None where no prompt is padded and every token is attended to.
    """

    tokens: torch.Tensor  # int64 (batch, prompt_tokens)
    positions: torch.Tensor  # int64 (1 or batch, positions)
    attended: torch.Tensor | None = None  # bool (batch, positions), False where a prompt is padded


def random_batches(settings: Settings, vocabulary: int, seed: int, device: str) -> list[Batch]:
    """Batches of random tokens, the same for a seed on every device. Shapes as in `Batch`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (RANDOM_BATCHES, settings.batch_size, settings.prompt_tokens)
    tokens = torch.randint(vocabulary, shape, generator=generator).to(device)
    positions = torch.arange(settings.positions, device=device)[None]
    return [Batch(batch, positions) for batch in tokens]


def read_prompts(path: object) -> list[str]:
    """Read prompts from a text file, one per line; empty lines are skipped.

    Raises:
        InputError: the file cannot be read or holds no prompt.
    """
    return read_lines(path, "prompts", "prompt")


def tokenise(prompts: Sequence[str], tokenizer: str) -> list[list[int]]:
    """Token ids of each prompt by the tokenizer in a folder or on the Hugging Face hub.

    Raises:
        InputError: no such tokenizer, or it gives no token for a prompt.
    """
    loaded = load_tokenizer(tokenizer, f"options.tokenizer: '{tokenizer}' cannot be loaded")
    rows: list[list[int]] = loaded(list(prompts))["input_ids"]
    for number, row in enumerate(rows, start=1):
        if not row:
            raise InputError(f"options.tokenizer: '{tokenizer}' gives no token for prompt {number}")
    return rows


def padded_batches(rows: Sequence[Sequence[int]], settings: Settings, vocabulary: int, device: str) -> list[Batch]:
    """Batches of prompts of any length in one shape: truncated to `prompt_tokens`, or padded on the left.

    Only full batches are returned, since another size would be another configuration; fewer prompts than one batch
    are repeated to fill it.

    Args:
        rows: token ids of each prompt, at least one.
        vocabulary: of the model.

    Raises:
        InputError: a token is outside the model's vocabulary.
    """
    if (largest := max(max(row) for row in rows)) >= vocabulary:
        raise InputError(
            f"options.tokenizer: token {largest} is outside the model's vocabulary of {vocabulary}; "
            "take the model's own tokenizer"
        )
    size = settings.batch_size
    repeated = list(rows) * -(-size // len(rows)) if len(rows) < size else list(rows)
    return [
        _padded(repeated[start : start + size], settings, device)
        for start in range(0, len(repeated) - size + 1, size)
    ]


def fit(rows: Sequence[Sequence[int]], prompt_tokens: int) -> dict[str, float]:
    """How prompts of any length fit into one of `prompt_tokens`, as shares 0 … 1.

    `prompts_padding_share` is that of all positions which hold no token of a prompt, `prompts_cut_share` that of
    the prompts which are longer.
    """
    kept = sum(min(len(row), prompt_tokens) for row in rows)
    cut = sum(len(row) > prompt_tokens for row in rows)
    return {
        "prompts_padding_share": 1 - kept / (len(rows) * prompt_tokens),
        "prompts_cut_share": cut / len(rows),
    }


def _padded(rows: Sequence[Sequence[int]], settings: Settings, device: str) -> Batch:
    length = settings.prompt_tokens
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    attended = torch.ones(len(rows), settings.positions, dtype=torch.bool)
    for index, row in enumerate(rows):
        kept = torch.tensor(row[:length])
        tokens[index, length - len(kept) :] = kept
        attended[index, : length - len(kept)] = False
    positions = (attended.cumsum(1) - 1).clamp(min=0)
    if attended.all():  # without a mask attention takes its fastest path
        return Batch(tokens.to(device), positions[:1].to(device))
    return Batch(tokens.to(device), positions.to(device), attended.to(device))
