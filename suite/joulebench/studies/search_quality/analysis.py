"""How good searches are: one method against another, what their proposals cost, and where they break. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from joulebench.records.model import Kind, TrialRecord, combined
from joulebench.results.run import Run
from joulebench.spec.parameters import Value
from joulebench.stats.estimate import Estimate
from joulebench.studies.search_quality.curves import Cell, Condition, median, read_searches, varied

BROKEN_BELOW = 0.90  # of the best hypervolume


@dataclass(frozen=True)
class Paired:
    """A method against the rival, seed by seed: differences of the final shares."""

    condition: Condition
    method: str
    difference: Estimate
    wins: int
    losses: int

    @property
    def verdict(self) -> str:
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return "too few repeats to tell"
        return "better" if low > 0 else "worse" if high < 0 else "no difference shown"


@dataclass(frozen=True)
class Pays:
    """Trials until a method has what the rival has at its end (`level`), and the rival's own; medians. If a trial
    takes more than `trial_j`, the trials saved are worth more than the dearer proposals."""

    condition: Condition
    method: str
    level: float
    trials: float
    rival_trials: float
    trial_j: float


@dataclass(frozen=True)
class SearchQuality:
    """What a run's searches show; `factors` are settings with several values, `base` their defaults."""

    cells: tuple[Cell, ...]
    rival: str | None
    kind: Kind | None  # of the joules of proposals
    best_of_runs: tuple[Condition, ...]  # where no better best is known
    factors: Mapping[str, tuple[Value, ...]]
    base: Mapping[str, Value]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return tuple(dict.fromkeys(cell.condition for cell in self.cells))

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.method for cell in self.cells))

    def words(self, condition: Condition) -> str:
        """A condition by its problem, where there are several, and by what differs from the base."""
        several = len({c.problem for c in self.conditions}) > 1 or not self.base
        apart = [f"{name} = {value}" for name, value in condition.settings if self.base.get(name) != value]
        settings = apart or (["base"] if self.base else [])
        return ", ".join([*([condition.problem] if several else []), *settings])

    def cell(self, condition: Condition, method: str | None) -> Cell | None:
        return next((c for c in self.cells if c.condition == condition and c.method == method), None)

    @property
    def base_conditions(self) -> tuple[Condition, ...]:
        """Those with every setting at its default; all, where none is."""
        at_base = tuple(c for c in self.conditions if all(self.base.get(n) == v for n, v in c.settings))
        return at_base or self.conditions

    def along(self, factor: str, problem: str) -> tuple[Condition, ...]:
        """The conditions that differ from the base in one setting only, in its order."""
        apart = [
            c for c in self.conditions
            if c.problem == problem and all(n == factor or self.base.get(n) == v for n, v in c.settings)
        ]  # fmt: skip
        return tuple(sorted(apart, key=lambda c: self.factors[factor].index(dict(c.settings)[factor])))

    def paired(self) -> tuple[Paired, ...]:
        """Every method against the rival, over the repeats that both have."""
        made = (self._pair(cell) for cell in self.cells if cell.method != self.rival)
        return tuple(pair for pair in made if pair is not None)

    def _pair(self, cell: Cell) -> Paired | None:
        other = self.cell(cell.condition, self.rival)
        theirs = {s.repeat: s.final for s in other.searches} if other else {}
        gaps = [s.final - theirs[s.repeat] for s in cell.searches if s.repeat in theirs]
        if not gaps:
            return None
        wins, losses = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
        return Paired(cell.condition, cell.method, median(gaps), wins, losses)

    def no_better(self, cell: Cell) -> bool:
        """Whether a method's median is not above the rival's interval; of few repeats, not above its best."""
        other = self.cell(cell.condition, self.rival)
        if other is None or cell.method == self.rival:
            return False
        bar = other.final.high
        return cell.final.mean <= (max(s.final for s in other.searches) if bar is None else bar)

    def pays(self) -> tuple[Pays, ...]:
        """For methods that get to the rival's last median in fewer trials: the joules of proposals more by the
        trials fewer, of medians over seeds."""
        made = (self._pays(cell) for cell in self.cells if cell.method != self.rival)
        return tuple(pays for pays in made if pays is not None)

    def _pays(self, cell: Cell) -> Pays | None:
        other = self.cell(cell.condition, self.rival)
        if other is None or not (cell.has_joules and other.has_joules):
            return None
        level = other.final.mean
        mine, theirs = cell.trials_to(level).mean, other.trials_to(level).mean
        if not mine < theirs < math.inf:
            return None
        more = cell.proposing_to(level).mean - other.proposing_to(level).mean
        return Pays(cell.condition, cell.method, level, mine, theirs, max(0.0, more / (theirs - mine)))


def search_quality(run: Run) -> SearchQuality | None:
    """What the run's searches show; None where no search has a trial."""
    task, searches = run.task, read_searches(run.task, run.trials)
    if not searches.cells:
        return None
    methods = {cell.method for cell in searches.cells}
    rival = task.options.get("rival", "random")
    values = {n: _ordered(dict(c.condition.settings)[n] for c in searches.cells) for n in varied(task)}
    return SearchQuality(
        searches.cells,
        rival if rival in methods and len(methods) > 1 else None,
        _kind(searches.trials),
        searches.best_of_runs,
        {name: levels for name, levels in values.items() if len(levels) > 1},
        {name: task.defaults[name] for name in varied(task)},
    )


def _ordered(values: Iterable[Value]) -> tuple[Value, ...]:
    distinct = tuple(dict.fromkeys(values))
    numbers = all(isinstance(v, int | float) for v in distinct)
    return tuple(sorted(distinct, key=float)) if numbers else distinct


def _kind(trials: Iterable[TrialRecord]) -> Kind | None:
    kinds = {
        r.kind for t in trials for w in t.windows if w.phase == "train" for r in w.readings if r.role == "primary"
    }
    return combined(kinds) if kinds else None
