"""What a program calls: `joulebench.run`, `resume` and `load`, and the results of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from joulebench.commands.progress import observer as printing
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.records.model import TrialRecord
from joulebench.results.outcome import Configuration, trial_outcomes
from joulebench.results.run import Run
from joulebench.runner import local
from joulebench.runner.events import Observer, silent
from joulebench.runner.resume_check import is_complete
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate


@dataclass(frozen=True)
class Trial:
    """One trial: its record, and the value of every objective with its interval."""

    record: TrialRecord
    outcomes: dict[str, Estimate]

    def __getitem__(self, name: str) -> Estimate:
        """The value of an objective, with `mean`, `low`, `high` and `n`.

        Raises:
            KeyError: the task has no such objective, or the trial no value of it.
        """
        return self.outcomes[name]

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.record.params)

    @property
    def status(self) -> str:
        return self.record.status

    def row(self) -> dict[str, Any]:
        """Parameters, metrics and objectives as one row of data; `NAME_low` and `NAME_high` end the interval."""
        row: dict[str, Any] = {"trial": self.record.trial, "stage": self.record.stage, "status": self.status}
        row |= self.params | dict(self.record.metrics)
        for name, value in self.outcomes.items():
            row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
        return row | {"error": self.record.error}


class Results(RunFolder):
    """A run folder with what follows from its records. Over it and by number it gives its trials.

    Args:
        trusted: this program ran it: its report may import the studies of the task's author. Records that are
            loaded may come from anybody.
    """

    def __init__(self, path: Path, trusted: bool = False) -> None:
        super().__init__(path)
        self._trusted = trusted

    @cached_property
    def run(self) -> Run:
        """Everything that is derived from the records, each computed when it is first asked for."""
        return Run.of(self)

    @cached_property
    def _trials(self) -> tuple[Trial, ...]:
        run = self.run
        found = ((t, trial_outcomes(run.task, t, run.idle)) for t in run.trials)
        return tuple(Trial(t, {name: o.value for name, o in outcomes.items()}) for t, outcomes in found)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)

    def __bool__(self) -> bool:
        return True  # a run without trials is one

    def __getitem__(self, number: int) -> Trial:
        return self._trials[number]

    def __repr__(self) -> str:
        """Task, number of trials and of frontier members, and the folder."""
        members = f", {len(self.frontier())} on the frontier" if self.run.task.has_frontier else ""
        return f"<{self.run.task.name}: {len(self)} trials{members}; {self.path}>"

    def configurations(self) -> Sequence[Configuration]:
        """Trials by configuration, with the values of the objectives over all runs of each."""
        return self.run.configurations

    def frontier(self) -> Sequence[Configuration]:
        """The configurations that no other one beats in every objective, best in the first objective first."""
        return self.run.frontier

    def to_dataframe(self) -> Any:
        """A pandas DataFrame, a row a trial: parameters, metrics, objectives and the ends of their intervals.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError:
            raise InputError("to_dataframe needs pandas: pip install pandas") from None
        return pandas.DataFrame([trial.row() for trial in self])

    def report(self) -> Path:
        """Write the report; the path of its page."""
        from joulebench.reporting import write_report

        return write_report(self, trusted=self.task().analyses if self._trusted else ()).page

    def export(self, path: str | Path) -> Path:
        """Write the trials as CSV, which the workload `table` reads."""
        from joulebench.host.files import write_whole
        from joulebench.reporting.export_csv import trials_csv

        write_whole(Path(path), trials_csv(self.run).encode())
        return Path(path)


def run(
    task: str | Task, *, out: str | Path = "runs", progress: bool = True, observer: Observer | None = None,
    **choices: Any,
) -> Results:  # fmt: skip
    """Run a task and return its results.

    Args:
        task: a name of the catalogue, a TOML file, a run folder whose task to run again, or a `Task`.
        out: the folder is `<out>/<task>/<hardware>/<UTC time>/`.
        progress: print a bar, or a line a trial, as the command line does, on standard error.
        observer: receives the run's events in place of what prints.
        choices: as the options of `joulebench run`: budget, hardware, data, seed, replay, … (`runner.plan.plan`).

    Raises:
        InputError: bad input, or too many consecutive failures; what was recorded is kept.
    """
    with _shown(progress, observer) as show:
        return Results(local.run(task, out=out, observer=show, **choices).path, trusted=True)


@contextmanager
def _shown(progress: bool, own: Observer | None = None) -> Iterator[Observer]:
    if own is not None or not progress:
        yield own or silent
        return
    with printing(stream=sys.stderr) as show:
        yield show


def resume(path: str | Path, *, progress: bool = True, **choices: Any) -> Results:
    """Continue a stopped run; a finished one is left unchanged.

    Args:
        choices: `data` and `sources`, as the options of `joulebench resume` (`runner.local.resume`).

    Raises:
        InputError: not a run, damaged records, another machine, or other data or code than it began with.
    """
    begun = not is_complete(RunFolder.open(Path(path)))  # then its code is checked before it is imported
    with _shown(progress) as show:
        return Results(local.resume(path, observer=show, **choices).path, trusted=begun)


def load(path: str | Path) -> Results:
    """Open the folder of a run; nothing in it is executed.

    Raises:
        InputError: it is none.
    """
    return Results(RunFolder.open(Path(path)).path)
