"""A search problem over the CIFAR-10 task's space with a known answer: accuracy saturates, efficiency falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from suite.frontier import hypervolume, objective_goals
from suite.record import TrialRecord
from suite.search import propose
from suite.task import Params, Task
from tests.factories import make_task, make_trial

PARAMETERS = {
    "width": {"type": "int", "low": 1, "high": 128, "default": 51},
    "depth": {"type": "int", "low": 1, "high": 6, "default": 6},
    "kernel": {"type": "choice", "values": [1, 3, 5, 7, 9], "ordered": True, "default": 3},
    "pool": {"type": "choice", "values": [True, False], "default": True},
    "batch_size": {"type": "fixed", "value": 64},
}
STAGES = {
    "default": {"method": "default", "repeats": 3},
    "init": {"method": "sobol", "trials": 200},
    "search": {"method": "qnehvi", "trials": 200},
}
ENERGY_RSD, ACCURACY_SD = 0.02, 0.01  # between runs of one configuration


def problem() -> Task:
    return make_task(PARAMETERS, STAGES)


def truth(params: Params) -> tuple[float, float]:
    """Accuracy and samples per joule without noise."""
    width, kernel = int(params["width"]), int(params["kernel"])
    side, channels, macs = 32, 3, 0
    for layer in range(int(params["depth"])):
        macs += side**2 * channels * width * kernel**2
        channels = width
        if params["pool"] and layer > 0:
            side //= 2
    seen = 1 - math.exp(-kernel * int(params["depth"]) / 6)  # the field of view
    accuracy = 0.1 + (0.75 if kernel > 1 else 0.45) * (1 - math.exp(-((macs / 2e7) ** 0.35))) * seen
    accuracy -= 0.1 * max(0.0, math.log10(macs / 1e9))  # too large to train well
    j_per_sample = 2e-4 + 3e-4 * int(params["depth"]) + macs * (6e-11 if kernel > 5 else 4e-11)
    return accuracy, 1 / j_per_sample


def simulate(
    task: Task,
    plan: Sequence[tuple[str, int]],
    seed: int,
    status: Callable[[Params], str] = lambda _: "ok",
) -> list[TrialRecord]:
    """The records of a noisy study: `plan` says how many trials of which stages."""
    noise, records = np.random.default_rng([seed, 1]), list[TrialRecord]()
    for stage in (stage for stage, trials in plan for _ in range(trials)):
        proposal = propose(task, stage, records, seed)
        assert proposal is not None
        accuracy, samples_per_j = truth(proposal.params)
        records.append(
            make_trial(
                task,
                proposal.params,
                {"val_accuracy": accuracy + noise.normal(0, ACCURACY_SD)},
                math.exp(noise.normal(0, ENERGY_RSD)) / samples_per_j,
                trial=len(records),
                stage=stage,
                origin=proposal.origin,
                status=status(proposal.params),
            )
        )
    return records


def true_hypervolume(task: Task, records: Sequence[TrialRecord]) -> float:
    """Hypervolume of the configurations tried, at their true values: noise earns nothing."""
    references = [o.reference for o in task.objectives.values()]
    return hypervolume([truth(r.params) for r in records], references, objective_goals(task))
