"""Confirmation: the best configurations are trained and measured again after the search, with new seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import ceil

from joulebench.records.model import Manifest, Proposed, TrialRecord
from joulebench.results.confirmation import searching, to_confirm
from joulebench.results.membership import membership
from joulebench.results.outcome import configurations
from joulebench.results.run import Run
from joulebench.runner.proposals import Source
from joulebench.search import shuffled
from joulebench.spec.parameters import Params
from joulebench.spec.task import CONFIRM, Task
from joulebench.studies.base import confirmed_by_studies

#: Rounds before confirmation may end early: an interval takes two runs.
MIN_ROUNDS = 2


class Confirming:
    """The proposals of a search, then rounds of the configurations to confirm, each in a random order of its own.

    What is confirmed, and in which order, is a function of the task, the records and the seed. It ends after
    `confirm.repeats` rounds, or after a complete one, from the second on, that settles which configurations are on
    the frontier. Whatever becomes of a trial, it takes its place in its round.
    """

    def __init__(
        self,
        search: Source,
        task: Task,
        manifest: Manifest,
        say: Callable[[str], None] = lambda _: None,
        window: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """`window`: a context that accounts for the time and energy of choosing; `say`: takes a study's failure."""
        self._search, self._task, self._manifest, self._say, self._window = search, task, manifest, say, window
        self._repeats = task.confirm.repeats
        self._ended = self._repeats == 0
        self._chosen: tuple[int, list[Params], bool] | None = None

    @property
    def finished(self) -> bool:
        return self._search.finished and self._ended

    def stop(self) -> None:
        """End the search; the second time, confirmation."""
        if self._search.finished:
            self._ended = True
        self._search.stop()

    def propose(
        self, number: int, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]
    ) -> Proposed | None:
        done = len(_confirming(records, pending))
        if done:
            self._search.stop()  # in an earlier session
        else:
            proposal = self._search.propose(number, records, pending)
            if proposal is not None or not self._search.finished or pending:
                return proposal
        if self._ended:
            return None
        with self._window():
            chosen, frontier_only = self._choice(records)
            round_, place = divmod(done, len(chosen)) if chosen else (self._repeats, 0)
            if place == 0 and MIN_ROUNDS <= round_ < self._repeats and frontier_only:
                if pending:
                    return None
                self._ended = self._is_settled(records)
            self._ended = self._ended or round_ >= self._repeats
        if self._ended:
            return None
        place = shuffled(len(chosen), CONFIRM, round_, self._manifest.seed)[place]
        return Proposed(stage=CONFIRM, origin=CONFIRM, params=chosen[place])

    def total(self, planned: int, records: Sequence[TrialRecord], proposed: Mapping[int, Proposed]) -> int:
        """Trials of the run, as far as they are known: at most, while the search goes on; then up to the round that
        may be the last."""
        numbers = _confirming(records, proposed)
        first = min(numbers, default=planned)
        if not numbers and len(records) < planned - 1:
            rounds, each = min(self._repeats, MIN_ROUNDS), self._task.confirm.members + 1
            return first + rounds * each * self._task.has_frontier
        chosen, frontier_only = self._choice(records)
        if not chosen:
            return first
        rounds = max(ceil(len(numbers) / len(chosen)), MIN_ROUNDS) if frontier_only else self._repeats
        complete = len(_confirming(records, {})) == rounds * len(chosen)
        if complete and rounds < self._repeats and not self._is_settled(records):
            rounds += 1
        return first + min(rounds, self._repeats) * len(chosen)

    def reserved(self, records: Sequence[TrialRecord], pending: Mapping[int, Proposed]) -> int:
        """While the search goes on: what confirmation would take now, at most as many as the search has had. Then:
        what is left of the round, since a round in part would favour those that are in it."""
        chosen = len(self._choice(records)[0])
        if not self._search.finished:
            return min(self._repeats * chosen, len(records))
        return chosen - 1 - len(_confirming(records, pending)) % chosen

    def _choice(self, records: Sequence[TrialRecord]) -> tuple[list[Params], bool]:
        """The configurations to confirm, and whether all of them are there for the frontier."""
        searched = searching(records)
        if self._chosen is None or self._chosen[0] != len(searched):
            self._chosen = (len(searched), *self._choose(searched))
        return self._chosen[1:]

    def _choose(self, searched: Sequence[TrialRecord]) -> tuple[list[Params], bool]:
        if self._repeats == 0:
            return [], True
        run = Run(self._manifest, self._task, searched)
        chosen = [c.params for c in to_confirm(self._task, run.configurations)]
        more = [p for p in confirmed_by_studies(run, self._say) if p not in chosen]
        return chosen + more, not more

    def _is_settled(self, records: Sequence[TrialRecord]) -> bool:
        known = membership(self._task, configurations(self._task, records), self._manifest.seed)
        return known is not None and known.settled


def _confirming(records: Sequence[TrialRecord], proposed: Mapping[int, Proposed]) -> set[int]:
    """Numbers of the confirming trials."""
    recorded = {r.trial for r in records if r.stage == CONFIRM}
    return recorded | {n for n, p in proposed.items() if p.stage == CONFIRM}
