"""Sources of a run's configurations: its own stages, or the proposals of the run that it follows.

What confirms them is in `joulebench.runner.confirming`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from joulebench import search
from joulebench.errors import InputError
from joulebench.records.model import Proposed, TrialRecord
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task

#: Signature of `joulebench.search.propose`.
Propose = Callable[[Task, str, Sequence[TrialRecord], int, Sequence[Params]], "search.Proposal | None"]


class Source(Protocol):
    """A sequence of proposed configurations."""

    @property
    def finished(self) -> bool:
        """Whether there will be no more proposals."""
        ...

    def stop(self) -> None:
        """End the search, or what goes on after it: a rule of the task forbids the trial just proposed."""
        ...

    def total(self, planned: int, records: Sequence[TrialRecord], proposed: Mapping[int, Proposed]) -> int:
        """Number of the run's trials, as far as it is known.

        Args:
            planned: those of the task's stages.
            proposed: all proposals known, by trial number; those of recorded trials may be absent.
        """
        ...

    def reserved(self, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]) -> int:
        """Number of trials, beside `pending` and the next, that an energy budget has to be enough for."""
        ...

    def propose(
        self, number: int, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]
    ) -> Proposed | None:
        """Propose trial `number`; None if there is none, or none until pending trials are recorded.

        Args:
            records: finished trials, ordered by number.
            pending: trials proposed and not recorded yet, ordered by number.

        Raises:
            InputError: the search cannot go on.
        """
        ...


class Stages:
    """The task's stages, one after the other: a stage begins when the trials of those before it are recorded."""

    def __init__(self, task: Task, seed: int, propose: Propose = search.propose) -> None:
        """`propose`: `joulebench.search.propose`, or a wrapper that accounts for its time and energy."""
        self._task, self._seed, self._propose = task, seed, propose
        self._left = list(task.stages)
        self._waits_for = -1  # records at which the stage had nothing to propose, with trials pending

    @property
    def finished(self) -> bool:
        return not self._left

    def stop(self) -> None:
        self._left.clear()

    def total(self, planned: int, records: Sequence[TrialRecord], proposed: Mapping[int, Proposed]) -> int:
        return planned

    def reserved(self, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]) -> int:
        return 0

    def propose(
        self, number: int, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]
    ) -> Proposed | None:
        while self._left:
            stage = self._left[0]
            if len(records) == self._waits_for or any(p.stage != stage for p in pending.values()):
                return None
            handed_out = {trial: p.params for trial, p in pending.items()}
            known = search.known_and_pending(self._task, stage, records, handed_out)
            if known is None:
                return None
            proposal = self._proposal(stage, *known)
            if proposal is not None:
                return Proposed(
                    stage=stage,
                    origin=proposal.origin,
                    fallback=proposal.fallback,
                    params=proposal.params,
                    expected=proposal.expected,
                )
            if pending:
                self._waits_for = len(records)
                return None
            self._left.pop(0)
        return None

    def _proposal(
        self, stage: str, records: Sequence[TrialRecord], pending: Sequence[Params]
    ) -> search.Proposal | None:
        try:
            return self._propose(self._task, stage, records, self._seed, pending)
        except RuntimeError as error:  # a model that fails now fails again on resume: say so, drop nothing
            raise InputError(f"{error}; finished trials are kept") from error


class Following:
    """The proposals of another run, in its order, where the search is shared."""

    def __init__(
        self, proposed: Mapping[int, Proposed], leader_finished: Callable[[], bool], total: Callable[[], int]
    ) -> None:
        """`proposed`: the leader's proposals by trial number, which grow while it runs; `total`: of its trials."""
        self._proposed, self._leader_finished, self._total = proposed, leader_finished, total
        self._next = 0
        self._stopped = False

    @property
    def finished(self) -> bool:
        return self._stopped or (self._leader_finished() and self._next not in self._proposed)

    def stop(self) -> None:
        self._stopped = True

    def total(self, planned: int, records: Sequence[TrialRecord], proposed: Mapping[int, Proposed]) -> int:
        return self._total()

    def reserved(self, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]) -> int:
        return 0

    def propose(
        self, number: int, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]
    ) -> Proposed | None:
        if self._stopped:
            return None
        self._next = number
        proposal = self._proposed.get(number)
        if proposal is not None:
            self._next = number + 1
        return proposal
