"""What a node says of itself, asked by a short task that a measuring node refuses to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from suite.cluster.connection import SLOT, Node, pinned, ray_module
from suite.errors import InputError
from suite.hardware import HardwareProfile, Host, detect_host
from suite.meters.select import MeterStatus, availability

#: A share of the slot: there is none left while something measures there.
_SHARE = 0.001
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Seen:
    """A node, from within."""

    host: Host
    joulebench: str
    has_data: bool  # whether the path that was asked for is there


def look(path: str | None) -> Seen:
    """Runs on the node."""
    return Seen(detect_host(), metadata.version("joulebench"), path is None or Path(path).exists())


def _meters(profile: HardwareProfile) -> tuple[Host, list[MeterStatus]]:
    host = detect_host()
    return host, availability(host, profile)


def probe(nodes: Sequence[Node], path: Path | None = None, timeout_s: float = TIMEOUT_S) -> dict[str, Seen]:
    """Every node from within, by its id.

    Raises:
        InputError: one does not answer, or has another joulebench.
    """
    ray = ray_module()
    refs = {node.id: _ask(look, node, None if path is None else str(path)) for node in nodes}
    ray.wait(list(refs.values()), num_returns=len(refs), timeout=timeout_s)
    found: dict[str, Seen] = {}
    for node in nodes:
        seen: Seen = _answer(refs[node.id], node)
        own = metadata.version("joulebench")
        if seen.joulebench != own:
            raise InputError(f"node {node.name} has joulebench {seen.joulebench}, here is {own}")
        found[node.id] = seen
    return found


def meters(
    profiles: Mapping[str, HardwareProfile], nodes: Sequence[Node], timeout_s: float = TIMEOUT_S
) -> dict[str, tuple[Host, list[MeterStatus]] | str]:
    """Host and meters of each node by its id, with its profile; or in words why it did not answer."""
    refs = {node.id: _ask(_meters, node, profiles[node.id]) for node in nodes if node.id in profiles}
    if refs:
        ray_module().wait(list(refs.values()), num_returns=len(refs), timeout=timeout_s)
    found: dict[str, tuple[Host, list[MeterStatus]] | str] = {}
    for node in nodes:
        if node.id in refs:
            try:
                found[node.id] = _answer(refs[node.id], node)
            except InputError as error:
                found[node.id] = str(error)
    return found


def _ask(function: Any, node: Node, *arguments: Any) -> Any:
    resources = {SLOT: _SHARE} if node.has_slot else {}
    options = {"num_cpus": 0, "max_retries": 0, "resources": resources, "scheduling_strategy": pinned(node)}
    return ray_module().remote(function).options(**options).remote(*arguments)


def _answer(ref: Any, node: Node) -> Any:
    ray = ray_module()
    try:
        return ray.get(ref, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        raise InputError(
            f"node {node.name} ({node.hostname}) does not answer: something measures there, or it is starting up"
        ) from None
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise InputError(
            f"node {node.name} ({node.hostname}): joulebench does not run there: {lines[-1] if lines else error!r}"
        ) from None
