"""What has to be the same when a run is resumed, and what is only said."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebench.errors import InputError
from joulebench.host import device
from joulebench.meters.base import description
from joulebench.runner.plan import Plan
from joulebench.runner.resume_check import differences
from joulebench.runner.session import Facts, check_device, check_domains, manifest
from joulebench.spec.catalog import find_profile, find_task
from joulebench.spec.hardware import Host

H100 = "NVIDIA H100 80GB HBM3"
NODE = Host("Xeon", 64, (H100,) * 8)


def began(uuid, name=H100, accelerators=NODE.accelerators, gpu=H100, **more):
    """Manifest of a run on one GPU of a node."""
    line = description("gpu:0", "nvml_counter", "measured", "NVML") | {"device": name, "uuid": uuid} | more
    host = {"cpu": NODE.cpu, "logical_cpus": NODE.logical_cpus, "accelerators": list(accelerators)}
    facts = Facts({"host": host, "torch": {"gpu": gpu}}, {}, [line], ())
    chosen = Plan(find_task("digits"), None, find_profile("nvidia_h100"), NODE, 0)
    return manifest(chosen, facts, {}, "2026-01-02T03:04:05Z")


def test_a_run_is_resumed_on_an_equal_gpu_and_says_so():
    text = differences(began("GPU-3"), began("GPU-5"), Path("run"))
    assert text == f"gpu:0 {H100} GPU-3 → an equal one, GPU-5"
    assert differences(began("GPU-3"), began("GPU-3"), Path("run")) == ""
    assert "equal one" in differences(began("GPU-3"), began("GPU-5", accelerators=(H100,) * 7), Path("run"))


def test_a_run_is_not_resumed_on_another_gpu():
    with pytest.raises(InputError, match=r"began with accelerators gpu:0 NVIDIA H100.*, now gpu:0 NVIDIA A100"):
        differences(began("GPU-3"), began("GPU-5", name="NVIDIA A100-SXM4-80GB"), Path("run"))


def test_records_that_name_no_gpu_are_compared_by_those_of_the_machine():
    old, now = began("GPU-3"), began("GPU-5", accelerators=(H100,) * 7)
    bare = [{n: v for n, v in line.items() if n not in ("device", "uuid", "scope")} for line in old.meters]
    with pytest.raises(InputError, match="began with accelerators"):
        differences(old.model_copy(update={"meters": bare}), now, Path("run"))


def test_a_mig_slice_has_no_peaks_of_a_whole_gpu():
    whole, part = began("GPU-3"), began("GPU-3", gpu=f"{H100} MIG 1g.10gb")
    assert whole.hardware["peak_flops"]
    assert whole.hardware["memory_bytes"]
    assert part.hardware["peak_flops"] == {}
    assert part.hardware["memory_bytes"] is part.hardware["memory_bandwidth_bytes_per_s"] is None
    assert part.hardware["title"] == f"{whole.hardware['title']}, a MIG slice of it"
    assert find_profile("nvidia_h100").of_slice().of_slice() == find_profile("nvidia_h100").of_slice()


def test_the_profile_has_to_be_that_of_the_gpu_in_use(monkeypatch):
    mixed = Host("Xeon", 64, ("NVIDIA T400", H100))
    chosen = Plan(find_task("digits"), None, find_profile("nvidia_h100"), mixed, 0)
    monkeypatch.setattr(device, "gpu_name", lambda _: "NVIDIA T400")
    with pytest.raises(InputError, match=r"cuda:0 is NVIDIA T400: .*'nvidia_h100'.* CUDA_VISIBLE_DEVICES chooses"):
        check_device(chosen, "cuda:0")
    check_device(chosen, "cpu")
    forced = Plan(chosen.task, None, chosen.profile, mixed, 0, hardware_override="differs")
    check_device(forced, "cuda:0")
    monkeypatch.setattr(device, "gpu_name", lambda _: H100)
    check_device(chosen, "cuda:0")


def test_a_counter_of_a_module_serves_objectives_on_all_that_it_holds():
    task = find_task("digits")
    alone = next(iter(task.objectives.values())).model_copy(
        update={"phase": "inference", "domains": ("gpu",), "basis": "gross", "reference": 0.0}
    )
    whole = alone.model_copy(update={"domains": ("gpu", "cpu", "ram")})
    module = [{"domain": "module:0", "role": "primary"}]
    check_domains(task.model_copy(update={"objectives": {"j": whole}}), "cuda:0", module)
    for objective, meters in ((alone, module), (whole, [module[0] | {"role": "check"}])):
        with pytest.raises(InputError, match="no meter reads the energy of cuda:0"):
            check_domains(task.model_copy(update={"objectives": {"j": objective}}), "cuda:0", meters)
