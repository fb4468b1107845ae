"""The untrained default configuration, measured beside the trials: for the meter check and for drift."""

from __future__ import annotations

from joulebench.errors import InputError, described
from joulebench.host import device as torch_device
from joulebench.host import memory, power_limit
from joulebench.host.user_code import user_code
from joulebench.measurement.bench import Bench
from joulebench.measurement.protocol import Note, measure_phase, no_note
from joulebench.spec.task import Protocol, Task
from joulebench.workloads.base import workload_class

#: Every control measurement of every run builds the same weights.
CONTROL_SEED = 0


def is_controlled(task: Task) -> bool:
    """Whether the default is measured again at intervals: not where the task measures nothing, or only sleeps."""
    return task.protocol.control and task.measured is not None and not workload_class(task.workload).replayable


def measure_default(bench: Bench, seed: int, name: str, protocol: Protocol, note: Note = no_note) -> str | None:
    """Measure the untrained default configuration in the phase of the task's first such energy objective.

    Its windows are of phase `name`, those around them `of` it.

    Returns:
        Why it failed; None if it did not.

    Raises:
        InputError: an error of the user or the meter.
    """
    timeline, measured, defaults = bench.timeline, bench.task.measured, bench.task.defaults
    torch_device.seed_everything(seed)
    workload = bench.workload(seed)
    error = lost = None
    try:
        with (
            memory.limited(bench.device, bench.task.protocol.memory_limit_bytes),
            power_limit.for_trial(bench.limits(defaults), bench.gpus, bench.set_power_limit),
            user_code(),
        ):
            workload.build(dict(defaults))
            timeline.cut("build", of=name)
            if measured is not None and measured.phase is not None:
                measure_phase(timeline, name, workload.phases()[measured.phase], protocol, note=note)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # the default's own failure: its trial records it in full
        if isinstance(failure, InputError) and not isinstance(failure, power_limit.OutOfRangeError):
            raise
        error = described(failure)
        lost = torch_device.failure(bench.device)
    finally:
        workload.close()
    if lost is None:
        memory.release(bench.device)
    else:
        timeline.give_up_device()
    timeline.cut("failed" if error else "release", of=name)
    return error
