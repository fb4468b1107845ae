"""What a node says of itself, asked by a short task that a measuring node refuses to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.cluster.connection import SLOT, Node, pinned, ray_module
from joulebench.meters.select import MeterStatus, availability
from joulebench.spec.hardware import HardwareProfile, Host, detect_host

#: A share of the slot: there is none left while something measures there.
_SHARE = 0.001
TIMEOUT_S = 30.0

#: Host and meters, or in words why there is no answer.
Found = tuple[Host, list[MeterStatus]] | str


def _look(profile: HardwareProfile) -> tuple[Host, list[MeterStatus]]:
    """Runs on the node."""
    host = detect_host()
    return host, availability(host, profile)


def probe(
    profiles: Mapping[str, HardwareProfile], nodes: Sequence[Node], timeout_s: float = TIMEOUT_S
) -> dict[str, Found]:
    """Host and meters of every node that has a profile, by the nodes' ids."""
    asked = {node: _ask(node, profiles[node.id]) for node in nodes if node.id in profiles}
    if asked:
        ray_module().wait(list(asked.values()), num_returns=len(asked), timeout=timeout_s)
    return {node.id: _answer(ref) for node, ref in asked.items()}


def _ask(node: Node, profile: HardwareProfile) -> Any:
    resources = {SLOT: _SHARE} if node.has_slot else {}
    options = {"num_cpus": 0, "max_retries": 0, "resources": resources, "scheduling_strategy": pinned(node)}
    return ray_module().remote(_look).options(**options).remote(profile)


def _answer(ref: Any) -> Found:
    ray = ray_module()
    try:
        found: Found = ray.get(ref, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        return "no answer: something measures there now, or it is still starting"
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"joulebench does not run there: {lines[-1] if lines else type(error).__name__}"
    return found
