"""Scores of the test split, where a model's own code fails."""

from __future__ import annotations

import pytest

from joulebench.host.clock import VirtualClock
from joulebench.measurement.bench import Bench
from joulebench.measurement.timeline import Timeline
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.runner import scoring
from tests.problems import Linear
from tests.run_factory import full_run


def raising(error):
    def method(*_):
        raise error

    return method


@pytest.mark.parametrize(
    ("gives", "reason"),
    [
        (raising(SystemExit(0)), "SystemExit: 0"),
        (raising(BaseException("no")), "BaseException: no"),
        (lambda *_: {3: 1.0}, "text of one line"),
        (lambda *_: None, "NoneType"),
    ],
)
def test_a_model_that_fails_on_the_test_split_has_no_score(monkeypatch, tmp_path, gives, reason):
    run = full_run()
    folder = run.write(tmp_path / "run")
    trials = [t for t in folder.trials() if t.status == "ok"]
    folder.weights_path.mkdir(exist_ok=True)
    for trial in trials:
        folder.weights_file(trial.trial).touch()
    folder.scores_path.unlink(missing_ok=True)
    clock = VirtualClock()
    task = run.task.model_copy(update={"workload": "tests.problems:Linear"})
    timeline = Timeline(ReplayMeter([PowerTrace("cpu", (0.0,), (50.0,))], clock, "test"), clock)
    monkeypatch.setattr(Linear, "build", lambda *_: None)
    monkeypatch.setattr(Linear, "load_state", lambda *_: None)
    monkeypatch.setattr(Linear, "evaluate", gives)
    said = []

    def score(trial):
        return scoring.test_metrics(Bench(task, "cpu", clock, timeline), trial, None)

    scoring.score_models(run.task, folder, score, lambda kind, text: said.append((kind, text)))
    scores = folder.scores()
    assert scores
    assert all(reason in (score.error or "") and not score.metrics for score in scores)
    assert any(kind == "note" and reason in text for kind, text in said)
