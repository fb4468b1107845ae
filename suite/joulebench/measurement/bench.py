"""Resources that all trials of a run share: device, clock, meters, data."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from joulebench.errors import InputError, described
from joulebench.host.clock import Clock
from joulebench.host.user_code import user_code
from joulebench.measurement.timeline import Timeline
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
    stage: Callable[[], StagedData | None] = lambda: None  # the data once more, from where they came

    def writes_to_data(self) -> int:
        """How often the staged data have been written to in place, as torch counts it."""
        if self.data is None:
            return 0
        from joulebench.data import tensors_of

        return sum(tensor._version for tensor in tensors_of(self.data))

    def restore_data(self) -> None:
        """Make the staged data what they were."""
        from joulebench.data import tensors_of

        for tensor, fresh in zip(tensors_of(self.data), tensors_of(self.stage()), strict=True):
            tensor.data = fresh  # also where its shape was changed
            tensor.requires_grad = False

    def limits(self, params: Params) -> Params:
        """Parameters that may set a power limit; none for a replayable workload, which is not on the device."""
        return {} if workload_class(self.task.workload).replayable else params

    def check_workload(self, seed: int) -> None:
        """Have the workload check the task, make one and close it: what it refuses is refused before a run begins.

        Raises:
            InputError: it refuses options or values of parameters, or its code fails.
        """
        try:
            with user_code():
                workload_class(self.task.workload).check_task(self.task)
                self.workload(seed).close()
        except (InputError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise InputError(f"workload: '{self.task.workload}' cannot be made: {described(error)}") from error

    def workload(self, seed: int, should_stop: Callable[[], bool] = lambda: False) -> Workload:
        return workload_class(self.task.workload)(
            Context(self.device, seed, self.clock, self.data, deepcopy(self.task.options), should_stop)
        )
