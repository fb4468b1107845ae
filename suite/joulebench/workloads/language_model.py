"""Workload `language_model`: byte-level decoders, trained and then measured while they generate text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from math import cos, log, pi
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from joulebench.data import StagedText
from joulebench.errors import InputError, did_you_mean
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.spec.toml import Definition
from joulebench.workloads.base import Context, Epoch, InfeasibleError, Phase, Workload, check_values
from joulebench.workloads.generation_settings import PositiveInt, Settings, check_given, read_params
from joulebench.workloads.prompts import RANDOM_BATCHES, Batch
from joulebench.workloads.transformer import Transformer

PHASES = ("prefill", "decode", "request")
VOCABULARY = 256  # a byte is a token, and every byte is one
EVALUATION_TOKENS = 16_384  # predicted at a time

# How decoders of this kind are trained (Touvron et al., arXiv 2302.13971, section 2.3).
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
CLIP_NORM = 1.0
LAST_RATE = 0.1  # of the peak, at the end of the cosine
WARMUP = 0.1  # of all steps; the paper's 2,000 steps are more than a short training has


class Schedule(Definition):
    """Parameters of training; one that a task leaves out has the default given here."""

    sequence_length: PositiveInt = 128  # bytes of a training window
    train_batch_tokens: PositiveInt = 8192  # a step, whatever the length: every configuration takes as many steps
    epoch_tokens: PositiveInt = 1_000_000  # at most; whole steps
    epochs: Annotated[int, Field(ge=0)] = 1  # 0: untrained
    learning_rate: Annotated[float, Field(gt=0)] = 0.002  # the peak, after linear warm-up, before cosine decay

    @property
    def windows(self) -> int:
        """Windows a step."""
        return max(1, self.train_batch_tokens // self.sequence_length)

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return max(1, self.epoch_tokens // (self.windows * self.sequence_length))

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs, as a fraction of the peak."""
        total = self.epochs * self.steps
        warmup_steps = max(1, int(WARMUP * total))
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total - warmup_steps)
        return LAST_RATE + (1 - LAST_RATE) * (1 + cos(pi * progress)) / 2


class LanguageModel(Transformer):
    """A decoder with random initial weights, trained on random windows of the training text.

    Parameters besides those of `Transformer`: `sequence_length`, `train_batch_tokens`, `epoch_tokens`, `epochs` and
    `learning_rate` (defaults: `Schedule`). The architecture is `custom` unless one is named; its vocabulary is the
    256 bytes, its embeddings are tied, and it has `sequence_length` positions: a request fills them all unless
    `prompt_tokens` says less. Prompts are passages of the validation text. It trains and runs in float32.

    Options: `phases`, a list of those to measure; by default all of `Transformer`.
    """

    needs_data = True
    PARAMETERS = (*Transformer.PARAMETERS, *Schedule.model_fields)
    OPTIONS = frozenset({"phases"})

    @classmethod
    def check_task(cls, task: Task) -> None:
        super().check_task(task)
        check_given(Schedule, task.parameters)
        check_values(task, "weights", ("random",))
        check_values(task, "dtype", ("float32",))
        check_values(task, "quantization", ("none",))
        _check_phases(task.options.get("phases", ()), PHASES)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if not isinstance(context.data, StagedText):
            raise InputError("dataset: the workload language_model needs text (allowed: grammar, text)")
        self.text = context.data
        self.schedule = Schedule()

    def build(self, params: Params) -> None:
        """Make the untrained model and its prompts, on the device.

        Raises:
            InputError: a value that is not allowed.
            InfeasibleError: values that do not go together, or a window longer than the text.
        """
        self.schedule = read_params(Schedule, params)
        length, new = self.schedule.sequence_length, read_params(Settings, params).new_tokens
        if new >= length:
            raise InfeasibleError(f"new_tokens = {new} must be below sequence_length = {length}")
        if params.get("dtype", "float32") != "float32":
            raise InputError(f"parameters.dtype: language_model trains in float32 only (got {params['dtype']!r})")
        if len(self.text.train) <= length:
            raise InfeasibleError(
                f"sequence_length = {length} must be below the {len(self.text.train)} training bytes"
            )
        super().build({"architecture": "custom", "prompt_tokens": length - new, **params})

    def config(self, params: Params) -> Any:
        if self.settings.weights != "random":
            raise InfeasibleError("weights = 'pretrained' do not fit this vocabulary, the 256 bytes")
        config = super().config({**params, "vocabulary": VOCABULARY})
        config.max_position_embeddings = self.schedule.sequence_length
        config.tie_word_embeddings = True
        return config

    def make_batches(self, config: Any) -> list[Batch]:  # noqa: ARG002
        """Passages of the validation text, beginning anywhere: the same for a seed on every device."""
        text, settings = self.text.validation, self.settings
        room = len(text) - settings.prompt_tokens
        if room < 0:
            raise InfeasibleError(f"a prompt of {settings.prompt_tokens} bytes is longer than the validation text")
        generator = torch.Generator().manual_seed(self.context.seed)
        starts = torch.randint(room + 1, (RANDOM_BATCHES, settings.batch_size), generator=generator).to(text.device)
        positions = torch.arange(settings.positions, device=text.device)[None]
        return [Batch(passages(text, begin, settings.prompt_tokens), positions) for begin in starts]

    def train(self) -> Iterator[Epoch]:
        """AdamW on cross-entropy; an epoch is `epoch_tokens` predicted bytes, in windows that begin anywhere."""
        schedule, text, model = self.schedule, self.text.train, self.built_model
        length, windows = schedule.sequence_length, schedule.windows
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY
        )
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.rate)
        generator = torch.Generator(device=text.device).manual_seed(self.context.seed)
        for index in range(schedule.epochs):
            model.train()
            loss_sum, steps = torch.zeros((), device=text.device), 0
            for _ in range(schedule.steps):
                starts = torch.randint(len(text) - length, (windows,), generator=generator, device=text.device)
                tokens = passages(text, starts, length + 1)
                loss = _loss(model, tokens[:, :-1], tokens[:, 1:], "mean")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
                optimizer.step()
                rate.step()
                loss_sum += loss.detach()
                steps += 1
                if self.context.should_stop():
                    break
            model.eval()
            complete = steps == schedule.steps
            yield Epoch(index, steps * windows * length, {"train_loss": float(loss_sum) / steps}, complete)
            if not complete or self.context.should_stop():
                return

    def training_loss(self, model: nn.Module) -> tuple[torch.Tensor, int]:
        length = self.schedule.sequence_length
        tokens = torch.zeros(self.schedule.windows, length, dtype=torch.int64, device="meta")
        # transformers would look into the tokens' positions to make one
        mask = torch.ones(1, 1, length, length, dtype=torch.bool, device="meta")
        return _loss(model, tokens, tokens, "mean", mask), tokens.numel()

    @torch.inference_mode()
    def evaluate(self, split: str) -> dict[str, float]:
        """`loss` in nats per byte and `bits_per_byte`, over every byte of the split but the first, each once.

        The split is cut into windows of `sequence_length`, the last one shorter, and a byte is predicted from those
        before it in its window: all models are evaluated on the same bytes, each with its own context length.

        Raises:
            InputError: no such split, or one of less than 2 bytes.
        """
        text = self.text.split(split)
        if len(text) < 2:
            raise InputError(f"dataset: the {split} split has {len(text)} bytes; a loss needs at least 2")
        self.built_model.eval()
        nats = torch.zeros((), dtype=torch.float64, device=text.device)
        for tokens, targets in windows_of(text, self.schedule.sequence_length):
            nats += _loss(self.built_model, tokens.long(), targets.long(), "sum")
        loss = float(nats) / (len(text) - 1)
        return {"loss": loss, "bits_per_byte": loss / log(2)}

    def phases(self) -> dict[str, Phase]:
        phases = super().phases()
        wanted = self.context.options.get("phases", list(phases))
        _check_phases(wanted, phases)
        return {name: phases[name] for name in wanted}

    def state(self) -> Any:
        """A copy of the weights: these were trained."""
        return Workload.state(self)


def _check_phases(wanted: Iterable[object], known: Collection[str]) -> None:
    for name in wanted:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise InputError(f"options.phases: no phase '{name}'{hint} (allowed: {', '.join(known)})")


def _loss(
    model: nn.Module, tokens: torch.Tensor, targets: torch.Tensor, reduction: str, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy in nats of int64 `targets` (windows, length) after `tokens` of the same shape."""
    logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def passages(text: torch.Tensor, starts: torch.Tensor, length: int) -> torch.Tensor:
    """Passages of `length` bytes that begin at `starts` (n,) of a uint8 text: int64 (n, length)."""
    return text[starts[:, None] + torch.arange(length, device=text.device)].long()


def windows_of(text: torch.Tensor, length: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets (each input's next byte) of a whole text: batches (windows, length), then the rest."""
    tokens, targets = text[:-1], text[1:]
    windows = len(tokens) // length
    whole = windows * length
    if windows:
        rows = max(1, EVALUATION_TOKENS // length)
        yield from zip(*(part[:whole].view(-1, length).split(rows) for part in (tokens, targets)), strict=True)
    if whole < len(tokens):
        yield tokens[None, whole:], targets[None, whole:]
