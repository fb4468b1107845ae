"""Where models are built, trained and measured: in this process, or each time in one of its own (`isolation`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from joulebench.errors import DeviceLostError
from joulebench.host import device as torch_device
from joulebench.measurement.bench import Bench
from joulebench.measurement.harness import Finished, run_trial
from joulebench.measurement.protocol import Note
from joulebench.records.model import TrialRecord
from joulebench.runner import meter_check, scoring
from joulebench.runner.epoch_monitor import epoch_callback
from joulebench.runner.plan import Plan
from joulebench.runner.session import Facts
from joulebench.runner.trials import Order, Trials
from joulebench.runner.watchdog import watchdog

#: Receives the kind and the text of an event.
Say = Callable[[str, str], None]


class InProcess:
    """Runs what calls a workload's code in this process.

    A call that lasts longer than the task's `protocol.max_trial_s` ends the process, after its `overdue`.
    """

    def __init__(self, chosen: Plan, bench: Bench) -> None:
        self._plan, self._bench = chosen, bench
        self._limit_s = chosen.task.protocol.max_trial_s
        self.timeline = bench.timeline

    def facts(self) -> Facts:
        """Facts of the machine and the data, for the manifest."""
        return Facts.of(self._plan, self._bench)

    def check_meters(self, seed: int, note: Note, overdue: Callable[[], None]) -> str | None:
        """Measure the windows of the meter check; returns why it failed, or None."""
        with watchdog(self._limit_s, overdue):
            error = meter_check.measure(self._bench, seed, note)
        self._check_device("the meter check")
        return error

    def trial(self, order: Order, trials: Trials) -> None:
        """Run a trial and have its record kept.

        Raises:
            DeviceLostError: it left a device that this process can use no more; its record is kept.
        """
        with watchdog(self._limit_s, lambda: trials.overdue(order.request)):
            finished = run_order(self._bench, order, trials.say)
        trials.keep(finished.record, lambda: finished.state)
        if finished.lost is not None:
            raise DeviceLostError(self._lost(f"trial {order.request.trial}", finished.lost))

    def score(self, trial: TrialRecord, weights: Path, overdue: Callable[[], None]) -> dict[str, float]:
        """Score a trial's model on the test split.

        Raises:
            DeviceLostError: it left a device that this process can use no more.
            Exception: whatever the workload's code raises.
        """
        try:
            with watchdog(self._limit_s, overdue):
                return scoring.test_metrics(self._bench, trial, scoring.read_weights(weights, self._bench.device))
        except Exception:
            self._check_device(f"trial {trial.trial}")
            raise

    def _check_device(self, what: str) -> None:
        """Raise DeviceLostError where this process can use its device no more."""
        if (lost := torch_device.failure(self._bench.device)) is not None:
            self.timeline.give_up_device()
            raise DeviceLostError(self._lost(what, lost))

    def _lost(self, what: str, why: str) -> str:
        return f"{what} has left {self._bench.device} lost to this process ({why}); `resume` goes on in a new one"


def run_order(bench: Bench, order: Order, say: Say) -> Finished:
    """Run a trial and report its epochs, and when it waits for other processes."""
    extrapolate = bench.task.stopping.extrapolate
    callback = epoch_callback(order.request, order.records, extrapolate, order.left_j, say)
    trial = order.request.trial
    return run_trial(bench, order.request, callback, lambda text: say("note", f"trial {trial}, {text}"))
