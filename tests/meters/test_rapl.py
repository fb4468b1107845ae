"""RAPL on synthetic powercap trees, and what a run reads where it is or is not there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from joulebench.errors import MeterError
from joulebench.host.clock import RealClock, VirtualClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters import rapl as rapl_module
from joulebench.meters.rapl import PERIOD_S, RaplMeter, Zone, find_rapl
from joulebench.meters.replay import PowerTrace
from joulebench.meters.select import availability, meters_for
from joulebench.records.model import FaultKind
from joulebench.results.validity import invalidity
from joulebench.spec.hardware import HardwareProfile, Host
from joulebench.spec.task import Protocol
from tests.conftest import REPOSITORY
from tests.meter_sources import FakeNvml, Gpu, TickingClock, powercap_zone

PROTOCOL = Protocol(warmup_s=0, window_s=2.0, repeats=3, max_repeats=6, target_rel_ci=0.02, idle_s=0)
PROFILE = HardwareProfile(name="here", title="This machine")
HOST = Host("A CPU", 2, ())
RANGE_UJ = 262_143_328_850


@pytest.fixture
def tree(tmp_path):
    """Two sockets with everything a tree may hold, listed as sysfs does: subzones twice, packages also by MMIO."""
    root = tmp_path / "powercap"
    for socket in (0, 1):
        powercap_zone(root / f"intel-rapl:{socket}", f"package-{socket}", (socket + 1) * 1_000_000)
        powercap_zone(root / f"intel-rapl-mmio:{socket}", f"package-{socket}", 9_000_000)
        for number, name in enumerate(("core", "uncore", "dram")):
            for parent in (root, root / f"intel-rapl:{socket}"):
                powercap_zone(parent / f"intel-rapl:{socket}:{number}", name, 5_000_000)
        powercap_zone(root / f"intel-rapl-mmio:{socket}:0", "dram", 9_000_000)
    powercap_zone(root / "intel-rapl:2", "psys", 7_000_000)
    (root / "intel-rapl").mkdir()
    return root


def add_uj(zone, uj):
    path = zone / "energy_uj"
    path.write_text(str(int(path.read_text()) + uj))


def forbid(monkeypatch, *names):
    """Make these files unreadable; tests run as root, whom no mode keeps out."""
    text = rapl_module._text

    def guarded(path):
        path = Path(path)
        if path.name in names or str(path.relative_to(path.parents[1])) in names:
            raise PermissionError(13, "Permission denied", str(path))
        return text(path)

    monkeypatch.setattr(rapl_module, "_text", guarded)


def test_packages_and_dram_are_summed_once_and_nothing_else(tree):
    meter = RaplMeter(find_rapl(tree))
    meter.start()
    before = {c.domain: c for c in meter.read()}
    for path in tree.rglob("energy_uj"):
        name = (path.parent / "name").read_text().strip()
        if "mmio" not in path.parent.name:
            add_uj(path.parent, {"package-0": 3_000_000, "package-1": 4_000_000, "dram": 500_000}.get(name, 90_000))
    after = {c.domain: c for c in meter.read()}
    meter.stop()
    assert {d: after[d].energy_j - before[d].energy_j for d in after} == pytest.approx({"cpu": 7.0, "ram": 1.0})
    assert {c.source for c in after.values()} == {"rapl_package", "rapl_dram"}
    assert all(c.kind == "measured" and c.updates >= 1 for c in after.values())
    assert "package-0, package-1, summed" in meter.describe()[0]["method"]


def test_a_package_only_mmio_shows_is_still_read(tmp_path):
    powercap_zone(tmp_path / "intel-rapl-mmio:0", "package-0")
    (zone,) = find_rapl(tmp_path).zones["package"]
    assert zone.path.name == "intel-rapl-mmio:0"


def test_dies_are_packages_of_their_own(tmp_path):
    for number in (0, 1):
        powercap_zone(tmp_path / f"intel-rapl:{number}", f"package-0-die-{number}")
    assert len(find_rapl(tmp_path).zones["package"]) == 2


def test_one_unreadable_socket_makes_the_part_unavailable(tree, monkeypatch):
    forbid(monkeypatch, "intel-rapl:1/energy_uj")
    found = find_rapl(tree)
    assert found.domains() == ("ram",)
    assert "intel-rapl:1/energy_uj may only be read by root" in found.why_not["package"]
    assert "chmod -R a+r /sys/class/powercap" in found.remedy["package"]


def test_a_counter_that_reads_0_is_not_one(tmp_path):
    powercap_zone(tmp_path / "intel-rapl:0", "package-0", uj=0)
    assert "reads 0" in find_rapl(tmp_path).why_not["package"]


def test_a_file_that_goes_away_drops_the_domain(tree):
    meter = RaplMeter(find_rapl(tree), ["cpu"])
    meter.start()
    assert [c.domain for c in meter.read()] == ["cpu"]
    (tree / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.read() == ()
    meter.stop()
    with pytest.raises(MeterError, match="not running"):
        meter.read()
    with pytest.raises(MeterError, match="cannot any more"):
        meter.start()


class Simulated:
    """A package of constant power behind the real meter, on a ticking clock."""

    def __init__(self, monkeypatch, tmp_path, counter, tdp_w=None):
        powercap_zone(tmp_path / "intel-rapl:0", "package-0", range_uj=RANGE_UJ)
        found = find_rapl(tmp_path)
        self.clock = TickingClock()
        self.sampler = self.clock.sampler(PERIOD_S)
        monkeypatch.setattr(Zone, "energy_uj", lambda zone: counter(self.clock.now_s()))
        self.timeline = Timeline(RaplMeter(found, ["cpu"], tdp_w, self.clock, self.sampler), self.clock)
        self.timeline.start()

    def windows(self, *seconds):
        found = []
        for length in seconds:
            self.clock.sleep(length)
            found.append(self.timeline.cut("inference", units=1, steps=1))
        return found


def test_a_wrap_loses_nothing(monkeypatch, tmp_path):
    bench = Simulated(monkeypatch, tmp_path, lambda t: (RANGE_UJ - 700_000_000 + int(200e6 * t)) % RANGE_UJ)
    for window in bench.windows(3.0, 3.0, 3.0):
        assert invalidity(window, PROTOCOL) is None
        assert window.readings[0].energy_j == pytest.approx(600.0)
        assert window.readings[0].counter_updates >= 70


@pytest.mark.parametrize(
    ("counter", "message"),
    [
        (lambda t: int(5e9 + 200e6 * t) if t < 4 else int(200e6 * (t - 4)), "it was reset"),
        (lambda t: int(5e9 + 200e6 * t) if not 3.5 < t < 5.2 else int(5e9 + 700e6), "stood still"),
    ],
)
def test_a_reset_or_stuck_counter_is_flagged(monkeypatch, tmp_path, counter, message):
    good, bad, after = Simulated(monkeypatch, tmp_path, counter).windows(3.0, 3.0, 3.0)
    assert invalidity(good, PROTOCOL) is None
    assert message in invalidity(bad, PROTOCOL).text
    assert "package-0" in bad.fault.text
    assert invalidity(after, PROTOCOL) is None


def test_a_counter_not_read_for_so_long_that_it_may_have_wrapped_twice_is_flagged(monkeypatch, tmp_path):
    bench = Simulated(monkeypatch, tmp_path, lambda t: (1 + int(200e6 * t)) % RANGE_UJ, tdp_w=250.0)
    bench.sampler.held = True
    (window,) = bench.windows(300.0)  # 262 kJ at 4 × 250 W: 262 s
    assert "may have wrapped more than once" in invalidity(window, PROTOCOL).text


@pytest.mark.parametrize("tdp_w", [None, 180.0])
def test_a_leap_that_no_power_explains_is_a_fault_and_is_not_counted(monkeypatch, tmp_path, tdp_w):
    bench = Simulated(monkeypatch, tmp_path, lambda t: int(5e9 + 100e6 * t + (20e9 if t > 4 else 0)), tdp_w)
    good, bad, after = bench.windows(3.0, 3.0, 3.0)
    assert bad.fault.kind is FaultKind.IMPOSSIBLE_POWER
    assert "package-0" in bad.fault.text
    assert [invalidity(w, PROTOCOL) for w in (good, after)] == [None, None]
    assert bad.readings[0].energy_j == pytest.approx(300.0, abs=100 * PERIOD_S * 1.01)


def test_a_process_that_was_frozen_has_no_window_that_counts_and_keeps_its_joules(monkeypatch, tmp_path):
    bench = Simulated(monkeypatch, tmp_path, lambda t: int(5e9 + 100e6 * t))
    bench.windows(3.0)
    bench.sampler.held = True
    bench.clock.sleep(8.0)
    bench.sampler.held = False
    frozen, after = bench.windows(3.0, 3.0)
    assert frozen.fault.kind is FaultKind.SAMPLING_GAP
    assert frozen.readings[0].energy_j == pytest.approx(1100.0)
    assert invalidity(after, PROTOCOL) is None


def state_limits(zone, long_w=None, short_w=None, enabled="1", tdp_w=125):
    """Write power limits of a zone as the kernel does."""
    (zone / "enabled").write_text(enabled + "\n")
    for number, (name, watts) in enumerate((("long_term", long_w), ("short_term", short_w))):
        if watts is not None:
            (zone / f"constraint_{number}_name").write_text(name + "\n")
            (zone / f"constraint_{number}_power_limit_uw").write_text(f"{watts * 1_000_000}\n")
            (zone / f"constraint_{number}_max_power_uw").write_text(f"{tdp_w * 1_000_000}\n")


@pytest.mark.parametrize(
    ("limits", "limit_w"),
    [
        ([(125, 250), (125, 250)], 500.0),
        ([(125, 250), (300, 200)], 550.0),
        ([(125, 250), (125, None)], None),  # a mean over some seconds may exceed a long-term limit
        ([(125, 250), (125, 250, "0")], None),
        ([(125, 250), (0, 0)], None),
        ([(125, 250), None], None),
        ([None, None], None),
    ],
)
def test_the_limits_that_hold_the_packages_add_up_and_are_absent_where_one_has_none(tree, limits, limit_w):
    for socket, limit in enumerate(limits):
        if limit:
            state_limits(tree / f"intel-rapl:{socket}", *limit)
    clock = TickingClock()
    timeline = Timeline(RaplMeter(find_rapl(tree), clock=clock, sampler=clock.sampler(PERIOD_S)), clock)
    timeline.start()
    clock.sleep(2.0)
    assert timeline.cut("inference").conditions.get("cpu_power_limit_w") == limit_w
    (tree / "intel-rapl:0" / "enabled").write_text("0")
    clock.sleep(2.0)
    assert "cpu_power_limit_w" not in timeline.cut("inference").conditions


def statuses(powercap, nvml=None, host=HOST):
    return {s.source: s for s in availability(host, PROFILE, powercap=powercap, nvml=nvml)}


def sources(powercap, role="primary"):
    """What a run on a CPU reads: domain -> (source, kind)."""
    meter = meters_for(PROFILE, "cpu", RealClock(), None, powercap)
    meter.start()
    try:
        meter.read()
        assert "cpu_utilisation" in meter.integrals()
        return {c.domain: (c.source, c.kind) for c in meter.read() if c.role == role}
    finally:
        meter.stop()


def test_readable_rapl_is_what_a_run_reads(tree):
    assert sources(tree) == {"cpu": ("rapl_package", "measured"), "ram": ("rapl_dram", "measured")}
    assert sources(tree, "check") == {"cpu": ("cpu_load_model", "estimated"), "ram": ("ram_model", "estimated")}
    found = statuses(tree)
    assert found["rapl_package"].available
    assert found["rapl_dram"].detail == "RAPL dram energy counter of package-0, package-1, summed"


def test_unreadable_rapl_is_estimated_and_the_remedy_given(tree, monkeypatch):
    forbid(monkeypatch, "energy_uj")
    assert sources(tree) == {"cpu": ("cpu_load_model", "estimated"), "ram": ("ram_model", "estimated")}
    found = statuses(tree)
    assert not found["rapl_package"].available
    assert "may only be read by root" in found["rapl_package"].detail
    assert "sudo chmod -R a+r /sys/class/powercap/*" in found["rapl_package"].remedy
    assert found["cpu_load_model"].available
    assert found["cpu_load_model"].kind == "estimated"


def test_without_rapl_everything_is_estimated(tmp_path):
    assert sources(tmp_path / "none") == {"cpu": ("cpu_load_model", "estimated"), "ram": ("ram_model", "estimated")}
    found = statuses(tmp_path)
    assert found["rapl_package"].detail == "this machine (often a virtual machine) exposes no RAPL"
    assert found["rapl_package"].remedy is None


def test_packages_without_dram_leave_the_ram_to_the_model(tmp_path):
    powercap_zone(tmp_path / "intel-rapl:0", "package-0")
    powercap_zone(tmp_path / "intel-rapl:0:0", "core")
    assert sources(tmp_path) == {"cpu": ("rapl_package", "measured"), "ram": ("ram_model", "estimated")}
    assert statuses(tmp_path)["rapl_dram"].detail == "this CPU's RAPL has no DRAM domain"


def test_the_load_model_runs_beside_the_counter_and_its_error_spoils_no_window(tree):
    """Counters that move by 3 J and 4 J against 60 W of TDP: a check far from its primary, kept and not judged."""
    profile = HardwareProfile(
        name="here", title="This machine", cpu_tdp_w={"value": 60.0, "source": "its maker", "date": "2024"}
    )
    clock = VirtualClock()
    timeline = Timeline(meters_for(profile, "cpu", clock, None, tree), clock)
    timeline.start()
    try:
        clock.sleep(2.0)
        add_uj(tree / "intel-rapl:0", 3_000_000)
        add_uj(tree / "intel-rapl:1", 4_000_000)
        window = timeline.cut("inference", units=1, steps=1)
        lines = {(d["source"], d["role"]): d for d in timeline.describe()}
    finally:
        timeline.stop()
    readings = {(r.domain, r.role): r for r in window.readings}
    assert readings["cpu", "primary"].energy_j == pytest.approx(7.0)
    check = readings["cpu", "check"]
    assert (check.source, check.kind) == ("cpu_load_model", "estimated")
    assert 2 * 0.1 * 60 <= check.energy_j <= 2 * 60
    many = [
        r.model_copy(update={"counter_updates": 50}) if r.counter_updates else r
        for r in window.readings
        if r.domain == "cpu"
    ]
    moving = window.model_copy(update={"readings": tuple(many), "fault": None})  # files stand still in between
    assert invalidity(moving, PROTOCOL) is None
    assert float(lines["cpu_load_model", "check"]["tdp_w"]) == 60.0
    assert ("ram_model", "primary") not in lines  # RAPL reads the DRAM


def test_a_check_that_fails_is_left_out_and_the_counter_read_on(tree, monkeypatch):
    def fail(*_, **__):
        raise OSError("no load")

    with monkeypatch.context() as patch:
        patch.setattr("codecarbon.external.hardware.CPU.start", fail)
        with pytest.warns(UserWarning, match="no load"):
            assert sources(tree, "check") == {"ram": ("ram_model", "estimated")}
    meter = meters_for(PROFILE, "cpu", RealClock(), None, tree)
    meter.start()
    with monkeypatch.context() as patch:
        patch.setattr("codecarbon.external.hardware.CPU.measure_power_and_energy", fail)
        with pytest.warns(UserWarning, match="no load"):
            meter.read()
    assert [(c.source, c.role) for c in meter.read()] == [
        ("rapl_package", "primary"),
        ("rapl_dram", "primary"),
        ("ram_model", "check"),
    ]
    meter.stop()


def test_codecarbon_never_reads_rapl_itself(tree, monkeypatch):
    monkeypatch.setattr("codecarbon.core.cpu.is_rapl_available", lambda *_: True)
    forbid(monkeypatch, "energy_uj")
    assert sources(tree)["cpu"] == ("cpu_load_model", "estimated")


def test_a_replay_reads_the_trace_and_nothing_else(tree):
    meter = meters_for(PROFILE, "cpu", RealClock(), "42", tree)
    meter.start()
    assert [c.source for c in meter.read()] == ["replay"]
    assert meter.integrals() == {}


def test_a_run_records_how_long_each_of_its_meters_took(tree):
    timeline = Timeline(meters_for(PROFILE, "cpu", RealClock(), None, tree), RealClock())
    timeline.start()
    try:
        time.sleep(0.2)
        window = timeline.cut("inference")
    finally:
        timeline.stop()
    shares = {name for name in window.conditions if name.endswith("_read_share")}
    assert shares == {"rapl_read_share", "codecarbon_read_share", "host_read_share"}
    assert all(0 < window.conditions[name] < 0.5 for name in shares)
    assert 0 < window.conditions["rapl_sampling_cpus"] < 0.5


def test_the_gpus_of_a_host(tmp_path):
    clock = TickingClock()
    watts = PowerTrace("gpu:0", (0.0,), (100.0,))
    nvml = FakeNvml([Gpu(watts), Gpu(watts, counter=False), Gpu(watts, counter=False, power=False)], clock)
    host = Host("A CPU", 2, ("Fake H100",) * 3)
    found = {(s.domain, s.source): s for s in availability(host, PROFILE, powercap=tmp_path, nvml=nvml)}
    available = {key for key, status in found.items() if status.available and key[0].startswith("gpu")}
    assert available == {("gpu:0", "nvml_counter"), ("gpu:0", "nvml_power"), ("gpu:1", "nvml_power")}
    assert "no energy counter" in found["gpu:1", "nvml_counter"].detail
    assert "gives no power" in found["gpu:2", "nvml_power"].detail
    assert nvml.open == 0
    absent = statuses(tmp_path, FakeNvml([], clock, works=False))["nvml_counter"]
    assert "NVML Shared Library Not Found" in absent.detail
    assert "driver" in absent.remedy


def test_asking_what_is_available_imports_no_torch_and_leaves_nothing_running():
    code = (
        "import sys, threading\n"
        "from joulebench.spec.hardware import HardwareProfile, Host\n"
        "from joulebench.meters.select import availability\n"
        "assert availability(Host('A CPU', 2, ()), HardwareProfile(name='here', title='x'))\n"
        "assert 'torch' not in sys.modules\n"
        "import time; time.sleep(0.05)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
