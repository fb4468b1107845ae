"""Early stopping, training deadline, and restoring the best epoch's weights."""

from __future__ import annotations

import math
from typing import Any

from joulebench.errors import InputError, did_you_mean
from joulebench.host.clock import Clock
from joulebench.spec.task import Task
from joulebench.workloads.base import Workload


class TrialFailedError(RuntimeError):
    """Failure of the configuration: training diverged, or a metric is not finite."""


class Deadline:
    """Time limit of a training."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds, self._end_s = clock, seconds, math.inf

    def start(self) -> None:
        self._end_s = self._clock.now_s() + self._seconds

    def passed(self) -> bool:
        return self._clock.now_s() >= self._end_s


class BestWeights:
    """Early stopping on the monitored metric, and the best epoch's weights."""

    def __init__(self, task: Task, workload: Workload) -> None:
        self._rules, self._workload = task.training, workload
        self._best = self._last_gain = math.inf
        self._waited = 0
        self._state: Any = None
        self.metrics: dict[str, float] = {}

    def see(self, metrics: dict[str, float], epoch: int) -> bool:
        """Record an epoch's metrics; True when training should stop.

        Raises:
            InputError: early stopping is asked for on a metric that the workload does not give.
            TrialFailedError: the monitored metric is not finite.
        """
        value = metrics.get(self._rules.monitor)
        if value is None:
            if self._rules.patience is not None:
                hint, given = did_you_mean(self._rules.monitor, metrics), ", ".join(metrics) or "none"
                raise InputError(f"training.monitor: no metric '{self._rules.monitor}'{hint} (there are: {given})")
            self.metrics = metrics
            return False
        if not math.isfinite(value):
            raise TrialFailedError(f"diverged: {self._rules.monitor} is {value} after epoch {epoch + 1}")
        if value < self._best:
            self._best, self._state, self.metrics = value, self._workload.state(), metrics
        if value < self._last_gain - self._rules.min_delta:
            self._last_gain, self._waited = value, 0
        else:
            self._waited += 1
        return self._rules.patience is not None and self._waited >= self._rules.patience

    def restore(self) -> None:
        if self._state is not None:
            self._workload.load_state(self._state)
