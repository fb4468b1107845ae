"""Workload whose trial is a whole search: its hypervolume, and the joules of its proposals.

Parameters `problem`, `method` and `repeat` are the problem's name (built in, or a task of `table` or `function`),
the method's name, and the search's seed. `trials` is the number of configurations to try, `initial` how many of
them model-based methods take from the Sobol sequence. Every other parameter is a setting of the problem (`noise`,
`dimension`, …).

Options: `problems.<name> = { problem = "…", <setting> = … }` and `methods.<name> = { method = "qnehvi", … }` or
`{ proposer = "package.module:function" }` name variants.

Training is the search: each `train` window holds one proposal and nothing else, so its joules are the proposal's
(and those of two readings of the meter, which take about as long as a proposal of a fast method). The trials and
the hypervolume, of true values without noise, are in `validate` windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from joulebench.errors import InputError
from joulebench.spec.parameters import Params, Value
from joulebench.studies.search_quality.curves import LEVELS, SEARCH_PARAMETERS
from joulebench.studies.search_quality.problems import find_problem
from joulebench.studies.search_quality.simulation import Simulation, find_method, warm_up
from joulebench.workloads.base import Context, Epoch, Phase, Workload


class SearchQuality(Workload):
    """A search, one trial an epoch; problem and method are resolved in `build`."""

    needs_data = False
    OPTIONS = ("problems", "methods", "rival")  # `rival`: the method that the report compares every other with

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._search: Simulation | None = None

    def build(self, params: Params) -> None:
        missing = [name for name in SEARCH_PARAMETERS if name not in params]
        if missing:
            raise InputError(f"parameters: the search workload needs {', '.join(missing)}")
        settings = {name: value for name, value in params.items() if name not in SEARCH_PARAMETERS}
        name, settings = self._problem(_text(params, "problem"), settings)
        method = _text(params, "method")
        given = self._option("methods").get(method)
        chosen = find_method(method, given, _count(params, "trials"), _count(params, "initial"))
        problem = find_problem(name, settings)
        self._search = Simulation(problem, chosen, _count(params, "repeat"), self.context.clock)
        warm_up(method, given)

    def _problem(self, name: str, settings: dict[str, Value]) -> tuple[str, dict[str, Value]]:
        """Return the problem that a name stands for, and its settings: the parameters and those of the option."""
        given = self._option("problems").get(name)
        if given is None:
            return name, settings
        if not isinstance(given, Mapping) or not isinstance(given.get("problem"), str):
            raise InputError(f"options.problems.{name}: must read {{ problem = 'name', … }} (got {given!r})")
        return given["problem"], settings | {key: value for key, value in given.items() if key != "problem"}

    def _option(self, name: str) -> Mapping[str, Any]:
        given = self.context.options.get(name, {})
        if not isinstance(given, Mapping):
            raise InputError(f"options.{name}: must be a table (got {given!r})")
        return given

    @property
    def _running(self) -> Simulation:
        assert self._search is not None, "build comes first"
        return self._search

    def train(self) -> Iterator[Epoch]:
        index = 0
        while self._running.propose():
            yield Epoch(index, 1)
            self._running.settle()
            index += 1
            if self.context.should_stop():
                return

    def evaluate(self, split: str) -> dict[str, float]:
        """Run the trial that was just proposed, outside of the window that holds the proposal."""
        if split != "validation":
            return {}
        search = self._running
        search.settle()
        metrics = {"hypervolume": search.volumes[-1] if search.volumes else 0.0}
        return metrics if search.cost_j is None else {**metrics, "trial_cost_j": search.cost_j}

    def outcomes(self) -> dict[str, float]:
        search = self._running
        search.settle()
        volume = search.volumes[-1] if search.volumes else 0.0
        metrics = {
            "hypervolume": volume,
            "trials_done": len(search.records),
            "infeasible": search.count("infeasible"),
            "failed": search.count("failed"),
            "duplicates": search.duplicates,
            "fallbacks": search.fallbacks,
            "proposing_s": search.proposing_s,
        }
        best = search.problem.best
        if best is not None:
            metrics |= {"best_hypervolume": best, "hypervolume_share": volume / best}
            for level in LEVELS:
                done = [n for n, v in enumerate(search.volumes, start=1) if v >= level * best]
                if done:
                    metrics[f"trials_to_{round(100 * level)}"] = done[0]
        return metrics

    def phases(self) -> dict[str, Phase]:
        return {}

    def close(self) -> None:
        self._search = None


def _text(params: Params, name: str) -> str:
    if not isinstance(params[name], str):
        raise InputError(f"parameters.{name}: must be a name (got {params[name]!r})")
    return str(params[name])


def _count(params: Params, name: str) -> int:
    value = params[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(f"parameters.{name}: must be a whole number (got {value!r})")
    return value
