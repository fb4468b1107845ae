"""Host and meters of a cluster's nodes, from a short task that cannot start on a node while it measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.cluster.connection import SLOT, Node, pinned, ray_module
from joulebench.meters.select import MeterStatus, availability
from joulebench.spec.hardware import HardwareProfile, Host, detect_host

#: A share of the slot, which is not available while a worker measures on the node.
_SHARE = 0.001
TIMEOUT_S = 30.0

#: Host and meters, or why there is no answer.
Probe = tuple[Host, list[MeterStatus]] | str


def _detect(profile: HardwareProfile) -> tuple[Host, list[MeterStatus]]:
    """Detect host and meters, on the node."""
    host = detect_host()
    return host, availability(host, profile)


def probe(
    profiles: Mapping[str, HardwareProfile], nodes: Sequence[Node], timeout_s: float = TIMEOUT_S
) -> dict[str, Probe]:
    """Host and meters of every node that has a profile, by node id."""
    refs = {node.id: _ask(node, profiles[node.id]) for node in nodes if node.id in profiles}
    if refs:
        ray_module().wait(list(refs.values()), num_returns=len(refs), timeout=timeout_s)
    return {key: _answer(ref) for key, ref in refs.items()}


def _ask(node: Node, profile: HardwareProfile) -> Any:
    resources = {SLOT: _SHARE} if node.has_slot else {}
    options = {"num_cpus": 0, "max_retries": 0, "resources": resources, "scheduling_strategy": pinned(node)}
    return ray_module().remote(_detect).options(**options).remote(profile)


def _answer(ref: Any) -> Probe:
    ray = ray_module()
    try:
        answer: Probe = ray.get(ref, timeout=0.1)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(ref, force=True)
        return "no answer: something measures there now, or it is still starting"
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"joulebench does not run there: {lines[-1] if lines else type(error).__name__}"
    return answer
