"""A batch sweep of a language model into the memory wall, for real: the host refuses, the search goes on."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from joulebench import run
from joulebench.records.folder import RunFolder
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations
from joulebench.spec.task import Task

TASK = {
    "name": "wall", "title": "t", "workload": "transformer", "analyses": ["frontier", "batch"],
    "parameters": {
        "batch_size": {"type": "int", "low": 256, "high": 65536, "default": 256, "scale": "log"},
        "architecture": {"type": "fixed", "value": "custom"},
        "hidden_size": {"type": "fixed", "value": 32},
        "layers": {"type": "fixed", "value": 1},
        "heads": {"type": "fixed", "value": 2},
        "vocabulary": {"type": "fixed", "value": 256},
        "prompt_tokens": {"type": "fixed", "value": 64},
        "new_tokens": {"type": "fixed", "value": 2},
    },
    "objectives": {
        "tokens_per_j": {
            "goal": "maximize", "reference": 0.0, "phase": "request", "domains": ["cpu"], "basis": "gross",
        },
        "request_p95_s": {"goal": "minimize", "reference": 60.0, "phase": "request", "quantile": 0.95},
    },
    "stages": {
        "sweep": {"method": "doubling", "vary": ["batch_size"], "between": True},
        "search": {"method": "qnehvi", "trials": 3},
    },
    "confirm": {"repeats": 0},
    "protocol": {
        "warmup_s": 0.0, "max_warmup_s": 0.1, "window_s": 0.02, "repeats": 2, "max_repeats": 2, "idle_s": 0.0,
    },
}  # fmt: skip
ROOM_BYTES = 400 << 20


def test_the_wall_is_found_and_the_search_ends_with_a_frontier(tmp_path):
    # in a process of its own: how much memory other tests left in this one must not decide where the wall is
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        path, grown_bytes = pool.submit(_search_into_the_wall, tmp_path).result()
    folder = RunFolder.open(path)
    task, trials = folder.task(), folder.trials()
    lost = [t for t in trials if t.status == "oom"]
    assert {t.status for t in trials} == {"ok", "oom"}
    assert all(t.costs.peak_memory_bytes > t.costs.memory_limit_bytes for t in lost)
    largest = max(t.params["batch_size"] for t in trials if t.status == "ok")
    # the process's memory also holds what earlier trials left, so the limit is not one exact size
    assert largest <= 1.5 * min(t.params["batch_size"] for t in lost)
    sweep = [t for t in trials if t.stage == "sweep"]
    assert [t.params["batch_size"] for t in sweep[:3]] == [256, 512, 1024]
    searched = [t for t in trials if t.stage == "search"]
    # lost ones do not end the search; how soon it keeps below the wall hangs on how well the joules of the others
    # are known, which a busy machine decides: tests/search/test_constraints.py asks that of exact ones
    assert len(searched) == TASK["stages"]["search"]["trials"]
    found = frontier(task, configurations(task, trials))
    assert found
    assert all(c.params["batch_size"] <= largest for c in found)
    assert grown_bytes < 200 << 20  # a lost trial held 400 MB and more
    (answer,) = [line for line in (folder.path / "manifest.json").read_text().splitlines() if '"digest"' in line]
    assert task.digest in answer


def _search_into_the_wall(out: Path) -> tuple[Path, int]:
    """A run with 400 MiB more than the process needs: its folder, and the bytes it left behind."""
    process = psutil.Process()
    run(_small(), out=out / "first", replay="100")  # what is imported and cached on first use, the search included
    before = process.memory_info().rss
    protocol = {**TASK["protocol"], "memory_limit_bytes": before + ROOM_BYTES}
    task = Task.model_validate({**TASK, "protocol": protocol})
    folder = run(task, out=out, replay="100")
    return folder.path, process.memory_info().rss - before


def _small() -> Task:
    parameters = {**TASK["parameters"], "batch_size": {**TASK["parameters"]["batch_size"], "high": 300}}
    stages = {"sweep": {"method": "points", "points": [{"batch_size": 256}]}, "search": TASK["stages"]["search"]}
    return Task.model_validate({**TASK, "parameters": parameters, "stages": stages})
