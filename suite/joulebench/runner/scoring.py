"""Test-split scores of the frontier's models, each computed once, after the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from joulebench.measurement.bench import Bench
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import ScoreRecord, TrialRecord
from joulebench.results.concurrent_windows import marked
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations
from joulebench.spec.task import Task


def score_frontier(
    task: Task,
    folder: RunFolder,
    score: Callable[[TrialRecord], Mapping[str, float]],
    say: Callable[[str, str], None],
    settle: Callable[[], object] = lambda: None,
) -> None:
    """Score the frontier's usable trials that have weights and no score yet; the weights of others are deleted.

    Args:
        score: returns the test metrics of one trial's model.
        settle: called after each, to account for its time and energy.
    """
    if not task.has_frontier:
        return
    best = frontier(task, configurations(task, marked(folder.trials(), folder.ledger())))
    members = [trial for configuration in best for trial in configuration.usable]
    scored = {score.trial for score in folder.scores()}
    for trial in members if task.dataset is not None else ():
        if trial.trial in scored or not folder.weights_file(trial.trial).exists():
            continue
        say("score", f"test split: trial {trial.trial}")
        metrics = {f"test_{name}": value for name, value in score(trial).items()}
        append(folder.scores_path, ScoreRecord(trial=trial.trial, split="test", metrics=metrics))
        settle()
    folder.keep_weights({trial.trial for trial in members})


def read_weights(folder: RunFolder, trial: TrialRecord, device: str) -> Any:
    """Load the saved weights of a trial."""
    import torch

    return torch.load(folder.weights_file(trial.trial), map_location=device, weights_only=True)


def test_metrics(bench: Bench, trial: TrialRecord, state: Any) -> dict[str, float]:
    """Evaluate a trial's model, restored from its weights, on the test split."""
    workload = bench.workload(trial.seed)
    try:
        workload.build(trial.params)
        workload.load_state(state)
        return workload.evaluate("test")
    finally:
        workload.close()
