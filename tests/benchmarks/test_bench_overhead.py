"""What a trial costs beside training and measuring, and what a command costs before it does anything."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

import torch

from joulebench import run
from joulebench.host.clock import RealClock
from joulebench.host.device import choose_device, synchronizer
from joulebench.measurement.protocol import MIN_CHUNK_S, _Work
from joulebench.measurement.timeline import Timeline
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.spec.catalog import find_task
from joulebench.spec.task import Protocol, Task
from joulebench.spec.toml import merge
from joulebench.workloads.base import Phase

OVERHEAD = ("build", "score", "count", "prepare", "release", "record")
APART = ("propose", "idle", "settle", "warmup")
TRIALS = {"init": 9, "search": 18}  # and 3 of the default


def _task() -> Task:
    task = find_task("digits").with_budget("quick")
    stages = {name: {"trials": n} for name, n in TRIALS.items()}
    return Task.model_validate(merge(task.model_dump(mode="json"), {"stages": stages}))


def test_overhead_per_trial(benchmark, tmp_path):
    """Median ≤ 0.5 s a trial, ≤ 3 s with proposals. ECOpt's harness, same kind of machine: 6.3 s."""
    folder = benchmark.pedantic(lambda: run(_task(), out=tmp_path), rounds=1, iterations=1)
    records = folder.trials()
    assert len(records) == 30

    def seconds(record, phases):
        return sum(w.duration_s for w in record.windows if w.phase in phases)

    # what came before a run's first trial (imports, data) is in the session's ledger, not in a trial
    overhead = [seconds(r, OVERHEAD) for r in records]
    proposals = [seconds(r, ("propose",)) for r in records]
    whole = [o + p for o, p in zip(overhead, proposals, strict=True)]
    parts = {name: median(seconds(r, (name,)) for r in records) for name in (*OVERHEAD, *APART)}
    searched = [p for r, p in zip(records, proposals, strict=True) if r.origin == "qnehvi"]
    wall_s = sum(w.duration_s for r in records for w in r.windows)
    work_s = sum(seconds(r, ("train", "validate", "inference")) for r in records)
    benchmark.extra_info |= {
        "trials": len(records),
        "overhead_s_median": median(overhead),
        "overhead_with_proposals_s_median": median(whole),
        "qnehvi_proposal_s_median": median(searched),
        "qnehvi_proposal_s_max": max(searched),
        "share_of_wall_outside_training_and_inference": 1 - work_s / wall_s,
        "parts_s_median": parts,
    }
    for name, value in benchmark.extra_info.items():
        print(f"\n{name}: {value}", end="")
    assert median(overhead) <= 0.5
    assert median(whole) <= 3.0


def test_listing_tasks(benchmark):
    """`joulebench tasks` ≤ 0.7 s: no torch is imported."""
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv = ['joulebench', 'tasks']; from joulebench.commands.main import main; main()",
    ]
    benchmark.pedantic(
        lambda: subprocess.run(command, check=True, capture_output=True), rounds=7, warmup_rounds=1, iterations=1
    )
    assert benchmark.stats.stats.median <= 0.7


def test_checking_the_clock_in_a_window(benchmark):
    """A window ends by the clock, checked between chunks of at least 25 ms: ≤ 0.1 % of its time.

    The cost is of a chunk of one step that does nothing, with planning the next one. On a GPU each check also
    waits until the device has done its work, and the device until it gets more.
    """
    clock = RealClock()
    device = choose_device("gpu" if torch.cuda.is_available() else "cpu")
    timeline = Timeline(ReplayMeter([PowerTrace("cpu", (0.0,), (1.0,))], clock, "a"), clock, synchronizer(device))
    timeline.start()
    work = _Work(timeline, "inference", Phase(lambda: None, units=1), Protocol())

    def check():
        work._planned(1.0)
        work._chunk(1)

    benchmark(check)
    share = benchmark.stats.stats.median / MIN_CHUNK_S
    benchmark.extra_info["share_of_time"] = share
    assert share <= 1e-3
