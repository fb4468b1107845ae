"""FLOPs of trainings: those of one unit of work × the units that were trained. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from joulebench.records.model import Costs, TrialRecord
from joulebench.spec.task import Task

TRAIN = "train"
COUNTED = (
    "Counted by torch's FlopCounterMode over the forward and backward pass of one training step, two FLOPs a "
    "multiply-accumulate, times the units trained (steps of a training that ended early count, others do not); the "
    "optimiser and elementwise work count 0, and recomputation inside a fused kernel is not counted"
)


@dataclass(frozen=True)
class TrainingFlops:
    """FLOPs of each training of one configuration."""

    per_unit: float
    units: tuple[int, ...]  # that each training did
    missed: tuple[str, ...] = ()  # kernels without a counting rule: the FLOPs are then the least
    forward: float | None = None  # FLOPs of one unit's forward pass

    @property
    def each(self) -> tuple[float, ...]:
        return tuple(self.per_unit * units for units in self.units)

    @property
    def mean(self) -> float:
        """FLOPs of a training."""
        return fmean(self.each)

    @property
    def of_forward(self) -> float | None:
        """Their ratio to the forward pass alone: 3, less the input gradients that no layer needs."""
        return self.per_unit / self.forward if self.forward else None


def training_flops(trials: Sequence[TrialRecord]) -> TrainingFlops | None:
    """FLOPs of the trainings of one configuration; None where one of them was not trained or not counted."""
    if not trials or not all(t.epochs and TRAIN in t.costs.phase_flops for t in trials):
        return None
    costs: Costs = trials[0].costs
    alone = costs.phase_flops.keys() == {TRAIN}  # `flops` is then a sample's forward pass
    return TrainingFlops(
        costs.phase_flops[TRAIN],
        tuple(sum(epoch.units for epoch in t.epochs) for t in trials),
        tuple(sorted(costs.train_unsupported_ops)),
        float(costs.flops) if alone and costs.flops is not None and not costs.unsupported_ops else None,
    )


def trained_unit(task: Task) -> str:
    """What training's units of work are: sample or token; unit where the task's data do not tell."""
    return "unit" if task.dataset is None else "token" if task.dataset.is_text else "sample"
