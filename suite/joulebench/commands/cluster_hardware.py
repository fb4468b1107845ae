"""What `joulebench hardware --ray` prints: the cluster's nodes, the profiles they serve, their meters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from joulebench.cluster.connection import SLOT, Node, alive_nodes, connected
from joulebench.cluster.probe import Found, probe
from joulebench.commands.hardware import host_lines, meter_lines, profile_lines
from joulebench.spec import catalog
from joulebench.spec.hardware import HardwareProfile, Host, mismatch


def cluster_lines(address: str) -> list[str]:
    """Every node of the cluster; a node that measures is not disturbed, and says so.

    Raises:
        InputError: there is no such cluster, or Ray is not installed.
    """
    with connected(address):
        nodes = alive_nodes()
        profiles = served(nodes)
        found = probe(profiles, nodes)
    return [line for node in nodes for line in node_lines(node, profiles.get(node.id), found.get(node.id))]


def served(nodes: list[Node]) -> dict[str, HardwareProfile]:
    """The profile of the catalogue that each node is labelled with, by the node's id; the first, if several."""
    known = catalog.profile_files()
    labels = {node.id: next((label for label in node.labels if label in known), None) for node in nodes}
    return {key: catalog.find_profile(label) for key, label in labels.items() if label is not None}


def node_lines(node: Node, profile: HardwareProfile | None, found: Found | None) -> Iterator[str]:
    """One node in words; `found` is what it says of itself, or why it says nothing."""
    yield f"Node {node.name} ({node.hostname})"
    yield f"  resources     {_resources(node.resources) or 'none'}"
    if profile is None:
        yield "  measures nothing: no resource is named after a hardware profile of the catalogue"
        yield ""
        return
    if not node.has_slot:
        yield f"  cannot measure: it lacks the resource {SLOT} = 1"
    if found is None or isinstance(found, str):
        yield f"  {found or 'nothing is known of it'}"
        yield ""
        return
    host, statuses = found
    yield from (f"  {line}" for line in host_lines(host))
    yield from (f"  {line}" for line in _head(profile, host))
    yield from (f"  {line}" for line in meter_lines(statuses))
    yield ""


def _head(profile: HardwareProfile, host: Host) -> list[str]:
    """The profile's name, and how it differs from the node: its facts are in `joulebench hardware NAME`."""
    lines = list(profile_lines(profile, differs := mismatch(profile, host)))
    return lines[: 2 if differs else 1]


def _resources(resources: Mapping[str, float]) -> str:
    shown = {n: v for n, v in resources.items() if ":" not in n and "memory" not in n}
    return ", ".join(f"{name} {value:g}" for name, value in sorted(shown.items()))
