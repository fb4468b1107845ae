"""Image classifiers: training, evaluation and inference for any network; a subclass defines `make_model`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from joulebench.data import StagedImages, augment
from joulebench.errors import InputError
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import Epoch, Phase, Workload, check_values
from joulebench.workloads.class_scores import Confusion, f1_scores, scores_by_class
from joulebench.workloads.traffic import ACTIVATIONS, BYTES_MOVED, traffic

EVALUATION_BATCH = 500
OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("none", "cosine")


class ImageClassifier(Workload):
    """Base class of image classifiers, trained on cross-entropy; inference is measured per image.

    Parameters: `batch_size` (of training and inference), `epochs` (0: untrained) and, to train, those of
    `make_optimizer` and `make_schedule`; the others are `make_model`'s. Its metrics include memory traffic
    (`joulebench.workloads.traffic`).
    """

    @classmethod
    def check_task(cls, task: Task) -> None:
        super().check_task(task)
        if task.dataset is not None and (task.dataset.is_text or task.dataset.text is not None):
            raise InputError(f"dataset: the workload {cls.__name__} needs images or rows of numbers, not text")
        if cls.train is ImageClassifier.train:
            check_values(task, "optimizer", OPTIMIZERS)
            check_values(task, "schedule", SCHEDULES)

    @abstractmethod
    def make_model(self, params: Params) -> nn.Module:
        """The network: images (n, channels, height, width) of shape `self.data.shape` → logits (n, classes)."""

    @property
    def data(self) -> StagedImages:
        """The staged data set.

        Raises:
            ValueError: the task names no data set.
            InputError: the data set is text.
        """
        if self.context.data is None:
            raise ValueError(f"the workload {type(self).__name__} needs a data set")
        if not isinstance(self.context.data, StagedImages):
            raise InputError(
                f"dataset: the workload {type(self).__name__} needs images or rows of numbers, not text"
            )
        return self.context.data

    def build(self, params: Params) -> None:
        self.params = params
        model = self.make_model(params)
        # channels_last: four times the CPU's inference rate of the default layout
        self.model = model.to(self.context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self) -> Iterator[Epoch]:
        epochs, batch = int(self.params["epochs"]), int(self.params["batch_size"])
        if epochs == 0:
            return
        model, x, y = self.built_model, self.data.train.x, self.data.train.y
        optimizer = make_optimizer(model, self.params)
        schedule = make_schedule(optimizer, self.params)
        generator = torch.Generator(device=x.device).manual_seed(self.context.seed)
        for index in range(epochs):
            model.train()
            order = torch.randperm(len(y), generator=generator, device=x.device)
            loss_sum, done = torch.zeros((), device=x.device), 0
            for indices in order.split(batch):
                images = x[indices]
                if self.data.augment:
                    images = augment(images, self.data.augment, generator)
                loss = F.cross_entropy(model(images), y[indices])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach() * len(indices)
                done += len(indices)
                if self.context.should_stop():
                    break
            complete = done == len(y)
            if schedule is not None:
                schedule.step()
            yield Epoch(index, done, {"train_loss": float(loss_sum) / done}, complete)
            if not complete or self.context.should_stop():
                return

    def training_loss(self, model: nn.Module) -> tuple[torch.Tensor, int]:
        batch = int(self.params["batch_size"])
        x, y = (values[:batch].to("meta") for values in (self.data.train.x, self.data.train.y))
        return F.cross_entropy(model(x), y), len(y)

    def evaluate(self, split: str) -> dict[str, float]:
        """`accuracy`, `loss`, `f1_weighted` and `f1_macro`."""
        loss, confusion = self._predict(split)
        n = len(self.data.split(split))
        return {"accuracy": float(confusion.trace()) / n, "loss": loss / n, **f1_scores(confusion)}

    def final_scores(self, split: str) -> dict[str, float]:
        """Those of `evaluate`, with precision, recall and F1 of every class."""
        return self.evaluate(split) | scores_by_class(self._predict(split)[1], self.data.classes)

    @torch.inference_mode()
    def _predict(self, split: str) -> tuple[float, Confusion]:
        """Sum of the cross-entropies, and the confusion matrix."""
        model = self.built_model
        model.eval()
        data = self.data.split(split)
        loss, predicted, outputs = torch.zeros((), device=data.x.device), [], 0
        for x, y in zip(data.x.split(EVALUATION_BATCH), data.y.split(EVALUATION_BATCH), strict=True):
            logits = model(x)
            loss = loss + F.cross_entropy(logits, y, reduction="sum")
            predicted.append(logits.argmax(1))
            outputs = logits.shape[1]
        pairs = torch.bincount(data.y * outputs + torch.cat(predicted), minlength=outputs * outputs)
        return float(loss), pairs.view(outputs, outputs).cpu().numpy()

    def outcomes(self) -> dict[str, float]:
        moved = traffic(self.built_model, self.example_input())
        batch = int(self.params["batch_size"])
        return {ACTIVATIONS: float(moved.written), BYTES_MOVED: moved.bytes_moved(batch)}

    def state(self) -> Any:
        """The weights; None of an untrained model, whose copy would only fill memory."""
        return super().state() if int(self.params["epochs"]) else None

    def phases(self) -> dict[str, Phase]:
        full = full_batches(self.data.validation.x, int(self.params["batch_size"]))
        batches = cycle(full)
        model = self.built_model

        def step() -> None:
            with torch.inference_mode():
                model(next(batches)).argmax(1)

        def prepare() -> None:
            model.eval()

        return {"inference": Phase(step, units=len(full[0]), unit="sample", prepare=prepare)}

    def example_input(self) -> torch.Tensor:
        return self.data.validation.x[:1]


def full_batches(x: torch.Tensor, batch: int) -> list[torch.Tensor]:
    """Batches of exactly `batch` images of `x`; fewer images than one batch are repeated to fill it.

    A smaller last batch is left out: a step of another size would be another configuration.
    """
    if len(x) >= batch:
        return [images for images in x.split(batch) if len(images) == batch]
    layout = torch.channels_last if x.shape[1] > 1 else torch.contiguous_format
    repeated = x.repeat(-(-batch // len(x)), 1, 1, 1)[:batch]
    return [repeated.contiguous(memory_format=layout)]


def make_optimizer(model: nn.Module, params: Params) -> torch.optim.Optimizer:
    """The optimiser that the parameters name: `optimizer` (adam or sgd, default adam), `learning_rate`,
    `weight_decay` (default 0) and, for sgd, `momentum` (default 0).

    Raises:
        ValueError: another optimiser.
    """
    name = str(params.get("optimizer", "adam"))
    rate, decay = float(params["learning_rate"]), float(params.get("weight_decay", 0.0))
    if name == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    if name == "sgd":
        momentum = float(params.get("momentum", 0.0))
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    raise ValueError(f"no optimizer '{name}' (allowed: {', '.join(OPTIMIZERS)})")


def make_schedule(optimizer: torch.optim.Optimizer, params: Params) -> LRScheduler | None:
    """The learning-rate schedule that the parameter `schedule` names: none (the default), or cosine.

    Cosine sets the rate of epoch e to rate · (1 + cos(π e / T)) / 2 (Loshchilov and Hutter 2017, without restarts);
    T is `schedule_epochs`, else `epochs`.

    Raises:
        ValueError: another schedule.
    """
    name = str(params.get("schedule", "none"))
    if name == "none":
        return None
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=int(params.get("schedule_epochs", params["epochs"])))
    raise ValueError(f"no schedule '{name}' (allowed: {', '.join(SCHEDULES)})")
