"""Summary of a run: everything that its report states, computed from its records. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from joulebench.errors import InputError, MissingFileError
from joulebench.meters.wall_comparison import WallComparison, compare_run
from joulebench.presentation.numbers import joules, number, seconds
from joulebench.presentation.units import scaled
from joulebench.presentation.words import plural
from joulebench.records.folder import RunFolder
from joulebench.records.model import Manifest, Status, TrialRecord, combined
from joulebench.reporting.failures import FailureGroup, failures
from joulebench.results.confirmation import searching
from joulebench.results.cost import BreakEven, Candidate, SearchCost, break_even, search_cost, stated_volume
from joulebench.results.frontier import hypervolume_by_trial
from joulebench.results.ledger import Ledger, idle_by_domain
from joulebench.results.losses import Losses, losses
from joulebench.results.members import Member, Target, member, targets
from joulebench.results.outcome import Configuration, Outcome, configuration_key, trial_outcomes
from joulebench.results.power_curve import ModelRange, model_range
from joulebench.results.run import Run
from joulebench.spec.parameters import Params
from joulebench.spec.reading import read_json
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, Spread

#: What `publish` was told, beside a published run's records.
PUBLISHED = "published.json"


@dataclass(frozen=True)
class TrialPoint:
    """One trial as a figure shows it; `outcomes` is empty where it has no value for some objective."""

    trial: int
    stage: str
    origin: str
    status: str
    params: Params
    outcomes: Mapping[str, Outcome]
    error: str | None
    breaks: tuple[str, ...] = ()  # constraints that its configuration breaks


@dataclass(frozen=True)
class Summary:
    """Everything a report of one run states, each part computed when first asked for."""

    run: Run
    wall: WallComparison | InputError | None = None  # of a wall meter's log beside the run, or why there is none
    published_busy: bool = False  # published with --allow-busy

    @property
    def manifest(self) -> Manifest:
        return self.run.manifest

    @property
    def task(self) -> Task:
        return self.run.task

    @property
    def ledger(self) -> Ledger:
        return self.run.ledger

    @property
    def rsd(self) -> Mapping[str, Spread]:
        """Between runs of one configuration, by energy objective."""
        return self.run.rsd

    @cached_property
    def statuses(self) -> Mapping[str, int]:
        return {s: sum(t.status == s for t in self.run.trials) for s in get_args(Status)}

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        return tuple(targets(self.task, self.run.trials))

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The frontier, best in the first objective first."""
        return tuple(member(self.run, c) for c in self.run.frontier)

    @cached_property
    def default(self) -> Member | None:
        key = configuration_key(self.task, self.task.defaults)
        return next((member(self.run, c) for c in self.run.configurations if c.complete and c.key == key), None)

    @cached_property
    def points(self) -> tuple[TrialPoint, ...]:
        """Every trial as a figure shows it."""
        trials = [(t, c, o) for c in self.run.configurations for t, o in self._outcomes(c)]
        broken_of = {c.key: self._breaks(c) for c in self.run.configurations if not c.feasible}
        points = (
            TrialPoint(t.trial, t.stage, t.proposed_by, t.status, t.params, o, t.error, broken_of.get(c.key, ()))
            for t, c, o in trials
        )
        return tuple(sorted(points, key=lambda point: point.trial))

    def _outcomes(self, configuration: Configuration) -> Iterator[tuple[TrialRecord, Mapping[str, Outcome]]]:
        """The outcomes of each trial, with the interval of its own windows.

        Those of a configuration run once are its own, unless they hold the spread between runs too.
        """
        if len(configuration.trials) == 1 and not self.run.spreads:
            yield configuration.trials[0], configuration.outcomes
            return
        for trial in configuration.trials:
            yield trial, trial_outcomes(self.task, trial, self.run.idle)

    @cached_property
    def outcomes(self) -> list[Mapping[str, Outcome]]:
        """Of the trials that have a value for every objective."""
        return [p.outcomes for p in self.points if p.outcomes]

    @cached_property
    def complete(self) -> int:
        """Configurations with a value for every objective."""
        return sum(c.complete for c in self.run.configurations)

    @cached_property
    def feasible(self) -> int:
        """Of them, those that keep every constraint."""
        return sum(c.complete and c.feasible for c in self.run.configurations)

    @property
    def ranked(self) -> int:
        """Configurations that the frontier is of: the confirmed ones; where there are none, the feasible ones."""
        known = self.run.confirmation
        return self.feasible if known is None else sum(c.configuration.feasible for c in known.configurations)

    @cached_property
    def broken(self) -> Mapping[str, int]:
        """Number of complete configurations that break each constraint; constraints that none breaks are absent."""
        names = [name for c in self.run.configurations if c.complete for name in self._breaks(c)]
        return {name: names.count(name) for name in self.task.outcome_constraints if name in names}

    def _breaks(self, configuration: Configuration) -> tuple[str, ...]:
        """The constraints that a configuration breaks."""
        known = configuration.constraints
        bounds = self.task.outcome_constraints.items()
        return tuple(n for n, c in bounds if n in known and not c.met_by(known[n].value.mean))

    @cached_property
    def hypervolume(self) -> tuple[float | None, ...]:
        """After each trial; where there was a confirmation, of the confirmed configurations."""
        return tuple(hypervolume_by_trial(self.task, self.run.trials, self.run.configurations))

    @cached_property
    def searched_hypervolume(self) -> tuple[tuple[int, float], ...]:
        """Trial and hypervolume after it, by the values that the search saw; empty where none is known."""
        known, trials = self.run.confirmation, self.run.trials
        if known is None:
            values: Sequence[float | None] = self.hypervolume
        else:
            trials = searching(trials)
            values = hypervolume_by_trial(self.task, trials, known.searched)
        return tuple((t.trial, v) for t, v in zip(trials, values, strict=True) if v is not None)

    @cached_property
    def idle_w(self) -> Mapping[str, Estimate | None]:
        """Idle power by domain."""
        return idle_by_domain(self.run.idle, [s.domain for s in self.ledger.sources if s.role == "primary"])

    @cached_property
    def model_range(self) -> ModelRange | None:
        """The run by a second model of the CPU's power; None where the CPU's joules are not of a load model."""
        return model_range(self.run)

    @cached_property
    def cost(self) -> SearchCost:
        return search_cost(self.ledger, self.manifest.hardware)

    @cached_property
    def break_even(self) -> tuple[BreakEven, ...]:
        """One for each phase with an energy objective but training, whose energy is spent once."""
        wanted = [t for t in self.targets if t.phase != "train"]
        return tuple(self._break_even(t, t.objective) for t in wanted if t.objective is not None)

    def _break_even(self, target: Target, objective: str) -> BreakEven:
        goals = {n: o.goal for n, o in self.task.objectives.items() if not o.is_energy}
        candidates = [c for m in self.members if (c := _candidate(m, target, goals)) is not None]
        base = _candidate(self.default, target, goals) if self.default else None
        spent = [e for name, e in self.ledger.by_family.items() if name in target.families]
        return break_even(
            objective,
            target.unit,
            base.energy.domains if base else target.families,
            sum(spent) if spent else None,
            base,
            candidates,
            goals,
            stated_volume(self.task, objective),
        )

    @cached_property
    def losses(self) -> Losses:
        """Windows that do not count, and what was lost by them."""
        return losses(self.run)

    @cached_property
    def failures(self) -> tuple[FailureGroup, ...]:
        return failures(self.run, self.losses)

    @property
    def provisional(self) -> bool:
        """Whether the frontier's members were chosen by the values that are shown: no new runs confirmed them."""
        chosen = self.task.has_frontier and bool(self.members) and self.feasible > 1
        return chosen and self.run.confirmation is None

    @cached_property
    def headline(self) -> str:
        """The run in one sentence: the frontier's range, or why there is none, and what the search cost.

        `Frontier of 5 configurations: val_accuracy 0.61…0.97 at 210…5 800 samples/J (estimated); search cost …`.
        """
        spent = "energy not measured," if self.cost.energy_j is None else f"{joules(self.cost.energy_j)} in"
        price = f"{spent} {seconds(self.cost.duration_s)}"
        if not self.members:
            return f"{self._no_frontier()}; cost so far {price}."
        objectives, n = self.task.objectives.items(), len(self.members)
        of = "confirmed configuration" if self.run.confirmation is not None else "configuration"
        what = "Best of one objective" if len(objectives) == 1 else f"Frontier of {plural(n, of)}"
        what += " (provisional)" if self.provisional else ""
        quality = [self._range(name) for name, o in objectives if not o.is_relative]
        expense = [self._range(name) for name, o in objectives if o.is_energy]
        expense += [self._range(name) for name, o in objectives if o.is_relative and not o.is_energy]
        values = " at ".join(", ".join(part) for part in (quality, expense) if part)
        return f"{what}: {values}; search cost {price}."

    def _no_frontier(self) -> str:
        total = sum(self.statuses.values())
        if self.complete > self.feasible == 0:
            return f"No configuration of {total} trials keeps every constraint"
        if self.statuses.get("ok"):
            return f"No trial of {total} beats the reference in every objective"
        bad = ", ".join(f"{n} {status}" for status, n in self.statuses.items() if n)
        return f"No usable trial of {total}{f' ({bad})' if bad else ''}"

    def _range(self, name: str) -> str:
        """The least and the greatest value of an objective over the frontier, with unit and kind."""
        outcomes, objective = [m.outcomes[name] for m in self.members], self.task.objectives[name]
        low, high = min(o.value.mean for o in outcomes), max(o.value.mean for o in outcomes)
        factor, unit = scaled(name, high, objective)
        ends = dict.fromkeys(number(v / factor, 3) for v in (low, high))
        value = f"{'…'.join(ends)} {unit}".rstrip()
        if not objective.is_energy:
            return f"{name} {value}"
        kinds = [o.kind for o in outcomes if o.kind is not None]
        label = f" ({combined(kinds)})" if kinds else ""
        return f"{value}{label}"


def summarise(folder: RunFolder, run: Run | None = None) -> Summary:
    """The summary of a run on disk, finished or not, with what a wall meter's log beside it says.

    Args:
        run: the folder's records, where they have been read already.

    Raises:
        InputError: a record file is damaged, or of another schema version.
    """
    run = Run.of(folder) if run is None else run
    return Summary(run, compare_run(folder, run.windows), published_busy(folder))


def published_busy(folder: RunFolder) -> bool:
    """Whether a run was published with `--allow-busy`.

    Raises:
        InputError: what was written when it was published cannot be read.
    """
    path = folder.path / PUBLISHED
    try:
        content = read_json(path)
    except MissingFileError:
        return False
    return isinstance(content, dict) and content.get("allow_busy") is True


def _candidate(member: Member, target: Target, goals: Mapping[str, str]) -> Candidate | None:
    energy = member.gross.get(target)
    if energy is None:
        return None
    return Candidate(member.label, {n: member.outcomes[n].value.mean for n in goals}, energy)
