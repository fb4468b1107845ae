"""A trial that is a Python function of the parameters: studies of the search itself, and dry runs.

`options.function` names it as `package.module:name`; it is called as `function(params, seed)` and returns the
trial's metrics. Two of its keys are the workload's own: `train_s` and `step_s`, the seconds that training and one
step of the phase `inference` take. That time is slept, which costs nothing on a virtual clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from suite.errors import InputError
from suite.task import Params
from suite.workloads.base import Context, Epoch, Phase, Workload, import_object

DEFAULT_STEP_S = 0.01


class Function(Workload):
    """Calls the function once in `build`; everything else replays what it returned."""

    needs_data = False
    replayable = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        name = context.options.get("function")
        if not isinstance(name, str):
            raise InputError("options.function: the function workload needs package.module:name")
        self._function: Any = import_object(name, "options.function")
        self._result: dict[str, float] = {}

    def build(self, params: Params) -> None:
        result = self._function(dict(params), self.context.seed)
        if not isinstance(result, Mapping):
            raise TypeError(f"the function returned {type(result).__name__}, not a mapping of metrics")
        self._result = {name: float(value) for name, value in result.items()}
        self._train_s = self._result.pop("train_s", 0.0)
        self._step_s = self._result.pop("step_s", DEFAULT_STEP_S)

    def train(self) -> Iterator[Epoch]:
        if self._train_s > 0:
            self.context.clock.sleep(self._train_s)
            yield Epoch(0, 1)

    def outcomes(self) -> dict[str, float]:
        return dict(self._result)

    def phases(self) -> dict[str, Phase]:
        return {"inference": Phase(lambda: self.context.clock.sleep(self._step_s), units=1)}
