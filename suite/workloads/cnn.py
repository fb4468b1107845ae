"""ECOpt's convolutional network (arXiv 2601.08991): its search space is width, depth, kernel and pooling.

Each layer is conv (stride 1, padding k // 2) + ReLU, with a 2×2 max-pool after every one except the first when
`pool` is set; one linear head; no normalisation, no dropout.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import torch
from torch import nn
from torch.nn import functional as F

from suite.data import StagedData, augment
from suite.task import Params
from suite.workloads.base import Epoch, Phase, Workload

EVALUATION_BATCH = 500


def make_cnn(
    shape: tuple[int, int, int], classes: int, width: int, depth: int, kernel: int, pool: bool
) -> nn.Sequential:
    """The network for images of `shape` (channels, height, width).

    Raises:
        ValueError: pooling leaves nothing of an image.
    """
    channels, height, breadth = shape
    layers: list[nn.Module] = []
    for layer in range(depth):
        layers += [nn.Conv2d(channels, width, kernel, stride=1, padding=kernel // 2), nn.ReLU()]
        grow = 2 * (kernel // 2) - kernel + 1  # 0 for odd kernels, 1 for even ones
        channels, height, breadth = width, height + grow, breadth + grow
        if pool and layer > 0:
            layers.append(nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
    if min(height, breadth) < 1:
        raise ValueError(f"depth {depth} with pooling leaves no pixel of a {shape[1]}×{shape[2]} image")
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * breadth, classes))


class CNN(Workload):
    """Trains with Adam on cross-entropy; inference is charged per image, in batches of `batch_size`."""

    model: nn.Sequential

    def build(self, params: Params) -> None:
        data = self._data
        self.params = params
        model = make_cnn(
            data.shape,
            len(data.classes),
            int(params["width"]),
            int(params["depth"]),
            int(params["kernel"]),
            bool(params["pool"]),
        )
        # channels_last: four times the CPU's inference rate of the default layout
        self.model = model.to(self.context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def _data(self) -> StagedData:
        if self.context.data is None:
            raise ValueError("the cnn workload needs a data set")
        return self.context.data

    def train(self) -> Iterator[Epoch]:
        x, y = self._data.train.x, self._data.train.y
        batch = int(self.params["batch_size"])
        optimizer = torch.optim.Adam(self.model.parameters(), lr=float(self.params["learning_rate"]))
        generator = torch.Generator(device=x.device).manual_seed(self.context.seed)
        for index in range(int(self.params["epochs"])):
            self.model.train()
            order = torch.randperm(len(y), generator=generator, device=x.device)
            loss_sum, done = torch.zeros((), device=x.device), 0
            for picked in order.split(batch):
                images = x[picked]
                if self._data.augment:
                    images = augment(images, self._data.augment, generator)
                loss = F.cross_entropy(self.model(images), y[picked])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach() * len(picked)
                done += len(picked)
                if self.context.should_stop():
                    break
            complete = done == len(y)
            yield Epoch(index, done, {"train_loss": float(loss_sum) / done}, complete)
            if not complete or self.context.should_stop():
                return

    @torch.inference_mode()
    def evaluate(self, split: str) -> dict[str, float]:
        self.model.eval()
        data = self._data.split(split)
        loss = correct = torch.zeros((), device=data.x.device)
        for x, y in zip(data.x.split(EVALUATION_BATCH), data.y.split(EVALUATION_BATCH), strict=True):
            logits = self.model(x)
            loss = loss + F.cross_entropy(logits, y, reduction="sum")
            correct = correct + (logits.argmax(1) == y).sum()
        return {"accuracy": float(correct) / len(data), "loss": float(loss) / len(data)}

    def phases(self) -> dict[str, Phase]:
        batch = int(self.params["batch_size"])
        x = self._data.validation.x
        full = [images for images in x.split(batch) if len(images) == batch] or [x]
        batches = cycle(full)
        model = self.model

        def step() -> None:
            with torch.inference_mode():
                model(next(batches)).argmax(1)

        def prepare() -> None:
            model.eval()

        return {"inference": Phase(step, units=len(full[0]), unit="sample", prepare=prepare)}

    def example_input(self) -> torch.Tensor:
        return self._data.validation.x[:1]
