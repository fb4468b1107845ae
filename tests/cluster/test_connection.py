"""What is said of a cluster that others can reach."""

from __future__ import annotations

import pytest

from joulebench.cluster.connection import Node, exposure


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
