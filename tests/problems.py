"""Functions and models that tests run as workloads."""

from __future__ import annotations

import math
import random
import sys
import time

import torch

from joulebench import Context, Epoch, Phase, Workload
from joulebench.workloads.base import InfeasibleError


def tradeoff(params, seed):
    """Accuracy rises with width, energy too; a little seeded noise; every seventh width fails."""
    width = params["width"]
    if width % 7 == 0:
        raise ValueError(f"width {width} is unlucky")
    noise = random.Random(seed).gauss(0, 0.005)
    return {
        "accuracy": 1 - math.exp(-width / 8) + noise,
        "train_s": 0.5 * width,
        "step_s": 0.01 * (1 + width) * (1 + noise),
    }


def always_fails(params, seed):
    raise RuntimeError("never works")


def hangs(params, seed):
    if params["width"] % 7 == 0:
        time.sleep(3600)
    return tradeoff(params, seed)


def stuck(params, seed):
    """Never ends but for the default width."""
    if params["width"] != 10:
        time.sleep(3600)
    return tradeoff(params, seed)


def meddles(params, seed):
    """Changes settings of the process; its accuracy says what it was given."""
    given = 1.0 if torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled() else 0.0
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    if params["width"] % 7 == 0:
        sys.exit(0)
    return {**tradeoff(params, seed), "accuracy": given}


def leaves(params, seed):
    sys.exit(0)


def runs_out_of_memory(params, seed):
    if params["width"] > 4:
        raise MemoryError("too wide")
    return {"accuracy": 0.5}


def not_a_number(params, seed):
    return {"accuracy": math.nan}


class Linear(Workload):
    """A user's own model: linear regression on data it makes itself."""

    needs_data = False

    def build(self, params):
        generator = torch.Generator().manual_seed(self.context.seed)
        self.x = torch.randn(256, params["features"], generator=generator)
        self.y = self.x.sum(1, keepdim=True)
        self.model = torch.nn.Linear(params["features"], 1)
        self.rate = params["rate"]

    def train(self):
        for index in range(100):
            loss = ((self.model(self.x) - self.y) ** 2).mean()
            self.model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in self.model.parameters():
                    p -= self.rate * p.grad
            yield Epoch(index, len(self.x))

    def evaluate(self, split):
        with torch.no_grad():
            return {"loss": float(((self.model(self.x) - self.y) ** 2).mean())}

    def phases(self):
        def step():
            with torch.inference_mode():
                self.model(self.x)

        return {"inference": Phase(step, units=len(self.x))}

    def example_input(self):
        return self.x[:1]


class ThreeEpochs(Workload):
    """Validation losses 3, 1, 2, 2, …; its weight is the number of epochs trained."""

    needs_data = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.losses = [3.0, 1.0, 2.0, 2.0, 2.0, 2.0]

    def build(self, params):
        self.model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.model.weight)

    def train(self):
        for index in range(len(self.losses)):
            with torch.no_grad():
                self.model.weight += 1
            self.context.clock.sleep(10.0)
            if self.context.should_stop():
                yield Epoch(index, 5, complete=False)
                return
            yield Epoch(index, 10)

    def evaluate(self, split):
        epochs = int(self.model.weight.item())
        return {"loss": self.losses[epochs - 1] if epochs else 9.0, "epochs": float(epochs)}

    def phases(self):
        return {"inference": Phase(lambda: self.context.clock.sleep(0.1), units=1)}

    def outcomes(self):
        return {"weight": self.model.weight.item()}


class Allocates(Workload):
    """Holds 64 MiB for each unit of width."""

    needs_data = False

    def build(self, params):
        self.held = [torch.ones(16 << 20) for _ in range(params["width"])]

    def outcomes(self):
        return {"accuracy": 0.5}

    def phases(self):
        return {"inference": Phase(lambda: self.context.clock.sleep(0.1), units=1)}

    def close(self):
        self.held = []


class Sparse(Workload):
    """Only odd widths are there; its accuracy is known to ± 0.1."""

    needs_data = False

    def build(self, params):
        if params["width"] % 2 == 0:
            raise InfeasibleError(f"no width {params['width']}")

    def outcomes(self):
        return {"accuracy": 0.5}

    def standard_errors(self):
        return {"accuracy": 0.1}

    def phases(self):
        return {"inference": Phase(lambda: self.context.clock.sleep(0.1), units=1)}


class Timed(Workload):
    """Steps of `width` × 10 ms, every tenth ten times as long."""

    needs_data = False

    def build(self, params):
        self.step_s, self.steps = 0.01 * params["width"], 0

    def phases(self):
        def step():
            self.steps += 1
            self.context.clock.sleep(self.step_s * (10 if self.steps % 10 == 0 else 1))

        return {"inference": Phase(step, units=1, timed=True)}


class SteadyEpochs(Workload):
    """Epochs that all take `epoch_s`."""

    needs_data = False
    replayable = True

    def build(self, params):
        self.params = params

    def train(self):
        for index in range(self.params["epochs"]):
            self.context.clock.sleep(self.params["epoch_s"])
            yield Epoch(index, 100)

    def phases(self):
        return {}
