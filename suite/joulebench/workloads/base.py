"""Interface between the harness and the models it measures: build, train, evaluate, phases.

A user's own model is one subclass of `Workload` in their own module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from joulebench.errors import InputError, did_you_mean
from joulebench.host.clock import Clock
from joulebench.records.model import Costs
from joulebench.spec.parameters import Params, Value
from joulebench.spec.registry import WORKLOADS
from joulebench.workloads.flops import count

if TYPE_CHECKING:
    import torch

    from joulebench.data import StagedData
    from joulebench.spec.task import Task


class InfeasibleError(Exception):
    """A configuration that the parameters allow but that cannot be built; recorded as a result, not a failure."""


@dataclass(frozen=True)
class Context:
    """What the harness passes to a workload: device, seed, clock, data, options and the time limit."""

    device: str  # "cpu", "cuda:0"
    seed: int
    clock: Clock
    data: StagedData | None = None  # staged on the device
    options: Mapping[str, Any] = field(default_factory=dict)
    should_stop: Callable[[], bool] = lambda: False  # checked between training steps; true when the time is up


@dataclass(frozen=True)
class Epoch:
    """One pass of training: `units` samples or tokens done; `complete` is False if it was cut short."""

    index: int
    units: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True)
class Phase:
    """A measured operation: `step` does `units` units of work; `prepare` runs once, outside measured windows."""

    step: Callable[[], None]
    units: int
    unit: str = "sample"
    prepare: Callable[[], None] = lambda: None
    timed: bool = False  # keep the seconds of every step, the device settled after each: for latencies


class Workload(ABC):
    """One kind of model. The harness calls build → train → evaluate → phases → close, once a trial."""

    #: The data set's name is required, optional or unused.
    needs_data: bool = True
    #: False if it never calls torch in this process, which then does without it.
    uses_torch: bool = True
    #: True if all work is `clock.sleep`, so that replay can run it on a virtual clock.
    replayable: bool = False
    #: Options that it reads; others are refused. None: any.
    OPTIONS: Collection[str] | None = None

    def __init__(self, context: Context) -> None:
        self.context = context
        self._check_options(context.options)
        self.model: torch.nn.Module | None = None

    @classmethod
    def check_task(cls, task: Task) -> None:
        """Check options and values of parameters before a run begins, as far as no data and no device are needed.

        `joulebench check FILE` calls it, too. A subclass may check more, beside what this one checks.

        Raises:
            InputError: a value that no trial could use.
        """
        cls._check_options(task.options)

    @classmethod
    def _check_options(cls, options: Iterable[str]) -> None:
        for name in options if cls.OPTIONS is not None else ():
            if name not in (known := sorted(cls.OPTIONS or ())):
                hint, allowed = did_you_mean(name, known), ", ".join(known) or "none"
                raise InputError(f"options.{name}: no such option{hint} (allowed: {allowed})")

    @property
    def built_model(self) -> torch.nn.Module:
        """The model that `build` made.

        Raises:
            ValueError: `build` was not called, or the workload is closed.
        """
        if self.model is None:
            raise ValueError("build the model first")
        return self.model

    @abstractmethod
    def build(self, params: Params) -> None:
        """Make the model that `params` describe and put it on the device."""

    def train(self) -> Iterator[Epoch]:
        """Train, yielding after every epoch; check `context.should_stop()` between steps. Default: untrained."""
        return iter(())

    def evaluate(self, split: str) -> dict[str, float]:
        """Metrics on `train`, `validation` or `test`; names without the split's prefix. Default: none."""
        return {}

    def final_scores(self, split: str) -> dict[str, float]:
        """Metrics of a model of the frontier on `test`, once, after the search. Default: those of `evaluate`.

        They may hold more: `precision.NAME`, `recall.NAME` and `f1.NAME` of a class are shown in a table.
        """
        return self.evaluate(split)

    def outcomes(self) -> dict[str, float]:
        """Metrics that belong to no split, by name. Default: none."""
        return {}

    @abstractmethod
    def phases(self) -> dict[str, Phase]:
        """Phases to measure after training, by name (`inference`; `prefill`, `decode`)."""

    def standard_errors(self) -> dict[str, float]:
        """Standard errors of metrics, by the metric's name, where the workload knows them. Default: none."""
        return {}

    def example_input(self) -> torch.Tensor | None:
        """One sample (batch of 1) on the device, to count FLOPs with; None if there is nothing to count."""
        return None

    def costs(self) -> Costs:
        """Static costs; by default the count of one forward pass of `example_input`."""
        example = self.example_input()
        return count(self.model, example) if self.model is not None and example is not None else Costs()

    def training_loss(self, model: torch.nn.Module) -> tuple[torch.Tensor, int] | None:
        """The loss of one training step, and its units of work, to count the FLOPs of training with.

        Args:
            model: a copy of the built model on the meta device, where tensors have shapes and no values: make the
                step's inputs there too (`x.to("meta")`).

        None, the default: they are not counted.
        """
        return None

    def state(self) -> Any:
        """A copy of the weights, to be restored later."""
        if self.model is None:
            return None
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def load_state(self, state: Any) -> None:
        """Restore weights that `state` returned."""
        if self.model is not None and state is not None:
            self.model.load_state_dict(state)

    def close(self) -> None:
        """Release the model; the next trial is built after this."""
        self.model = None


def check_values(task: Task, name: str, allowed: Collection[Value]) -> None:
    """Check that each value which a task gives to a parameter is one of `allowed`; it need not have the parameter.

    Raises:
        InputError: one is not.
    """
    for value in task.parameters[name].given if name in task.parameters else ():
        if value not in allowed:
            known = [str(v) for v in allowed]
            hint = did_you_mean(str(value), known)
            raise InputError(f"parameters.{name}: no {name} '{value}'{hint} (allowed: {', '.join(known)})")


def workload_class(name: str) -> type[Workload]:
    """The class of a shipped workload, or of a user's own as `package.module:Class`.

    Raises:
        InputError: no such workload, module or class, or it is not a `Workload`.
    """
    workload: type[Workload] = WORKLOADS.load(name, base=Workload)
    return workload
