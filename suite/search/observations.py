"""What a model is told: one observation a configuration, with its noise. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from suite.energy import Estimate
from suite.outcome import Outcome, configurations, idle_windows, run_to_run_rsd, trial_outcomes
from suite.record import TrialRecord
from suite.task import Params, Task

#: What became of a trial says whether its configuration works at all; an invalid measurement says nothing.
REFUSED = ("oom", "failed")


@dataclass(frozen=True)
class Observation:
    """One configuration: its objectives' means and variances in the task's order, or that it does not run."""

    params: Params
    means: tuple[float, ...]  # empty where no trial of the configuration has a value
    variances: tuple[float | None, ...]  # of the mean; None: the model is to infer the noise
    refused: bool


def observations(task: Task, trials: Sequence[TrialRecord]) -> list[Observation]:
    """Configurations that have objective values, or that were refused, in order of first appearance.

    Replicates are merged: their mean, and for energy objectives the variance

        Σ (sem_i² + (rsd · mean_i)²) / k²

    over the k runs, where sem_i is a run's own standard error (0 if it has none) and rsd the relative
    standard deviation between runs of one configuration (`run_to_run_rsd`). With neither, and for metrics
    such as accuracy, the variance is None.
    """
    idle, rsd = idle_windows(trials), run_to_run_rsd(task, trials)
    found = []
    for configuration in configurations(task, trials):
        runs = [o for t in configuration.trials if (o := trial_outcomes(task, t, idle))]
        refused = not runs and any(t.status in REFUSED for t in configuration.trials)
        if runs or refused:
            merged = [_merge([run[name] for run in runs], rsd.get(name), o.is_energy)
                      for name, o in task.objectives.items()] if runs else []  # fmt: skip
            means, variances = tuple(m for m, _ in merged), tuple(v for _, v in merged)
            found.append(Observation(configuration.params, means, variances, refused))
    return found


def _merge(runs: Sequence[Outcome], rsd: float | None, is_energy: bool) -> tuple[float, float | None]:
    values = [run.value for run in runs]
    mean = fmean(v.mean for v in values)
    parts = [_variance(v, rsd) for v in values]
    if not is_energy or any(part is None for part in parts):
        return mean, None
    return mean, math.fsum(part or 0.0 for part in parts) / len(parts) ** 2


def _variance(value: Estimate, rsd: float | None) -> float | None:
    if value.sem is None and rsd is None:
        return None
    return (value.sem or 0.0) ** 2 + ((rsd or 0.0) * value.mean) ** 2
