"""Every meter keeps the contract; each says truly where its joules come from."""

from __future__ import annotations

import math
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import InputError, MeterError
from joulebench.host.clock import VirtualClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import Counter, MeterSet, description, difference
from joulebench.meters.codecarbon import CodeCarbonMeter, grid_intensity_g_per_kwh
from joulebench.meters.host import HostMeter
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.rapl import RaplMeter, find_rapl
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.meters.sampling import ThreadSampler
from joulebench.results.energy import matches
from tests.factories import fault
from tests.meter_sources import FakeNvml, Gpu, powercap_zone

WATTS = PowerTrace("gpu:0", (0.0,), (100.0,))


@pytest.fixture
def meters(tmp_path):
    clock = VirtualClock()
    powercap_zone(tmp_path / "intel-rapl:0", "package-0")
    nvml = FakeNvml([Gpu(WATTS), Gpu(WATTS, counter=False), Gpu(WATTS, counter=False, power=False)], clock)
    return {
        "codecarbon": CodeCarbonMeter(),
        "nvml": NvmlMeter(nvml.uuids, nvml),
        "rapl": RaplMeter(find_rapl(tmp_path)),
        "host": HostMeter(),
        "replay": ReplayMeter([PowerTrace("cpu", (0.0,), (5.0,))], clock, "5 W"),
    }


@pytest.mark.parametrize("name", ["codecarbon", "nvml", "rapl", "host", "replay"])
def test_the_contract(meters, name):
    meter = meters[name]
    meter.start()
    try:
        first, second = meter.read(), meter.read()
        conditions, later = meter.integrals(), meter.integrals()
        described = {(line["domain"], line["source"]): line for line in meter.describe()}
    finally:
        meter.stop()
    assert [(c.domain, c.source) for c in first] == [(c.domain, c.source) for c in second] == list(described)
    for before, after in zip(first, second, strict=True):
        assert 0 <= before.energy_j <= after.energy_j
        line = described[after.domain, after.source]
        assert (line["kind"], line.get("role", "primary")) == (after.kind, after.role)
        assert line["method"]
    assert list(conditions) == list(later)
    assert all(later[condition] >= value for condition, value in conditions.items())
    assert not [t for t in threading.enumerate() if t.name.startswith("joulebench")]


def test_if_one_meter_does_not_start_the_others_are_stopped():
    stopped = []

    class Recording(ReplayMeter):
        def stop(self):
            stopped.append(self)

    class Broken(ReplayMeter):
        def start(self):
            raise MeterError("broken")

    good, bad = (kind([WATTS], VirtualClock(), "test") for kind in (Recording, Broken))
    with pytest.raises(MeterError, match="broken"):
        MeterSet([good, bad]).start()
    assert stopped == [good]


def test_a_set_knows_what_share_of_the_time_each_meter_was_read_for():
    """Reads of 0.3 s and conditions of 0.1 s, once in a window of 10 s: 4 %."""
    clock = VirtualClock()

    class Slow(ReplayMeter):
        def read(self):
            clock.sleep(0.3)
            return super().read()

        def integrals(self):
            clock.sleep(0.1)
            return super().integrals()

    meters = [Slow([WATTS], clock, "a"), ReplayMeter([PowerTrace("cpu", (0.0,), (5.0,))], clock, "b")]
    timeline = Timeline(MeterSet(meters, clock, ["slow", "quick"]), clock)
    timeline.start()
    clock.sleep(9.6)
    assert timeline.cut("inference").conditions == {"slow_read_share": 0.04, "quick_read_share": 0.0}
    assert MeterSet(meters).integrals() == {}


def test_a_check_that_fails_leaves_the_window_standing_and_a_primary_that_fails_does_not():
    primary = Counter("gpu:0", 1.0, "nvml_counter", "measured")
    check = Counter("gpu:0", 1.0, "nvml_power", "measured", "check")
    readings, why = difference([primary, check], [primary, replace(check, fault=fault("was not sampled"))])
    assert ([r.role for r in readings], why) == (["primary"], None)
    assert difference([primary, check], [primary])[1] is None
    assert difference([primary], [primary, check])[1] is None
    readings, why = difference([primary, check], [replace(primary, fault=fault("stood still")), check])
    assert ([r.role for r in readings], why.text) == (["primary", "check"], "gpu:0 (nvml_counter) stood still")


@pytest.mark.parametrize("problem", [None, "was not read for 8 s"])
def test_the_joules_of_a_faulty_window_are_read_and_what_is_no_energy_is_not(problem):
    before = Counter("gpu:0", 10.0, "nvml_counter", "measured", updates=5)
    for end_j, updates, energies in (
        (12.5, 9, [2.5]),
        (10.0, 5, [0.0]),
        (12.5, 2, [2.5]),
        (9.0, 6, []),
        (math.nan, 6, []),
    ):
        after = replace(before, energy_j=end_j, updates=updates, fault=fault(problem) if problem else None)
        readings, why = difference([before], [after])
        assert [r.energy_j for r in readings] == energies
        assert [r.counter_updates for r in readings] == [max(0, updates - 5)] * len(energies)
        assert (why is None) == (problem is None and energies != [])


def test_a_dead_sampler_raises_instead_of_standing_still():
    sampler = ThreadSampler("joulebench-test", 0.001)
    with pytest.raises(MeterError, match="not running"):
        sampler.check()
    sampler.start(lambda: 1 / 0)
    time.sleep(0.1)
    with pytest.raises(MeterError, match=r"died \(ZeroDivisionError"):
        sampler.check()
    sampler.stop()


@pytest.mark.parametrize(("tdp_w", "ram_w"), [(100.0, 12.0)])
def test_codecarbon_counts_power_times_time_with_the_profiles_power(tdp_w, ram_w):
    meter = CodeCarbonMeter(cpu_power_w=tdp_w, ram_power_w=ram_w)
    joules, seconds = _codecarbon_over(meter, 0.5)
    assert joules["ram"] == pytest.approx(ram_w * seconds, rel=0.02)
    assert 0.09 * tdp_w * seconds <= joules["cpu"] <= 1.02 * tdp_w * seconds  # TDP × (0.1 + 0.9 load³)
    assert all(line["kind"] == "estimated" for line in meter.describe())
    assert "hardware profile" in {line["domain"]: line for line in meter.describe()}["ram"]["method"]


def _codecarbon_over(meter, seconds):
    """Joules per domain over a real while, and how long it was."""
    meter.start()
    try:
        before, start = {c.domain: c for c in meter.read()}, time.perf_counter()
        time.sleep(seconds)
        after, seconds = {c.domain: c for c in meter.read()}, time.perf_counter() - start
    finally:
        meter.stop()
    return {d: after[d].energy_j - before[d].energy_j for d in after}, seconds


def _hostile(name):
    return f"""[{name}]
pue = 10
wue = 3
force_ram_power = 1000
force_cpu_power = 100000
force_mode_cpu_load = true
gpu_ids = 0
tracking_mode = process
measure_power_secs = 0.01
rapl_prefer_psys = true
rapl_include_dram = true
allow_multiple_runs = false
save_to_file = true
output_methods = csv
emissions_endpoint = http://127.0.0.1:1/
output_dir = /nowhere
"""


@pytest.mark.parametrize("where", ["environment", "home", "working folder"])
def test_codecarbon_settings_from_elsewhere_do_not_reach_the_joules(tmp_path, monkeypatch, where):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    if where == "environment":
        for line in _hostile("codecarbon").splitlines()[1:]:
            name, value = line.split(" = ")
            monkeypatch.setenv(f"CODECARBON_{name.upper()}", value)
            monkeypatch.setenv(f"codecarbon_{name}", value)
    else:
        folder = home if where == "home" else here
        (folder / ".codecarbon.config").write_text(_hostile("codecarbon"))
    joules, seconds = _codecarbon_over(CodeCarbonMeter(cpu_power_w=10.0), 0.2)
    assert joules["ram"] / seconds < 200
    assert joules["cpu"] / seconds < 10.5
    assert not list(here.glob("*.csv"))


def test_codecarbons_lock_file_does_not_matter_and_signals_stay_ours(monkeypatch):
    from codecarbon import lock

    interrupt = signal.getsignal(signal.SIGINT)
    path = Path(lock.LOCKFILE)
    existed = path.exists()
    path.touch()
    try:
        joules, _ = _codecarbon_over(CodeCarbonMeter(), 0.1)
    finally:
        if not existed:
            path.unlink()
    assert all(energy > 0 for energy in joules.values())
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_codecarbon_reports_only_the_domains_it_is_primary_for():
    meter = CodeCarbonMeter(domains=["ram"])
    joules, _ = _codecarbon_over(meter, 0.05)
    assert list(joules) == ["ram"]
    assert [line["domain"] for line in meter.describe()] == ["ram"]
    with pytest.raises(MeterError, match="none of gpu"):
        CodeCarbonMeter(domains=["gpu"]).start()


def test_codecarbon_that_stopped_says_so_instead_of_reading_0():
    meter = CodeCarbonMeter()
    with pytest.raises(MeterError, match="not running"):
        meter.read()
    meter.start()
    meter.stop()
    with pytest.raises(MeterError, match="not running"):
        meter.read()


def _broken(*_, **__):
    raise OSError("no such sensor")


def test_codecarbon_that_fails_later_says_so(monkeypatch):
    meter = CodeCarbonMeter()
    meter.start()
    monkeypatch.setattr("codecarbon.external.hardware.CPU.total_power", _broken)
    with pytest.raises(MeterError, match="CodeCarbon failed: OSError: no such sensor"):
        meter.read()
    meter.stop()


def test_grid_intensity_is_the_countrys_or_nothing():
    value, source = grid_intensity_g_per_kwh("fra")
    assert 10 < value < 200
    assert re.fullmatch(r"CodeCarbon [\d.]+ country table: France, 20\d\d", source)
    for wrong, nearest in {"FR": "'FRA'", "Germny": "'DEU' (Germany)", "france": "'FRA'", "USB": "'US"}.items():
        with pytest.raises(InputError, match=re.escape(nearest)):
            grid_intensity_g_per_kwh(wrong)
    for unknown in ("", "XQZ", "CAF"):
        with pytest.raises(InputError):
            grid_intensity_g_per_kwh(unknown)


class Fixed:
    """A meter that always reads the same counters."""

    def __init__(self, *counters):
        self.counters = counters

    def start(self):
        pass

    def read(self):
        return self.counters

    def integrals(self):
        return {}

    def stop(self):
        pass

    def describe(self):
        return [description(c.domain, c.source, c.kind, "a test", c.role) for c in self.counters]


@st.composite
def scope_trees(draw):
    """Counters on some nodes of a random tree of parts, each with what lies below it, in any order."""
    parents = [None, *(draw(st.integers(0, n - 1)) for n in range(1, draw(st.integers(1, 12))))]
    below = {n: set() for n in range(len(parents))}
    for n in range(len(parents)):
        above = parents[n]
        while above is not None:
            below[above].add(n)
            above = parents[above]
    nodes = draw(st.permutations(sorted(below)))
    read = nodes[: draw(st.integers(1, len(nodes)))]
    leaves = {n: below[n] - {parents[m] for m in below[n]} or {n} for n in below}
    counters = [
        Counter(f"part:{n}", 1.0, "test", "measured", contains=tuple(f"part:{m}" for m in sorted(below[n])))
        for n in read
    ]
    return counters, {f"part:{n}": leaves[n] for n in below}, {f"part:{n}": below[n] for n in below}


@given(scope_trees(), st.data())
def test_of_any_tree_of_parts_no_leaf_is_summed_twice(tree, data):
    counters, leaves, below = tree
    meters = MeterSet([Fixed(counter) for counter in counters])
    summed = [c.domain for c in meters.read() if c.role == "primary"]
    counted = [leaf for domain in summed for leaf in leaves[domain]]
    assert len(counted) == len(set(counted))
    for counter in counters:  # what is not summed has a part in another that is, finer than it
        if counter.domain not in summed:
            assert any(int(other.removeprefix("part:")) in below[counter.domain] for other in summed)
    meters._meters = tuple(Fixed(c) for c in data.draw(st.permutations(counters))[1:])
    assert {c.domain for c in meters.read() if c.role == "primary"} <= set(summed)  # also where one drops out
    roles = {line["domain"]: line["role"] for line in MeterSet.describe(meters)}
    assert all((role == "primary") == (domain in summed) for domain, role in roles.items())


def test_a_module_is_a_check_beside_its_gpu_and_stands_for_all_where_it_is_alone():
    module = Counter("module:0", 520.0, "test", "measured", contains=("gpu:0", "cpu", "ram"))
    gpu, cpu = Counter("gpu:0", 300.0, "test", "measured"), Counter("cpu", 65.0, "cpu_load_model", "estimated")
    beside = MeterSet([Fixed(module), Fixed(cpu), Fixed(gpu)])
    assert [c.role for c in beside.read()] == ["check", "primary", "primary"]
    line = beside.describe()[0]
    assert (line["role"], line["scope"]) == ("check", "module")
    assert line["method"] == "a test; shares a part with cpu, so never summed"
    alone = MeterSet([Fixed(module)])
    assert [c.role for c in alone.read()] == ["primary"]
    assert matches("module:0", ("gpu", "cpu", "ram"))
    assert not matches("module:0", ("gpu", "cpu"))
