"""Test-split scores of the frontier's models, or of all where nothing is chosen, each computed once, at the end."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from joulebench.errors import DeviceLostError, InputError, described
from joulebench.host.user_code import user_code
from joulebench.measurement.bench import Bench
from joulebench.measurement.contract import numbers
from joulebench.measurement.training import TrialFailedError
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import ScoreRecord, TrialRecord
from joulebench.results.concurrent_windows import marked
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations
from joulebench.runner.resume_check import MAX_DEATHS, deaths
from joulebench.spec.reading import open_file
from joulebench.spec.task import Task


def score_models(
    task: Task,
    folder: RunFolder,
    score: Callable[[TrialRecord], Mapping[str, float]],
    say: Callable[[str, str], None],
    begin: Callable[[TrialRecord], object] = lambda _: None,
    settle: Callable[[], object] = lambda: None,
) -> None:
    """Score the frontier's usable trials that have weights and no score yet; the weights of others are deleted.

    Where the task's `test_scores` are "all", those of every configuration.

    A model that cannot be scored has a record with the reason, and is not tried again.

    Args:
        score: returns the test metrics of one trial's model.
        begin, settle: called before and after each, to account for it in the ledger.
    """
    if not (task.has_frontier or task.test_scores == "all"):
        return
    every = configurations(task, marked(folder.trials(), folder.ledger()))
    best = every if task.test_scores == "all" else frontier(task, every)
    members = [trial for configuration in best for trial in configuration.usable]
    scored = {score.trial for score in folder.scores()}
    for trial in members if task.dataset is not None else ():
        if trial.trial in scored or not folder.weights_file(trial.trial).exists():
            continue
        say("score", f"test split: trial {trial.trial}")
        if (times := deaths(folder.ledger(), trial.trial, "score")) >= MAX_DEATHS:
            keep_failure(folder, trial, f"the process died {times} times while it was scored", say)
            continue
        begin(trial)
        try:
            metrics = _finite({f"test_{name}": value for name, value in score(trial).items()})
        except DeviceLostError as lost:
            keep_failure(folder, trial, str(lost), say)
            raise
        except (InputError, KeyboardInterrupt):
            raise
        except TrialFailedError as failure:
            keep_failure(folder, trial, str(failure), say)
        except BaseException as failure:  # also a model that calls exit()
            keep_failure(folder, trial, described(failure), say)
        else:
            append(folder.scores_path, ScoreRecord(trial=trial.trial, split="test", metrics=metrics))
        settle()
    folder.keep_weights({trial.trial for trial in members})


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise ValueError(f"no finite value for {name} (got {value})")
    return dict(metrics)


def keep_failure(folder: RunFolder, trial: TrialRecord, error: str, say: Callable[[str, str], None]) -> None:
    """Record why a trial's model has no test scores."""
    append(folder.scores_path, ScoreRecord(trial=trial.trial, split="test", metrics={}, error=error))
    say("note", f"test split: trial {trial.trial} has no scores: {error}")


def read_weights(file: Path, device: str) -> Any:
    """Load the saved weights of a trial; tensors alone, nothing that runs.

    Raises:
        TrialFailedError: the file cannot be read, or is a link.
    """
    import torch

    try:
        opened = open_file(file, sys.maxsize)
    except InputError as error:  # such as a link in a folder that somebody sent: it costs the score, not the run
        raise TrialFailedError(str(error)) from None
    with opened:
        return torch.load(opened, map_location=device, weights_only=True)


def test_metrics(bench: Bench, trial: TrialRecord, state: Any) -> dict[str, float]:
    """Evaluate a trial's model, restored from its weights, on the test split.

    Raises:
        Exception: whatever its code raises.
    """
    with user_code():
        workload = bench.workload(trial.seed)
        try:
            workload.build(dict(trial.params))
            workload.load_state(state)
            return numbers(workload.final_scores("test"), "final_scores")
        finally:
            workload.close()
