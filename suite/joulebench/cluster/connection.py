"""Connection to a Ray cluster, and its nodes."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.extras import require

SLOT = "joulebench"  # custom resource of a node; a worker takes all of it
_OURS = {"CPU", "GPU", "memory", "object_store_memory", SLOT}


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the cluster, or one GPU of it that measures by itself.

    Attributes:
        resources: its total ones; of a GPU its share.
        card: UUID of that GPU; empty for a whole node.
    """

    id: str
    name: str
    hostname: str
    resources: Mapping[str, float]
    address: str = ""
    card: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What one worker takes: the node, or the GPU on it."""
        return self.id, self.card

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its custom resources; one of them names its hardware profile."""
        return tuple(n for n in self.resources if n not in _OURS and ":" not in n)

    @property
    def has_slot(self) -> bool:
        return self.resources.get(SLOT, 0.0) >= 1.0


def ray_module() -> Any:
    """Import Ray.

    Raises:
        InputError: it is not installed.
    """
    require("--ray, --gpus", "ray")
    import ray

    return ray


@contextlib.contextmanager
def connected(address: str, code: Path | None = None) -> Iterator[None]:
    """Connect this process as a driver to the cluster at `address` ("auto", or HOST:PORT of the head).

    Args:
        code: a folder that becomes the current folder of every worker (Ray's runtime environment).

    Raises:
        InputError: there is no such cluster, it runs other versions, or Ray is not installed.
    """
    ray = ray_module()
    if address.startswith("ray://"):
        raise InputError(
            "--ray: Ray Client (ray://) is not supported; start joulebench on a node, with 'auto' or HOST:PORT"
        )
    if ray.is_initialized():
        raise InputError("--ray: this process is connected to a Ray cluster already; call ray.shutdown() first")
    with _initialised(code, f"--ray: no cluster to join at '{address}'", address=address):
        yield


@contextlib.contextmanager
def private_cluster(slots: int, hardware: str, cpus: int, code: Path | None = None) -> Iterator[None]:
    """Start a cluster of this machine alone, which ends with the block.

    Nobody else can use it: Ray's ports listen on every address, and ask for a token of this run. Where this process
    has imported Ray before, it asks for what it was told to ask for then (`exposure`).

    Args:
        slots: how many workers it has room for.
        hardware: the profile's name.
        cpus: of the machine.
        code: as for `connected`.

    Raises:
        InputError: it does not start, or Ray is not installed.
    """
    own = {"RAY_USAGE_STATS_ENABLED": "0"}
    if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # Ray reads it once
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with _variables(own):
        if ray_module().is_initialized():
            raise InputError(
                "--gpus: this process is connected to a Ray cluster already; call ray.shutdown() first"
            )
        resources = {SLOT: float(slots), hardware: float(slots)}
        # workers choose their GPU themselves, by its UUID: with none of its own to hand out Ray hides none
        settings = {"num_cpus": max(cpus, slots), "num_gpus": 0, "resources": resources, "include_dashboard": False}
        with _initialised(code, "--gpus: Ray does not start here", address="local", **settings):
            yield


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables until the end of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _initialised(code: Path | None, failed: str, **settings: Any) -> Iterator[None]:
    """Connect to a cluster until the end of the block; `failed` begins the line that says why it cannot be."""
    ray = ray_module()
    environment = {"working_dir": str(code)} if code is not None else None
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(namespace=SLOT, runtime_env=environment, **quiet, **settings)
    except BaseException as error:  # Ray raises a bare Exception where its processes do not come up in time
        ray.shutdown()  # what has started by then, also at Ctrl-C
        if isinstance(error, Exception):
            raise InputError(f"{failed}: {error!s:.300}") from None
        raise
    try:
        yield
    finally:
        ray.shutdown()


def alive_nodes() -> list[Node]:
    """The cluster's living nodes, sorted by name."""
    nodes = [
        Node(n["NodeID"], n["NodeName"], n["NodeManagerHostname"], dict(n["Resources"]), n["NodeManagerAddress"])
        for n in ray_module().nodes()
        if n["Alive"]
    ]
    return sorted(nodes, key=lambda node: (node.name, node.id))


def exposure(nodes: Sequence[Node]) -> str | None:
    """Warning of a cluster on which others may run code; None where it is one machine, or private and closed.

    Ray executes what anybody sends to its ports, unless every process of it was started with RAY_AUTH_MODE=token.
    """
    addresses = {node.name: ipaddress.ip_address(node.address) for node in nodes if node.address}
    if all(address.is_loopback for address in addresses.values()):
        return None
    public = [f"{name} ({address})" for name, address in addresses.items() if not address.is_private]
    has_token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    where = f"listens at an address that is not private: {', '.join(public)}" if public else ""
    asks = "" if has_token else "asks for no token (RAY_AUTH_MODE=token)"
    what = " and ".join(filter(None, (asks, where)))
    return f"warning: this Ray cluster {what}; whoever reaches its ports can run code there" if what else None


def own_node(nodes: Sequence[Node]) -> Node | None:
    """Find the node that this process is on."""
    own = ray_module().get_runtime_context().get_node_id()
    return next((node for node in nodes if node.id == own), None)


def pinned(node: Node) -> Any:
    """Ray's scheduling strategy that pins work to this node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def start_option(profile: str) -> str:
    """The option of `ray start` that offers a node for that hardware."""
    return f'--resources=\'{{"{profile}": 1, "{SLOT}": 1}}\''


def by_hardware(nodes: Sequence[Node], hardware: Sequence[str]) -> dict[str, list[Node]]:
    """Assign nodes to hardware; a node of several kinds serves the first of them.

    Raises:
        InputError: a kind without a node, a node without a slot, or two nodes of one name.
    """
    members_of: dict[str, list[Node]] = {name: [] for name in hardware}
    for node in nodes:
        kind = next((name for name in hardware if name in node.resources), None)
        if kind is not None:
            members_of[kind].append(node)
    for name, members in members_of.items():
        if not members:
            there = ", ".join(sorted({label for node in nodes for label in node.labels})) or "none"
            raise InputError(f"--hardware: no node of the cluster has the resource '{name}' (there are: {there})")
    used = [node for members in members_of.values() for node in members]
    for node in used:
        if not node.has_slot:
            raise InputError(f"node {node.name} has no slot: start it with {start_option(node.labels[0])}")
        if sum(other.name == node.name for other in used) > 1:
            raise InputError(
                f"two Ray nodes are called {node.name}: one machine must be one node, or windows overlap "
                "(if they share no meter, name them with --node-name)"
            )
    return members_of
