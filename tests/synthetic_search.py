"""Search problems with known answers, and simulated studies of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulebench.records.model import TrialRecord
from joulebench.results.frontier import hypervolume, objective_goals
from joulebench.search import propose
from joulebench.search.values import all_values
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from tests.factories import make_task, make_trial

ENERGY_RSD, ACCURACY_SD = 0.02, 0.01  # between runs of one configuration
STAGES = {
    "default": {"method": "default", "repeats": 3},
    "init": {"method": "sobol", "trials": 1000},
    "search": {"method": "qnehvi", "trials": 1000},
    "batches": {"method": "qnehvi", "trials": 1000, "batch": 4},
    "random": {"method": "random", "trials": 10_000},
    "evolution": {"method": "nsga2", "trials": 1000, "population": 20},
}


@dataclass(frozen=True)
class Problem:
    """A task, the true values of its metrics (None: the configuration does not run), and their noise.

    Attributes:
        noise: standard deviations, one a metric; none: no noise, and nothing said of it.
        told: whether records state them as standard errors; zeros say that there is no noise.
        relative: which of `noise` are shares of the value; none: all are in the metric's own unit.
    """

    task: Task
    truth: Callable[[Params], tuple[float, ...] | None]
    noise: tuple[float, ...] = ()
    told: bool = True
    relative: tuple[bool, ...] = ()

    def record(self, params: Params, rng: np.random.Generator, **fields: Any) -> TrialRecord:
        """A trial as a harness would record it: true values, and noise.

        A trial takes as many draws whatever becomes of it: the noise of trial n does not depend on what was tried.
        """
        draws = [rng.normal() for _ in self.noise]
        values = self.truth(params)
        if values is None:
            return make_trial(self.task, params, status="infeasible", **fields)
        spreads = self.spreads(values)
        noisy = [v + sd * draw for v, sd, draw in zip(values, spreads, draws, strict=True)] if draws else values
        names = list(self.task.objectives)
        sems = dict(zip(names, spreads, strict=True)) if self.told and draws else {}
        return make_trial(self.task, params, dict(zip(names, noisy, strict=True)), sems=sems, **fields)

    def spreads(self, values: Sequence[float]) -> list[float]:
        """Standard deviations of the noise where the true values are these; none without noise."""
        if not self.noise:
            return []
        relative = self.relative or (False,) * len(self.noise)
        return [sd * abs(v) if r else sd for v, sd, r in zip(values, self.noise, relative, strict=True)]

    def trials(self, plan: Sequence[tuple[str, int]], seed: int) -> Iterator[TrialRecord]:
        """Trials of a study, one after the other: `plan` says how many of which stages."""
        rng, records = np.random.default_rng([seed, 1]), list[TrialRecord]()
        for stage in (stage for stage, trials in plan for _ in range(trials)):
            proposal = propose(self.task, stage, records, seed)
            assert proposal is not None
            fields = {"trial": len(records), "stage": stage, "origin": proposal.origin}
            records.append(self.record(proposal.params, rng, **fields, expected=proposal.expected))
            yield records[-1]

    def study(self, plan: Sequence[tuple[str, int]], seed: int) -> list[TrialRecord]:
        """Records of a whole study."""
        return list(self.trials(plan, seed))

    def hypervolume(self, configurations: Sequence[Params]) -> float:
        """Of the true values: noise earns nothing."""
        references = [o.reference for o in self.task.objectives.values()]
        values = [v for p in configurations if (v := self.truth(p)) is not None]
        return hypervolume(np.reshape(values, (-1, len(references))), references, objective_goals(self.task))

    def everything(self) -> list[Params]:
        """Every configuration of a space without floats, by brute force."""
        axes = {name: all_values(parameter) for name, parameter in self.task.free.items()}
        combined = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
        return [p for p in map(self.task.resolve, combined) if self.task.allows(p)]

    def trials_to(
        self, goal: float, stage: str, initial: int, cap: int, seed: int
    ) -> tuple[int, list[TrialRecord]]:
        """How many trials a stage takes to a hypervolume, `initial` Sobol ones included; no more than `cap`."""
        rng, records, reached = np.random.default_rng([seed, 1]), list[TrialRecord](), 0.0
        while len(records) < cap and reached < goal:
            name = "init" if len(records) < initial else stage
            proposal = propose(self.task, name, records, seed)
            assert proposal is not None
            fields = {"trial": len(records), "stage": name, "origin": proposal.origin}
            records.append(self.record(proposal.params, rng, **fields))
            reached = self.hypervolume([r.params for r in records])
        return len(records), records


def _metrics(**references: float) -> dict[str, Any]:
    return {name: {"goal": "minimize", "reference": value} for name, value in references.items()}


def branin_currin() -> Problem:
    """As in BoTorch's tutorial on multi-objective optimisation: noise, reference point and all.

    Dong et al. 2019, with the standard errors 15.19 and 0.63; the true front's hypervolume is 59.36.
    """
    unit = {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5}

    def truth(params: Params) -> tuple[float, float]:
        x, y = float(params["x"]), float(params["y"])
        a, b = 15 * x - 5, 15 * y
        branin = (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2
        branin += 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10
        steep = 1 - math.exp(-1 / (2 * y)) if y > 0 else 1.0
        currin = steep * (2300 * x**3 + 1900 * x**2 + 2092 * x + 60) / (100 * x**3 + 500 * x**2 + 4 * x + 20)
        return branin, currin

    task = make_task({"x": unit, "y": unit}, STAGES, _metrics(branin=18.0, currin=6.0))
    return Problem(task, truth, (15.19, 0.63))


BRANIN_CURRIN = 59.36011874867746  # `botorch.test_functions.BraninCurrin._max_hv`


def dtlz2(dimensions: int = 6) -> Problem:
    """DTLZ2 (Deb et al. 2002) with two objectives: the front is a quarter circle; reference (1.1, 1.1)."""
    names = [f"x{i}" for i in range(dimensions)]

    def truth(params: Params) -> tuple[float, float]:
        first, *rest = (float(params[name]) for name in names)
        distance = 1 + sum((x - 0.5) ** 2 for x in rest)
        return distance * math.cos(first * math.pi / 2), distance * math.sin(first * math.pi / 2)

    unit = {"type": "float", "low": 0.0, "high": 1.0, "default": 0.0}
    return Problem(make_task(dict.fromkeys(names, unit), STAGES, _metrics(f=1.1, g=1.1)), truth)


DTLZ2 = 1.1**2 - math.pi / 4


def categorical() -> Problem:
    """15,625 points: six parameters of five unordered values; effects of each and of pairs, drawn once."""
    names, rng = [f"c{i}" for i in range(6)], np.random.default_rng(0)
    values = ["a", "b", "c", "d", "e"]
    alone = rng.normal(0, 1, (6, 5, 2))
    alone[:, :, 1] = 0.6 * alone[:, :, 1] - 0.8 * alone[:, :, 0]  # what is good for one is bad for the other
    pairs = rng.normal(0, 0.35, (5, 5, 5, 2))  # of neighbours

    def truth(params: Params) -> tuple[float, float]:
        at = [values.index(str(params[name])) for name in names]
        total = sum(alone[i, v] for i, v in enumerate(at))
        total = total + sum(pairs[i, v, w] for i, (v, w) in enumerate(itertools.pairwise(at)))
        return float(total[0]), float(total[1])

    parameters = {name: {"type": "choice", "values": values, "default": "a"} for name in names}
    return Problem(make_task(parameters, STAGES, _metrics(f=0.0, g=0.0)), truth)


def integers() -> Problem:
    """28,561 points: four whole numbers from 0 to 12; a curved front off the diagonal, and ripples."""
    names = [f"n{i}" for i in range(4)]

    def truth(params: Params) -> tuple[float, float]:
        a, b, c, d = (int(params[name]) / 12 for name in names)
        distance = 4 * (b - 0.7 * a) ** 2 + 4 * (c - 0.25) ** 2 + 3 * (d - b) ** 2
        distance += 0.05 * (1 - math.cos(6 * math.pi * (c - 0.25)))
        return a + distance, 1 - math.sqrt(a) + distance

    parameters = {name: {"type": "int", "low": 0, "high": 12, "default": 0} for name in names}
    return Problem(make_task(parameters, STAGES, _metrics(f=1.1, g=1.1)), truth)


def mixed() -> Problem:
    """46,080 combinations, 28,896 configurations: a made-up network's error against its time for a step.

    Whole numbers, ordered and unordered choices, a parameter that matters only with another, and a limit on
    the product of two.
    """
    parameters = {
        "width": {"type": "int", "low": 1, "high": 64, "default": 8},
        "depth": {"type": "int", "low": 1, "high": 6, "default": 2},
        "kernel": {"type": "choice", "values": [1, 3, 5, 7, 9], "ordered": True, "default": 3},
        "act": {"type": "choice", "values": ["relu", "gelu", "tanh", "silu"], "default": "relu"},
        "pool": {"type": "choice", "values": [True, False], "default": True, "only_if": "depth > 1"},
        "norm": {"type": "choice", "values": ["none", "batch", "layer"], "default": "none"},
    }
    good = {"relu": 0.0, "gelu": -0.25, "tanh": 0.2, "silu": -0.2, "none": 0.0, "batch": -0.3, "layer": -0.1}
    slow = {"relu": 1.0, "gelu": 1.25, "tanh": 1.2, "silu": 1.1, "none": 1.0, "batch": 1.1, "layer": 1.3}

    def truth(params: Params) -> tuple[float, float]:
        width, depth, kernel = (int(params[n]) for n in ("width", "depth", "kernel"))
        act, norm = str(params["act"]), str(params["norm"])
        macs = width * kernel**2 * (1 + (depth - 1) * width / (4 if params["pool"] else 1))
        view = 1 - math.exp(-kernel * depth * (2 if params["pool"] else 1) / 12)
        fits = 1 - math.exp(-((macs / 3000) ** 0.4))
        error = math.exp(good[act] + good[norm] * math.sqrt(depth / 3)) * (0.05 + 1 - fits * view)
        return error, math.log10(macs) * slow[act] * slow[norm] + (0.4 if kernel > 5 else 0.0) + 0.1 * depth

    constraints = {"size": "width * depth <= 256"}
    task = make_task(parameters, STAGES, _metrics(error=1.0, time=8.0), constraints=constraints)
    return Problem(task, truth)


# The CIFAR-10 task's space, with energy: accuracy saturates, efficiency falls.

CNN = {
    "width": {"type": "int", "low": 1, "high": 128, "default": 51},
    "depth": {"type": "int", "low": 1, "high": 6, "default": 6},
    "kernel": {"type": "choice", "values": [1, 3, 5, 7, 9], "ordered": True, "default": 3},
    "pool": {"type": "choice", "values": [True, False], "default": True},
    "batch_size": {"type": "fixed", "value": 64},
}


def problem() -> Task:
    return make_task(CNN, STAGES)


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
    costs: Callable[[Params], dict[str, Any]] = lambda _: {},
) -> list[TrialRecord]:
    """The records of a noisy study over the CIFAR-10 space: `plan` says how many trials of which stages."""
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
                expected=proposal.expected,
                status=status(proposal.params),
                costs=costs(proposal.params),
            )
        )
    return records


def true_hypervolume(task: Task, records: Sequence[TrialRecord]) -> float:
    """Hypervolume of the configurations tried, at their true values: noise earns nothing."""
    references = [o.reference for o in task.objectives.values()]
    return hypervolume([truth(r.params) for r in records], references, objective_goals(task))
