"""Which GPUs trials may run on beside each other, what a task may ask there, and what is read of whom. No Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from joulebench.cluster import cards as cards_room
from joulebench.cluster import driver
from joulebench.cluster.cards import Card, beside, card_nodes, equal_cards, moved, same_cards, visible_gpus
from joulebench.cluster.connection import Node
from joulebench.cluster.pool import Pool
from joulebench.cluster.runs import HardwareRun, WorkerState
from joulebench.cluster.worker import SEEN, Beside, Ready, Refused, Worker
from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters import nvml as nvml_room
from joulebench.meters import nvml_conditions
from joulebench.meters.base import MeterSet
from joulebench.meters.host import HostMeter
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.nvml_sensor import PERIOD_S
from joulebench.meters.replay import PowerTrace
from joulebench.meters.select import meters_for
from joulebench.reporting import cluster_findings
from joulebench.results.validity import invalidity
from joulebench.runner.plan import plan
from joulebench.spec.catalog import find_profile
from joulebench.spec.task import Protocol, Task
from tests.cluster_tasks import DIGITS
from tests.meter_sources import FakeNvml, Gpu, TickingClock
from tests.nvml_power import NOW_MW, PowerNvml

STEADY = PowerTrace("gpu:0", (0.0,), (300.0,))


def machine(count=8, **special):
    """Equal GPUs; `special` changes the last one."""
    gpus = [Gpu(STEADY, limit_w=700.0) for _ in range(count - 1)]
    return FakeNvml([*gpus, Gpu(STEADY, **{"limit_w": 700.0, **special})], TickingClock())


def as_torch_has_them(nvml, order):
    return lambda: [nvml.gpus[n].uuid for n in order]


def test_the_first_that_torch_sees_are_taken():
    nvml = machine(name="Odd one")
    found = equal_cards(3, as_torch_has_them(nvml, [6, 2, 4, 0]), nvml)
    assert [card.uuid for card in found] == [nvml.uuids[n] for n in (6, 2, 4)]
    assert {replace(card, uuid="") for card in found} == {Card("", "Fake H100", 80 << 30, 700.0)}
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("special", "why"),
    [
        ({"name": "Fake H200"}, r"in name \(Fake H200, not Fake H100\)"),
        ({"memory_bytes": 40 << 30}, r"in bytes of memory \(42949672960, not 85899345920\)"),
        ({"limit_w": 350.0}, r"in watts of power limit \(350\.0, not 700\.0\)"),
        ({"mig": True}, "is cut in slices"),
        ({"lost_s": 0.0}, "NVML knows no such GPU"),
    ],
)
def test_gpus_that_are_not_equal_and_whole_are_refused(special, why):
    nvml = machine(4, **special)
    assert len(equal_cards(3, as_torch_has_them(nvml, range(4)), nvml)) == 3
    with pytest.raises(InputError, match=why) as refused:
        equal_cards(4, as_torch_has_them(nvml, range(4)), nvml)
    assert "\n" not in str(refused.value)


def test_more_than_there_are_is_refused():
    nvml = machine(2)
    with pytest.raises(InputError, match="--gpus 3: torch can use 2 GPUs here"):
        equal_cards(3, as_torch_has_them(nvml, range(2)), nvml)


def test_torch_is_asked_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv(SEEN, "")
    assert visible_gpus() == []
    monkeypatch.setattr(cards_room, "_LIST", "raise SystemExit('no torch')")
    with pytest.raises(InputError, match="--gpus: torch does not list the GPUs: no torch"):
        visible_gpus()


def test_a_resumed_run_goes_on_with_as_many_equal_cards():
    began = [vars(Card(f"GPU-{n}-0", "H", 1, None)) for n in range(2)]
    others = [Card("GPU-1-0", "H", 1, None), Card("GPU-2-0", "H", 1, None)]
    assert same_cards(began, "run", lambda count: others[:count]) == others
    assert moved(began, [c.uuid for c in others]) == "GPU-0-0 → equal ones, GPU-2-0"
    assert moved(began, ["GPU-1-0", "GPU-0-0"]) == ""
    with pytest.raises(InputError, match=r"differ from those it began on in bytes of memory \(2, not 1\)"):
        same_cards(began, "run", lambda _: [replace(c, memory_bytes=2) for c in others])
    for damaged in ([{"uuid": "GPU-0-0"}], [{**began[0], "more": 1}], []):
        with pytest.raises(InputError, match="does not say which GPUs"):
            same_cards(damaged, "run", lambda _: others)


def with_energy(domains, **more):
    task = {**DIGITS, **more}
    energy = {**DIGITS["objectives"]["samples_per_j"], "domains": domains}
    return Task.model_validate({**task, "objectives": {**DIGITS["objectives"], "samples_per_j": energy}})


def test_a_task_that_needs_what_trials_share_is_refused_unless_it_says_so():
    alone = with_energy(["gpu"])
    assert beside(alone) is alone
    with pytest.raises(
        InputError, match=r"--gpus: objectives\.samples_per_j: .* share cpu and ram, .*gpu_alone=true"
    ):
        beside(with_energy(["gpu", "cpu", "ram"]))
    latency = {"p95_s": {"phase": "inference", "quantile": 0.95, "at_most": 0.1}}
    with pytest.raises(InputError, match=r"--gpus: constraints\.p95_s: .* share the CPU"):
        beside(with_energy(["gpu"], constraints=latency))
    product = {"goal": "minimize", "phase": "inference", "domains": ["gpu"], "basis": "gross"}
    delayed = {"val_accuracy": DIGITS["objectives"]["val_accuracy"], "edp_js_per_sample": product}
    with pytest.raises(InputError, match=r"--gpus: objectives\.edp_js_per_sample: .* share the CPU"):
        beside(Task.model_validate({**DIGITS, "objectives": delayed}))
    said = {"constraints": {**latency, "small": "width <= 3"}, "cluster": {"gpu_alone": True}}
    taken = beside(with_energy(["gpu", "cpu", "ram"], **said))
    assert taken.objectives["samples_per_j"].domains == ("gpu",)
    assert taken.constraints == with_energy(["gpu"], **said).constraints
    assert taken.digest == alone.model_copy(update={"constraints": taken.constraints}).digest


def test_a_report_says_which_values_hold_time_of_a_shared_cpu():
    latency = {"p95_s": {"phase": "inference", "quantile": 0.95, "at_most": 0.1}}
    for constraints, said in ((latency, True), ({}, False)):
        summary = SimpleNamespace(task=with_energy(["gpu"], constraints=constraints))
        assert ("p95_s" in cluster_findings._beside(summary, "GPU-0 (1)", "")) is said


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ({"gpus": 0}, r"--gpus: 0 \(allowed: 2 to"),
        ({"hardware": ["generic_cpu", "nvidia_h100"]}, "--hardware: one profile with --gpus"),
        ({"meters": ("mine:meter",)}, r"--meter: not with --gpus.*mine:meter"),
        ({"hardware": ["generic_cpu"], "isolate": True, "overrides": {"cluster.gpu_alone": True}}, "isolate"),
        ({"hardware": ["generic_cpu"]}, "cannot be told apart"),
        ({"hardware": ["generic_cpu"], "replay": None}, "'generic_cpu' is of a machine without a GPU"),
    ],
)
def test_what_cannot_be_done_beside_others_is_refused_before_anything_starts(monkeypatch, tmp_path, choices, why):
    monkeypatch.setattr(driver, "equal_cards", lambda _: pytest.fail("asked for the GPUs"))
    with pytest.raises(InputError, match=why):
        driver.run("digits", out=tmp_path, **{"gpus": 2, "force_hardware": True, "replay": "50", **choices})


# What is read of whom


def test_eight_trials_on_eight_gpus_are_each_read_once_and_disturb_none_of_them(monkeypatch):
    """Each worker's meter, as its process sees it: its own number on its own GPU, its neighbours' on the others."""
    for mine in range(8):
        watts = [100.0 + 50.0 * n for n in range(8)]
        clock = TickingClock()
        nvml = FakeNvml(
            [Gpu(PowerTrace("gpu:0", (0.0,), (w,)), pids=[1000 + n]) for n, w in enumerate(watts)], clock
        )
        for room in (nvml_room, nvml_conditions):
            monkeypatch.setattr(room, "belongs", lambda pid, own=1000 + mine: pid == own)
        meter = NvmlMeter([nvml.uuids[mine]], nvml, clock, clock.sampler(PERIOD_S), visible=[nvml.uuids[mine]])
        timeline = Timeline(meter, clock)
        timeline.start()
        clock.sleep(2.0)
        timeline.cut("warmup")
        clock.sleep(4.0)
        window = timeline.cut("inference", units=1, steps=1)
        (primary,) = [r for r in window.readings if r.role == "primary"]
        assert primary.domain == "gpu:0"
        assert primary.energy_j == pytest.approx(4.0 * watts[mine], rel=0.01)
        assert {line["uuid"] for line in meter.describe()} == {nvml.uuids[mine]}
        assert window.conditions["gpu:0_other_processes"] == 0
        protocol = Protocol(warmup_s=0, window_s=2.0, repeats=3, max_repeats=6, target_rel_ci=0.02, idle_s=0)
        assert invalidity(window, protocol) is None


def test_the_cpu_load_of_neighbours_is_the_runs_own():
    """A sibling of the measuring process burns 0.4 s of a CPU: seen from the run a neighbour's, else another's."""
    burn = "import time, sys\nwhile time.process_time() < 0.4: pass\nprint(flush=True); sys.stdin.readline()"
    watch = (
        "import os, sys; from joulebench.meters.host import HostMeter; "
        "m = HostMeter(run_pid=int(sys.argv[1]) or None); m.start(); a = m.integrals(); print(flush=True); "
        "sys.stdin.readline(); b = m.integrals(); print(*(b.get(n, -1.0) - a.get(n, 0.0) for n in "
        "('own_load_cpus', 'neighbour_load_cpus', 'other_load_cpus', 'cpu_utilisation')))"
    )
    seconds, pipes = {}, {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    for pid in (0, os.getpid()):
        measuring = subprocess.Popen([sys.executable, "-c", watch, str(pid)], **pipes)
        measuring.stdout.readline()
        sibling = subprocess.Popen([sys.executable, "-S", "-c", burn], **pipes)
        sibling.stdout.readline()
        said, _ = measuring.communicate("\n")
        sibling.communicate("\n")
        seconds[pid] = dict(zip(("own", "neighbour", "other", "busy"), map(float, said.split()), strict=True))
    alone, of_run = seconds[0], seconds[os.getpid()]
    assert alone["neighbour"] == -1.0
    assert alone["other"] > 0.3
    assert of_run["neighbour"] > 0.3
    # whatever else the machine did: each second of its CPUs is in one of the three, to the kernel's ticks
    busy_s = of_run["busy"] * psutil.cpu_count()
    assert of_run["other"] == pytest.approx(busy_s - of_run["own"] - of_run["neighbour"], abs=0.15)


def test_a_worker_sees_its_gpu_alone_and_reads_nothing_of_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setenv(SEEN, "0,1")
    profile = find_profile("generic_cpu")
    trace = tmp_path / "power.csv"
    trace.write_text("t_s,gpu:0,cpu\n0,200,50\n1000,200,50\n")
    chosen = plan(with_energy(["gpu"]), hardware="generic_cpu", force_hardware=True, replay=str(trace))
    worker = Worker("run", "GPU-7", Beside("GPU-7-7", os.getpid()))
    assert os.environ[SEEN] == "GPU-7-7"
    ready = worker.prepare(chosen, 0.0, None)
    assert isinstance(ready, Ready)
    assert {r.domain for w in ready.windows for r in w.readings} == {"gpu:0"}
    assert SEEN not in ready.facts.environment["variables"]
    worker.close()
    refused = worker.prepare(replace(chosen, replay="50"), 0.0, None)
    assert isinstance(refused, Refused)
    assert "has no column 'gpu'" in refused.text
    meter = meters_for(profile, "cpu", RealClock(), None, run_pid=os.getpid())
    meter.start()
    assert (meter.read(), meter.describe()) == ((), [])
    assert "neighbour_load_cpus" in meter.integrals()
    meter.stop()


def test_a_worker_that_finds_another_gpu_than_its_own_is_refused(monkeypatch):
    worker = Worker("run", "GPU-7", Beside("GPU-7-7", os.getpid()))
    monkeypatch.setattr("joulebench.cluster.worker.physical_gpus", lambda _: (("GPU-8-8",), ()))
    facts = SimpleNamespace(of=lambda *_: None)
    monkeypatch.setattr("joulebench.cluster.worker.Facts", facts)
    worker._bench = SimpleNamespace(device="cuda:0")
    with pytest.raises(InputError, match="cuda:0 is GPU-8-8, and not GPU-7-7"):
        worker._facts(None)


def test_the_driver_reads_what_the_trials_share_once(monkeypatch):
    here = Node("id", "here", "host", {"CPU": 16.0})
    found = [Card(f"GPU-{n}-0", "H", 1, None) for n in range(3)]
    nodes = card_nodes(found, "generic_cpu", 16, here)
    assert [(n.name, n.place, n.resources["CPU"]) for n in nodes] == [
        (f"GPU-{n}", ("id", f"GPU-{n}-0"), 5.0) for n in range(3)
    ]
    monkeypatch.setattr(driver, "own_node", lambda _: here)
    read = SimpleNamespace(by=[])
    monkeypatch.setattr(
        driver, "meters_for", lambda profile, *_: read.by.append(profile) or MeterSet([HostMeter()])
    )
    chosen = plan(with_energy(["gpu"]), hardware="generic_cpu", force_hardware=True)
    for places, meters in ((nodes, [chosen.profile]), ([here], [])):
        read.by.clear()
        with driver._driver([HardwareRun("generic_cpu", "run", places, chosen)], [here]) as timeline:
            timeline.cut("wait")
        assert read.by == meters


def test_the_driver_puts_back_the_power_limits_of_workers_that_it_kills(monkeypatch):
    nvml = PowerNvml(gpus=2)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = [Card(uuid, "H", 1, None) for uuid in nvml.uuids]
    capped = {**DIGITS["parameters"], "power_limit_w": {"type": "int", "low": 100, "high": 400, "default": 400}}
    task = with_energy(["gpu"], parameters=capped)
    for permitted, left_mw in ((True, NOW_MW), (False, 200_000)):
        chosen = plan(task, hardware="generic_cpu", force_hardware=True, replay="50", set_power_limit=permitted)
        monkeypatch.setattr(driver, "_plan_beside", lambda *_, chosen=chosen: chosen)
        monkeypatch.setattr(driver, "equal_cards", lambda _: found)

        def stopped(*_):
            nvml.limit_mw[1] = 200_000  # by a worker, which is killed at Ctrl-C
            raise KeyboardInterrupt

        monkeypatch.setattr(driver, "_cluster", stopped)
        with pytest.raises(KeyboardInterrupt):
            driver.run(task, gpus=2)
        assert nvml.limit_mw == [NOW_MW, left_mw]


def test_a_gpu_that_is_lost_is_left_alone_and_its_neighbours_work_on(monkeypatch):
    here = Node("id", "here", "host", {"CPU": 16.0})
    nodes = card_nodes([Card(f"GPU-{n}-0", "H", 1, None) for n in range(2)], "generic_cpu", 16, here)
    trials = SimpleNamespace(finished=False, say=print)
    hw_run = HardwareRun("generic_cpu", "run", nodes, trials=trials)
    pool = Pool([], None, None, print)
    pool._runs = [hw_run]
    monkeypatch.setattr(pool._ray, "kill", lambda *_, **__: None)
    started = []
    monkeypatch.setattr(pool, "_start_worker", lambda _, node: started.append(node.card))
    first, second = (WorkerState(node, hw_run, "actor", "prepare") for node in nodes)
    hw_run.workers += [first, second]
    pool._refused(first, Refused("NVML knows no such GPU"))
    pool._replace_lost()
    assert (hw_run.workers, started) == ([second], [])
    pool._lose(second, "killed")
    pool._replace_lost()
    assert started == ["GPU-1-0"]


def test_an_accelerator_that_no_meter_reads_is_announced_once_a_node(monkeypatch):
    said = []
    node = Node("id", "one", "host", {})
    hw_run = HardwareRun("generic_cpu", "run", [node])
    pool = Pool([], None, None, said.append)
    chosen = plan(with_energy(["cpu"]), hardware="generic_cpu", force_hardware=True)
    host = replace(chosen.host, unmetered=("AMD Instinct", "AMD Instinct"))
    monkeypatch.setattr("joulebench.cluster.worker.detect_host", lambda: host)
    worker = Worker("run", "one")
    ready = worker.prepare(chosen, 0.0, None)
    worker.close()
    pool._ready(WorkerState(node, hw_run, None, "prepare"), ready)
    assert len(said) == 1
    assert said[0].startswith("node one: AMD Instinct: no meter")
