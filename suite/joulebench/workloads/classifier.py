"""Image classifiers: training, scoring and the inference phase are the same for all; the network is not.

A classifier of one's own is one subclass with one method, `make_model`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from joulebench.data import StagedImages, augment
from joulebench.errors import InputError
from joulebench.spec.parameters import Params
from joulebench.workloads.base import Epoch, Phase, Workload
from joulebench.workloads.optimiser import make_optimizer, make_schedule
from joulebench.workloads.traffic import ACTIVATIONS, BYTES_MOVED, traffic

EVALUATION_BATCH = 500


class ImageClassifier(Workload):
    """Trains on cross-entropy, with Adam if nothing else is said; inference is charged per image, in batches of
    `batch_size`.

    It reads the parameters `batch_size` and `epochs` (0: untrained) and, to train, those of
    `joulebench.workloads.optimiser`: `learning_rate`, and `optimizer`, `momentum`, `weight_decay`, `schedule` and
    `schedule_epochs` where the task has them. The others are `make_model`'s. What the layers write and move is
    among its metrics (`joulebench.workloads.traffic`).
    """

    @abstractmethod
    def make_model(self, params: Params) -> nn.Module:
        """The network: images (n, channels, height, width) as `self.data.shape` says → logits (n, classes)."""

    @property
    def data(self) -> StagedImages:
        """The staged data set.

        Raises:
            ValueError: the task names none.
            InputError: it is one of text.
        """
        if self.context.data is None:
            raise ValueError(f"the workload {type(self).__name__} needs a data set")
        if not isinstance(self.context.data, StagedImages):
            raise InputError(f"dataset: the workload {type(self).__name__} needs images, not text")
        return self.context.data

    @property
    def network(self) -> nn.Module:
        """The model that `build` made.

        Raises:
            ValueError: nothing was built, or it was closed.
        """
        if self.model is None:
            raise ValueError("build the model first")
        return self.model

    def build(self, params: Params) -> None:
        self.params = params
        model = self.make_model(params)
        # channels_last: four times the CPU's inference rate of the default layout
        self.model = model.to(self.context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self) -> Iterator[Epoch]:
        epochs, batch = int(self.params["epochs"]), int(self.params["batch_size"])
        if epochs == 0:
            return
        model, x, y = self.network, self.data.train.x, self.data.train.y
        optimizer = make_optimizer(model, self.params)
        schedule = make_schedule(optimizer, self.params)
        generator = torch.Generator(device=x.device).manual_seed(self.context.seed)
        for index in range(epochs):
            model.train()
            order = torch.randperm(len(y), generator=generator, device=x.device)
            loss_sum, done = torch.zeros((), device=x.device), 0
            for picked in order.split(batch):
                images = x[picked]
                if self.data.augment:
                    images = augment(images, self.data.augment, generator)
                loss = F.cross_entropy(model(images), y[picked])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach() * len(picked)
                done += len(picked)
                if self.context.should_stop():
                    break
            complete = done == len(y)
            if schedule is not None:
                schedule.step()
            yield Epoch(index, done, {"train_loss": float(loss_sum) / done}, complete)
            if not complete or self.context.should_stop():
                return

    @torch.inference_mode()
    def evaluate(self, split: str) -> dict[str, float]:
        model = self.network
        model.eval()
        data = self.data.split(split)
        loss = correct = torch.zeros((), device=data.x.device)
        for x, y in zip(data.x.split(EVALUATION_BATCH), data.y.split(EVALUATION_BATCH), strict=True):
            logits = model(x)
            loss = loss + F.cross_entropy(logits, y, reduction="sum")
            correct = correct + (logits.argmax(1) == y).sum()
        return {"accuracy": float(correct) / len(data), "loss": float(loss) / len(data)}

    def outcomes(self) -> dict[str, float]:
        moved = traffic(self.network, self.example_input())
        batch = int(self.params["batch_size"])
        return {ACTIVATIONS: float(moved.written), BYTES_MOVED: moved.bytes_moved(batch)}

    def state(self) -> Any:
        """The weights; None of an untrained model, whose copy would only fill memory."""
        return super().state() if int(self.params["epochs"]) else None

    def phases(self) -> dict[str, Phase]:
        full = full_batches(self.data.validation.x, int(self.params["batch_size"]))
        batches = cycle(full)
        model = self.network

        def step() -> None:
            with torch.inference_mode():
                model(next(batches)).argmax(1)

        def prepare() -> None:
            model.eval()

        return {"inference": Phase(step, units=len(full[0]), unit="sample", prepare=prepare)}

    def example_input(self) -> torch.Tensor:
        return self.data.validation.x[:1]


def full_batches(x: torch.Tensor, batch: int) -> list[torch.Tensor]:
    """`x` in batches of exactly `batch`; a split smaller than one batch is repeated until it fills it.

    What is left over is not measured: a step of another size would be another configuration.
    """
    if len(x) >= batch:
        return [images for images in x.split(batch) if len(images) == batch]
    layout = torch.channels_last if x.shape[1] > 1 else torch.contiguous_format
    repeated = x.repeat(-(-batch // len(x)), 1, 1, 1)[:batch]
    return [repeated.contiguous(memory_format=layout)]
