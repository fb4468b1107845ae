"""Ray clusters of several nodes on this machine, small and silent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_problems import MARKS

ray = pytest.importorskip("ray", reason="Ray is not installed: the extra 'ray'")

STORE_BYTES = 80 * 2**20  # Ray takes no less than 75 MiB
#: A lost node is noticed in a second instead of half a minute.
HASTE = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


class LocalCluster:
    """Real nodes, each a process of its own; `kinds` are node names with the hardware they serve."""

    def __init__(self, kinds: Mapping[str, str], head: str | None = None) -> None:
        from ray.cluster_utils import Cluster

        self.kinds = dict(kinds)
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **self._arguments("head", head),
                "include_dashboard": False,
                "_system_config": HASTE,
            },
        )
        self.nodes = {name: self._add(name, kind) for name, kind in self.kinds.items()}

    def _arguments(self, name: str, kind: str | None) -> dict[str, Any]:
        own = {"num_cpus": 1, "resources": {kind: 1, "joulebench": 1}} if kind else {"num_cpus": 0}
        return {**own, "node_name": name, "object_store_memory": STORE_BYTES}

    def _add(self, name: str, kind: str) -> Any:
        return self._cluster.add_node(**self._arguments(name, kind), wait=True)

    @property
    def address(self) -> str:
        return self._cluster.address

    def lose(self, node_id: str) -> str:
        """The node dies without a word; its name."""
        name = next(name for name, node in self.nodes.items() if node.node_id == node_id)
        self._cluster.remove_node(self.nodes.pop(name), allow_graceful=False)
        return name

    def restore(self) -> None:
        """Nodes that were lost come back."""
        for name, kind in self.kinds.items():
            if name not in self.nodes:
                self.nodes[name] = self._add(name, kind)

    def stop(self) -> None:
        self._cluster.shutdown()


@contextlib.contextmanager
def local_cluster(marks: Path, kinds: Mapping[str, str], head: str | None = None) -> Iterator[LocalCluster]:
    """A cluster until the end of the block; no usage statistics leave it, and workers inherit where marks go."""
    given = {"RAY_USAGE_STATS_ENABLED": "0", MARKS: str(marks)}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    cluster = None
    try:
        cluster = LocalCluster(kinds, head)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def clear_marks(marks: Path) -> None:
    for file in marks.iterdir():
        file.unlink()
