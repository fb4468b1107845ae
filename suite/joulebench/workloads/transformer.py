"""Workload `transformer`: causal language models with random or pretrained weights, measured during generation.

With random weights the computation is that of the trained model (the same shapes, the same kernels) and nothing is
downloaded, but the output is noise: for measurements of energy alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from joulebench.errors import InputError, did_you_mean
from joulebench.host.device import synchronizer
from joulebench.records.model import Costs
from joulebench.spec.parameters import Params
from joulebench.workloads.architectures import Sizes, make_config
from joulebench.workloads.base import Context, InfeasibleError, Phase, Workload
from joulebench.workloads.generation import Generation
from joulebench.workloads.generation_flops import count_generation
from joulebench.workloads.generation_settings import Settings, read_params, refuse_misspelt
from joulebench.workloads.pretrained import model_source, pretrained_config, pretrained_model
from joulebench.workloads.prompts import Batch, padded_batches, random_batches, read_prompts, tokenise


class Transformer(Workload):
    """Workload `transformer`: greedy generation of a fixed number of new tokens for batches of prompts.

    Parameters, all optional (defaults: `Settings`): `architecture`, `batch_size`, `prompt_tokens`, `new_tokens`,
    `dtype`, `attention`, `cache`, `compile`, `weights`; and to resize an architecture `hidden_size`, `layers`,
    `heads` and `vocabulary`. The architecture `custom` is meant to be resized.

    Options: `prompts`, a text file with one prompt per line, and `tokenizer`, a folder or Hugging Face model (by
    default that of the trained weights). Without them prompts are seeded random tokens.

    Phases, each timed step by step:
        prefill: prompts in, the first new token out; its unit is a prompt token.
        decode: from a prefilled cache, the tokens after the first; its unit is a new token. Restoring the cache
            for the next repeat is included; the outcome `decode_restore_share` is its share of a step.
        request: prefill and decode in one; its unit is a new token.

    A subclass may override `config` (what to build), `make_model` (how) and `make_batches` (the prompts), and add
    its own parameters' names to `PARAMETERS`. The model is a transformers one: it takes `past_key_values`.
    """

    needs_data = False

    #: Parameters of this workload; others are ignored unless they are nearly one of these.
    PARAMETERS: tuple[str, ...] = (*Settings.model_fields, *Sizes.model_fields)

    #: Options of this workload; others are refused.
    OPTIONS = frozenset({"prompts", "tokenizer"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.settings = Settings()
        self._generation: Generation | None = None
        if unknown := sorted(set(context.options) - self.OPTIONS):
            hint, allowed = did_you_mean(unknown[0], self.OPTIONS), ", ".join(sorted(self.OPTIONS))
            raise InputError(f"options.{unknown[0]}: no such option{hint} (allowed: {allowed})")

    def build(self, params: Params) -> None:
        """Make the model and the prompts that `params` describe, on the device.

        Raises:
            InputError: a value that is not allowed, or weights or prompts that cannot be read.
            InfeasibleError: values that cannot be combined.
        """
        refuse_misspelt(params, self.PARAMETERS)
        self.settings = read_params(Settings, params)
        self.settings.check_feasible(self.context.device)
        config = self.config(params)
        self._check_positions(config)
        batches = self.make_batches(config)
        self.model = self.make_model(params, config).eval()
        self._generation = Generation(self.model, batches, self.settings)
        if self.settings.compile:
            self._generation.request()  # every shape once, so that compiling is charged to building

    def config(self, params: Params) -> Any:
        """The transformers configuration for `params`."""
        sizes = read_params(Sizes, params)
        if self.settings.weights == "random":
            return make_config(self.settings.architecture, sizes)
        if resized := sizes.model_dump(exclude_none=True):
            raise InfeasibleError(f"weights = 'pretrained' cannot be resized: {', '.join(resized)} cannot be set")
        return pretrained_config(model_source(self.settings.architecture))

    def make_model(self, params: Params, config: Any) -> nn.Module:  # noqa: ARG002
        """The model of `config` on the device, in the settings' dtype."""
        dtype, attention = getattr(torch, self.settings.dtype), self.settings.attention
        if self.settings.weights == "random":
            model = random_model(config, dtype, attention, self.context.seed, self.context.device)
        else:
            source = model_source(self.settings.architecture)
            model = pretrained_model(source, config, dtype, attention).to(self.context.device)
        return cast(nn.Module, model)

    def make_batches(self, config: Any) -> list[Batch]:
        """The prompts, tokenised, on the device."""
        vocabulary = config.get_text_config(decoder=True).vocab_size
        prompts = self.context.options.get("prompts")
        if prompts is None:
            return random_batches(self.settings, vocabulary, self.context.seed, self.context.device)
        rows = tokenise(read_prompts(Path(str(prompts))), self._tokenizer())
        return padded_batches(rows, self.settings, vocabulary, self.context.device)

    def _tokenizer(self) -> str:
        if "tokenizer" in self.context.options:
            return str(self.context.options["tokenizer"])
        if self.settings.weights == "pretrained":
            return model_source(self.settings.architecture)
        raise InputError("options.prompts needs options.tokenizer: a folder, or a Hugging Face model")

    def _check_positions(self, config: Any) -> None:
        limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
        wanted = self.settings.prompt_tokens + self.settings.new_tokens
        if limit is not None and wanted > limit:
            raise InfeasibleError(
                f"{self.settings.architecture} has {limit} positions; prompt_tokens + new_tokens = {wanted}"
            )

    @property
    def generation(self) -> Generation:
        """The runner of requests on the model.

        Raises:
            ValueError: `build` was not called, or the workload is closed.
        """
        if self._generation is None:
            raise ValueError("build the model first")
        return self._generation

    def phases(self) -> dict[str, Phase]:
        run, batch = self.generation, self.settings.batch_size
        prompt, new = self.settings.prompt_tokens, self.settings.new_tokens
        phases = {
            "prefill": Phase(_silent(run.prefill), batch * prompt, "prompt_token", run.stop_decode, timed=True)
        }
        if new > 1:
            phases["decode"] = Phase(_silent(run.decode), batch * (new - 1), "token", run.start_decode, timed=True)
        phases["request"] = Phase(_silent(run.request), batch * new, "token", run.stop_decode, timed=True)
        return phases

    def outcomes(self) -> dict[str, float]:
        """`decode_restore_share`: the share of a decode step that restores its cache, timed separately."""
        if self.settings.new_tokens == 1:
            return {}
        return {"decode_restore_share": self.generation.restore_share(synchronizer(self.context.device))}

    def costs(self) -> Costs:
        """Static costs by fvcore: `macs` and `flops` of one new token of a request of one prompt, prefill included;
        `phase_flops` of one unit of each phase. See `generation_flops`."""
        if self.model is None:
            return Costs()
        parameters = sum(p.numel() for p in self.model.parameters())
        return count_generation(self.model.config, self.settings).costs(parameters, self.settings)

    def state(self) -> Any:
        """None: weights are random or published, so none need to be kept."""
        return None

    def close(self) -> None:
        if self._generation is not None:
            self._generation.close()
        self._generation = None
        super().close()


def _silent(work: Callable[[], object]) -> Callable[[], None]:
    def step() -> None:
        work()

    return step


def random_model(config: Any, dtype: torch.dtype, attention: str, seed: int, device: str) -> Any:
    """A model of `config` with its architecture's random initial weights, drawn on the device in `dtype`.

    It is created on the meta device first, so that neither a copy in host memory or in float32 nor a second copy of
    tied weights ever exists.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    _materialise(model, device)
    torch.manual_seed(seed)
    model.apply(model._init_weights)  # buffers too: it is what fills those that no checkpoint holds
    return model


def _materialise(model: nn.Module, device: str) -> None:
    """Allocate a meta model's tensors on the device; tied ones share memory."""
    tensors: dict[torch.Tensor, torch.Tensor] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter not in tensors:
                tensors[parameter] = nn.Parameter(torch.empty_like(parameter, device=device))
            setattr(module, name, tensors[parameter])
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            if buffer not in tensors:
                tensors[buffer] = torch.empty_like(buffer, device=device)
            setattr(module, name, tensors[buffer])
