"""What the run's process hands to those of its trials."""

from __future__ import annotations

import pickle

from joulebench.meters.base import Counter, MeterOffer, description
from joulebench.meters.nvml_counter import CounterFacts, LearnedCounter
from joulebench.runner import isolation, local
from joulebench.runner.events import silent
from joulebench.runner.plan import plan
from tests.cluster_tasks import DIGITS, cluster_task

#: UUIDs of counters that were watched, since nobody knew them.
WATCHED: list[str] = []


class Watching:
    """Meter of one counter, which it watches when it starts unless it is known."""

    def __init__(self, request):
        self._request, self._start_s = request, 0.0

    def start(self):
        self._start_s = self._request.clock.now_s()
        if "GPU-1" not in self._request.learned:
            WATCHED.append("GPU-1")
            self._request.learned["GPU-1"] = LearnedCounter(CounterFacts(0.1, 0.11), on_module=True)

    def read(self):
        joules = 100 * (self._request.clock.now_s() - self._start_s)
        return (Counter("cpu", joules, "watched", "measured"),)

    def integrals(self):
        return {}

    def stop(self):
        pass

    def describe(self):
        return [description("cpu", "watched", "measured", str(self._request.learned["GPU-1"].facts))]


def offer(request):
    return MeterOffer(Watching(request), ("cpu",))


class ChildHere:
    """A child process whose work is done here, with what would reach it."""

    def __init__(self, protocol):
        self._work, self._answers = None, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def send(self, message):
        if isinstance(message, isolation._Work):
            self._work = pickle.loads(pickle.dumps(message))

    def receive(self, say):
        work, self._work = self._work, None
        if work is not None:
            self._answers.append(work)
            return "ready"
        return isolation._done(self._answers.pop(), say, lambda: None)


def test_a_counter_is_watched_once_a_run_and_not_by_each_trial(monkeypatch):
    monkeypatch.setattr(isolation, "_Child", ChildHere)
    stages = {"default": {"method": "default", "repeats": 1}}
    task = cluster_task("tests.cluster_problems:real_steps", stages, protocol={**DIGITS["protocol"], "idle_s": 0})
    meters = ("tests.runner.test_isolation:offer",)
    chosen = plan(task, hardware="generic_cpu", force_hardware=True, meters=meters, isolate=True, allow_busy=True)
    WATCHED.clear()
    execution = local._execution(chosen, silent, 0.0, lambda: None)
    assert isinstance(execution, isolation.Isolated)
    try:
        for _ in range(3):
            described = execution.facts().meters
            assert "moves every 100 ms" in next(line["method"] for line in described if line["domain"] == "cpu")
    finally:
        execution.timeline.stop()
    assert WATCHED == ["GPU-1"]
