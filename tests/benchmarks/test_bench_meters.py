"""What measuring costs: both edges of a window, and what runs in the background between them."""

from __future__ import annotations

import time
from statistics import median, quantiles

import pytest

from joulebench.host.clock import RealClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import MeterSet
from joulebench.meters.codecarbon import CodeCarbonMeter
from joulebench.meters.host import HostMeter
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.rapl import RaplMeter, find_rapl
from joulebench.meters.replay import PowerTrace
from tests.meter_sources import FakeNvml, Gpu, powercap_zone

CALL_S = 1e-4  # what a call into NVML takes, with the interpreter released
PAIRS = 60
SLICE_S = 0.2


class SlowNvml(FakeNvml):
    """Every call into the driver takes its time."""

    def _at(self, gpu, readable=True):
        time.sleep(CALL_S)
        return super()._at(gpu, readable)


@pytest.fixture
def every_meter(tmp_path):
    """One GPU, CodeCarbon, the host and (from files) RAPL of two sockets: more than any run has at once."""
    clock = RealClock()
    for socket in (0, 1):
        powercap_zone(tmp_path / f"intel-rapl:{socket}", f"package-{socket}")
    nvml = SlowNvml([Gpu(PowerTrace("gpu:0", (0.0,), (300.0,)))], clock)
    rapl = RaplMeter(find_rapl(tmp_path), ["cpu"])
    return MeterSet([rapl, CodeCarbonMeter(domains=["ram"]), NvmlMeter(nvml.uuids, nvml, clock), HostMeter()])


@pytest.mark.parametrize("meters", ["codecarbon", "every"])
def test_both_edges_of_a_window(benchmark, meters, request):
    """≤ 20 ms a window."""
    meter = request.getfixturevalue("every_meter") if meters == "every" else CodeCarbonMeter()
    timeline = Timeline(meter, RealClock())
    timeline.start()

    def edges():
        timeline.cut("one")
        timeline.cut("two")
        timeline.take()

    try:
        benchmark.pedantic(edges, rounds=200, warmup_rounds=5, iterations=1)
    finally:
        timeline.stop()
    assert benchmark.stats.stats.median <= 0.020


def test_the_hosts_conditions(benchmark):
    """< 1 ms a read."""
    meter = HostMeter()
    meter.start()
    benchmark.pedantic(meter.integrals, rounds=500, warmup_rounds=5, iterations=1)
    assert benchmark.stats.stats.median < 0.001


def test_sampling_takes_less_than_1_percent_of_a_cpu(benchmark, every_meter):
    """CPU time of the background threads alone; the least of several tries, as other load only adds to it."""
    every_meter.start()

    def share():
        start, busy = time.perf_counter(), time.process_time()
        time.sleep(2.0)
        return (time.process_time() - busy) / (time.perf_counter() - start)

    try:
        shares = benchmark.pedantic(lambda: [share() for _ in range(3)], rounds=1, iterations=1)
    finally:
        every_meter.stop()
    benchmark.extra_info["share_of_a_cpu"] = min(shares)
    print(f"\nsampling takes {100 * min(shares):.2f} % of a CPU", end="")
    assert min(shares) < 0.01


def test_measuring_costs_less_than_1_percent_of_throughput(benchmark, every_meter):
    """Steps of CPU-bound work a second, with and without meters, in interleaved pairs; the median of the pairs.

    On one thread, as the Python of a training loop is: where the sampling threads hurt, it is there. The cost is
    given with its 95 % interval, by the pairs' quartiles; on a busy machine that interval is all there is to judge.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)).eval()
    example = torch.randn(64, 256)

    def steps():
        with torch.inference_mode():
            for _ in range(20):
                model(example)

    def rate():
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < SLICE_S:
            steps()
            done += 1
        return done / (time.perf_counter() - start)

    def measured_rate():
        timeline = Timeline(every_meter, RealClock())
        timeline.start()
        try:
            steps_a_second = rate()
            timeline.cut("inference", units=1)
            return steps_a_second
        finally:
            timeline.stop()

    def pair(order):
        first, second = (rate, measured_rate) if order else (measured_rate, rate)
        a, b = first(), second()
        return b / a if order else a / b

    try:
        rate()
        ratios = benchmark.pedantic(lambda: [pair(i % 2) for i in range(PAIRS)], rounds=1, iterations=1)
    finally:
        torch.set_num_threads(threads)
    cost = 1 - median(ratios)
    low, _, high = quantiles(ratios, n=4)
    half_width = 1.96 * 1.2533 * (high - low) / 1.349 / len(ratios) ** 0.5  # of a median, were they normal
    benchmark.extra_info |= {"share_of_throughput": cost, "half_width": half_width}
    print(f"\nmeasuring costs {100 * cost:.2f} ± {100 * half_width:.2f} % of throughput ({PAIRS} pairs)", end="")
    assert cost - half_width < 0.01
