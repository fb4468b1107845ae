"""The fixed reference configurations of the gate: a CNN's inference and training, a Transformer's prefill, decode.

On an accelerator they are of a size that keeps it busy; on a CPU they take milliseconds. A change of what is
measured here is a change of configuration, and its results do not compare with those before.
"""

from __future__ import annotations

import importlib

import pytest

from joulebench.data import load_arrays, stage
from joulebench.spec.task import Dataset
from joulebench.workloads.base import Phase, workload_class

CNN = {
    "cpu": {"width": 16, "depth": 3, "kernel": 3, "pool": True, "batch_size": 64},
    "cuda": {"width": 128, "depth": 6, "kernel": 3, "pool": True, "batch_size": 1024},
}
TRANSFORMER = {
    "cpu": {"architecture": "tiny", "batch_size": 4, "prompt_tokens": 64, "new_tokens": 9},
    "cuda": {
        "architecture": "gpt2",
        "batch_size": 16,
        "prompt_tokens": 512,
        "new_tokens": 65,
        "dtype": "bfloat16",
    },
}
TRAINING = {"learning_rate": 0.001, "optimizer": "adam", "epochs": 1}


def kind(energy_benchmark):
    return energy_benchmark.device.split(":")[0]


def images(n, device):
    """`n` synthetic CIFAR-like images to train on, and as many to infer."""
    dataset = Dataset(name="synthetic", shape=(3, 32, 32), n=3 * n, classes=10, train=n, validation=n)
    return stage(load_arrays(dataset), dataset, device)


@pytest.fixture(scope="session", autouse=True)
def _imported():
    """Everything, also what is imported at first use: at the first measurement a process of the gate waits."""
    for name in ("cnn", "transformer"):
        workload_class(name)
    for name in ("torch._dynamo", "transformers.models.llama.modeling_llama"):
        importlib.import_module(name)


@pytest.fixture
def cnn(energy_benchmark):
    params = {**CNN[kind(energy_benchmark)], **TRAINING}
    data = images(params["batch_size"], energy_benchmark.device)
    workload = workload_class("cnn")(energy_benchmark.context(data))
    workload.build(params)
    yield workload, params
    workload.close()


@pytest.fixture
def transformer(energy_benchmark):
    params = TRANSFORMER[kind(energy_benchmark)]
    workload = workload_class("transformer")(energy_benchmark.context())
    workload.build(params)
    yield workload.phases(), params
    workload.close()


def test_cnn_inference(energy_benchmark, cnn):
    workload, params = cnn
    energy_benchmark.phase(workload.phases()["inference"], params)


def test_cnn_training_step(energy_benchmark, cnn):
    """One batch through the training loop as it is: an epoch of one batch, its optimiser made for it."""
    workload, params = cnn

    def step():
        for _ in workload.train():
            pass

    energy_benchmark.phase(Phase(step, units=params["batch_size"]), params)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_transformer(energy_benchmark, transformer, phase):
    phases, params = transformer
    energy_benchmark.phase(phases[phase], params)
