"""What only a GPU can show. Skipped without one; changes no setting of the device. `pytest tests/gpu -m gpu -s`"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch

from joulebench.data import augment, load_arrays, stage
from joulebench.host.clock import RealClock
from joulebench.host.device import choose_device, nvml_indices, physical_gpus, seed_everything, synchronizer
from joulebench.measurement.bench import Bench
from joulebench.measurement.harness import Request, run_trial
from joulebench.measurement.timeline import Timeline
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.select import availability
from joulebench.results.validity import invalidity
from joulebench.spec.catalog import all_profiles
from joulebench.spec.hardware import choose_profile, detect_host
from joulebench.spec.task import Task
from joulebench.workloads.base import Context
from joulebench.workloads.cnn import CNN, make_cnn
from joulebench.workloads.flops import count
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]

DEVICE = "cuda:0"
NETWORK = {"width": 32, "depth": 3, "kernel": 3, "pool": True, "learning_rate": 0.001, "epochs": 1}
#: Names that drivers give, and the profiles made for them.
PROFILES = {"NVIDIA H100 80GB HBM3": "nvidia_h100", "NVIDIA H200": "nvidia_h200"}


def cnn_task(**protocol):
    """A small network on random images, with windows that are long enough for a counter that moves every 100 ms."""
    fixed = {name: {"type": "fixed", "value": value} for name, value in NETWORK.items()}
    batch = {"type": "choice", "values": [64, 512, 1_000_000], "default": 64, "ordered": True}
    objective = {"goal": "minimize", "phase": "inference", "domains": ["gpu"], "basis": "gross"}
    short = {"warmup_s": 0.2, "max_warmup_s": 1.0, "window_s": 2.2, "repeats": 2, "max_repeats": 3, "idle_s": 2.0}
    return Task.model_validate(
        {
            "name": "probe",
            "title": "probe",
            "workload": "cnn",
            "dataset": {"name": "synthetic", "shape": [3, 32, 32], "n": 4096, "classes": 10, "validation": 1024},
            "parameters": {**fixed, "batch_size": batch},
            "objectives": {"j_per_sample": objective},
            "stages": {"default": {"method": "default", "repeats": 1}},
            "protocol": short | protocol,
        }
    )


def staged(task, device=DEVICE):
    return stage(load_arrays(task.dataset), task.dataset, device)


def bench_of(task, data=None):
    """What trials share, its meter started."""
    clock = RealClock()
    timeline = Timeline(NvmlMeter(physical_gpus(DEVICE)[0], clock=clock), clock, synchronizer(DEVICE))
    timeline.start()
    return Bench(task, DEVICE, clock, timeline, data)


def request_of(**params):
    return Request(trial=0, session=0, stage="default", origin="default", params=params, seed=0, idle=True)


def started(code, environment=None):
    """Python code in a process of its own, in the repository's root."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120
    )
    print(done.stderr[-1000:])
    return done


@pytest.fixture
def measured():
    """`measured(task, params, …)` runs a trial of each in turn and gives their records."""
    benches = []

    def run(task, *configurations):
        benches.append(bench_of(task, staged(task)))
        return [run_trial(benches[-1], request_of(**NETWORK, **params)).record for params in configurations]

    yield run
    for bench in benches:
        bench.timeline.stop()


def test_the_device_its_profile_and_its_meters():
    host = detect_host()
    profile = choose_profile(all_profiles(), host)
    print(host.accelerators, profile.name)
    assert profile.kind == "gpu"
    assert profile.name == PROFILES.get(host.accelerators[0], profile.name)
    assert choose_device(profile.kind) == DEVICE
    assert len(nvml_indices(DEVICE)) == 1
    found = {(m.source, m.kind): m.available for m in availability(host, profile)}
    assert found["nvml_counter", "measured"], found
    assert found["nvml_power", "measured"], found


@pytest.mark.parametrize("by", ["index", "UUID"])
def test_the_device_is_found_however_it_was_made_visible(by):
    import pynvml

    (index,) = nvml_indices(DEVICE)
    pynvml.nvmlInit()
    uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(index) if by == "index" else str(uuid)}
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as NVML counts
    code = "from joulebench.host.device import nvml_indices; print(nvml_indices('cuda:0'))"
    assert started(code, environment).stdout.strip() == f"[{index}]"


def test_staging_and_augmentation_agree_with_the_cpu():
    task = cnn_task()
    here, there = staged(task, "cpu"), staged(task)
    assert torch.allclose(there.train.x.cpu(), here.train.x, atol=1e-6)
    assert there.train.x.is_contiguous(memory_format=torch.channels_last)
    generator = torch.Generator(device=DEVICE).manual_seed(0)
    assert augment(there.train.x[:64], ("crop", "flip"), generator).shape == (64, 3, 32, 32)


def test_a_trial_is_measured_by_the_counter(measured):
    task = cnn_task()
    (record,) = measured(task, {"batch_size": 512})
    assert record.status == "ok", record.error
    windows = [w for w in record.windows if w.phase == "inference"]
    for w in windows:
        readings = [(r.source, round(r.energy_j, 1), r.counter_updates) for r in w.readings]
        print(round(w.duration_s, 2), invalidity(w, task.protocol), readings)
    valid = [w for w in windows if invalidity(w, task.protocol) is None]
    assert len(valid) >= 2
    for window in valid:
        joules = {(r.source, r.role): r.energy_j for r in window.readings}
        assert joules["nvml_power", "check"] == pytest.approx(joules["nvml_counter", "primary"], rel=0.1)
    assert [(w.phase, w.fault) for w in record.windows if w.fault] == []


def test_out_of_memory_is_a_result_and_the_next_trial_runs(measured):
    task = cnn_task(memory_limit_bytes=2 << 30)
    refused, after = measured(task, {"batch_size": 1_000_000}, {"batch_size": 64})
    print(refused.error, refused.costs.peak_memory_bytes, refused.costs.memory_limit_bytes)
    assert refused.status == "oom", refused.error
    assert refused.costs.peak_memory_bytes > 2 << 30
    assert after.status == "ok", after.error


def test_flops_are_those_of_the_cpu():
    model, x = make_cnn((3, 32, 32), 10, 51, 6, 3, True), torch.zeros(1, 3, 32, 32)
    here = count(model, x)
    assert count(model.to(DEVICE), x.to(DEVICE)) == here


@pytest.mark.parametrize(("cache", "compiled"), [("dynamic", False), ("static", False), ("static", True)])
def test_text_is_generated_and_decoding_repeats(cache, compiled):
    from joulebench.workloads.transformer import Transformer

    params = {"architecture": "gpt2", "batch_size": 4, "prompt_tokens": 20, "new_tokens": 10, "dtype": "bfloat16"}
    workload = Transformer(Context(DEVICE, 0, RealClock()))
    began = time.perf_counter()
    workload.build(params | {"cache": cache, "compile": compiled})
    print(f"build {time.perf_counter() - began:.1f} s")
    for phase in workload.phases().values():
        phase.prepare()
        phase.step()
        phase.step()
    run = workload.generation
    run.start_decode()
    first, second = run.decode().clone(), run.decode().clone()
    assert torch.equal(first, second)
    assert 0 <= workload.outcomes()["decode_restore_share"] < 0.5
    workload.close()


def test_a_candidate_is_proposed_on_cuda_and_on_the_cpu(monkeypatch):
    """The search's model takes CUDA where there is one: is it the same proposal, and is it faster?"""
    from joulebench.search import model, propose
    from tests.synthetic_search import branin_currin, integers

    for problem in (branin_currin(), integers()):
        records = problem.study([("random", 40)], 0)
        seconds, proposals = {}, {}
        for kind in ("cpu", "cuda"):
            monkeypatch.setattr(model, "_device", lambda kind=kind: torch.device(kind))
            for _ in range(2):  # the first loads
                model._fits.clear()
                began = time.perf_counter()
                proposals[kind] = propose(problem.task, "search", records, 0)
                seconds[kind] = round(time.perf_counter() - began, 2)
        same = proposals["cpu"].params == proposals["cuda"].params
        print(problem.task.name, seconds, "the same" if same else proposals)
        assert {p.origin for p in proposals.values()} == {"qnehvi"}


STICKY = """
import torch
import tests.gpu.test_gpu as t
from joulebench.measurement.harness import run_trial

def broken(self, params):
    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].sum().item()

t.CNN.make_model = broken
task = t.cnn_task()
bench = t.bench_of(task, t.staged(task))
print(run_trial(bench, t.request_of(**t.NETWORK, batch_size=64)).record.status)
"""


def test_a_sticky_cuda_error_is_a_failed_trial():
    assert started(STICKY).stdout.strip().endswith("failed")


def test_trainings_of_one_seed_are_alike():
    """Kernels may add in another order each time, so not to the last bit."""
    data, losses = staged(cnn_task()), []
    for _ in range(2):
        seed_everything(0)
        network = CNN(Context(DEVICE, 0, RealClock(), data))
        network.build({**NETWORK, "epochs": 3, "batch_size": 64})
        losses.append([epoch.metrics["train_loss"] for epoch in network.train()])
    print("same seed, same losses:", losses[0] == losses[1], losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
