"""State of a cluster's runs and workers, as the driver keeps it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from joulebench.cluster.connection import Node
from joulebench.cluster.worker import NodeFacts, Ready
from joulebench.runner.plan import Plan
from joulebench.runner.session import Facts
from joulebench.runner.trials import Order, Trials


@dataclass
class WorkerState:
    """A worker and its state: start, met, prepare, precheck, idle, trial, score."""

    node: Node
    hw_run: HardwareRun
    actor: Any
    state: str = "start"
    mark: str = ""  # its node and boot, as written into its windows
    node_facts: NodeFacts | None = None
    order: Order | None = None
    since_s: float = field(default_factory=time.monotonic)


@dataclass
class HardwareRun:
    """The run of one kind of hardware; its plan follows when the workers are up, its trials with the folder."""

    hardware: str
    run: str
    nodes: Sequence[Node]
    chosen: Plan | None = None
    began_s: Mapping[str, float] = field(default_factory=dict)  # start of a node's virtual clock, by its mark
    trials: Trials | None = None
    facts: Facts | None = None
    workers: list[WorkerState] = field(default_factory=list)
    readied: list[tuple[str, Ready]] = field(default_factory=list)  # before there was a folder to write it to
    check: bool = False  # whether each worker begins with a meter check
    failures: dict[tuple[str, str], int] = field(default_factory=dict)  # by `Node.place`
    alone_s: float | None = None  # since when it has had no worker

    @property
    def plan(self) -> Plan:
        assert self.chosen is not None, "the workers are up"
        return self.chosen
