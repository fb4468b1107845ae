"""Workload `function`: a Python function of the parameters as the trial, for tests of the search and dry runs.

`options.function` names it as `package.module:name`; it is called as `function(params, seed)` and returns the
trial's metrics. Two of its keys are the workload's own: `train_s` and `step_s`, the seconds that training and one
step of the phase `inference` take. That time is slept, which costs nothing on a virtual clock.

`options.noise` and `options.standard_errors` are those of `joulebench.workloads.simulated`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.parameters import Params
from joulebench.spec.registry import import_object
from joulebench.workloads.base import Context, Epoch, Phase
from joulebench.workloads.simulated import MetricSpread, Simulated

DEFAULT_STEP_S = 0.01
MAX_S = 1e7  # some months


class Function(Simulated):
    """Workload `function`: call the function once in `build` and report the metrics that it returned."""

    OPTIONS = ("function", "noise", "standard_errors")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        name = context.options.get("function")
        if not isinstance(name, str):
            raise InputError("options.function: the function workload needs package.module:name")
        self._function: Any = import_object(name, "options.function")
        self._noise = MetricSpread.of(context.options, "noise")
        self._errors = MetricSpread.of(context.options, "standard_errors")
        self._result: dict[str, float] = {}

    def build(self, params: Params) -> None:
        result = self._function(dict(params), self.context.seed)
        if not isinstance(result, Mapping):
            raise TypeError(f"the function returned {type(result).__name__}, not a mapping of metrics")
        self._result = {name: float(value) for name, value in result.items()}
        self._train_s = self._result.pop("train_s", 0.0)
        self._step_s = self._result.pop("step_s", DEFAULT_STEP_S)
        for name, seconds in (("train_s", self._train_s), ("step_s", self._step_s)):
            if not 0 <= seconds <= MAX_S:
                raise ValueError(f"{name} must be from 0 to {MAX_S:g} seconds (got {seconds})")
        for spread in (self._noise, self._errors):
            spread.check(self._result)

    def train(self) -> Iterator[Epoch]:
        if self._train_s > 0:
            self.context.clock.sleep(self._train_s)
            yield Epoch(0, 1)

    def outcomes(self) -> dict[str, float]:
        return self._noise.add_noise(self._result, self._number, self.context.seed)

    def noise_free(self) -> dict[str, float]:
        """What the function returned, before the noise of the options."""
        return dict(self._result)

    def standard_errors(self) -> dict[str, float]:
        return self._errors.values(self._number)

    def _number(self, name: str) -> float:
        if name not in self._result:
            hint, there = did_you_mean(name, self._result), ", ".join(self._result)
            raise InputError(f"options: the function returns no '{name}'{hint} (it returns: {there})")
        return self._result[name]

    def phases(self) -> dict[str, Phase]:
        return {"inference": Phase(lambda: self.context.clock.sleep(self._step_s), units=1)}
