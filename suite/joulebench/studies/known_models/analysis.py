"""Probability that a found model dominates a known one, and that no known model dominates a found one. Pure.

A model dominates another if its test accuracy is at least as high and its inference takes at most as many joules,
and one of the two is better. Probabilities are shares of draws from the distributions of both quantities over
repeated trainings (`results.membership.drawn`).

That any of several models dominates one is probable by chance alone: of five that are cheaper and a trifle less
accurate, one is ahead in five of six draws. So a model counts as dominated where a single other one dominates it
with 1 − 0.05 / their number (Bonferroni). It is not dominated where every other one is worse in one of the two
quantities with 1 − 0.05 / 2: that both of two probabilities are middling says nothing of their product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from joulebench.records.model import Kind, combined
from joulebench.results.ledger import family
from joulebench.results.members import scores
from joulebench.results.membership import CERTAIN, drawn
from joulebench.results.outcome import Configuration
from joulebench.results.phase_runs import PhaseRuns, TrainingRuns
from joulebench.results.reference_frontier import quality_of
from joulebench.results.run import Run
from joulebench.spec.task import FOUND, Task
from joulebench.stats.estimate import Estimate
from joulebench.studies.configured import Configured

MODEL = "model"  # the parameter that names the model


@dataclass(frozen=True, eq=False)
class Model(Configured):
    """A known or found model with its test quality and its joules; `quality` is None where nothing was scored."""

    name: str
    found: bool
    quality: Estimate | None
    inference: PhaseRuns
    train: TrainingRuns | None

    @property
    def cut_short(self) -> bool:
        """Whether one of its trainings ended at the time limit, before the last epoch."""
        return any(t.stopped_by == "time" for t in self.configuration.usable)

    def guesses(self, reference: float | None) -> bool:
        """Whether its quality is not above the reference, that of guessing, for certain."""
        low = None if self.quality is None else self.quality.low
        return reference is not None and low is not None and low <= reference

    @property
    def energy(self) -> Estimate:
        """Gross joules per unit of inference."""
        return self.inference.gross


@dataclass(frozen=True)
class Chances:
    """Shares of draws, of one model.

    Attributes:
        by_any: any model of the other kind dominates it.
        by_one: a single one does, the likeliest.
        as_good: one is as good in the quantity in which it seldomer is; of the one with the highest such share.
    """

    by_any: float
    by_one: float
    as_good: float


@dataclass(frozen=True, eq=False)
class KnownModels:
    """All models of a run; those in `compared` have a test quality and a whole training."""

    run: Run
    metric: str  # of quality, as the task's objective names it
    quality: str  # name of its test score
    models: tuple[Model, ...]  # least inference energy first

    @property
    def described(self) -> list[str]:
        """The parameters that describe found models alone."""
        return [name for name, p in self.run.task.parameters.items() if p.only_if is not None]

    @property
    def kind(self) -> Kind:
        return combined(m.inference.kind for m in self.models)

    @cached_property
    def compared(self) -> tuple[Model, ...]:
        return tuple(m for m in self.models if m.quality is not None and not m.cut_short)

    @property
    def known(self) -> list[Model]:
        return [m for m in self.compared if not m.found]

    @property
    def found(self) -> list[Model]:
        return [m for m in self.compared if m.found]

    @cached_property
    def chances(self) -> dict[str, Chances]:
        """Of each compared model, by name.

        Empty where there is nothing to compare, or a model has no interval: from one training nothing is decided.
        """
        pairs = [(m.quality, m.energy) for m in self.compared if m.quality is not None]
        if not (self.known and self.found) or any(v.sem is None for pair in pairs for v in pair):
            return {}
        values, found = drawn(pairs), np.array([m.found for m in self.compared])
        quality, energy = values[:, :, 0], values[:, :, 1]
        good = quality[:, :, None] >= quality[:, None, :]  # of the second axis's model beside the third's
        cheap = energy[:, :, None] <= energy[:, None, :]
        rivals = found[:, None] != found
        dominates = good & cheap & ~(good & cheap).swapaxes(1, 2) & rivals
        each = (
            dominates.any(axis=1).mean(axis=0),
            dominates.mean(axis=0).max(axis=0),
            (np.minimum(good.mean(axis=0), cheap.mean(axis=0)) * rivals).max(axis=0),
        )
        return {m.name: Chances(*map(float, own)) for m, own in zip(self.compared, np.stack(each, 1), strict=True)}

    @property
    def probability(self) -> dict[str, float]:
        """Of each compared model, by name, that one of the other kind dominates it; empty without intervals."""
        return {name: of.by_any for name, of in self.chances.items()}

    def verdict(self, model: Model) -> str:
        """`dominated`, `not dominated` (`not new`, `new` of a found model), `undecided` or `not compared`."""
        if model not in self.compared:
            return "not compared"
        words = ("not new", "new") if model.found else ("dominated", "not dominated")
        if (of := self.chances.get(model.name)) is None:
            return "undecided"
        if of.by_one >= 1 - (1 - CERTAIN) / len(self.known if model.found else self.found):
            return words[0]
        return words[1] if of.as_good <= (1 - CERTAIN) / 2 else "undecided"

    def count(self, verdict: str) -> int:
        """How many models have this verdict."""
        return sum(self.verdict(m) == verdict for m in self.models)

    def undecided(self, among: Sequence[Model]) -> int:
        """How many of these are undecided."""
        return sum(self.verdict(m) == "undecided" for m in among)


def test_score(task: Task) -> str | None:
    """Name of the test score that belongs to the task's metric of quality; None without one."""
    quality = quality_of(task)
    return None if quality is None else f"test_{quality.removeprefix('val_')}"


def known_models(run: Run) -> KnownModels | None:
    """The models of a run; None where none has joules of inference."""
    metric, quality, measured = quality_of(run.task), test_score(run.task), run.task.measured
    if metric is None or quality is None or measured is None or measured.phase is None:
        return None
    models = []
    complete = [c for c in run.configurations if c.complete]
    read = [{family(d) for d in e.domains} for c in complete if (e := run.phase(c.usable, measured.phase))]
    families = [f for f in run.families if all(f in each for each in read)]
    for configuration in complete:
        inference = run.phase(configuration.usable, measured.phase, families)
        if inference is not None:
            name = _name(run, configuration)
            score = scores(run, configuration.usable).get(quality)
            is_found = configuration.params.get(MODEL) == FOUND
            train = run.training(configuration.usable, families)
            models.append(Model(run, configuration, name, is_found, score, inference, train))
    models.sort(key=lambda m: m.energy.mean)
    return KnownModels(run, metric, quality, tuple(models)) if models else None


def _name(run: Run, configuration: Configuration) -> str:
    """`mobilenet`; `found 2`, in the order of the task's points, which is that of the search's frontier."""
    params = configuration.params
    if params.get(MODEL) != FOUND:
        return str(params.get(MODEL)).rpartition(":")[2]
    points = [p for s in run.task.stages.values() for p in s.points or () if p.get(MODEL) == FOUND]
    place = next((i for i, p in enumerate(points, 1) if all(params.get(n) == v for n, v in p.items())), 0)
    return f"found {place}"
