"""Resources that all trials of a run share: device, clock, meters, data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from joulebench.host.clock import Clock
from joulebench.measurement.protocol import Timeline
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import Context, Workload, workload_class

if TYPE_CHECKING:
    from joulebench.data import StagedData


@dataclass(frozen=True)
class Bench:
    """Resources that all trials of a run share."""

    task: Task
    device: str
    clock: Clock
    timeline: Timeline
    data: StagedData | None = None
    gpus: tuple[int, ...] = ()  # NVML indices of those that a power limit would be set on
    set_power_limit: bool = False  # whether it may

    def limits(self, params: Params) -> Params:
        """Parameters that may set a power limit; none for a replayable workload, which is not on the device."""
        return {} if workload_class(self.task.workload).replayable else params

    def workload(self, seed: int, should_stop: Callable[[], bool] = lambda: False) -> Workload:
        return workload_class(self.task.workload)(
            Context(self.device, seed, self.clock, self.data, self.task.options, should_stop)
        )
