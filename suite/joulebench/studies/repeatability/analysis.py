"""Repeatability of one model's energy and time, and their dependence on batch size and epochs. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from joulebench.records.model import Kind, TrialRecord, combined
from joulebench.results.energy import Energy, common_domains
from joulebench.results.phase_runs import PhaseRuns, TrainingRuns
from joulebench.results.run import Run
from joulebench.stats.dispersion import Distribution, Drift, Rsd, distribution, drift, relative_sd
from joulebench.stats.estimate import Estimate
from joulebench.stats.regression import Line, fit_line

BATCH, EPOCHS = "batch_size", "epochs"


@dataclass(frozen=True, eq=False)
class Point:
    """Energy and time of the measured phase and of training, over one trial or all trials of one batch size.

    Intervals are between trials; of a single trial, between its windows (training has none).
    """

    run: Run
    trials: tuple[TrialRecord, ...]

    @cached_property
    def phase(self) -> PhaseRuns | None:
        """None without valid windows."""
        measured = self.run.task.measured
        return self.run.phase(self.trials, measured.phase) if measured and measured.phase else None

    @cached_property
    def train(self) -> TrainingRuns | None:
        return self.run.training(self.trials)

    @property
    def phase_j(self) -> Energy | None:
        return None if self.phase is None else self.phase.gross

    @property
    def phase_s(self) -> Estimate | None:
        return None if self.phase is None else self.phase.unit_s

    @property
    def train_j_per_sample(self) -> Energy | None:
        return None if self.train is None else self.train.per(self.train.units, "sample")

    @property
    def train_j_per_epoch(self) -> Energy | None:
        return None if self.train is None else self.train.per(self.train.epochs, "epoch")

    @property
    def train_s_per_epoch(self) -> Estimate | None:
        return None if self.train is None else self.train.seconds_per(self.train.epochs)

    @property
    def first_j(self) -> float:
        """Joules of the first epoch of the first training."""
        assert self.train is not None
        first = next(w for w in self.train.trials[0].windows if w.phase == "train")
        domains = self.train.gross.domains
        return sum(r.energy_j for r in first.readings if r.role == "primary" and r.domain in domains)


@dataclass(frozen=True, eq=False)
class BatchPoint(Point):
    """All trials of one batch size."""

    batch_size: float


@dataclass(frozen=True)
class Spread:
    """Distribution and drift of one quantity over identical runs, in chronological order."""

    name: str
    unit: str
    kind: Kind | None  # None for a time
    runs: Distribution
    drift: Drift | None
    first_excess: float | None  # the first run relative to the median of the others, − 1
    rsd_of_others: Rsd | None  # without the first run

    @property
    def first_is_outlier(self) -> bool:
        """Whether the first run is more than three standard deviations of the others off their median."""
        if self.first_excess is None or self.rsd_of_others is None:
            return False
        return abs(self.first_excess) > 3 * self.rsd_of_others.value


@dataclass(frozen=True, eq=False)
class Repeatability:
    """Repeats, a sweep of batch sizes and a sweep of epochs; parts without trials are empty.

    Repeats are the trials of stages with method `default`; a sweep is a stage that varies one parameter. Energy is
    gross over the domains that the task's energy objectives name.
    """

    run: Run

    @property
    def phase(self) -> str | None:
        measured = self.run.task.measured
        return measured.phase if measured else None

    @cached_property
    def runs(self) -> tuple[Point, ...]:
        """Every usable trial."""
        return tuple(Point(self.run, (t,)) for t in self.run.trials if t.status == "ok")

    @property
    def unit(self) -> str:
        units = (p.trials[0].unit for p in self.runs)
        return next((unit[self.phase] for unit in units if self.phase and self.phase in unit), "unit")

    @property
    def kind(self) -> Kind | None:
        kinds = {e.gross.kind for p in self.runs for e in (p.phase, p.train) if e is not None}
        return combined(kinds) if kinds else None

    @property
    def domains(self) -> tuple[str, ...]:
        windows = [w for p in self.runs for w in p.trials[0].windows if w.phase in ("train", self.phase)]
        return common_domains(windows, self.run.families)

    @cached_property
    def _repeated(self) -> list[Point]:
        stages = {name for name, stage in self.run.task.stages.items() if stage.method == "default"}
        return [p for p in self.runs if p.trials[0].stage in stages]

    @property
    def repeats(self) -> int:
        return len(self._repeated)

    @cached_property
    def spreads(self) -> tuple[Spread, ...]:
        phase, unit = self.phase, self.unit
        spreads = (
            self._spread(f"{phase} energy", f"J/{unit}", lambda p: p.phase_j),
            self._spread(f"{phase} time", f"s/{unit}", lambda p: p.phase_s),
            self._spread("training energy", "J/epoch", lambda p: p.train_j_per_epoch),
            self._spread("training time", "s/epoch", lambda p: p.train_s_per_epoch),
        )
        return tuple(s for s in spreads if s is not None)

    def spread(self, name: str) -> Spread | None:
        return next((s for s in self.spreads if s.name == name), None)

    def _spread(self, name: str, unit: str, read: Callable[[Point], Estimate | None]) -> Spread | None:
        known = [(p.trials[0], value) for p in self._repeated if (value := read(p)) is not None]
        at = [t.windows[0].start_s for t, _ in known]
        values, others = [v.mean for _, v in known], [v.mean for _, v in known[1:]]
        runs = distribution(values)
        if runs is None:
            return None
        kinds = [v.kind for _, v in known if isinstance(v, Energy)]
        excess = values[0] / median(others) - 1 if len(others) >= 2 and median(others) > 0 else None
        kind = combined(kinds) if kinds else None
        return Spread(name, unit, kind, runs, drift(at, values), excess, relative_sd(others))

    @cached_property
    def batches(self) -> tuple[BatchPoint, ...]:
        """By batch size, smallest first."""
        groups: dict[float, list[TrialRecord]] = {}
        for trial in self._sweep(BATCH):
            size = trial.params.get(BATCH)
            if isinstance(size, int | float):
                groups.setdefault(float(size), []).append(trial)
        return tuple(BatchPoint(self.run, tuple(trials), size) for size, trials in sorted(groups.items()))

    @property
    def best_batch(self) -> BatchPoint | None:
        """The batch size with the fewest joules per unit of the phase."""
        known = [(b.phase_j.mean, b) for b in self.batches if b.phase_j is not None]
        return min(known, key=lambda pair: pair[0])[1] if known else None

    @cached_property
    def trainings(self) -> tuple[TrainingRuns, ...]:
        """Trainings of the epoch sweep, one per trial."""
        known = (self.run.training([t]) for t in self._sweep(EPOCHS))
        return tuple(t for t in known if t is not None)

    @cached_property
    def energy_fit(self) -> Line | None:
        """E = a + b · epochs over the runs of the epoch sweep, in J."""
        return self._fit(lambda t: t.gross)

    @cached_property
    def time_fit(self) -> Line | None:
        """Time = a + b · epochs over the same runs, in s."""
        return self._fit(lambda t: t.seconds)

    def _fit(self, read: Callable[[TrainingRuns], Estimate]) -> Line | None:
        return fit_line([float(t.epochs[0]) for t in self.trainings], [read(t).mean for t in self.trainings])

    @property
    def first_epoch_excess(self) -> float | None:
        """Energy of the first epoch relative to the mean of the later ones, − 1; median over runs.

        Caches, memory allocation and the choice of kernels make it dearer. None without runs of several epochs.
        """
        ratios = []
        for point in self.runs:
            if point.train is not None and point.train.epochs[0] > 1:
                later = (point.train.gross.mean - point.first_j) / (point.train.epochs[0] - 1)
                if later > 0:
                    ratios.append(point.first_j / later - 1)
        return median(ratios) if ratios else None

    @property
    def lost(self) -> int:
        """Trials without a value."""
        return len(self.run.trials) - len(self.runs)

    def _sweep(self, name: str) -> list[TrialRecord]:
        """The usable trials of the stages that vary this parameter and no other."""
        task, swept = self.run.task, []
        for stage in task.stages:
            trials = [p.trials[0] for p in self.runs if p.trials[0].stage == stage]
            varied = {n for t in trials for n, v in t.params.items() if v != task.defaults.get(n)}
            if varied == {name}:
                swept += trials
        return swept
