"""The fixture `energy_benchmark` in a user's own test file."""

from __future__ import annotations

import json
import re

import pytest

from joulebench.gate.files import from_benchmark_json
from joulebench.gate.plugin import pytest_collection_modifyitems

pytest_plugins = ["pytester"]

USERS_FILE = """
    import time
    import pytest

    def work(n, scale=1):
        time.sleep(0.005)
        return scale * n

    @pytest.mark.benchmark(group="mine")
    def test_mine(energy_benchmark):
        assert energy_benchmark(work, 4, units=4, unit="sample", configuration={"n": 4}, scale=2) == 8
        energy_benchmark.extra_info["note"] = "hello"

    def test_plain(benchmark):
        benchmark(work, 1)
"""


@pytest.fixture
def users(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # pytest-benchmark measures nothing in a worker
    pytester.makepyfile(test_users=USERS_FILE)
    return pytester


def run(pytester, *options):
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)


def test_a_users_file_measures_time_and_joules(users):
    """From 50 W replayed: joules are watts times seconds, and pytest-benchmark's time is the windows'."""
    done = run(users, "--energy-replay", "50", "--benchmark-json=out.json", "--energy-form", "quick")
    done.assert_outcomes(passed=2)
    data = json.loads((users.path / "out.json").read_text())
    mine = next(b for b in data["benchmarks"] if b["name"] == "test_mine")
    energy, time_s = mine["extra_info"]["energy"], mine["stats"]["mean"]
    assert mine["group"] == "mine"
    assert mine["extra_info"]["note"] == "hello"
    assert 0.005 <= time_s < 0.1
    assert energy["j_per_unit"] == pytest.approx(50 * time_s / 4, rel=0.01)
    assert energy["low"] < energy["j_per_unit"] < energy["high"]
    assert energy["n"] == mine["stats"]["rounds"] >= 2
    assert (energy["unit"], energy["kind"]) == ("sample", "estimated")
    assert energy["source"] == {"cpu": "replay (estimated)"}

    (row,) = [line for line in done.outlines if line.startswith("test_users.py::test_mine")]  # pytest's own summary
    _, mean, low, high, unit, watts, _, kind, valid, _, tried = re.split(r"[\s\[\],]+", row)
    factor = {"mJ/sample": 1e-3, "J/sample": 1.0}[unit]
    told = [float(value) * factor for value in (mean, low, high)]
    assert told == pytest.approx([energy["j_per_unit"], energy["low"], energy["high"]], rel=1e-3)
    assert (float(watts), kind, int(valid)) == (pytest.approx(50, rel=0.01), "estimated", energy["n"])
    assert int(tried) == energy["n"] + energy["invalid_windows"]

    replicate = from_benchmark_json(data, "out.json")
    (measured,) = replicate.measurements
    assert measured.name == "test_users.py::test_mine"
    assert measured.configuration == {"n": 4}
    assert replicate.environment["host"]["logical_cpus"] >= 1
    assert all(w.units == 4 * w.steps for w in measured.windows if w.phase == "benchmark")


def test_within_a_session_only_energy_benchmarks_run(users):
    done = run(users, "--energy-replay", "50", "--energy-session", "x", "--benchmark-json=out.json")
    done.assert_outcomes(passed=1, deselected=1)
    assert json.loads((users.path / "out.json").read_text())["joulebench"]["session"] == "x"


def test_where_benchmarks_are_disabled_the_work_is_done_once(pytester):
    pytester.makepyfile(
        """
        calls = []

        def test_mine(energy_benchmark):
            assert energy_benchmark(calls.append, 4, units=4, prepare=lambda: calls.append("ready")) is None
            assert calls == ["ready", 4]
        """
    )
    run(pytester, "--benchmark-disable").assert_outcomes(passed=1)


def test_a_profile_that_is_not_this_machines_is_refused(users):
    done = run(users, "--energy-hardware", "nvidia_h1000", "--energy-replay", "50")
    assert "no hardware profile 'nvidia_h1000'" in done.stdout.str()
    assert done.ret != 0


def test_a_session_without_the_fixture_loads_nothing(pytester):
    pytester.makepyfile(
        """
        import sys

        def test_light():
            heavy = {"torch", "numpy", "joulebench.measurement.protocol", "codecarbon", "pydantic"}
            assert not heavy & set(sys.modules)
        """
    )
    run(pytester, "-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_nothing_is_deselected_outside_a_session(pytestconfig, request):
    items = [request.node]
    pytest_collection_modifyitems(pytestconfig, items)
    assert items == [request.node]
