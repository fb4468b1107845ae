"""Bits per byte of a text under a language model: a loss that compares across tokenizers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from joulebench.errors import InputError
from joulebench.host.files import expanded
from joulebench.spec.reading import MAX_LOG_BYTES, read_text

WINDOW = 1024  # tokens that are predicted from those before them, where the model has as many positions
LOGITS = 2**27  # computed at a time: 0.5 GB in float32


@dataclass(frozen=True)
class TextLoss:
    """Loss over a text.

    Attributes:
        bits_per_byte: of the text in UTF-8.
        sem: standard error by the spread between windows, taken as independent; None of fewer than two.
    """

    bits_per_byte: float
    sem: float | None


def read_halves(path: object) -> dict[str, str]:
    """A text file's two halves as the splits `validation` and `test`, cut at the end of a line near the middle.

    Raises:
        InputError: it cannot be read, or has no two lines.
    """
    try:
        text = read_text(expanded(Path(str(path))), MAX_LOG_BYTES, follow=True)
    except InputError as error:
        raise InputError(f"options.text: {error}") from None
    middle = len(text) // 2
    cuts = text.rfind("\n", 0, middle) + 1, text.find("\n", middle) + 1
    halves = [(text[:cut], text[cut:]) for cut in sorted(cuts, key=lambda cut: abs(cut - middle))]
    found = next((h for h in halves if all(half.strip() for half in h)), None)
    if found is None:
        raise InputError(f"options.text: {path}: needs two lines: one half is the validation split, one the test")
    return dict(zip(("validation", "test"), found, strict=True))


def encoded(text: str, tokenizer: Any) -> list[int]:
    """Tokens of a text without those that mark its ends.

    Raises:
        InputError: the tokenizer has no token for some of it, so that its loss would be unknown.
    """
    tokens: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if unknown := sum(token == tokenizer.unk_token_id for token in tokens):
        raise InputError(f"options.text: the tokenizer knows no token for {unknown} places of the text")
    return tokens


def first_token(tokenizer: Any) -> int:
    """The token that stands before a text: that of its beginning, else of the end of the one before.

    Raises:
        InputError: the tokenizer has neither.
    """
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise InputError("options.text: the tokenizer has neither a token for a text's beginning nor for its end")
    return int(token)


@torch.inference_mode()
def text_loss(model: Any, tokens: Sequence[int], first: int, n_bytes: int) -> TextLoss:
    """Loss over every token of a text, each once, in windows that do not overlap.

    A window's first token is predicted from `first` alone, the others from those before them in the window, as the
    rolling log-likelihood of lm-evaluation-harness does.

    Args:
        model: causal language model of transformers.
        tokens: of the text.
        n_bytes: of the text in UTF-8.
    """
    positions = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None) or WINDOW
    length = min(WINDOW, positions)
    nats = [n for batch in _windows(tokens, length, model) for n in _nats(model, batch, first)]
    per_bit = math.log(2) * n_bytes
    full = nats[: len(tokens) // length]
    sem = None
    if len(full) > 1:
        mean = math.fsum(full) / len(full)
        variance = math.fsum((n - mean) ** 2 for n in full) / (len(full) - 1)
        sem = math.sqrt(variance * len(full)) / per_bit
    return TextLoss(math.fsum(nats) / per_bit, sem)


def _windows(tokens: Sequence[int], length: int, model: Any) -> Iterator[torch.Tensor]:
    """Batches int64 (windows, length) on the model's device, then the rest as one shorter window."""
    whole = torch.tensor(tokens[: len(tokens) // length * length], dtype=torch.long).view(-1, length)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    for batch in whole.split(max(1, LOGITS // (length * vocabulary))):
        if len(batch):
            yield batch.to(model.device)
    if rest := list(tokens[len(tokens) // length * length :]):
        yield torch.tensor([rest], device=model.device)


def _nats(model: Any, tokens: torch.Tensor, first: int) -> list[float]:
    """Loss of each window in nats."""
    inputs = F.pad(tokens[:, :-1], (1, 0), value=first)
    logits = model(input_ids=inputs, use_cache=False).logits
    losses = F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten(), reduction="none")
    return [float(n) for n in losses.view(tokens.shape).double().sum(1)]
