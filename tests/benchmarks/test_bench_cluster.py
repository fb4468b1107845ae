"""What a Ray cluster brings: four workers against one machine on trials that sleep, and what the driver costs."""

from __future__ import annotations

import time

from joulebench.cluster import driver as cluster_study
from joulebench.cluster.pool import Pool
from joulebench.runner import local
from tests.cluster_tasks import cluster_task
from tests.ray_clusters import local_cluster

WORKERS, TRIALS = 4, 80


def _timed(monkeypatch, module) -> list[float]:
    """Seconds that the trials of each run took, without the start and the end of a session."""
    seconds, schedule = [], module.schedule

    def timed(*arguments):
        began_s = time.perf_counter()
        schedule(*arguments)
        seconds.append(time.perf_counter() - began_s)

    monkeypatch.setattr(module, "schedule", timed)
    return seconds


def _waits(monkeypatch) -> list[float]:
    """Seconds of each time that the driver waited."""
    seconds, arrived = [], Pool._arrived

    def timed(pool):
        began_s = time.perf_counter()
        found = arrived(pool)
        seconds.append(time.perf_counter() - began_s)
        return found

    monkeypatch.setattr(Pool, "_arrived", timed)
    return seconds


def test_four_workers_are_worth_four_machines(benchmark, monkeypatch, tmp_path):
    """Speed-up ≥ 0.9 × 4 on trials of half a second's sleep; the driver's own work ≤ 50 ms a trial."""
    task = cluster_task("tests.cluster_problems:sleeps_long", {"all": {"method": "random", "trials": TRIALS}})
    alone_s, together_s = _timed(monkeypatch, local), _timed(monkeypatch, cluster_study)
    local.run(task, out=tmp_path / "alone", replay="100")
    waits, started = _waits(monkeypatch), []
    monkeypatch.setattr(Pool, "open", lambda pool, opened=Pool.open: (opened(pool), started.append(len(waits))))
    nodes = {f"n{i}": "generic_cpu" for i in range(WORKERS)}
    with local_cluster(tmp_path, nodes) as cluster:
        (folder,) = benchmark.pedantic(
            lambda: cluster_study.run(
                task, address=cluster.address, hardware=["generic_cpu"], out=tmp_path / "together", replay="100",
                force_hardware=True,
            ),
            rounds=1,
            iterations=1,
        )  # fmt: skip
    records = folder.trials()
    assert [r.status for r in records] == ["ok"] * TRIALS
    speed_up = alone_s[0] / together_s[0]
    busy_s = (together_s[0] - sum(waits[started[0] :])) / TRIALS
    benchmark.extra_info |= {
        "trials": TRIALS,
        "alone_s": alone_s[0],
        "together_s": together_s[0],
        "speed_up": speed_up,
        "speed_up_per_worker": speed_up / WORKERS,
        "driver_s_per_trial": busy_s,
        "beyond_sleep_s_per_trial_and_worker": together_s[0] * WORKERS / TRIALS - 0.5,
    }
    for name, value in benchmark.extra_info.items():
        print(f"\n{name}: {value}", end="")
    assert speed_up >= 0.9 * WORKERS
    assert busy_s <= 0.05
