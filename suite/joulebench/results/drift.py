"""Drift of the machine over a run, by control windows: the untrained default configuration, measured at intervals.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from joulebench.records.model import Kind, TrialRecord, Window, combined
from joulebench.results.consistency import meter_check_protocol
from joulebench.results.energy import common_domains, joules
from joulebench.results.validity import valid_windows
from joulebench.spec.objectives import work_unit
from joulebench.spec.task import Protocol, Task
from joulebench.stats.dispersion import Rsd, relative_sd
from joulebench.stats.estimate import Part, Spread, t_quantile, welch_satterthwaite

#: Phase of control windows.
CONTROL = "control"
#: Of a run with fewer trials there is no drift to see.
MIN_TRIALS = 3


def control_protocol(protocol: Protocol) -> Protocol:
    """Protocol of a control measurement: `min_windows` windows, as long as those of the meter check."""
    few = {"repeats": protocol.min_windows, "max_repeats": protocol.min_windows}
    return meter_check_protocol(protocol).model_copy(update=few)


@dataclass(frozen=True)
class ControlBlock:
    """Control windows of one trial that count; gross joules per unit of work."""

    trial: int
    start_utc: str
    j_per_unit: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.j_per_unit)


@dataclass(frozen=True)
class MachineDrift:
    """Change of the joules of the same work over a run, on one machine.

    Attributes:
        unit: of work.
        blocks: in order of time, two or more.
        relative: change of joules per unit from the first block to the last (0.02 is 2 %).
        low, high: its 95 % interval, from the spread of windows within blocks and, where it is known, that between
            runs of one configuration; None with one a block.
        between: relative standard deviation of the blocks' means.
        node: of a cluster.
    """

    unit: str
    kind: Kind
    blocks: tuple[ControlBlock, ...]
    relative: float
    low: float | None
    high: float | None
    between: Rsd | None
    node: str | None = None

    @property
    def shows(self) -> bool:
        """Whether the change is significant: its 95 % interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def drift_of(task: Task, trials: Iterable[TrialRecord], spread: Spread | None = None) -> MachineDrift | None:
    """Drift between a run's control windows; None with fewer than two blocks of them.

    Of several nodes, the one that changed most. `spread`: of gross joules between runs of one configuration.
    """
    measured = task.measured
    if measured is None:
        return None
    unit = work_unit(next(name for name, o in task.objectives.items() if o is measured))
    protocol = control_protocol(task.protocol)
    nodes: dict[str | None, list[tuple[int, list[Window]]]] = {}
    for trial in trials:
        if windows := valid_windows(trial.windows, CONTROL, protocol):
            nodes.setdefault(windows[0].node, []).append((trial.trial, windows))
    drifts = [_drift(unit, node, valid, measured.domains or (), spread) for node, valid in nodes.items()]
    return max((d for d in drifts if d is not None), key=lambda d: abs(d.relative), default=None)


def _drift(
    unit: str,
    node: str | None,
    valid: Sequence[tuple[int, list[Window]]],
    wanted: Sequence[str],
    spread: Spread | None,
) -> MachineDrift | None:
    windows = [w for _, own in valid for w in own]
    domains = common_domains(windows, wanted)
    if len(valid) < 2 or not domains:
        return None
    kind = combined(r.kind for w in windows for r in w.readings if r.role == "primary" and r.domain in domains)
    every = [
        ControlBlock(trial, own[0].start_utc, tuple((joules(w, domains) or 0.0) / w.units for w in own))
        for trial, own in valid
    ]
    blocks = tuple(sorted(every, key=lambda b: b.start_utc))
    first, last = blocks[0], blocks[-1]
    relative = last.mean / first.mean - 1
    half = _half_width(blocks, spread)
    low, high = (None, None) if half is None else (relative - half, relative + half)
    return MachineDrift(unit, kind, blocks, relative, low, high, relative_sd([b.mean for b in blocks]), node)


def _half_width(blocks: Sequence[ControlBlock], spread: Spread | None) -> float | None:
    """Student's t half-width of the ratio of the last block's mean to the first's, by the delta method.

    Each block is a run of its own, with the spread between runs that the run's configurations show.
    """
    freedom = sum(len(b.j_per_unit) - 1 for b in blocks)
    if freedom < 1:
        return None
    squares = sum((j / b.mean - 1) ** 2 for b in blocks for j in b.j_per_unit)
    first, last = blocks[0], blocks[-1]
    parts = [Part(squares / freedom * (1 / len(first.j_per_unit) + 1 / len(last.j_per_unit)), freedom)]
    if spread is not None:
        parts.append(spread.part(math.sqrt(2)))
    variance = math.fsum(part.variance for part in parts)
    return t_quantile(welch_satterthwaite(parts)) * math.sqrt(variance) * last.mean / first.mean
