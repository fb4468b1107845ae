"""Verdict on one benchmark: an outcome, the ratios behind it, and what a rerun makes of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from joulebench.gate import statistics
from joulebench.gate.model import Replicate, Settings
from joulebench.gate.values import Metric, repeats
from joulebench.stats.paired_ratio import Shift

Design = Literal["paired", "sessions"]


class Outcome(StrEnum):
    """Outcome of a benchmark."""

    REGRESSED = "regressed"  # dearer by more than the threshold, and again in a rerun
    IMPROVED = "improved"  # cheaper, and again in a rerun
    PASSED = "passed"  # not dearer by more than the threshold
    UNDECIDED = "undecided"
    UNMEASURED = "unmeasured"  # nothing valid to compare
    INCOMPARABLE = "incomparable"
    MISSING = "missing"  # in the baseline only
    NEW = "new"  # in the current measurement only


@dataclass(frozen=True)
class Verdict:
    """Verdict on one benchmark; a `Shift` is a difference of logarithms, exp(shift) the ratio.

    Attributes:
        shift: of the typical process.
        total: of the mean over processes, which is what is paid.
        rerun: what the rerun says of what was found.
        beside: other quantities, which decide nothing.
        baseline: typical cost per unit, J or s.
        visible: the smallest increase that could have been called one (logarithm).
        needed: pairs, or sessions of the baseline, until it would be decided.
        pending: what it would be, did a rerun say so too.
        open: whether more pairs could decide it.
        sessions: logarithms of a stored baseline's typical costs per unit, in the order of its sessions.
    """

    name: str
    outcome: Outcome
    reason: str = ""
    unit: str = "call"
    metric: Metric | None = None
    design: Design = "paired"
    shift: Shift | None = None
    total: Shift | None = None
    rerun: Shift | None = None
    beside: tuple[tuple[Metric, Shift], ...] = ()
    baseline: float | None = None
    current: float | None = None
    visible: float | None = None
    needed: int | None = None
    pending: Outcome | None = None
    open: bool = False
    sessions: tuple[float, ...] = ()

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """Current over baseline, typical, with the ends of its interval."""
        s = self.shift
        return None if s is None else (math.exp(s.estimate), _exp(s.low), _exp(s.high))


def _exp(value: float) -> float:
    return math.inf if value == math.inf else math.exp(value)


@dataclass(frozen=True)
class Case:
    """What one benchmark is judged by."""

    name: str
    metric: Metric
    settings: Settings
    benchmarks: int  # of the gate

    @property
    def limit(self) -> float:
        return math.log1p(self.settings.threshold)

    @property
    def sure(self) -> float:
        return statistics.family_level(self.benchmarks, self.settings.false_alarms)

    def few_windows(self, *sides: Sequence[Replicate]) -> str | None:
        """Why there are too few valid windows; None if there are enough."""
        least = min(sum(repeats(m, self.metric) for r in s if (m := r.measurement(self.name))) for s in sides)
        return None if least >= self.settings.repeats else f"{least} valid windows; {self.settings.repeats} needed"


def few_processes(seen: int, what: str, enough: int, rare: float) -> str:
    """Why nothing is passed: a dear kind of process may not have come up; `what`: processes, or pairs of them."""
    return f"{seen} {what}; a dear kind that makes up {100 * rare:g} % of processes is seen in {enough}"


def part(side: Sequence[Replicate], rerun: bool) -> list[Replicate]:
    return [r for r in side if r.rerun is rerun]


def pending(verdict: Verdict, found: Outcome) -> Verdict:
    outcome = Outcome.UNDECIDED if found is Outcome.REGRESSED else Outcome.PASSED
    word = "dearer" if found is Outcome.REGRESSED else "cheaper"
    return replace(verdict, outcome=outcome, pending=found, reason=f"{word}, and no rerun has confirmed it")


def after_rerun(verdict: Verdict, found: Outcome, alone: Shift | None, said: bool) -> Verdict:
    if said:
        return replace(verdict, outcome=found, rerun=alone, reason="a rerun confirms it")
    outcome = Outcome.UNDECIDED if found is Outcome.REGRESSED else Outcome.PASSED
    word = "dearer" if found is Outcome.REGRESSED else "cheaper"
    return replace(verdict, outcome=outcome, rerun=alone, reason=f"{word} at first; a rerun did not confirm it")
