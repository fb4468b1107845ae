"""Accelerators that no meter reads: announced at a run's start and listed by `joulebench hardware`."""

from __future__ import annotations

from types import SimpleNamespace

from joulebench.meters.select import availability, unmetered
from joulebench.runner import local
from joulebench.runner.plan import plan
from joulebench.spec.hardware import HardwareProfile, Host
from tests.meter_sources import FakeNvml, TickingClock
from tests.runner.test_local import write_toy

CPU = {"domain": "cpu", "source": "cpu_load_model", "kind": "estimated"}
GPU = {"domain": "gpu:0", "source": "zeus", "kind": "measured"}
AMD = Host("A CPU", 8, (), unmetered=("AMD GPU (ROCm)",) * 2)


def test_it_is_said_once_and_not_where_a_meter_of_ones_own_reads_it():
    words = unmetered(AMD, [CPU])
    assert words is not None
    assert words.startswith("AMD GPU (ROCm): no meter that ships with joulebench reads it")
    assert words.count("AMD") == 1
    assert unmetered(AMD, [CPU, GPU]) is None
    assert unmetered(Host("A CPU", 8, ()), [CPU]) is None


def test_each_is_listed_as_unavailable_with_a_remedy(tmp_path):
    nvml = FakeNvml([], TickingClock(), works=False)
    listed = availability(AMD, HardwareProfile(name="here", title="x"), powercap=tmp_path, nvml=nvml)
    found = [s for s in listed if s.source == "none"]
    assert [(s.domain, s.available) for s in found] == [("gpu", False)] * 2
    assert all("the CPU alone" in s.detail and "docs/extending.md" in str(s.remedy) for s in found)


def test_a_run_says_so_before_its_first_trial(monkeypatch, tmp_path):
    meters = SimpleNamespace(timeline=SimpleNamespace(describe=lambda: [CPU]))
    monkeypatch.setattr(local, "_execution", lambda *_: meters)
    said = []
    for replay in (None, "100"):
        chosen = plan(str(write_toy(tmp_path)), host=AMD, hardware="generic_cpu", replay=replay)
        local._Session.prepare(chosen, said.append)
    assert [event.kind for event in said] == ["note"]  # a replayed run measures nothing here
    assert "AMD GPU (ROCm)" in said[0].text
