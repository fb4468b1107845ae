"""The runs of a cluster and their workers, as the driver keeps account of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joulebench.cluster.connection import Node
from joulebench.cluster.worker import NodeFacts, Ready
from joulebench.runner.plan import Plan
from joulebench.runner.session import Facts
from joulebench.runner.trials import Order, Trials


@dataclass
class WorkerState:
    """A worker, and what it is at: start, met, prepare, precheck, idle, trial, score."""

    node: Node
    hw_run: HardwareRun
    actor: Any
    at: str = "start"
    mark: str = ""  # its node, as its windows have it
    node_facts: NodeFacts | None = None
    order: Order | None = None
    since_s: float = field(default_factory=time.monotonic)


@dataclass
class HardwareRun:
    """One run: its hardware, its workers; its plan when they are known, and its trials when there is a folder."""

    hardware: str
    run: str
    nodes: Sequence[Node]
    chosen: Plan | None = None
    began_s: Mapping[str, float] = field(default_factory=dict)  # where a node's virtual clock goes on, by its mark
    trials: Trials | None = None
    facts: Facts | None = None
    workers: list[WorkerState] = field(default_factory=list)
    readied: list[tuple[str, Ready]] = field(default_factory=list)  # before there was a folder to write it to
    check: bool = False  # whether a worker begins with a precheck
    failures: dict[str, int] = field(default_factory=dict)
    alone_s: float | None = None  # since when it has no worker

    @property
    def plan(self) -> Plan:
        assert self.chosen is not None, "the workers have been met"
        return self.chosen


def difference(one: Facts, other: Facts) -> str | None:
    """In words, how two nodes differ in what their records would not compare by; None if they do not."""
    if one.data.get("fingerprint") != other.data.get("fingerprint"):
        return f"its data are {other.data.get('fingerprint')}, theirs {one.data.get('fingerprint')}"
    for name in ("cpu", "logical_cpus", "accelerators"):
        theirs, its = (facts.environment.get("host", {}).get(name) for facts in (one, other))
        if theirs != its:
            return f"its {name} is {its}, theirs {theirs}"
    theirs, its = (_sources(facts.meters) for facts in (one, other))
    return None if theirs == its else f"its meters are {', '.join(its)}, theirs {', '.join(theirs)}"


def _sources(meters: Iterable[Mapping[str, str]]) -> list[str]:
    return sorted(f"{meter['domain']} by {meter['source']}" for meter in meters)
