"""Run as it is read: its records, the audit's findings, and results computed once when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry, Manifest, ScoreRecord, TrialRecord, Window
from joulebench.results.audit import audit
from joulebench.results.concurrent_windows import marked
from joulebench.results.conditions import Device, working_device
from joulebench.results.confirmation import Confirmation, confirmation
from joulebench.results.findings import Finding
from joulebench.results.frontier import frontier
from joulebench.results.idle import IdleWindows
from joulebench.results.ledger import Ledger, balance
from joulebench.results.membership import Membership, membership
from joulebench.results.outcome import Configuration, configurations, idle_windows, replicates, run_to_run
from joulebench.results.phase_runs import (
    PhaseRuns,
    Repeated,
    TrainingRuns,
    families,
    phase_runs,
    training_runs,
    varied,
)
from joulebench.spec.task import Task
from joulebench.stats.estimate import Spread

FOLDER = "overlay"


@dataclass(frozen=True)
class Run:
    """Records of a run and results derived from them, each computed at first use."""

    manifest: Manifest
    task: Task
    trials: Sequence[TrialRecord]
    entries: Sequence[LedgerEntry] = ()
    scores: Sequence[ScoreRecord] = ()
    findings: Sequence[Finding] = ()  # of the audit
    overlay: Run | None = None  # the reference run kept with this one

    @classmethod
    def of(cls, folder: RunFolder) -> Run:
        """Everything in a run folder; a trial that cannot have happened as recorded is `invalid`.

        Raises:
            InputError: a record file is damaged, of another schema version, or not of this task.
        """
        beside = folder.path / FOLDER
        overlay = cls._alone(RunFolder.open(beside)) if (beside / "manifest.json").exists() else None
        return replace(cls._alone(folder), overlay=overlay)

    @classmethod
    def _alone(cls, folder: RunFolder) -> Run:
        """The run without a reference run: a reference run has none itself."""
        manifest, task = folder.manifest(), folder.task()
        trials, entries, scores, torn = folder.records()
        audited = audit(folder.trials_path, manifest, task, marked(trials, entries), entries, scores, torn)
        trials = sorted(audited.trials, key=lambda t: t.trial)  # a cluster's are written as they come back
        return cls(manifest, task, trials, entries, scores, audited.findings)

    @property
    def windows(self) -> Iterator[Window]:
        """Every window: of trials, and between them."""
        every = chain((t.windows for t in self.trials), (e.windows for e in self.entries))
        return chain.from_iterable(every)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Trials by configuration, in order of first appearance."""
        return configurations(self.task, self.trials)

    @cached_property
    def frontier(self) -> list[Configuration]:
        """The non-dominated configurations, best in the first objective first."""
        return frontier(self.task, self.configurations)

    @cached_property
    def confirmation(self) -> Confirmation | None:
        """What new runs of the chosen configurations found; None where none was confirmed."""
        return confirmation(self.task, self.configurations, self.idle)

    @cached_property
    def membership(self) -> Membership | None:
        """Probability of each confirmed configuration of being on the frontier; None where none was confirmed."""
        return None if self.confirmation is None else membership(self.task, self.configurations)

    @cached_property
    def idle(self) -> IdleWindows:
        """The idle windows of all trials."""
        return idle_windows(self.trials, self.task.protocol)

    @cached_property
    def device(self) -> Device:
        """Device whose utilisation says how busy the hardware was."""
        return working_device(self.windows)

    @cached_property
    def ledger(self) -> Ledger:
        """Every joule of the run."""
        return balance(self.trials, self.entries)

    @cached_property
    def spreads(self) -> dict[str, Spread]:
        """Spread between runs of one configuration, by objective with replicates (`run_to_run`)."""
        return run_to_run(self.task, self.trials, self.configurations)

    @property
    def rsd(self) -> dict[str, Spread]:
        """The spreads of energy objectives."""
        return {name: spread for name, spread in self.spreads.items() if self.task.objectives[name].is_energy}

    @cached_property
    def families(self) -> tuple[str, ...]:
        """The domains that the task's energy objectives name; every one where they name none."""
        return families(self.task)

    @cached_property
    def varied(self) -> list[str]:
        """The parameters that differ between the run's configurations."""
        return varied(self.task, [c.params for c in self.configurations])

    @cached_property
    def scores_by_trial(self) -> Mapping[int, Mapping[str, float]]:
        """`{trial: {"test_accuracy": …}}`; a trial scored again (after a resume) has its last scores."""
        scores: dict[int, dict[str, float]] = {}
        for record in self.scores:
            prefix = f"{record.split}_"
            named = {prefix + name.removeprefix(prefix): value for name, value in record.metrics.items()}
            scores.setdefault(record.trial, {}).update(named)
        return scores

    def phase(
        self, trials: Sequence[TrialRecord], phase: str, counted: Sequence[str] | None = None
    ) -> PhaseRuns | None:
        """A phase over the usable among trials of one configuration; None where none of them has joules of it.

        Args:
            counted: families of domains (`gpu`, `cpu`, `ram`); those of the task's energy objectives if not given.
        """
        usable, domains = _usable(trials), tuple(self.families if counted is None else counted)
        key = (tuple(t.trial for t in usable), phase, domains)
        if key not in self._phases:
            of = partial(phase_runs, self.task.protocol, phase=phase, families=domains, idle=self.idle)
            self._phases[key] = of(usable, repeated=self.repeated_phase(phase, domains))
        return self._phases[key]

    def repeated_phase(self, phase: str, domains: tuple[str, ...]) -> Repeated:
        """Spread of a phase's quantities between runs of one configuration."""
        of = partial(phase_runs, self.task.protocol, phase=phase, families=domains, idle=self.idle)
        return self._repeated(phase, domains, of)

    def _repeated(
        self,
        phase: str | None,
        domains: tuple[str, ...],
        of: Callable[[Sequence[TrialRecord]], PhaseRuns | TrainingRuns | None],
    ) -> Repeated:
        """The configurations that were run more than once: a phase of theirs, or (None) their trainings.

        `of` reads the runs of one of them.
        """
        key = (phase, domains)
        if key not in self._spreads:
            every = map(of, replicates(self.configurations))
            self._spreads[key] = Repeated([runs.relative for runs in every if runs is not None])
        return self._spreads[key]

    @cached_property
    def _spreads(self) -> dict[tuple[str | None, tuple[str, ...]], Repeated]:
        return {}

    @cached_property
    def _phases(self) -> dict[tuple[tuple[int, ...], str, tuple[str, ...]], PhaseRuns | None]:
        return {}

    def training(self, trials: Sequence[TrialRecord], counted: Sequence[str] | None = None) -> TrainingRuns | None:
        """Training over the usable among trials of one configuration; None where none has known joules."""
        usable, domains = _usable(trials), tuple(self.families if counted is None else counted)
        key = (tuple(t.trial for t in usable), domains)
        if key not in self._trainings:
            of = partial(training_runs, self.task.protocol, families=domains, idle=self.idle)
            self._trainings[key] = of(usable, repeated=self.repeated_training(domains))
        return self._trainings[key]

    def repeated_training(self, domains: tuple[str, ...]) -> Repeated:
        """Spread of trainings between runs of one configuration."""
        of = partial(training_runs, self.task.protocol, families=domains, idle=self.idle)
        return self._repeated(None, domains, of)

    @cached_property
    def _trainings(self) -> dict[tuple[tuple[int, ...], tuple[str, ...]], TrainingRuns | None]:
        return {}


def _usable(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [t for t in trials if t.status == "ok"]
