"""Energy of training and of inference per architecture, and the least total by volume of inference. Pure.

After Mavromatis, Katsaros and Khan, "Computing within limits" (arXiv 2406.14328, 2024): E_tr and E_in are energy
less idle power × time, here given gross too. N units take total(N) = E_tr + N · E_in; two models break even
at N = (E_tr,b − E_tr,a) / (E_in,a − E_in,b). Each further training adds E_tr.

A training is measured once, over all its epochs (validation left out), so its gross joules have no interval; a net
value has idle's. Models trained more than once have intervals between runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import get_args

from joulebench.records.model import Kind, combined
from joulebench.results.energy import Basis
from joulebench.results.outcome import Configuration
from joulebench.results.phase_runs import PhaseRuns, TrainingRuns
from joulebench.results.reference_frontier import quality_of
from joulebench.results.run import Run
from joulebench.results.training_flops import TrainingFlops, training_flops
from joulebench.spec.objectives import Objective
from joulebench.stats.correlation import Correlation, Method, correlation
from joulebench.stats.estimate import Estimate, mean_of_runs, point
from joulebench.studies.configured import Configured
from joulebench.studies.training_inference.crossover import LinearCost, Segment, lower_envelope

MODEL = "model"  # the parameter that names the architecture
#: Candidates are the models within this much of the best quality; None: all that beat the reference.
SHORTFALLS: tuple[float | None, ...] = (None, 0.10, 0.05, 0.02)
#: Correlated pairwise.
QUANTITIES = ("parameters", "macs", "macs_per_parameter", "activations", "bytes_moved", "quality", "utilisation",
              "utilisation_per_w", "train_flops", "train_s", "train_j", "inference_s", "inference_j")  # fmt: skip
SHOWN: tuple[Method, ...] = ("pearson", "spearman")


@dataclass(frozen=True, eq=False)
class Architecture(Configured):
    """Energy and time of one configuration's training and inference; None for what its records do not have."""

    name: str
    quality: Estimate | None
    inference: PhaseRuns

    @cached_property
    def train(self) -> TrainingRuns | None:
        """All its trainings; None where the joules of any are unknown."""
        trained = self.run.training(self.configuration.usable)
        return trained if trained is not None and len(trained.trials) == len(self.trials) else None

    @cached_property
    def train_flops(self) -> TrainingFlops | None:
        """FLOPs of its trainings; None where they are not counted."""
        return training_flops(self.configuration.usable)

    @property
    def kinds(self) -> set[Kind]:
        return {self.inference.kind, *([self.train.gross.kind] if self.train else [])}

    @property
    def macs_per_parameter(self) -> float | None:
        return self.macs / self.parameters if self.macs is not None and self.parameters else None

    def total_cost(self, basis: Basis) -> LinearCost | None:
        """E_tr as fixed cost, E_in per unit; None where either is unknown or training was cut short."""
        if self.train is None or self.train.cut_short:
            return None
        fixed = self.train.gross if basis == "gross" else self.train.net
        per_unit = self.inference.gross if basis == "gross" else self.inference.net
        if fixed is None or per_unit is None:
            return None
        return LinearCost(self.name, fixed if len(self.train.runs) > 1 else point(fixed.mean), per_unit)

    @property
    def quantities(self) -> dict[str, float]:
        """By the names in `QUANTITIES`; energy is gross, and absent for a training that was cut short."""
        train = None if self.train is None or self.train.cut_short else self.train
        values = {
            "parameters": self.parameters,
            "macs": self.macs,
            "macs_per_parameter": self.macs_per_parameter,
            "activations": self.metric("activations"),
            "bytes_moved": self.metric("bytes_moved"),
            "quality": None if self.quality is None else self.quality.mean,
            "train_flops": None if train is None or self.train_flops is None else self.train_flops.mean,
            "utilisation": self.inference.utilisation(self.run.device),
            "utilisation_per_w": self.inference.utilisation_per_w(self.run.device),
            "train_s": None if train is None else train.seconds.mean,
            "train_j": None if train is None else train.gross.mean,
            "inference_s": self.inference.unit_s.mean,
            "inference_j": self.inference.gross.mean,
        }
        return {name: float(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Choice:
    """The cheapest models by volume among candidates of quality `at_least` or better.

    That is `shortfall` below the best quality, or the reference where `shortfall` is None.
    """

    shortfall: float | None
    at_least: float | None
    candidates: tuple[str, ...]
    segments: tuple[Segment, ...]


@dataclass(frozen=True, eq=False)
class TrainingInference:
    """All architectures of a run and, by volume, which has the least total energy."""

    run: Run
    phase: str
    architectures: tuple[Architecture, ...]  # least inference energy first

    @property
    def quality(self) -> str | None:
        """Name of the metric of quality."""
        return quality_of(self.run.task)

    @property
    def unit(self) -> str:
        return self.architectures[0].inference.unit

    @property
    def records_utilisation(self) -> bool:
        return any("utilisation" in a.quantities for a in self.architectures)

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({d for a in self.architectures for d in a.inference.domains}))

    @property
    def kind(self) -> Kind:
        return combined(k for a in self.architectures for k in a.kinds)

    @property
    def trials(self) -> int:
        return len(self.run.trials)

    @property
    def lost(self) -> int:
        """Trials without a value."""
        return self.trials - sum(len(a.trials) for a in self.architectures)

    @property
    def floor(self) -> float:
        """The reference of quality, that of guessing; 0 without one."""
        return (self.run.task.objectives[self.quality].reference or 0.0) if self.quality else 0.0

    @cached_property
    def choices(self) -> Mapping[Basis, tuple[Choice, ...]]:
        """By basis; a basis is left out unless every total has it and all its energies are above 0.

        A saturated estimate of idle power makes net energy meaningless.
        """
        objective = self.run.task.objectives[self.quality] if self.quality else None
        trained = [a for a in self.architectures if a.train is not None and not a.train.cut_short]
        choices: dict[Basis, tuple[Choice, ...]] = {}
        for basis in get_args(Basis):
            totals = {a.name: cost for a in trained if (cost := a.total_cost(basis)) is not None}
            positive = all(c.fixed.mean > 0 and c.per_unit.mean > 0 for c in totals.values())
            if totals and positive and len(totals) == len(trained):
                every = (_choice(trained, totals, objective, s) for s in SHORTFALLS)
                choices[basis] = tuple(c for c in every if c is not None)
        return choices

    @property
    def basis(self) -> Basis:
        """Net, as in the paper, where `choices` has it."""
        return "net" if "net" in self.choices else "gross"

    @cached_property
    def correlations(self) -> Mapping[tuple[str, str, Method], Correlation]:
        """By pair of `QUANTITIES`, in either order, and method; pairs without a coefficient are left out."""
        values, correlations = [a.quantities for a in self.architectures], {}
        for a, b in combinations(QUANTITIES, 2):
            pairs = [(v[a], v[b]) for v in values if a in v and b in v]
            for method in SHOWN:
                value = correlation([x for x, _ in pairs], [y for _, y in pairs], method)
                if value is not None:
                    correlations[a, b, method] = correlations[b, a, method] = value
        return correlations


def training_inference(run: Run) -> TrainingInference | None:
    """The architectures of a run; None where the task measures no phase, or no configuration has one."""
    if run.task.measured is None or run.task.measured.phase is None:
        return None
    phase = run.task.measured.phase
    every = (_architecture(run, c, phase) for c in run.configurations)
    architectures = sorted((a for a in every if a is not None), key=lambda a: a.inference.gross.mean)
    return TrainingInference(run, phase, tuple(architectures)) if architectures else None


def _architecture(run: Run, configuration: Configuration, phase: str) -> Architecture | None:
    inference, quality, params = run.phase(configuration.usable, phase), quality_of(run.task), configuration.params
    if inference is None:
        return None
    reached = [point(t.metrics[quality]) for t in configuration.usable if quality and quality in t.metrics]
    others = [f"{n} {params[n]}" for n in run.varied if n != MODEL]
    name = ", ".join([str(params.get(MODEL, "")), *others]).strip(", ")
    return Architecture(run, configuration, name, mean_of_runs(reached) if reached else None, inference)


def _choice(
    trained: Sequence[Architecture],
    totals: Mapping[str, LinearCost],
    objective: Objective | None,
    shortfall: float | None,
) -> Choice | None:
    """None where the quality it demands is not above the reference."""
    qualities = [a.quality.mean for a in trained if a.quality is not None]
    reference = objective.reference if objective is not None else None
    at_least = reference
    if shortfall is not None:
        if not qualities or (reference is not None and max(qualities) - shortfall <= reference):
            return None
        at_least = max(qualities) - shortfall
    candidates = [
        a.name for a in trained if at_least is None or (a.quality is not None and a.quality.mean >= at_least)
    ]
    return Choice(shortfall, at_least, tuple(candidates), lower_envelope([totals[name] for name in candidates]))
