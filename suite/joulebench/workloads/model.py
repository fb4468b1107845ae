"""Workload `model`: inference of a model that somebody has, and how it runs as parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from joulebench.data import StagedImages
from joulebench.errors import InputError
from joulebench.host.files import expanded
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import Context, Epoch, InfeasibleError, Phase, Workload, check_values
from joulebench.workloads.model_inputs import (
    RANDOM_INPUTS,
    check_inputs,
    images_of,
    input_shape,
    random_inputs,
    read_lines,
)
from joulebench.workloads.model_quality import quality
from joulebench.workloads.model_sources import load_estimator, load_module, needed, parse, tokens
from joulebench.workloads.model_variants import (
    ALLOWED,
    Ready,
    Variant,
    check_packages,
    ready_module,
    ready_onnx,
)

SHOWN = 4  # names in a message


class Model(Workload):
    """Workload `model`: joules per sample, latency, bytes of weights and quality of any model's inference.

    Options: `model` (see `model_sources`), `weights` (a state dict's file, or "pretrained" of torchvision and timm;
    default "random"), `arguments` of its constructor; and, where the task has no data set, `input` (the shape of
    one sample) or `texts` (a file of a text a line), and `vocabulary`, below which a model's whole numbers lie.
    Parameters: those of `model_variants.ALLOWED`. Metrics: `model_quality`, beside the plain model (fp32, eager).
    """

    OPTIONS = ("model", "weights", "arguments", "input", "texts", "vocabulary")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._source = parse(context.options)
        self._ready: Ready | None = None
        self._threads: int | None = None  # torch's own, to put back
        self._tf32: tuple[bool, bool] | None = None  # torch's own, to put back
        self._limits = ExitStack()  # of the libraries that scikit-learn calls
        self._given: torch.Tensor | None = None  # inputs, where there is no data set
        self._errors: dict[str, float] = {}
        self._fitted = False

    @classmethod
    def check_task(cls, task: Task) -> None:
        super().check_task(task)
        source = parse(task.options)
        for name, values in ALLOWED.items():
            if values is not None:
                check_values(task, name, values)
            elif name in task.parameters:
                for value in task.parameters[name].given:
                    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                        raise InputError(f"parameters.{name}: must be a whole number from 1 (got {value!r})")
        if task.dataset is not None and task.dataset.is_text:
            raise InputError("dataset: the workload 'model' takes labelled samples; texts are options.texts")
        check_inputs(task.options, dataset=task.dataset is not None)
        if "compile" in task.parameters and "compile" in getattr(task.parameters.get("engine"), "given", ()):
            raise InputError("parameters.compile: engine has 'compile' among its values; give one of the two")
        check_packages(task)
        named = [("default", task.defaults)]
        for name, stage in task.stages.items():
            named += [(f"stages.{name}.points[{n}]", task.resolve(p)) for n, p in enumerate(stage.points or ())]
        for where, params in named:
            try:
                Variant.of(params, source.form, None)
            except InfeasibleError as error:
                raise InputError(f"parameters: {where}: {error}") from None

    def build(self, params: Params) -> None:
        self._variant = variant = Variant.of(params, self._source.form, self.context.device)
        self._plain: dict[str, torch.Tensor] = {}
        if variant.threads is not None:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(variant.threads)
        if self.context.device != "cpu":
            self._tf32 = _tf32()
            _set_tf32(variant.precision == "tf32", variant.precision == "tf32")
        if self._source.form == "sklearn":
            self._estimator = load_estimator(self._source)
            self._check_classes()
            if variant.threads is not None:  # once: it looks for all loaded libraries, 3 ms that are no prediction
                self._limits.enter_context(needed("threadpoolctl").threadpool_limits(variant.threads))
            if self._images is None:
                self._given = self._made_inputs(None)
            self._ready = Ready(self._estimated, lambda x: x.flatten(1).cpu(), 0)  # where it runs
            return
        self._ready = self._made(variant)
        self.model = self._ready.module

    def _check_classes(self) -> None:
        """Refuse an estimator that was fitted on other labels, of which none would be right."""
        known, data = getattr(self._estimator, "classes_", None), self._images
        if data is None or not isinstance(known, np.ndarray) or known.ndim != 1:
            return
        if stray := sorted(set(known.tolist()) - set(range(len(data.classes))), key=str):
            raise InputError(
                f"options.model: '{self._source.name}' was fitted on the class {stray[0]!r}; the data set's are "
                f"0 … {len(data.classes) - 1}, in the order of {', '.join(data.classes[:SHOWN])}"
            )

    def _made(self, variant: Variant) -> Ready:
        if self._source.form == "onnx":
            if self._images is None and self._given is None:
                self._given = self._made_inputs(None)
            return ready_onnx(expanded(Path(self._source.name)), variant, self._batches("validation")[0])
        module = load_module(self._source)
        if self._images is None and self._given is None:
            self._given = self._made_inputs(module)
        return ready_module(module, variant, self._batches("validation")[0], self.context.device)

    def _made_inputs(self, module: torch.nn.Module | None) -> torch.Tensor:
        options = self.context.options
        shape = input_shape(options)
        if "texts" in options:
            if module is None:
                raise InputError(f"options.texts: '{self._source.name}' takes no texts")
            lines = read_lines(options["texts"], "texts", "text")
            return tokens(self._source, module, lines, shape[0] if shape else None).to(self.context.device)
        if shape is None:
            raise InputError("options.input: the shape of one sample is needed")
        vocabulary = options.get("vocabulary", getattr(module, "vocabulary", None))
        count = max(RANDOM_INPUTS, self._variant.batch_size)
        return random_inputs(shape, count, vocabulary, getattr(module, "pad", None)).to(self.context.device)

    def _estimated(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self._estimator.predict(x.numpy()))

    def train(self) -> Iterator[Epoch]:
        """Fit an estimator that was named by its class; every other model is measured as it is."""
        if self._source.form != "sklearn" or ":" not in self._source.name:
            return
        if self._images is None:
            raise InputError(f"dataset: 'sklearn:{self._source.name}' is fitted, and needs a data set with labels")
        data = self._images.train
        self._fitted = True
        self._estimator.fit(data.x.flatten(1).cpu().numpy(), data.y.cpu().numpy())
        yield Epoch(0, len(data))

    @property
    def _images(self) -> StagedImages | None:
        return images_of(self.context)

    def _inputs(self, split: str) -> torch.Tensor:
        if self._images is not None:
            return self._images.split(split).x
        assert self._given is not None, "build the model first"
        return self._given

    def _batches(self, split: str) -> list[torch.Tensor]:
        """Batches of exactly `batch_size`, the last one filled by repetition."""
        x, batch = self._inputs(split), self._variant.batch_size
        filled = math.ceil(len(x) / batch) * batch
        return list(x[torch.arange(filled, device=x.device) % len(x)].split(batch))

    @property
    def _built(self) -> Ready:
        if self._ready is None:
            raise ValueError("build the model first")
        return self._ready

    def _outputs(self, ready: Ready, split: str, what: str) -> torch.Tensor:
        outputs = torch.cat([ready.predict(ready.prepared(x)) for x in self._batches(split)])
        joined = outputs[: len(self._inputs(split))]
        if not joined.is_floating_point():
            return joined
        spoiled = int((~joined.reshape(len(joined), -1).isfinite().all(1)).sum())
        if spoiled:
            raise InfeasibleError(
                f"{what}: outputs that are no finite numbers, in {spoiled} of {len(joined)} samples"
            )
        return joined.float()

    def evaluate(self, split: str) -> dict[str, float]:
        """Quality beside the plain model, and accuracy where there are labels (`model_quality`)."""
        outputs = self._outputs(self._built, split, str(self._variant))
        y = None if self._images is None else self._images.split(split).y.to(outputs.device)
        plain = outputs if self._source.form == "sklearn" else self._plain_outputs(split)
        found = quality(outputs, plain, y, embeds=self._source.embeds)
        if self._source.form == "sklearn":  # there is no other way of running it
            found = {name: value for name, value in found.items() if name == "accuracy"}
        if split == "validation":
            self._errors = {f"val_{name}": sem for name, (_, sem) in found.items()}
        return {name: value for name, (value, _) in found.items()}

    def standard_errors(self) -> dict[str, float]:
        """Of a sample of inputs, of the last validation."""
        return self._errors

    def _plain_outputs(self, split: str) -> torch.Tensor:
        """Outputs of the plain model, made anew, so that none lies in memory while another is measured."""
        if split not in self._plain:
            engine = "onnxruntime" if self._source.form == "onnx" else "eager"
            plain = Variant(engine=engine, threads=self._variant.threads, batch_size=self._variant.batch_size)
            with _without_tf32() if self._tf32 is not None else nullcontext():
                self._plain[split] = self._outputs(self._made(plain), split, "the plain model")
        return self._plain[split]

    def outcomes(self) -> dict[str, float]:
        """`weight_bytes` as the variant holds them, and how many `graphs` were compiled; none of scikit-learn."""
        if self._source.form == "sklearn":
            return {}
        ready = self._built
        return {"weight_bytes": float(ready.weight_bytes)} | ({"graphs": ready.graphs} if ready.graphs else {})

    def phases(self) -> dict[str, Phase]:
        ready = self._built
        batches = cycle([ready.prepared(x) for x in self._batches("validation")])

        def step() -> None:
            ready.predict(next(batches))

        return {"inference": Phase(step, self._variant.batch_size, "sample", prepare=step, timed=True)}

    def example_input(self) -> torch.Tensor | None:
        return None if self.model is None else self._built.prepared(self._inputs("validation")[:1])

    def state(self) -> Any:
        """Nothing, as it is in the model's own files; None, for no test scores, where the model was fitted."""
        return None if self._fitted else {}

    def load_state(self, state: Any) -> None:
        """Nothing: `build` has loaded the weights."""

    def close(self) -> None:
        super().close()
        compiled = self._ready is not None and self._ready.graphs > 0
        self._ready = None
        if compiled:
            torch.compiler.reset()  # what was compiled holds the weights, and later models would find its limits
        self._limits.close()  # before torch's threads, which were set before it
        if self._threads is not None:
            torch.set_num_threads(self._threads)
            self._threads = None
        if self._tf32 is not None:
            _set_tf32(*self._tf32)
            self._tf32 = None


def _tf32() -> tuple[bool, bool]:
    """Whether matrix products and convolutions may use TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions


@contextmanager
def _without_tf32() -> Iterator[None]:
    """The plain model's own fp32, also while a variant runs in TF32."""
    before = _tf32()
    _set_tf32(False, False)
    try:
        yield
    finally:
        _set_tf32(*before)
