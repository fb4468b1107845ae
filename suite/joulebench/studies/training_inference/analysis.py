"""What a model costs to train and what to use, and which one costs least in all at which volume of use. Pure.

After Mavromatis, Katsaros and Khan, "Computing within limits" (arXiv 2406.14328, 2024): E_tr and E_in are energy
less idle power × time, here given gross too. total(N) = E_tr + N · E_in for N units of inference; two models cost
the same at N = (E_tr,b − E_tr,a) / (E_in,a − E_in,b). A model that is trained again pays E_tr again.

A training is measured once, over all its epochs (validation left out), so its gross joules have no interval; a net
value has idle's. Models trained more than once have intervals between runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from joulebench.records.model import Kind, TrialRecord, Window, combined
from joulebench.results.energy import idle_power_w, nearest_idle, training_energy
from joulebench.results.outcome import Configuration, configurations, idle_windows
from joulebench.results.phase_cost import PhaseCost, families, over_runs, phase_cost, varied
from joulebench.spec.objectives import Objective
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.stats.correlation import Correlation, Method, correlation
from joulebench.stats.estimate import Estimate, point, t_quantile_of
from joulebench.studies.training_inference.crossover import Bill, Stretch, cheapest

MODEL = "model"  # the parameter that names the architecture
Basis = Literal["gross", "net"]
#: Volumes are answered for models within this much of the best quality, and for all that beat the reference.
SHORTFALLS: tuple[float | None, ...] = (None, 0.10, 0.05, 0.02)
#: What is correlated, all with all.
QUANTITIES = ("parameters", "macs", "macs_per_parameter", "activations", "bytes_moved", "quality", "train_s",
              "train_j", "inference_s", "inference_j")  # fmt: skip
SHOWN: tuple[Method, ...] = ("pearson", "spearman")


@dataclass(frozen=True)
class TrainingCost:
    """One training of a model, all epochs together; `net` is None where idle power is unknown."""

    gross: Estimate
    net: Estimate | None
    seconds: Estimate
    samples: int
    epochs: int
    runs: int
    cut_short: bool  # time was up before the last epoch had ended
    kind: Kind


@dataclass(frozen=True)
class Architecture:
    """One configuration with what it costs; None for what its records do not have."""

    name: str
    params: Params
    trials: tuple[int, ...]
    parameters: int | None
    macs: int | None
    activations: float | None
    bytes_moved: float | None
    quality: Estimate | None
    train: TrainingCost | None
    inference: PhaseCost

    @property
    def kinds(self) -> set[Kind]:
        return {self.inference.kind, *([self.train.kind] if self.train else [])}

    @property
    def macs_per_parameter(self) -> float | None:
        return self.macs / self.parameters if self.macs is not None and self.parameters else None

    def bill(self, basis: Basis) -> Bill | None:
        """What is paid once and for each unit of use; None where either is unknown or training was cut short."""
        once = None if self.train is None else self.train.gross if basis == "gross" else self.train.net
        each = self.inference.gross if basis == "gross" else self.inference.net
        if self.train is None or self.train.cut_short or once is None or each is None:
            return None
        return Bill(self.name, once if self.train.runs > 1 else point(once.mean), each)

    @property
    def quantities(self) -> dict[str, float]:
        """By the names in `QUANTITIES`; energy is gross, and absent for a training that was cut short."""
        train = None if self.train is None or self.train.cut_short else self.train
        known = {
            "parameters": self.parameters,
            "macs": self.macs,
            "macs_per_parameter": self.macs_per_parameter,
            "activations": self.activations,
            "bytes_moved": self.bytes_moved,
            "quality": None if self.quality is None else self.quality.mean,
            "train_s": None if train is None else train.seconds.mean,
            "train_j": None if train is None else train.gross.mean,
            "inference_s": self.inference.unit_s.mean,
            "inference_j": self.inference.gross.mean,
        }
        return {name: float(value) for name, value in known.items() if value is not None}


@dataclass(frozen=True)
class Choice:
    """The cheapest models by volume among those whose quality is at least `at_least`: `shortfall` from the best, or
    the reference where that is None."""

    shortfall: float | None
    at_least: float | None
    candidates: tuple[str, ...]
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class TrainingInference:
    """Every architecture, and which is cheapest when; `choices` has a basis only where all totals have it."""

    quality: str | None  # the metric
    phase: str
    unit: str
    architectures: tuple[Architecture, ...]  # least inference energy first
    choices: Mapping[Basis, tuple[Choice, ...]]
    correlations: Mapping[tuple[str, str, Method], Correlation]
    domains: tuple[str, ...]
    kind: Kind
    trials: int
    lost: int  # trials without a value
    floor: float = 0.0  # the reference of quality: what a guess reaches

    @property
    def basis(self) -> Basis:
        """Net, as the paper defines its energies, where it makes sense."""
        return "net" if "net" in self.choices else "gross"


def training_inference(task: Task, trials: Sequence[TrialRecord]) -> TrainingInference | None:
    """Of a run's records; None where the task measures no phase, or no configuration has one."""
    if task.measured is None or task.measured.phase is None:
        return None
    idle, phase = idle_windows(trials), task.measured.phase
    quality = next((n for n, o in task.objectives.items() if o.phase is None and o.goal == "maximize"), None)
    found = configurations(task, trials)
    names = varied(task, [c.params for c in found])
    made = [_architecture(task, c, names, phase, quality, idle) for c in found]
    architectures = sorted((a for a in made if a is not None), key=lambda a: a.inference.gross.mean)
    if not architectures:
        return None
    used = {trial for a in architectures for trial in a.trials}
    return TrainingInference(
        quality=quality,
        phase=phase,
        unit=architectures[0].inference.unit,
        architectures=tuple(architectures),
        choices=_choices(architectures, task.objectives[quality] if quality else None),
        correlations=_correlations(architectures),
        domains=tuple(sorted({d for a in architectures for d in a.inference.domains})),
        kind=combined(k for a in architectures for k in a.kinds),
        trials=len(trials),
        lost=len(trials) - len(used),
        floor=(task.objectives[quality].reference or 0.0) if quality else 0.0,
    )


def _architecture(
    task: Task, found: Configuration, names: Sequence[str], phase: str, quality: str | None, idle: Sequence[Window]
) -> Architecture | None:
    usable = [t for t in found.trials if t.status == "ok"]
    inference = phase_cost(task.protocol, usable, phase, families(task), idle)
    if inference is None:
        return None
    reached = [t.metrics[quality] for t in usable if quality in t.metrics] if quality else []
    others = [f"{n} {found.params[n]}" for n in names if n != MODEL]
    return Architecture(
        name=", ".join([str(found.params.get(MODEL, "")), *others]).strip(", "),
        params=found.params,
        trials=tuple(t.trial for t in usable),
        parameters=next((t.costs.parameters for t in usable if t.costs.parameters is not None), None),
        macs=next((t.costs.macs for t in usable if t.costs.macs is not None), None),
        activations=next((t.metrics["activations"] for t in usable if "activations" in t.metrics), None),
        bytes_moved=next((t.metrics["bytes_moved"] for t in usable if "bytes_moved" in t.metrics), None),
        quality=over_runs([point(v) for v in reached]) if reached else None,
        train=_training(task, usable, idle),
        inference=inference,
    )


def _training(task: Task, trials: Sequence[TrialRecord], idle: Sequence[Window]) -> TrainingCost | None:
    """Over the trainings of one configuration; None where one of them has no joules."""
    gross, net, seconds, kinds = [], [], [], set()
    for trial in trials:
        windows = [w for w in trial.windows if w.phase == "train"]
        energy = training_energy(windows, families(task))
        if energy is None:
            return None
        took = sum(w.duration_s for w in windows)
        gross.append(point(energy.energy_j))
        seconds.append(point(took))
        kinds.add(energy.kind)
        power = idle_power_w(nearest_idle(idle, windows[len(windows) // 2]), energy.domains)
        if power is not None:
            net.append(_less_idle(energy.energy_j, power, took))
    if not gross:
        return None
    return TrainingCost(
        gross=over_runs(gross),
        net=over_runs(net) if len(net) == len(gross) else None,
        seconds=over_runs(seconds),
        samples=sum(e.units for t in trials for e in t.epochs) // len(trials),
        epochs=max(len(t.epochs) for t in trials),
        runs=len(gross),
        cut_short=any(t.stopped_by == "time" for t in trials),
        kind=combined(kinds),
    )


def _less_idle(energy_j: float, power: Estimate, seconds: float) -> Estimate:
    """E − P·t with the interval of the idle power alone: the training itself ran once."""
    mean = energy_j - power.mean * seconds
    if power.sem is None:
        return point(mean)
    half = t_quantile_of(power) * power.sem * seconds
    return Estimate(mean, power.n, power.sem * seconds, mean - half, mean + half, "idle windows, one training")


def _choices(architectures: Sequence[Architecture], quality: Objective | None) -> dict[Basis, tuple[Choice, ...]]:
    """For each basis that every total has, with nothing in it at or below 0: a saturated estimate of idle power
    makes net energy meaningless."""
    trained = [a for a in architectures if a.train is not None and not a.train.cut_short]
    found: dict[Basis, tuple[Choice, ...]] = {}
    for basis in ("gross", "net"):
        bills = {a.name: bill for a in trained if (bill := a.bill(basis)) is not None}
        if (
            bills
            and len(bills) == len(trained)
            and all(b.once.mean > 0 and b.each.mean > 0 for b in bills.values())
        ):
            choices = [_choice(trained, bills, quality, s) for s in SHORTFALLS]
            found[basis] = tuple(c for c in choices if c is not None)
    return found


def _choice(
    trained: Sequence[Architecture], bills: Mapping[str, Bill], quality: Objective | None, shortfall: float | None
) -> Choice | None:
    """None where it would ask for less than the reference does."""
    known = [a.quality.mean for a in trained if a.quality is not None]
    reference = quality.reference if quality is not None else None
    at_least = reference
    if shortfall is not None:
        if not known or (reference is not None and max(known) - shortfall <= reference):
            return None
        at_least = max(known) - shortfall
    good = [a.name for a in trained if at_least is None or (a.quality is not None and a.quality.mean >= at_least)]
    return Choice(shortfall, at_least, tuple(good), cheapest([bills[name] for name in good]))


def _correlations(architectures: Sequence[Architecture]) -> dict[tuple[str, str, Method], Correlation]:
    values = [a.quantities for a in architectures]
    found = {}
    for i, a in enumerate(QUANTITIES):
        for b in QUANTITIES[i + 1 :]:
            pairs = [(v[a], v[b]) for v in values if a in v and b in v]
            for method in SHOWN:
                value = correlation([x for x, _ in pairs], [y for _, y in pairs], method)
                if value is not None:
                    found[a, b, method] = found[b, a, method] = value
    return found
