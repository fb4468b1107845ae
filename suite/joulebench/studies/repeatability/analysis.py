"""Does a run say the same twice, and do its joules add up? Repeats, batch size and epochs of one model. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from joulebench.records.model import Kind, TrialRecord, combined
from joulebench.results.energy import common_domains, phase_energy
from joulebench.spec.parameters import Value
from joulebench.spec.task import Task
from joulebench.stats.dispersion import Distribution, Drift, Rsd, distribution, drift, relative_sd
from joulebench.stats.estimate import Estimate, estimate, point
from joulebench.stats.regression import Line, fit_line

BATCH, EPOCHS = "batch_size", "epochs"
BETWEEN_RUNS = "runs of the configuration"


@dataclass(frozen=True)
class TrainCost:
    """Training of one run, validation left out: joules and seconds of all its epochs."""

    energy_j: float
    seconds: float
    epochs: int
    samples: int
    first_j: float  # of the first epoch
    kind: Kind


@dataclass(frozen=True)
class PhaseCost:
    """The measured phase of one run, per unit of work, gross."""

    j_per_unit: Estimate
    s_per_unit: Estimate
    batch: float | None  # units a step really did
    kind: Kind


@dataclass(frozen=True)
class RunCost:
    """One run as the analyses see it; None where it has no valid windows."""

    trial: int
    stage: str
    start_s: float
    batch_size: Value | None
    epochs: Value | None
    train: TrainCost | None
    phase: PhaseCost | None


@dataclass(frozen=True)
class Spread:
    """One quantity over identical runs, in the order they were made."""

    name: str
    unit: str
    kind: Kind | None  # None for a time
    runs: Distribution
    drift: Drift | None
    first_excess: float | None  # the first run over the median of the others, less 1
    rsd_of_others: Rsd | None  # without the first run

    @property
    def first_stands_out(self) -> bool:
        """Whether the first run lies farther off the others' median than three of their standard deviations."""
        if self.first_excess is None or self.rsd_of_others is None:
            return False
        return abs(self.first_excess) > 3 * self.rsd_of_others.value


@dataclass(frozen=True)
class BatchPoint:
    """One batch size: energy and time per unit of the phase, and of training per sample and per epoch.

    Over several runs the intervals are between runs; over one, those of its windows (training has none).
    """

    batch_size: float
    runs: int
    phase_j: Estimate | None
    phase_s: Estimate | None
    train_j_per_sample: Estimate | None
    train_j_per_epoch: Estimate | None
    train_s_per_epoch: Estimate | None


@dataclass(frozen=True)
class Repeatability:
    """What repeats, a sweep of batch sizes and a sweep of epochs show; parts without trials are empty.

    `energy_fit` and `time_fit` are E = a + b · epochs over the runs of the epoch sweep, in J and s.
    """

    phase: str | None
    unit: str
    kind: Kind | None
    domains: tuple[str, ...]
    runs: tuple[RunCost, ...]
    repeats: int
    spreads: tuple[Spread, ...]
    batches: tuple[BatchPoint, ...]
    epoch_runs: tuple[RunCost, ...]
    energy_fit: Line | None
    time_fit: Line | None
    first_epoch_excess: float | None  # first epoch's joules over the later ones' mean, less 1; median of the runs
    trials: int
    lost: int = 0  # trials without a value
    default: dict[str, Value] = field(default_factory=dict)

    @property
    def best_batch(self) -> BatchPoint | None:
        """The batch size with the fewest joules per unit of the phase."""
        known = [b for b in self.batches if b.phase_j is not None]
        return min(known, key=lambda b: b.phase_j.mean, default=None)  # type: ignore[union-attr]

    def spread(self, name: str) -> Spread | None:
        return next((s for s in self.spreads if s.name == name), None)


def repeatability(task: Task, trials: Sequence[TrialRecord]) -> Repeatability:
    """Repeats are the trials of stages with method `default`; a sweep is a stage that varies one parameter.

    Energy is gross over the domains that the task's energy objectives name.
    """
    wanted = dict.fromkeys(d for o in task.objectives.values() for d in o.domains or ())
    asked = tuple(wanted) or ("gpu", "cpu", "ram")
    objective = task.measured
    phase = objective.phase if objective else None
    usable = [t for t in trials if t.status == "ok"]
    costs = tuple(_run_cost(task, t, phase, asked) for t in usable)
    by_trial = {c.trial: c for c in costs}
    repeated = [c for c in costs if task.stages[c.stage].method == "default"]
    batch_runs = [by_trial[t.trial] for t in _sweep(task, usable, BATCH)]
    epoch_runs = tuple(by_trial[t.trial] for t in _sweep(task, usable, EPOCHS) if by_trial[t.trial].train)
    kinds = {c.kind for run in costs for c in (run.train, run.phase) if c is not None}
    unit = next((t.unit[phase] for t in usable if phase in t.unit), "unit") if phase else "unit"
    every = [w for t in usable for w in t.windows if w.phase in ("train", phase)]
    return Repeatability(
        phase=phase,
        unit=unit,
        kind=combined(kinds) if kinds else None,
        domains=common_domains(every, asked),
        runs=costs,
        repeats=len(repeated),
        spreads=_spreads(repeated, phase, unit),
        batches=_batches(batch_runs),
        epoch_runs=epoch_runs,
        energy_fit=_fit(epoch_runs, lambda c: c.energy_j),
        time_fit=_fit(epoch_runs, lambda c: c.seconds),
        first_epoch_excess=_first_excess(costs),
        trials=len(trials),
        lost=len(trials) - len(usable),
        default=task.defaults,
    )


def _sweep(task: Task, trials: Sequence[TrialRecord], name: str) -> list[TrialRecord]:
    """The trials of the stages that vary this parameter and no other."""
    found = []
    for stage in task.stages:
        own = [t for t in trials if t.stage == stage]
        varied = {n for t in own for n, v in t.params.items() if v != task.defaults.get(n)}
        if varied == {name}:
            found += own
    return found


def _run_cost(task: Task, trial: TrialRecord, phase: str | None, asked: Sequence[str]) -> RunCost:
    return RunCost(
        trial=trial.trial,
        stage=trial.stage,
        start_s=trial.windows[0].start_s if trial.windows else 0.0,
        batch_size=trial.params.get(BATCH),
        epochs=trial.params.get(EPOCHS),
        train=_train_cost(trial, asked),
        phase=_phase_cost(task, trial, phase, asked) if phase else None,
    )


def _train_cost(trial: TrialRecord, asked: Sequence[str]) -> TrainCost | None:
    windows = [w for w in trial.windows if w.phase == "train"]
    names = common_domains(windows, asked)
    if not windows or not names or any(w.fault for w in windows):
        return None
    readings = [[r for r in w.readings if r.role == "primary" and r.domain in names] for w in windows]
    energies = [sum(r.energy_j for r in found) for found in readings]
    if sum(energies) <= 0:
        return None
    kinds = {r.kind for found in readings for r in found}
    return TrainCost(
        energy_j=sum(energies),
        seconds=sum(w.duration_s for w in windows),
        epochs=len(windows),
        samples=sum(w.units for w in windows),
        first_j=energies[0],
        kind=combined(kinds),
    )


def _phase_cost(task: Task, trial: TrialRecord, phase: str, asked: Sequence[str]) -> PhaseCost | None:
    energy = phase_energy(trial.windows, phase, asked, task.protocol)
    if energy is None:
        return None
    sized = [w.units / w.steps for w in trial.windows if w.phase == phase and w.steps]
    return PhaseCost(energy.j_per_unit, energy.unit_s, fmean(sized) if sized else None, energy.kind)


def _spreads(runs: Sequence[RunCost], phase: str | None, unit: str) -> tuple[Spread, ...]:
    found = []
    phases = [(r.start_s, r.phase) for r in runs if r.phase is not None]
    if phase and phases:
        at = [s for s, _ in phases]
        kind = _kind([p.kind for _, p in phases])
        found.append(_spread(f"{phase} energy", f"J/{unit}", kind, at, [p.j_per_unit.mean for _, p in phases]))
        found.append(_spread(f"{phase} time", f"s/{unit}", None, at, [p.s_per_unit.mean for _, p in phases]))
    trained = [(r.start_s, r.train) for r in runs if r.train is not None]
    if trained:
        at = [s for s, _ in trained]
        kind = _kind([t.kind for _, t in trained])
        found.append(_spread("training energy", "J/epoch", kind, at, [t.energy_j / t.epochs for _, t in trained]))
        found.append(_spread("training time", "s/epoch", None, at, [t.seconds / t.epochs for _, t in trained]))
    return tuple(s for s in found if s is not None)


def _spread(name: str, unit: str, kind: Kind | None, at: Sequence[float], values: Sequence[float]) -> Spread | None:
    runs = distribution(values)
    if runs is None:
        return None
    others = values[1:]
    excess = values[0] / median(others) - 1 if len(others) >= 2 and median(others) > 0 else None
    return Spread(name, unit, kind, runs, drift(at, values), excess, relative_sd(others))


def _kind(kinds: Sequence[Kind]) -> Kind:
    return combined(kinds)


def _batches(runs: Sequence[RunCost]) -> tuple[BatchPoint, ...]:
    groups: dict[float, list[RunCost]] = {}
    for run in runs:
        if isinstance(run.batch_size, int | float):
            groups.setdefault(float(run.batch_size), []).append(run)
    found = []
    for size, members in sorted(groups.items()):
        phases = [r.phase for r in members if r.phase is not None]
        trained = [r.train for r in members if r.train is not None]
        found.append(
            BatchPoint(
                batch_size=size,
                runs=len(members),
                phase_j=_between([p.j_per_unit for p in phases]),
                phase_s=_between([p.s_per_unit for p in phases]),
                train_j_per_sample=_between([point(t.energy_j / t.samples) for t in trained if t.samples]),
                train_j_per_epoch=_between([point(t.energy_j / t.epochs) for t in trained]),
                train_s_per_epoch=_between([point(t.seconds / t.epochs) for t in trained]),
            )
        )
    return tuple(found)


def _between(values: Sequence[Estimate]) -> Estimate | None:
    if not values:
        return None
    return values[0] if len(values) == 1 else estimate([v.mean for v in values], BETWEEN_RUNS)


def _fit(runs: Sequence[RunCost], read: Callable[[TrainCost], float]) -> Line | None:
    trained = [r.train for r in runs if r.train is not None]
    return fit_line([float(t.epochs) for t in trained], [read(t) for t in trained])


def _first_excess(runs: Sequence[RunCost]) -> float | None:
    """What the first epoch costs beyond a later one: caches, allocation, kernel choice."""
    ratios = []
    for run in runs:
        if run.train is not None and run.train.epochs > 1:
            later = (run.train.energy_j - run.train.first_j) / (run.train.epochs - 1)
            if later > 0:
                ratios.append(run.train.first_j / later - 1)
    return median(ratios) if ratios else None
