"""Meters of installed packages: found by their entry points, taken by name, and listed with why they cannot be."""

from __future__ import annotations

import importlib
import sys

import pytest

from joulebench.errors import InputError
from joulebench.host.clock import VirtualClock
from joulebench.meters import plugins, zeus_devices
from joulebench.meters.select import AUTOMATIC, availability, meters_for
from joulebench.spec.hardware import HardwareProfile, Host
from joulebench.spec.registry import METERS
from tests.commands.calling import call

PROFILE = HardwareProfile(name="here", title="x")
HOST = Host("A CPU", 2, ())
POINTS = """\
[joulebench.meters]
bench_top = bench_top_meter:offer
not_here = bench_top_meter:not_here
absent = bench_top_meter:absent
crashes = bench_top_meter:crashes
stops = bench_top_meter:stops
no_offer = bench_top_meter:no_offer
lost = bench_top_meter:lost
no_module = bench_top_missing:offer
[joulebench.studies]
other = bench_top_meter:other
"""
CODE = '''
from joulebench.errors import MeterError
from joulebench.meters.base import Counter, MeterOffer, description

STOPPED = []


class BenchTop:
    """A supply that is read by its serial line; here it draws 7 W."""

    def __init__(self, clock):
        self.clock = clock

    def start(self):
        self.start_s = self.clock.now_s()

    def read(self):
        return (Counter("cpu", 7.0 * (self.clock.now_s() - self.start_s), "bench_top", "measured"),)

    def integrals(self):
        return {}

    def stop(self):
        STOPPED.append(self)

    def describe(self):
        return [description("cpu", "bench_top", "measured", "supply at its output")]


def offer(request):
    return MeterOffer(BenchTop(request.clock), ("cpu",))


def not_here(request):
    return None


def absent(request):
    raise MeterError("no supply answers at /dev/ttyUSB0")


def crashes(request):
    raise ZeroDivisionError("by its author")


def stops(request):
    raise SystemExit(3)


def no_offer(request):
    return "meter"


def lost(request):
    return MeterOffer(BenchTop(request.clock), ("ram",))
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of somebody's, as `pip install` lays it down, on the import path."""
    (tmp_path / "bench_top_meter.py").write_text(CODE)
    info = tmp_path / "bench_top-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-top\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("bench_top_meter", None)


def listed(tmp_path):
    return {s.source: s for s in availability(HOST, PROFILE, powercap=tmp_path / "none")}


def test_each_is_listed_as_available_or_why_not(package):
    found = listed(package)
    assert found["bench_top"].available
    assert found["bench_top"].domain == "cpu"
    assert found["bench_top"].detail == (
        "supply at its output; a run takes it with --meter bench_top, of bench-top 1.2"
    )
    why = {name: s.detail for name, s in found.items() if not s.available and s.domain == plugins.UNKNOWN}
    assert why == {
        "not_here": "it offers nothing on this machine",
        "absent": "no supply answers at /dev/ttyUSB0",
        "crashes": "ZeroDivisionError: by its author",
        "stops": "SystemExit: 3",
        "no_offer": "it returns a str instead of a MeterOffer",
        "lost": "meter 'lost' reads cpu, and offered ram",
        "no_module": "--meter: no module 'bench_top_missing' (for 'bench_top_missing:offer') here, beside the task "
        "file or on PYTHONPATH",
        "zeus": "the library zeus is not installed",
    }
    assert found["zeus"].remedy == zeus_devices.REMEDY
    assert sys.modules["bench_top_meter"].STOPPED


def test_a_run_takes_it_by_name_and_none_by_itself(package):
    def sources(*own):
        meter = meters_for(PROFILE, "cpu", VirtualClock(), None, package / "none", own=own)
        meter.start()
        found = {(c.domain, c.source, c.role) for c in meter.read()}
        meter.stop()
        return found

    assert sources("bench_top") == {
        ("cpu", "bench_top", "primary"), ("cpu", "cpu_load_model", "check"), ("ram", "ram_model", "primary")
    }  # fmt: skip
    assert {source for _, source, _ in sources()} == {"cpu_load_model", "ram_model"}
    assert AUTOMATIC == ("rapl", "codecarbon", "nvml")
    assert set(METERS.shipped) - set(AUTOMATIC) == {"zeus"}
    with pytest.raises(InputError, match="did you mean 'bench_top'"):
        sources("bench_to")
    with pytest.raises(InputError, match="the library zeus is not installed"):
        sources("zeus")


def test_the_command_lists_it(package, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "hardware", "generic_cpu")
    assert code == 0
    lines = {line.split()[1]: line for line in out.partition("Meters\n")[2].splitlines()}
    assert "available: supply at its output" in lines["bench_top"]
    assert "unavailable because no supply answers at /dev/ttyUSB0" in lines["absent"]
    assert "to enable: pip install 'joulebench[zeus]'" in lines["zeus"]


def test_a_live_meters_file_that_is_wrong_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "plug.toml").write_text('url = "http://h/"\npath = "p"\nunit = "W"\nscope = "house"\n')
    code, _, err = call(monkeypatch, capsys, "hardware", "generic_cpu", "--meter", tmp_path / "plug.toml")
    assert code == 2
    assert "scope: must be one of gpu, package, dram, module, node, wall" in err
    assert err.count("\n") == 1
    code, _, err = call(monkeypatch, capsys, "hardware", "--all", "--meter", tmp_path / "plug.toml")
    assert code == 2
    assert "--meter: not read with --all" in err
