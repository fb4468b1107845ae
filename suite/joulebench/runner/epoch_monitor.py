"""Epoch callback: print progress, forecast the cost, end a training that would break the energy budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench.measurement.harness import EpochCallback, Request
from joulebench.measurement.protocol import ALL_DOMAINS
from joulebench.records.model import TrialRecord, Window
from joulebench.results.forecast import Training, calibrating, forecast
from joulebench.workloads.base import Epoch

#: Epochs after which a forecast is also printed: the first one's excess is then apart.
SHOWN_AFTER = 2


def epoch_watch(
    request: Request,
    records: Sequence[TrialRecord],
    extrapolate: bool,
    left_j: float | None,
    say: Callable[[str, str], None],
) -> EpochCallback:
    """Says each epoch; with `extrapolate` also what the whole training will take, by the parameter `epochs`.

    Args:
        records: trials so far; those whose training came to its end teach how trainings go on here.
        left_j: of the run's energy budget when the trial began: a training that is certain to break it is ended.
    """
    epochs = request.params.get("epochs")
    if not extrapolate or isinstance(epochs, bool) or not isinstance(epochs, int):
        return lambda epoch, _: say("epoch", f"epoch {epoch.index + 1}")
    finished = [Training.of(t.windows, ALL_DOMAINS) for t in calibrating(records) if t.stopped_by == "epochs"]

    def watch(epoch: Epoch, windows: Sequence[Window]) -> str | None:
        found = forecast(Training.of(windows, ALL_DOMAINS), epochs, finished)
        whole = f"; all {epochs} epochs take {found.words}" if found else ""
        say("epoch", f"epoch {epoch.index + 1}{whole}")
        if epoch.index == SHOWN_AFTER - 1 and found:
            say("note", f"trial {request.trial}, after {SHOWN_AFTER} epochs{whole}")
        return found.over_budget(left_j) if found and left_j is not None else None

    return watch
