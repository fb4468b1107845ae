"""What is said of a cluster that others can reach."""

from __future__ import annotations

import pytest

from joulebench.cluster.connection import Node, connected, exposure, private_cluster
from joulebench.errors import InputError
from tests.ray_clusters import ray


def nodes(*addresses):
    return [Node(f"id{i}", f"node{i}", "host", {}, address) for i, address in enumerate(addresses)]


@pytest.mark.parametrize(
    ("addresses", "mode", "said"),
    [
        (("127.0.0.1", "127.0.0.1"), "", ()),
        (("10.0.0.1", "10.0.0.2"), "token", ()),
        (("10.0.0.1", "10.0.0.2"), "", ("no token",)),
        (("10.0.0.1", "8.8.8.8"), "token", ("not private: node1 (8.8.8.8);",)),
        (("10.0.0.1", "2600::1"), "disabled", ("no token", "node1 (2600::1)")),
        (("fd00::1",), "token", ()),
        ((), "", ()),
    ],
)
def test_a_cluster_that_others_can_reach_is_warned_of(monkeypatch, addresses, mode, said):
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    warning = exposure(nodes(*addresses))
    assert (warning is None) == (not said)
    assert all(part in (warning or "") for part in said)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Exception("timed out during startup"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize(
    "cluster",
    [lambda: private_cluster(2, "generic_cpu", 2), lambda: connected("127.0.0.1:1")],
    ids=["own", "joined"],
)
def test_what_ray_has_started_ends_where_it_does_not_come_up(monkeypatch, cluster, error, kind):
    ended = []

    def fails(**_):
        raise error

    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    with pytest.raises(kind), cluster():
        pytest.fail("it came up")
    assert ended == [True]
