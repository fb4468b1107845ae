"""What measuring costs: both edges of a window, and what runs in the background between them.

Meters are those of a run on a machine with RAPL, by the number of its GPUs. RAPL is read from files; NVML is a
library in C that answers at once, behind the real pynvml. What a real driver takes for a call comes on top,
`calls_per_s` times.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles

import pynvml
import pytest

from joulebench.host.clock import RealClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import Meter, MeterSet
from joulebench.meters.codecarbon import PERIOD_S as CODECARBON_S
from joulebench.meters.codecarbon import CodeCarbonMeter
from joulebench.meters.host import HostMeter
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.nvml_sensor import PERIOD_S as NVML_S
from joulebench.meters.rapl import PERIOD_S as RAPL_S
from joulebench.meters.rapl import RaplMeter, find_rapl
from joulebench.meters.sampling import ThreadSampler
from tests.meter_sources import powercap_zone

#: Meters by what a run has: CodeCarbon's models alone, or RAPL with them as its checks, without and with GPUs.
MODELS, CPU, GPU, GPUS = "models of CPU and RAM", "RAPL", "RAPL and 1 GPU", "RAPL and 8 GPUs"
NUMBER_OF_GPUS = {CPU: 0, GPU: 1, GPUS: 8}
MOST_OF_A_CPU, MOST_OF_THROUGHPUT = 0.01, 0.005
SAMPLING_S, TRIES = 4.0, 3
#: Throughput is compared in slices of this length, in pairs, until it is known to `HALF_WIDTH`.
SLICE_S, HALF_WIDTH = 0.25, 0.0015
FEWEST_PAIRS, MOST_PAIRS = 60, 240
EDGES = 30
WINDOW_S = 1.0  # a short window, whose two edges are charged to it


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator[ctypes.CDLL]:
    """The stand-in for NVIDIA's library, which pynvml takes for the real one."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler is here to build the stand-in for NVML")
    library = tmp_path_factory.mktemp("driver") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_driver.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
        patch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        yield pynvml.nvmlLib


class PausedSampler(ThreadSampler):
    """The sampler of a run, which can be paused and go on."""

    def start(self, sample: Callable[[], None]) -> None:
        self._sample = sample
        super().start(sample)

    def resume(self) -> None:
        super().start(self._sample)


class Metered:
    """Meters as a run has them, with their samplers."""

    def __init__(self, which: str, folder: Path, driver: ctypes.CDLL) -> None:
        self._calls = ctypes.c_ulonglong.in_dll(driver, "calls")
        self.samplers: list[PausedSampler] = []
        models = ["cpu", "ram"]
        if which == MODELS:
            meters: list[Meter] = [
                CodeCarbonMeter(domains=models, sampler=self._sampler("codecarbon", CODECARBON_S))
            ]
        else:
            for socket in ("intel-rapl:0", "intel-rapl:1"):
                powercap_zone(folder / socket, f"package-{socket[-1]}")
                powercap_zone(folder / socket / f"{socket}:0", "dram")
            checks = CodeCarbonMeter(domains=[], checks=models, sampler=self._sampler("codecarbon", CODECARBON_S))
            meters = [RaplMeter(find_rapl(folder), sampler=self._sampler("rapl", RAPL_S)), checks]
        if gpus := NUMBER_OF_GPUS.get(which):
            driver.set_gpus(gpus)
            uuids = [pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(n)) for n in range(gpus)]
            meters.append(NvmlMeter(uuids, sampler=self._sampler("nvml", NVML_S)))
        clock = RealClock()
        self.timeline = Timeline(MeterSet([*meters, HostMeter(clock)], clock), clock)

    def _sampler(self, name: str, period_s: float) -> PausedSampler:
        self.samplers.append(PausedSampler(f"joulebench-{name}", period_s))
        return self.samplers[-1]

    @property
    def calls(self) -> int:
        """Calls into the driver so far."""
        return self._calls.value


@pytest.fixture
def metered(request, tmp_path, driver) -> Iterator[Metered]:
    """Started meters, of the kind that the test's parameter says."""
    made = Metered(request.param, tmp_path, driver)
    made.timeline.start()
    yield made
    made.timeline.stop()


def of(*which: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("metered", which, indirect=True)


@of(MODELS, CPU, GPU, GPUS)
def test_both_edges_of_a_window(benchmark, metered):
    """≤ 20 ms a window."""

    def edges():
        metered.timeline.cut("one")
        metered.timeline.cut("two")
        metered.timeline.take()

    benchmark.pedantic(edges, rounds=200, warmup_rounds=5, iterations=1)
    assert benchmark.stats.stats.median <= 0.020


def test_the_hosts_conditions(benchmark):
    """< 1 ms a read."""
    meter = HostMeter()
    meter.start()
    benchmark.pedantic(meter.integrals, rounds=500, warmup_rounds=5, iterations=1)
    assert benchmark.stats.stats.median < 0.001


@of(MODELS, CPU, GPU, GPUS)
def test_sampling_takes_less_than_1_percent_of_a_cpu(benchmark, metered):
    """CPU time of the background threads alone; the least of several tries, as other load only adds to it."""

    def share():
        start, busy, calls = time.perf_counter(), time.process_time(), metered.calls
        time.sleep(SAMPLING_S)
        seconds = time.perf_counter() - start
        return (time.process_time() - busy) / seconds, (metered.calls - calls) / seconds

    shares = benchmark.pedantic(lambda: [share() for _ in range(TRIES)], rounds=1, iterations=1)
    taken, calls_per_s = min(shares)
    benchmark.extra_info |= {"share_of_a_cpu": taken, "calls_per_s": calls_per_s}
    print(f"\nsampling takes {100 * taken:.2f} % of a CPU, {calls_per_s:.0f} calls into NVML a second", end="")
    assert taken < MOST_OF_A_CPU


@of(CPU, GPU, GPUS)
def test_measuring_costs_less_than_half_a_percent_of_throughput(benchmark, metered):
    """Steps of CPU-bound work a second, with and without sampling, in interleaved pairs; the median of the pairs.

    On one thread, as the Python of a training loop is: where the sampling threads hurt, it is there, since it waits
    for the interpreter while they have it. The edges of a window are charged to one of `WINDOW_S`. Time in which
    the thread waits for a processor that others have is left out, so that a machine need not be idle: what
    sampling takes of a processor is in the test above. The cost is given with its 95 % interval, by the pairs'
    quartiles.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)).eval()
    example = torch.randn(64, 256)

    @torch.inference_mode()
    def rate():
        done, queued, start = 0, queued_s(), time.perf_counter()
        while time.perf_counter() - start < SLICE_S:
            for _ in range(5):
                model(example)
            done += 1
        return done / (time.perf_counter() - start - (queued_s() - queued))

    def sampled_rate():
        for sampler in metered.samplers:
            sampler.resume()
        try:
            return rate()
        finally:
            for sampler in metered.samplers:
                sampler.stop()

    def edge_s():
        start = time.perf_counter()
        metered.timeline.cut("inference", units=1)
        return time.perf_counter() - start

    def compare():
        ratios = []
        while len(ratios) < FEWEST_PAIRS or (half_width(ratios) > HALF_WIDTH and len(ratios) < MOST_PAIRS):
            if len(ratios) % 2:
                sampled, bare = sampled_rate(), rate()
            else:
                bare, sampled = rate(), sampled_rate()
            ratios.append(sampled / bare)
        return ratios

    for sampler in metered.samplers:
        sampler.stop()
    try:
        rate()
        ratios = benchmark.pedantic(compare, rounds=1, iterations=1)
    finally:
        torch.set_num_threads(threads)
        for sampler in metered.samplers:
            sampler.resume()
    edge = median(edge_s() for _ in range(EDGES))
    edges, uncertain = edge / WINDOW_S, half_width(ratios)
    cost = 1 - median(ratios) + edges
    benchmark.extra_info |= {"share_of_throughput": cost, "half_width": uncertain, "pairs": len(ratios)}
    print(
        f"\nmeasuring costs {100 * cost:.2f} ± {100 * uncertain:.2f} % of throughput ({len(ratios)} pairs), of"
        f" which {100 * edges:.2f} % are edges of windows of {WINDOW_S:g} s",
        end="",
    )
    assert cost - uncertain < MOST_OF_THROUGHPUT


def queued_s() -> float:
    """For how long this thread has waited for a processor, as Linux counts it; 0 elsewhere."""
    file = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return int(file.read_text().split()[1]) / 1e9 if file.exists() else 0.0


def half_width(values: list[float]) -> float:
    """Of the 95 % interval of a median, by the quartiles, as it is for normal values."""
    low, _, high = quantiles(values, n=4)
    return 1.96 * 1.2533 * (high - low) / 1.349 / len(values) ** 0.5
