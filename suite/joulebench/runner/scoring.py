"""Scores on the test split: of the frontier's models, each once, after the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from joulebench.measurement.harness import Bench
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
    """Score what has weights and no score yet; `score` gives the metrics of one trial's model.

    `settle` is called after each: what it took is to be accounted for.
    """
    if task.dataset is None or not task.has_frontier:
        return
    scored = {found.trial for found in folder.scores()}
    trials = marked(folder.trials(), folder.ledger())
    for configuration in frontier(task, configurations(task, trials)):
        for trial in configuration.trials:
            if trial.trial in scored or not folder.weights_file(trial.trial).exists():
                continue
            say("score", f"test split: trial {trial.trial}")
            metrics = {f"test_{name}": value for name, value in score(trial).items()}
            append(folder.scores_path, ScoreRecord(trial=trial.trial, split="test", metrics=metrics))
            settle()


def read_weights(folder: RunFolder, trial: TrialRecord, device: str) -> Any:
    """The weights that were kept of a trial."""
    import torch

    return torch.load(folder.weights_file(trial.trial), map_location=device, weights_only=True)


def test_metrics(bench: Bench, trial: TrialRecord, state: Any) -> dict[str, float]:
    """Metrics on the test split of a trial's model, by its weights."""
    workload = bench.workload(trial.seed)
    try:
        workload.build(trial.params)
        workload.load_state(state)
        return workload.evaluate("test")
    finally:
        workload.close()
