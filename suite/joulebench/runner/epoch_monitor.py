"""Epoch callback: print progress, forecast the cost, end a training that would break the energy budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench.measurement.harness import EpochCallback, Request
from joulebench.measurement.protocol import ALL_DOMAINS
from joulebench.records.model import TrialRecord, Window
from joulebench.results.forecast import Training, calibrating, forecast
from joulebench.workloads.base import Epoch

#: Epochs after which a forecast is also printed: the first epoch alone costs more than the others.
SHOWN_AFTER = 2


def epoch_callback(
    request: Request,
    records: Sequence[TrialRecord],
    extrapolate: bool,
    left_j: float | None,
    say: Callable[[str, str], None],
) -> EpochCallback:
    """Return a callback that reports each epoch; with `extrapolate`, also a forecast for all `epochs` of the trial.

    Args:
        records: trials so far; the forecast is calibrated on their complete trainings.
        left_j: energy budget left when the trial began, in joules; a training certain to exceed it is ended.
    """
    epochs = request.params.get("epochs")
    if not extrapolate or isinstance(epochs, bool) or not isinstance(epochs, int):
        return lambda epoch, _: say("epoch", f"epoch {epoch.index + 1}")
    finished = [Training.of(t.windows, ALL_DOMAINS) for t in calibrating(records) if t.stopped_by == "epochs"]

    def callback(epoch: Epoch, windows: Sequence[Window]) -> str | None:
        expected = forecast(Training.of(windows, ALL_DOMAINS), epochs, finished)
        whole = f"; all {epochs} epochs take {expected.words}" if expected else ""
        say("epoch", f"epoch {epoch.index + 1}{whole}")
        if epoch.index == SHOWN_AFTER - 1 and expected:
            say("note", f"trial {request.trial}, after {SHOWN_AFTER} epochs{whole}")
        return expected.over_budget(left_j) if expected and left_j is not None else None

    return callback
