"""Workload `model`: inference of a model that somebody has, and how it runs as parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from joulebench.data import StagedImages
from joulebench.errors import InputError
from joulebench.host.files import expanded
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import Context, Epoch, InfeasibleError, Phase, Workload, check_values
from joulebench.workloads.model_sources import load_estimator, load_module, parse
from joulebench.workloads.model_variants import ALLOWED, Ready, Variant, ready_module, ready_onnx

#: Inputs of a stated shape, where there is no data set.
RANDOM_INPUTS = 64


class Model(Workload):
    """Workload `model`: joules per sample, latency, bytes of weights and quality of any model's inference.

    Options: `model` (see `model_sources`), `weights` (a state dict's file; default "random"), `arguments` of its
    constructor, `input` (the shape of one sample, where the task has no data set). Parameters: those of
    `model_variants.ALLOWED`. Metrics: `accuracy` with a data set, and beside the plain model (fp32, eager), whose
    outputs are y₀: `agreement`, the share of samples with the same largest output, and `relative_error`,
    ‖y − y₀‖ / ‖y₀‖.
    """

    needs_data = False
    OPTIONS = ("model", "weights", "arguments", "input")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._source = parse(context.options)
        self._ready: Ready | None = None
        self._threads: int | None = None  # torch's own, to put back

    @classmethod
    def check_task(cls, task: Task) -> None:
        super().check_task(task)
        parse(task.options)
        for name, values in ALLOWED.items():
            if values is not None:
                check_values(task, name, values)
            elif name in task.parameters:
                for value in task.parameters[name].given:
                    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                        raise InputError(f"parameters.{name}: must be a whole number from 1 (got {value!r})")
        if task.dataset is None:
            _shape(task.options.get("input"))
        elif task.dataset.is_text:
            raise InputError(
                "dataset: the workload 'model' takes images with labels, or options.input without a data set"
            )
        if "compile" in task.parameters and "compile" in getattr(task.parameters.get("engine"), "given", ()):
            raise InputError("parameters.compile: engine has 'compile' among its values; give one of the two")

    def build(self, params: Params) -> None:
        self._variant = variant = Variant.of(params, self._source.form, self.context.device)
        self._plain: dict[str, torch.Tensor] = {}
        if variant.threads is not None:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(variant.threads)
        self._tf32(variant.precision == "tf32")
        self._inputs_made = None
        if self._source.form == "sklearn":
            self._estimator = load_estimator(self._source)
            self._ready = Ready(self._estimated, lambda x: x.flatten(1), 0)
            return
        self._ready = self._made(variant)
        self.model = self._ready.module

    def _made(self, variant: Variant) -> Ready:
        if self._source.form == "onnx":
            return ready_onnx(expanded(Path(self._source.name)).read_bytes(), variant)
        module = load_module(self._source)
        self._vocabulary = getattr(module, "vocabulary", None)
        return ready_module(module, variant, self._batches("validation")[0], self.context.device)

    def _tf32(self, on: bool) -> None:
        if self.context.device != "cpu":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on

    def _estimated(self, x: torch.Tensor) -> torch.Tensor:
        import threadpoolctl  # a dependency of scikit-learn

        with threadpoolctl.threadpool_limits(self._variant.threads):
            return torch.as_tensor(self._estimator.predict(x.numpy()))

    def train(self) -> Iterator[Epoch]:
        """Fit an estimator that was named by its class; every other model is measured as it is."""
        if self._source.form != "sklearn" or ":" not in self._source.name:
            return
        if self._images is None:
            raise InputError(f"dataset: 'sklearn:{self._source.name}' is fitted, and needs a data set with labels")
        data = self._images.train
        self._estimator.fit(data.x.flatten(1).cpu().numpy(), data.y.cpu().numpy())
        yield Epoch(0, len(data))

    @property
    def _images(self) -> StagedImages | None:
        data = self.context.data
        if data is not None and not isinstance(data, StagedImages):
            raise InputError("dataset: the workload 'model' needs images, not text")
        return data

    def _inputs(self, split: str) -> torch.Tensor:
        if self._images is not None:
            return self._images.split(split).x
        shape = _shape(self.context.options.get("input"))
        generator = torch.Generator().manual_seed(0)
        count = max(RANDOM_INPUTS, self._variant.batch_size)
        if (vocabulary := getattr(self, "_vocabulary", None)) is not None:
            return torch.randint(vocabulary, (count, *shape), generator=generator).to(self.context.device)
        return torch.randn(count, *shape, generator=generator).to(self.context.device)

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

    def _outputs(self, ready: Ready, split: str) -> torch.Tensor:
        outputs = [ready.predict(ready.prepared(x)) for x in self._batches(split)]
        if not isinstance(outputs[0], torch.Tensor) or len(outputs[0]) != self._variant.batch_size:
            raise InfeasibleError("the model must return one tensor with a row for every sample")
        joined = torch.cat(outputs)[: len(self._inputs(split))]
        return joined.float() if joined.is_floating_point() else joined

    def evaluate(self, split: str) -> dict[str, float]:
        """`accuracy` where there are labels, and, of all but scikit-learn, `agreement` and `relative_error`."""
        outputs = self._outputs(self._built, split)
        labels = outputs if outputs.dim() == 1 else outputs.flatten(1).argmax(1)
        metrics = {}
        if self._images is not None:
            y = self._images.split(split).y
            metrics["accuracy"] = float((labels.to(y.device) == y).double().mean())
            if outputs.dim() == 2 and outputs.is_floating_point() and outputs.shape[1] > int(y.max()):
                metrics["loss"] = float(F.cross_entropy(outputs.to(y.device), y))
        if self._source.form != "sklearn":
            plain = self._plain_outputs(split)
            same = labels == (plain if plain.dim() == 1 else plain.flatten(1).argmax(1))
            metrics["agreement"] = float(same.double().mean())
            size = float(plain.double().norm())
            if size > 0:
                metrics["relative_error"] = float((outputs.double() - plain.double()).norm()) / size
        return metrics

    def _plain_outputs(self, split: str) -> torch.Tensor:
        """Outputs of the plain model, made anew, so that none lies in memory while another is measured."""
        if split not in self._plain:
            engine = "onnxruntime" if self._source.form == "onnx" else "eager"
            plain = Variant(engine=engine, threads=self._variant.threads, batch_size=self._variant.batch_size)
            self._plain[split] = self._outputs(self._made(plain), split)
        return self._plain[split]

    def outcomes(self) -> dict[str, float]:
        """`weight_bytes` as the variant holds them; scikit-learn's models do not say."""
        return {"weight_bytes": float(self._built.weight_bytes)} if self._source.form != "sklearn" else {}

    def phases(self) -> dict[str, Phase]:
        ready = self._built
        batches = cycle([ready.prepared(x) for x in self._batches("validation")])

        def step() -> None:
            ready.predict(next(batches))

        return {"inference": Phase(step, self._variant.batch_size, "sample", prepare=step, timed=True)}

    def example_input(self) -> torch.Tensor | None:
        return None if self.model is None else self._built.prepared(self._inputs("validation")[:1])

    def state(self) -> Any:
        """None: weights do not change, and an estimator is fitted once."""
        return None

    def close(self) -> None:
        super().close()
        self._ready = None
        if self._threads is not None:
            torch.set_num_threads(self._threads)
            self._threads = None


def _shape(given: object) -> tuple[int, ...]:
    if not isinstance(given, list | tuple) or not given or not all(type(n) is int and n > 0 for n in given):
        raise InputError(
            f"options.input: without a data set, the shape of one sample, such as [3, 224, 224] (got {given!r})"
        )
    return tuple(given)
