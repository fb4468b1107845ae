"""Simulation of a search: propose, look up or compute the trial, record it as the harness would."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulebench import search
from joulebench.errors import InputError, did_you_mean
from joulebench.host.clock import Clock, RealClock
from joulebench.records.model import Status, TrialRecord
from joulebench.results.frontier import non_dominated, objective_goals
from joulebench.results.outcome import configuration_key
from joulebench.search import Proposal
from joulebench.spec.registry import import_object
from joulebench.spec.stage import Stage
from joulebench.spec.task import Task
from joulebench.spec.toml import validate
from joulebench.studies.search_quality.problems import Point, Problem, find_problem
from joulebench.workloads.base import InfeasibleError

#: Methods that a study may compare by their own name; they take `trials`.
METHODS = ("random", "sobol", "nsga2", "qnehvi")
_OWN_START = ("random", "sobol", "nsga2")  # draw their first trials themselves; nsga2 its first generation

#: Called with task, stage, records and seed, as `joulebench.search.propose`; None ends the search.
Proposer = Callable[[Task, str, list[TrialRecord], int], Proposal | None]


@dataclass(frozen=True)
class Method:
    """A search method: the stages of a search, and the function that proposes in them."""

    name: str
    stages: Mapping[str, Stage]
    propose: Proposer


def find_method(name: str, given: Mapping[str, Any] | None, trials: int, initial: int) -> Method:
    """Return a method by its name, or as a table `given` describes it: a stage (`method = "qnehvi", batch = 4`), or
    `proposer = "package.module:function"`, called after the initial trials.

    qnehvi and proposers begin with `initial` trials of the Sobol sequence: the same that `sobol` and the first
    generation of nsga2 begin with.

    Raises:
        InputError: there is no such method, or `given` is not a stage or a proposer.
    """
    if given is None:
        if name not in METHODS:
            hint = did_you_mean(name, METHODS)
            raise InputError(f"no method '{name}'{hint} (allowed: {', '.join(METHODS)}, or one of options.methods)")
        given = {"method": name}
    where, rest = f"options.methods.{name}", max(0, trials - initial)
    if not isinstance(given, Mapping):
        raise InputError(f"{where}: must be a table (got {given!r})")
    if "proposer" in given:
        if set(given) != {"proposer"} or not isinstance(given["proposer"], str):
            raise InputError(f"{where}: gives proposer = 'package.module:function' and nothing else, or a stage")
        later = Stage(method="random", trials=rest)
        stages = {"init": Stage(method="sobol", trials=min(trials, initial)), "search": later}
        return Method(name, stages, _proposer(import_object(given["proposer"], where), name))
    if given.get("method") in _OWN_START:
        stages = {"init": validate(Stage, {**given, "trials": trials}, where)}
    else:
        later = validate(Stage, {**given, "trials": rest}, where)
        stages = {"init": Stage(method="sobol", trials=min(trials, initial)), "search": later}
    return Method(name, stages, search.propose)


def _proposer(function: Any, name: str) -> Proposer:
    """Wrap a user's function, which may return parameters or a `Proposal`."""

    def propose(task: Task, stage: str, records: list[TrialRecord], seed: int) -> Proposal | None:
        if stage == "init" or sum(r.stage == stage for r in records) >= (task.stages[stage].trials or 0):
            return search.propose(task, stage, records, seed)
        proposed = function(task, stage, records, seed)
        return Proposal(task.resolve(proposed), name) if isinstance(proposed, Mapping) else proposed

    return propose


def warm_up(name: str, given: Mapping[str, Any] | None) -> None:
    """Run a search of four trials, once a process and method, so that imports and compilation are in no search.

    Errors are suppressed: the search itself meets and records them.
    """
    key = (name, repr(given))
    if key in _warm:
        return
    _warm.add(key)
    with contextlib.suppress(Exception):
        method = find_method(name, given, trials=4, initial=3)
        problem = find_problem("cliffs", {"dimension": 2})
        search.prepare(problem.task.model_copy(update={"stages": dict(method.stages)}))
        short = Simulation(problem, method, 0, RealClock())
        while short.propose():
            short.settle()


_warm: set[tuple[str, str]] = set()


class Simulation:
    """A search, one trial at a time: `propose`, then `settle`.

    The seed decides the Sobol sequence and, by the trial's number, its noise: methods with the same seed have the
    same first trials and noise.
    """

    def __init__(self, problem: Problem, method: Method, seed: int, clock: Clock) -> None:
        self.problem, self.seed, self._clock = problem, seed, clock
        self._method = method
        self.task = problem.task.model_copy(update={"stages": dict(method.stages)})
        self.records: list[TrialRecord] = []
        self.volumes: list[float] = []  # true hypervolume after each trial
        self.cost_j: float | None = None  # of all trials, as the problem states it
        self.duplicates = 0
        self.proposing_s = 0.0
        self._front: list[Point] = []
        self._keys: set[str] = set()
        self._pending: tuple[str, Proposal] | None = None
        self._stages = list(method.stages)

    def propose(self) -> bool:
        """Ask for the next configuration; False where the search has ended."""
        assert self._pending is None, "the last trial is not settled"
        began_s = self._clock.now_s()
        while self._stages:
            proposal = self._method.propose(self.task, self._stages[0], self.records, self.seed)
            if proposal is not None:
                self._pending = (self._stages[0], proposal)
                break
            self._stages.pop(0)
        self.proposing_s += self._clock.now_s() - began_s
        return self._pending is not None

    def settle(self) -> None:
        """Run the proposed trial and append the hypervolume reached; without a pending proposal do nothing."""
        if self._pending is None:
            return
        (stage, proposal), self._pending = self._pending, None
        key = configuration_key(self.task, proposal.params)
        self.duplicates += key in self._keys
        self._keys.add(key)
        record = self._run(stage, proposal)
        self.records.append(record)
        if "trial_cost_j" in record.metrics:
            self.cost_j = (self.cost_j or 0.0) + record.metrics["trial_cost_j"]
        self._judge(record)

    def _run(self, stage: str, proposal: Proposal) -> TrialRecord:
        number = len(self.records)
        seed = random.Random(f"{self.seed}/{number}").getrandbits(31)
        workload = self.problem.simulated(seed)
        status: Status = "ok"
        error, metrics, sems = None, dict[str, float](), dict[str, float]()
        try:
            workload.build(proposal.params)
            metrics, sems = workload.outcomes(), workload.standard_errors()
            if bad := [n for n in self.task.objectives if not math.isfinite(metrics[n])]:
                status, error = "failed", f"no finite value for {bad[0]} (got {metrics[bad[0]]})"
        except InputError:
            raise
        except InfeasibleError as failure:
            status, error = "infeasible", str(failure)
        except Exception as failure:
            status, error = "failed", f"{type(failure).__name__}: {failure}"
        return TrialRecord(
            trial=number,
            session=0,
            stage=stage,
            origin=proposal.origin,
            fallback=proposal.fallback,
            params=proposal.params,
            seed=seed,
            status=status,
            error=error,
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
            sems=sems,
            expected=dict(proposal.expected),
            windows=(),
        )

    def _judge(self, record: TrialRecord) -> None:
        volume = self.volumes[-1] if self.volumes else 0.0
        point = self.problem.true_point(record.params) if record.status == "ok" else None
        if point is not None:
            goals = objective_goals(self.task)
            grown = [*self._front, point]
            kept = non_dominated(np.array(grown), goals)
            if kept[-1]:  # a dominated newcomer changes nothing
                self._front = [p for p, keep in zip(grown, kept, strict=True) if keep]
                volume = max(volume, self.problem.hypervolume(self._front))
        self.volumes.append(volume)

    @property
    def fallbacks(self) -> int:
        """Number of proposals after the initial ones for which the method fell back on the Sobol sequence."""
        return sum(1 for r in self.records if r.stage != "init" and r.fallback is not None)

    def count(self, status: Status) -> int:
        return sum(1 for r in self.records if r.status == status)
