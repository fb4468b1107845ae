"""The model that takes a machine's share of published servers, by hand; and what it adds to the range of a run."""

from __future__ import annotations

from typing import Any

import pytest

from joulebench.records.model import Reading
from joulebench.results.power_curve import ModelRange, model_range
from joulebench.results.server_share import ServerShare, by_share, modelled_parts, server_share
from tests.run_factory import RunBuilder, loaded, make_task

GIB = 2**30
HOST = {"cpu": "Intel(R) Xeon(R) Processor", "logical_cpus": 4, "memory_bytes": 24 * GIB, "accelerators": []}
LINE = {
    "domain": "cpu", "source": "cpu_load_model", "kind": "estimated", "role": "primary", "method": "TDP 60 W × …",
    "tdp_w": "60.0", "cpu_family": "epyc_rome", "server_idle_low_w": "0.5", "server_idle_high_w": "1.0",
    "server_full_low_w": "2.0", "server_full_high_w": "4.0",
}  # fmt: skip
#: Beyond 1 GB a thread there are 20 GB, at 0.392 W each.
MEMORY_W = 20 * 0.392


def pair() -> RunBuilder:
    """8000 and 7000 samples/s with 60 W of CPU and 20 W of RAM."""
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, wobble=0.001)
    run.add({"width": 9}, 7000, {"val_accuracy": 0.8}, wobble=0.001)
    return run


def read(run: RunBuilder, line: dict[str, str] = LINE, host: dict[str, Any] = HOST) -> ModelRange | None:
    return model_range(run.read(meters=[line], environment={"host": host}))


def test_power_is_linear_in_the_load_between_idle_and_full_and_has_the_memory_beyond_the_servers() -> None:
    share = ServerShare("Rome", 4, 24 * GIB, (0.5, 1.0), (2.0, 4.0))
    assert share.memory_w == pytest.approx(MEMORY_W)
    for load, low, high in ((0.0, 2.0, 4.0), (0.5, 5.0, 10.0), (1.0, 8.0, 16.0), (1.5, 8.0, 16.0)):
        assert share.power_w(load) == pytest.approx((low + MEMORY_W, high + MEMORY_W))
    assert ServerShare("Rome", 32, 24 * GIB, (0.5, 1.0), (2.0, 4.0)).memory_w == 0


def test_the_runs_range_has_the_share_in_place_of_cpu_and_ram() -> None:
    run = loaded(pair(), 0.5)
    found = read(run)
    assert found is not None
    assert found.share is not None
    assert found.share.family == "EPYC 7002 (Rome)"
    seconds = run.read().ledger.duration_s
    low_j, high_j = (5.0 + MEMORY_W) * seconds, (10.0 + MEMORY_W) * seconds
    assert found.total.servers_j == pytest.approx((low_j, high_j))  # there is nothing but CPU and RAM
    assert found.shared_j is not None
    assert found.shared_j.servers_j == pytest.approx((low_j, high_j))
    assert found.shared_j.model_j == pytest.approx(80.0 * seconds)
    assert (found.total.low, found.total.high) == pytest.approx((low_j, 80.0 * seconds))
    first = found.configurations[0]
    assert first.servers is not None
    assert [e.mean for e in first.servers] == pytest.approx([(5 + MEMORY_W) / 8000, (10 + MEMORY_W) / 8000])
    assert first.joules.low == first.servers[0].mean
    assert first.servers[0].kind == "estimated"


def test_net_joules_are_net_of_idle_by_the_same_share() -> None:
    objectives = {
        "val_accuracy": {"goal": "maximize", "reference": 0.1},
        "j_per_sample": {
            "goal": "minimize",
            "phase": "inference",
            "domains": ["gpu", "cpu", "ram"],
            "basis": "net",
        },
    }
    run = RunBuilder(make_task(objectives))
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    found = read(loaded(run, 1.0))
    assert found is not None
    (row,) = found.configurations
    assert row.servers is not None
    assert [e.mean for e in row.servers] == pytest.approx([4 * (2.0 - 0.5) / 8000, 4 * (4.0 - 1.0) / 8000])


def test_joules_of_the_cpu_alone_have_no_share_of_a_server_that_holds_its_ram_too() -> None:
    objectives = {"j_per_sample": {"goal": "minimize", "phase": "inference", "domains": ["cpu"], "basis": "gross"}}
    run = RunBuilder(make_task(objectives, analyses=("batch",)))
    run.add({}, 8000, {})
    found = read(loaded(run, 0.5))
    assert found is not None
    assert [row.servers for row in found.configurations] == [None]
    assert found.total.servers_j is not None


def test_records_without_a_family_have_the_range_of_two_models() -> None:
    plain = {name: text for name, text in LINE.items() if not name.startswith(("cpu_family", "server_"))}
    found = read(loaded(pair(), 0.5), plain)
    assert found is not None
    assert (found.share, found.shared_j, found.total.servers_j) == (None, None, None)
    assert all(row.servers is None for row in found.configurations)


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ({"server_full_low_w": "much"}, {}),
        ({"server_full_low_w": "nan"}, {}),
        ({"server_idle_low_w": "-1"}, {}),
        ({"server_full_high_w": "1e300"}, {}),
        ({}, {"logical_cpus": 0}),
        ({}, {"logical_cpus": True}),
        ({}, {"memory_bytes": 10**400}),
        ({}, {"logical_cpus": None}),
        ({}, {"memory_bytes": "24 GB"}),
    ],
)
def test_nonsense_is_no_share(line: dict[str, str], host: dict[str, Any]) -> None:
    manifest = pair().manifest(meters=[LINE | line], environment={"host": HOST | host})
    assert server_share(manifest) is None
    assert server_share(pair().manifest(meters=[LINE], environment={"host": HOST})) is not None
    assert server_share(pair().manifest(meters=[LINE], environment={})) is None


def test_a_measured_part_is_left_as_it_was() -> None:
    (window, *_) = loaded(pair(), 0.5).trials[0].windows
    share = ServerShare("Rome", 4, 24 * GIB, (0.5, 1.0), (2.0, 4.0))
    assert share.energy_j(window) is not None
    measured = Reading(domain="ram", source="rapl_dram", kind="measured", energy_j=5.0)
    mixed = window.model_copy(update={"readings": (*(r for r in window.readings if r.domain != "ram"), measured)})
    assert modelled_parts(mixed) is None
    assert share.energy_j(mixed) is None
    assert by_share(mixed, 7.0) is mixed
    changed = by_share(window, 7.0)
    assert sum(r.energy_j for r in changed.readings) == pytest.approx(7.0)
    assert {r.source for r in changed.readings} == {"server_share"}
