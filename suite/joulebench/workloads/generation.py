"""Greedy generation of a fixed number of tokens, in phases that can be repeated exactly: prefill, decode, request.

Every request generates `new_tokens` tokens per prompt. No token ends it early (an end-of-text token is like any
other), nothing is sampled, nothing leaves the device, and decoding never waits for it: queued work is done when the
caller synchronises. Tokens are counted by the shape of the output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import signature
from itertools import cycle
from typing import Any

import torch

from joulebench.workloads.generation_settings import Settings
from joulebench.workloads.kv_cache import Snapshot, make_cache, rewind
from joulebench.workloads.prompts import Batch

SHARE_S = 0.05  # least time of decoding to estimate the share of restoring its cache
SHARE_RESTORES = 20


@dataclass(frozen=True)
class _Prefilled:
    """A request after prefill: its prompts and the cache that they have filled."""

    batch: Batch
    cache: Any
    first: torch.Tensor  # int64 (batch, 1): the first new token


class Generation:
    """Runner of requests of one shape on one model, cycling through the batches.

    It holds the model, so that `close` frees everything even while a phase still holds one of its methods.
    """

    def __init__(self, model: Any, batches: Sequence[Batch], settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._batches = cycle(batches)
        self._text = model.config.get_text_config(decoder=True)
        self._last_only = last_only(model)
        self._static = (
            make_cache(model.config, "static", settings.positions) if settings.cache == "static" else None
        )
        self._decoding: _Prefilled | None = None
        self._snapshot: Snapshot | None = None
        self._step = self._compiled() if settings.compile else model

    def _compiled(self) -> Any:
        """The model compiled for decoding one token, with CUDA graphs on CUDA: a small batch is launch-bound.

        Prefill stays uncompiled, as in transformers: it runs once a request."""
        cuda = self._model.device.type == "cuda"
        return torch.compile(self._model, mode="reduce-overhead" if cuda else "default")

    def _guard(self) -> AbstractContextManager[Any]:
        # compiled graphs are best tested under no_grad, which generate() uses; else inference mode is cheaper
        return torch.no_grad() if self._settings.compile else torch.inference_mode()

    def prefill(self) -> torch.Tensor:
        """Process the next batch's prompts. Returns the first new token of each, int64 (batch, 1)."""
        with self._guard():
            return self._prefilled(next(self._batches)).first

    def request(self) -> torch.Tensor:
        """Answer the next batch. Returns its new tokens, int64 (batch, new_tokens)."""
        with self._guard():
            run = self._prefilled(next(self._batches))
            return torch.cat([run.first, *self._continued(run)], dim=1)

    def start_decode(self) -> None:
        """Prefill one batch, which `decode` then repeats: each further batch would need another cache in memory."""
        self.stop_decode()
        with self._guard():
            self._decoding = self._prefilled(next(self._batches))
            self._snapshot = Snapshot(self._decoding.cache, self._settings.new_tokens - 1)

    def decode(self) -> torch.Tensor:
        """Restore the prefilled cache and decode the other tokens. Returns int64 (batch, new_tokens − 1).

        Raises:
            ValueError: `start_decode` was not called.
        """
        if self._decoding is None or self._snapshot is None:
            raise ValueError("start_decode first")
        with self._guard():
            self._snapshot.restore()
            return torch.cat(self._continued(self._decoding), dim=1)

    def stop_decode(self) -> None:
        """Free the prefilled cache."""
        self._decoding = self._snapshot = None

    def close(self) -> None:
        """Free the model, the caches and the prompts. Nothing can be run after this."""
        self.stop_decode()
        if self._settings.compile:
            torch.compiler.reset()  # what was compiled holds the weights and a memory pool of its own
        self._model = self._step = self._static = None
        self._batches = cycle(())

    def _prefilled(self, batch: Batch) -> _Prefilled:
        if self._static is not None:
            cache = self._static
            rewind(cache)
        else:
            cache = make_cache(self._model.config, "dynamic", self._settings.positions)
        length = self._settings.prompt_tokens
        mask = None if batch.attended is None else batch.attended[:, :length]
        first = self._next(self._model, cache, batch.tokens, batch.positions[:, :length], mask)
        return _Prefilled(batch, cache, first)

    def _continued(self, run: _Prefilled) -> list[torch.Tensor]:
        """The tokens after the first, each int64 (batch, 1)."""
        token, tokens = run.first, []
        for position in range(self._settings.prompt_tokens, self._settings.positions):
            if self._settings.compile:
                torch.compiler.cudagraph_mark_step_begin()
            positions = run.batch.positions[:, position : position + 1]
            token = self._next(self._step, run.cache, token, positions, self._mask(run, position))
            tokens.append(token)
        return tokens

    def _next(
        self, model: Any, cache: Any, tokens: torch.Tensor, positions: torch.Tensor, mask: Any
    ) -> torch.Tensor:
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **self._last_only,
        ).logits
        chosen: torch.Tensor = logits[:, -1].argmax(-1, keepdim=True)
        return chosen

    def _mask(self, run: _Prefilled, position: int) -> Any:
        """The attention mask of the token at `position`, in a form that needs no synchronisation with the device.

        Given a 2-d mask, transformers checks on the device whether it is all true, before every token that attends
        to a dynamic cache by scaled-dot-product attention. A single token's mask is a row of `attended`, so it is
        passed as the 4-d mask.
        """
        attended = run.batch.attended
        if attended is None:
            return None
        if self._static is not None:
            return attended  # of one shape at every token; the model masks what lies ahead
        if self._settings.attention != "sdpa":
            return attended[:, : position + 1]
        types = getattr(self._text, "layer_types", None)
        if types is None:
            return self._row(run, 0)
        return {name: self._row(run, types.index(name)) for name in set(types)}

    def _row(self, run: _Prefilled, layer: int) -> torch.Tensor:
        """Bool (batch, 1, 1, keys): which keys of a layer's cache and of the next token are no padding."""
        assert run.batch.attended is not None
        length, offset = run.cache.get_mask_sizes(1, layer)
        return run.batch.attended[:, None, None, offset : offset + length]

    def restore_share(self, synchronize: Callable[[], None]) -> float:
        """The share of a decode step's time (0 … 1) that restores the cache, from at least two timed steps."""
        self.start_decode()
        self.decode()  # caches warm, kernels chosen
        steps, decode_s = 0, 0.0
        while decode_s < SHARE_S:
            decode_s += _seconds(self.decode, synchronize)
            steps += 1
        assert self._snapshot is not None
        with self._guard():
            self._snapshot.restore()
            restore_s = _seconds(self._snapshot.restore, synchronize, SHARE_RESTORES)
        self.stop_decode()
        return restore_s / SHARE_RESTORES / (decode_s / steps)


def last_only(model: Any) -> dict[str, int]:
    """The argument that limits a model's logits to the last token; empty where `forward` has none."""
    return {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}


def _seconds(work: Callable[[], object], synchronize: Callable[[], None], repeats: int = 1) -> float:
    synchronize()
    start_s = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronize()
    return time.perf_counter() - start_s
