"""Workload `transformer`: causal language models with random or pretrained weights, measured during generation.

With random weights the computation is that of the trained model (the same shapes, the same kernels) and nothing is
downloaded, but the output is noise: for measurements of energy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from joulebench.errors import InputError, described
from joulebench.host import memory
from joulebench.host.device import synchronizer
from joulebench.host.files import expanded
from joulebench.records.model import Costs
from joulebench.spec.parameters import Params, Value
from joulebench.spec.task import Task
from joulebench.workloads import generation_quality
from joulebench.workloads.architectures import Sizes, architecture_names, make_config, read_architecture
from joulebench.workloads.base import Context, InfeasibleError, Phase, Workload
from joulebench.workloads.generation import Generation
from joulebench.workloads.generation_flops import count_generation
from joulebench.workloads.generation_quality import Quality
from joulebench.workloads.generation_settings import Settings, check_given, read_params, refuse_misspelt
from joulebench.workloads.model_inputs import load_tokenizer
from joulebench.workloads.model_sources import check_installed
from joulebench.workloads.pretrained import model_source, models_folder, pretrained_config, pretrained_model
from joulebench.workloads.prompts import (
    Batch,
    fit,
    padded_batches,
    random_batches,
    read_prompts,
    tokenise,
)
from joulebench.workloads.quantization import LIBRARIES, quantized, weight_bytes

#: Sizes that a task may set, by their names in a transformers configuration.
_SIZES = {
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
}
NO_TOKENIZER = "needs options.tokenizer: a folder, or a Hugging Face model"


class Transformer(Workload):
    """Workload `transformer`: greedy generation of a fixed number of new tokens for batches of prompts.

    Parameters, all optional (defaults: `Settings`): `architecture`, `batch_size`, `prompt_tokens`, `new_tokens`,
    `dtype`, `quantization`, `attention`, `cache`, `compile`, `weights`, `answer_tokens`; and to resize an
    architecture `hidden_size`, `layers`, `heads` and `vocabulary`. `custom` is meant to be resized.

    Options of quality: `text`, `questions`, `questions_limit` and `chat_template` (`Quality`); they need a
    tokenizer, too. With questions there is a phase more: `answer`, whose unit is an answer.

    Options: `prompts`, a text file with one prompt per line, and `tokenizer`, a folder or Hugging Face model (by
    default that of the trained weights). Without them prompts are seeded random tokens. `models`, a folder with a
    folder of trained weights for each architecture, in place of the hub.

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
    OPTIONS = frozenset({"prompts", "tokenizer", "models"}) | generation_quality.OPTIONS

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.settings = Settings()
        self._generation: Generation | None = None
        self._parameters = 0
        self._fit: dict[str, float] = {}
        self._quality = Quality(context.options)
        options = context.options
        named = options.get("prompts") is not None and "tokenizer" in options
        self._rows = tokenise(read_prompts(options["prompts"]), str(options["tokenizer"])) if named else None

    @classmethod
    def check_task(cls, task: Task) -> None:
        """Check parameters and options, and trained weights as far as they are known without the hub."""
        super().check_task(task)
        refuse_misspelt(task.parameters, cls.PARAMETERS)
        check_given(Settings, task.parameters)
        check_given(Sizes, task.parameters)
        weights = _given(task, "weights")
        if (models := task.options.get("models")) is not None:
            models_folder(str(models))
        if cls.make_batches is Transformer.make_batches and (prompts := task.options.get("prompts")) is not None:
            read_prompts(prompts)
            if "tokenizer" not in task.options and "pretrained" not in weights:
                raise InputError(f"options.prompts: {NO_TOKENIZER}")
        for quantization in _given(task, "quantization"):
            check_installed(LIBRARIES.get(str(quantization), ()), f"parameters.quantization: '{quantization}'")
        generation_quality.check_options(task.options)
        asked = [name for name in ("text", "questions") if name in task.options]
        if asked and "tokenizer" not in task.options and "pretrained" not in weights:
            raise InputError(f"options.{asked[0]}: {NO_TOKENIZER}")
        if cls.config is Transformer.config:
            names = [str(name) for name in _given(task, "architecture")]
            if weights == ("random",):
                for name in names:
                    read_architecture(name)
            elif weights == ("pretrained",):
                _check_trained(task, names)

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
        made = self.make_model(params, config).eval()
        self._parameters = sum(p.numel() for p in made.parameters())
        self.model = quantized(made, self.settings.quantization)
        self._generation = Generation(self.model, batches, self.settings)
        if self.settings.quantization != "none":
            self._check_kernels()
        if self._quality.wanted:
            self._quality.bind(self.model, self._tokenizer(), self.settings)
        if self.settings.compile:
            self._generation.request()  # every shape once, so that compiling is charged to building

    def _check_kernels(self) -> None:
        """Run once: of packed weights it is known only then whether there are kernels for the rest of the model.

        Raises:
            InfeasibleError: it does not run.
        """
        try:
            self.generation.prefill()
        except Exception as error:
            if memory.is_out_of_memory(error):
                raise
            why = described(error)[:300]
            raise InfeasibleError(
                f"quantization = '{self.settings.quantization}', dtype = '{self.settings.dtype}': {why}"
            ) from None

    def _tokenizer(self) -> Any:
        """The tokenizer that the task names, else that of the trained weights.

        Raises:
            InputError: neither.
        """
        if (named := self.context.options.get("tokenizer")) is not None:
            return load_tokenizer(str(named), f"options.tokenizer: '{named}' cannot be loaded")
        if self.settings.weights != "pretrained":
            raise InputError(f"options: {NO_TOKENIZER}")
        source = self._source()
        return load_tokenizer(source, f"architecture: '{source}' has no tokenizer")

    def evaluate(self, split: str) -> dict[str, float]:
        """Metrics of the options `text` and `questions`; without them none."""
        return self._quality.evaluate(split) if self._quality.wanted else {}

    def standard_errors(self) -> dict[str, float]:
        return self._quality.sems

    def config(self, params: Params) -> Any:
        """The transformers configuration for `params`."""
        sizes = read_params(Sizes, params)
        if self.settings.weights == "random":
            return make_config(self.settings.architecture, sizes)
        config = pretrained_config(self._source())
        _refuse_resizing(config, sizes.model_dump(exclude_none=True))
        return config

    def _source(self) -> str:
        """Folder or Hugging Face model of the trained weights."""
        models = self.context.options.get("models")
        return model_source(self.settings.architecture, None if models is None else str(models))

    def make_model(self, params: Params, config: Any) -> nn.Module:  # noqa: ARG002
        """The model of `config` on the device, in the settings' dtype."""
        dtype, attention = getattr(torch, self.settings.dtype), self.settings.attention
        if self.settings.weights == "random":
            model = random_model(config, dtype, attention, self.context.seed, self.context.device)
        else:
            model = pretrained_model(self._source(), config, dtype, attention).to(self.context.device)
        return cast(nn.Module, model)

    def make_batches(self, config: Any) -> list[Batch]:
        """The prompts, tokenised, on the device."""
        vocabulary = config.get_text_config(decoder=True).vocab_size
        prompts = self.context.options.get("prompts")
        if prompts is None:
            return random_batches(self.settings, vocabulary, self.context.seed, self.context.device)
        if (rows := self._rows) is None:
            if self.settings.weights != "pretrained":
                raise InputError(f"options.prompts: {NO_TOKENIZER}")
            rows = tokenise(read_prompts(prompts), self._source())
        self._fit = fit(rows, self.settings.prompt_tokens)
        return padded_batches(rows, self.settings, vocabulary, self.context.device)

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
        return phases | self._quality.phases()

    def outcomes(self) -> dict[str, float]:
        """`weight_bytes`, of packed weights those that they are packed into; `decode_restore_share`: the share of a
        decode step that restores its cache, timed separately; of a file's prompts also `prompts_padding_share` and
        `prompts_cut_share`."""
        found = {"weight_bytes": float(weight_bytes(self.built_model)), **self._fit}
        if self.settings.new_tokens > 1:
            found["decode_restore_share"] = self.generation.restore_share(synchronizer(self.context.device))
        return found

    def costs(self) -> Costs:
        """Static costs: `macs` and `flops` of one new token of a request of one prompt, prefill included;
        `phase_flops` of one unit of each phase. See `generation_flops`."""
        if self.model is None:
            return Costs()
        return count_generation(self.model.config, self.settings).costs(self._parameters, self.settings)

    def state(self) -> Any:
        """None: weights are random or published, so none need to be kept."""
        return None

    def close(self) -> None:
        if self._generation is not None:
            self._generation.close()
        self._generation = None
        self._quality.close()
        super().close()


def _given(task: Task, name: str) -> tuple[Value, ...]:
    """The values that a task gives to a setting, or its default."""
    return task.parameters[name].given if name in task.parameters else (getattr(Settings(), name),)


def _check_trained(task: Task, names: Sequence[str]) -> None:
    """Check architectures whose weights are all trained ones: that one of them can be loaded in the task's sizes.

    Raises:
        InputError: none can, as far as is known without the hub; or a size varies.
    """
    sizes = {name: task.parameters[name].given for name in Sizes.model_fields if name in task.parameters}
    fixed = {name: given[0] for name, given in sizes.items() if len(given) == 1}
    models = task.options.get("models")
    refused = []
    for name in names:
        try:
            source = model_source(name, None if models is None else str(models))
            if expanded(Path(source)).is_dir():
                _refuse_resizing(pretrained_config(source), fixed)
            elif name in architecture_names():
                _refuse_resizing(make_config(name), fixed)
        except InfeasibleError as why:
            refused.append(str(why))
    if len(refused) == len(names):
        raise InputError(f"parameters.weights: {refused[0]}")
    if varied := [name for name in sizes if name not in fixed]:
        raise InputError(
            f"parameters.{varied[0]}: weights = 'pretrained' cannot be resized, and {', '.join(varied)} "
            f"{'varies' if len(varied) == 1 else 'vary'}: set what the model has, such as --set {varied[0]}=N"
        )


def _refuse_resizing(config: Any, sizes: Mapping[str, Value]) -> None:
    """Raise InfeasibleError where a size that is asked for is not that of the trained model."""
    text = config.get_text_config(decoder=True)
    own = {name: getattr(text, field, None) for name, field in _SIZES.items()}
    if unlike := [name for name, size in sizes.items() if size != own[name]]:
        has = ", ".join(f"{name} = {own[name]}" for name in unlike)
        raise InfeasibleError(f"weights = 'pretrained' cannot be resized: the model has {has}; set it so")


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
