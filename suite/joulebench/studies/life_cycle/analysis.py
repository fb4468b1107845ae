"""Energy of a project over its life: data, experimentation, training, and N units of inference. Pure.

The four parts are gross joules over the same families of domains:

- data: the ledger's account of reading and staging the data,
- training: one training of the chosen model, E_tr, from its own windows (validation left out),
- experimentation: every other joule of the run,
- inference: N · E_in of the chosen model.

So the first three sum to the run's ledger, T, and inference is a share s of the whole at N = s/(1 − s) · T/E_in.
A member of the frontier takes T + N · E_in in all, as its training is part of T; the default, which needs no
search, E_tr + N · E_in of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from joulebench.records.model import Kind, combined
from joulebench.results.cost import Candidate, SearchCost, break_even, search_cost, stated_volume
from joulebench.results.energy import Energy
from joulebench.results.ledger import family
from joulebench.results.members import label
from joulebench.results.outcome import Configuration
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate, point, reciprocal
from joulebench.stats.intervals import plus, scaled, shifted
from joulebench.studies.configured import Configured
from joulebench.studies.training_inference.crossover import (
    Crossover,
    LinearCost,
    Segment,
    crossover,
    lower_envelope,
)

#: The first is the ledger's account, too.
DATA = "data"
PARTS = (DATA, "experimentation", "training", "experimentation and training", "inference")
#: Shares of inference in the published splits.
SHARES = (0.40, 0.70)


@dataclass(frozen=True, eq=False)
class Deployed(Configured):
    """A configuration with the joules of one training of it and of one unit of inference, gross."""

    name: str
    inference: Energy
    training: Energy | None  # None where it was not trained, or a training's joules are not known

    @property
    def is_trained(self) -> bool:
        return any(w.phase == "train" for t in self.configuration.usable for w in t.windows)

    @property
    def alone(self) -> LinearCost | None:
        """E_tr + N · E_in, without a search; None where the joules of its training are not known.

        A single training has no interval and is taken as exact.
        """
        if self.training is None:
            return None if self.is_trained else LinearCost(self.name, point(0.0), self.inference)
        return LinearCost(self.name, self.training, self.inference)


@dataclass(frozen=True, eq=False)
class LifeCycle:
    """The parts of a run's joules, and its confirmed members with the volume of inference."""

    run: Run
    unit: str
    families: tuple[str, ...]  # of the domains that all parts are counted over
    left_out: tuple[str, ...]  # families that the ledger has and some part lacks
    members: tuple[Deployed, ...]  # the confirmed frontier, best in the first objective first
    default: Deployed | None
    chosen: Deployed
    stated: float | None  # volume that the task states

    @cached_property
    def spent_j(self) -> float:
        """T: every joule of the run over `families`."""
        return sum(self.run.ledger.by_family[f] for f in self.families)

    @cached_property
    def data_j(self) -> float | None:
        account = next((a for a in self.run.ledger.accounts if a.name == DATA), None)
        if account is None or account.energy_j is None:
            return None
        return sum(account.by_family.get(f, 0.0) for f in self.families)

    def parts(self, units: float = 0.0) -> dict[str, float | None]:
        """Joules of each of `PARTS`, with so many units of inference; None for what is not on record."""
        training = None if self.chosen.training is None else self.chosen.training.mean
        both = self.spent_j - (self.data_j or 0.0)
        inference = units * self.chosen.inference.mean if units else None
        return dict(zip(PARTS, (self.data_j, both - (training or 0.0), training, both, inference), strict=True))

    def total_j(self, units: float) -> float:
        return self.spent_j + units * self.chosen.inference.mean

    def inference_share(self, units: float) -> Estimate:
        """Share of inference in all joules; its interval is that of E_in, as the rest was read once."""
        energy = self.chosen.inference * units

        def share(energy_j: float | None) -> float | None:
            return None if energy_j is None else max(0.0, energy_j) / (self.spent_j + max(0.0, energy_j))

        at = energy.mean / (self.spent_j + energy.mean)
        return Estimate(at, energy.n, None, share(energy.low), share(energy.high), energy.varied)

    def volume_at(self, share: float) -> Estimate | None:
        """N at which inference is this share of all joules; None where E_in is not positive."""
        per_j = reciprocal(self.chosen.inference)
        return None if per_j is None else scaled(per_j, share / (1 - share) * self.spent_j)

    @property
    def volumes(self) -> tuple[float, ...]:
        """The stated volume; where none is, those at which inference is one of `SHARES`."""
        if self.stated is not None:
            return (self.stated,)
        return tuple(v.mean for share in SHARES if (v := self.volume_at(share)) is not None)

    def total(self, member: Deployed) -> LinearCost:
        """T + N · E_in of a member: the search is paid for, and its training with it."""
        return LinearCost(member.name, point(self.spent_j), member.inference)

    def saving(self, member: Deployed, units: float) -> Estimate | None:
        """Joules that N units take less than with the default, the search counted; negative for more.

        E_tr,default + N · (E_in,default − E_in) − T; None without the joules of the default.
        """
        base = None if self.default is None else self.default.alone
        if base is None or self.default is None:
            return None
        if member is self.default:
            return shifted(base.fixed, -self.spent_j)
        saved = (self.default.inference - member.inference) * units
        trained = shifted(saved, base.fixed.mean) if base.fixed.low is None else plus(saved, base.fixed)
        return shifted(trained, -self.spent_j)

    def repaid_after(self, member: Deployed) -> Crossover | None:
        """The volume from which a member takes less than the default, the search counted; None if never."""
        base = None if self.default is None else self.default.alone
        return None if base is None else crossover(base, self.total(member))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The members of least E_tr + N · E_in by volume, the search aside; empty where not all E_tr are known."""
        alone = [m.alone for m in self.members]
        known = [c for c in alone if c is not None and c.fixed.mean > 0]
        return lower_envelope(known) if len(known) == len(alone) > 1 else ()

    @cached_property
    def cost(self) -> SearchCost:
        return search_cost(self.run.ledger, self.run.manifest.hardware)

    @property
    def kind(self) -> Kind:
        """Measured only if every joule of the ledger is."""
        sources = self.run.ledger.sources
        return combined(s.kind for s in sources if s.role == "primary" and family(s.domain) in self.families)


def life_cycle(run: Run) -> LifeCycle | None:
    """The life cycle of a run's models; None without joules or a confirmed frontier of a measured phase."""
    measured = run.task.measured
    if not run.task.has_frontier or measured is None or measured.phase is None or run.confirmation is None:
        return None
    base = next((c for c in run.configurations if c.default and c.complete), None)
    known = [f for f in EVERY_FAMILY if run.ledger.by_family.get(f)]
    shown = [c for c in run.frontier if c.confirmed]
    shown += [base] if base is not None and base not in shown else []
    every = [d for c in shown if (d := _deployed(run, c, measured.phase, known))]
    read = [{family(name) for name in e.domains} for d in every for e in (d.inference, d.training) if e is not None]
    families = [f for f in known if all(f in each for each in read)]
    every = [d for c in shown if (d := _deployed(run, c, measured.phase, families))]
    default = next((d for d in every if d.configuration is base), None)
    members = [d for d in every if d.configuration in run.frontier]  # the default may be one of them
    if not families or not members:
        return None
    return LifeCycle(
        run=run,
        unit=members[0].inference.per or "unit",
        families=tuple(families),
        left_out=tuple(f for f in run.ledger.by_family if f not in families),
        members=tuple(members),
        default=default,
        chosen=_chosen(run, members, default),
        stated=stated_volume(run.task, _measured(run)),
    )


def _measured(run: Run) -> str:
    return next(n for n, o in run.task.objectives.items() if o is run.task.measured)


def _deployed(run: Run, configuration: Configuration, phase: str, families: Sequence[str]) -> Deployed | None:
    usable = configuration.usable
    inference, training = run.phase(usable, phase, families), run.training(usable, families)
    if inference is None:
        return None
    each = None if training is None else _by_family(training.gross)
    return Deployed(run, configuration, label([t.trial for t in usable]), _by_family(inference.gross), each)


def _by_family(energy: Energy) -> Energy:
    """With families for domains: models that ran on different GPUs of one machine compare."""
    return replace(energy, domains=tuple(dict.fromkeys(map(family, energy.domains))))


def _chosen(run: Run, members: Sequence[Deployed], default: Deployed | None) -> Deployed:
    """The most efficient member at least as good as the default, else the frontier's first."""
    goals = {n: o.goal for n, o in run.task.objectives.items() if not o.is_energy}
    even = break_even(
        _measured(run),
        members[0].inference.per or "unit",
        members[0].inference.domains,
        0.0,
        None if default is None else _candidate(default, goals),
        [_candidate(m, goals) for m in members],
        goals,
    )
    return next((m for m in members if even.best is not None and even.best.label == m.name), members[0])


def _candidate(of: Deployed, goals: Mapping[str, str]) -> Candidate:
    return Candidate(of.name, {n: of.configuration.outcomes[n].value.mean for n in goals}, of.inference)
