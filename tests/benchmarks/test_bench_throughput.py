"""The harness's loops against the loops one would write by hand, paired in one run."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from joulebench.data import ImageArrays, stage
from joulebench.host.clock import RealClock
from joulebench.spec.task import Dataset
from joulebench.workloads.base import Context
from joulebench.workloads.cnn import CNN, make_cnn

PARAMS = {
    "width": 16, "depth": 3, "kernel": 3, "pool": True, "batch_size": 64, "learning_rate": 1e-3, "epochs": 1,
}  # fmt: skip
PAIRS = 5


@pytest.fixture(scope="module")
def arrays() -> ImageArrays:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6000, 32, 32, 3), dtype=np.uint8)
    y = np.arange(6000, dtype=np.int64) % 10
    return ImageArrays(x, y, x[:100], y[:100], tuple("0123456789"), "random images")


@pytest.fixture(scope="module")
def workload(arrays) -> CNN:
    data = stage(arrays, Dataset(name="cifar10", validation=3000), "cpu")
    workload = CNN(Context("cpu", 0, RealClock(), data))
    workload.build(PARAMS)
    return workload


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _paired(benchmark, ours, theirs) -> float:
    """Median of theirs / ours, taken pair by pair, so that drift of the machine cancels."""
    ours(), theirs()
    ratios = []

    def pair():
        a, b = _seconds(ours), _seconds(theirs)
        ratios.append(b / a)

    benchmark.pedantic(pair, rounds=PAIRS, iterations=1)
    benchmark.extra_info |= {"speed_over_baseline_median": median(ratios), "min": min(ratios), "max": max(ratios)}
    print(f"\nspeed over the baseline: {median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f}), {PAIRS} pairs")
    return median(ratios)


def test_training_against_a_bare_loop(benchmark, workload):
    """≥ 0.95 of a bare PyTorch loop over the same staged tensors."""
    x, y = workload.context.data.train.x, workload.context.data.train.y
    model = make_cnn((3, 32, 32), 10, 16, 3, 3, True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def bare():
        model.train()
        for picked in torch.randperm(len(y)).split(64):
            loss = F.cross_entropy(model(x[picked]), y[picked])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    assert _paired(benchmark, lambda: list(workload.train()), bare) >= 0.95


class _PerImage(TorchDataset):
    """One image at a time to PIL, to a tensor, normalised: what torchvision's CIFAR10 data set does."""

    def __init__(self, arrays: ImageArrays, n: int) -> None:
        self.images = arrays.train_x[:n]
        self.labels = arrays.train_y[:n].tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def test_inference_against_a_per_image_loader(benchmark, workload, arrays):
    """≥ 4× the images per second of a per-image loader, on a small CNN."""
    n = 2048
    phase = workload.phases()["inference"]
    phase.prepare()
    model = make_cnn((3, 32, 32), 10, 16, 3, 3, True).eval()
    loader = DataLoader(_PerImage(arrays, n), batch_size=64)

    def ours():
        for _ in range(n // phase.units):
            phase.step()

    @torch.inference_mode()
    def theirs():
        for images, _ in loader:
            model(images).argmax(1)

    assert _paired(benchmark, ours, theirs) >= 4.0
