"""Synthetic runs of a language model: prefill, decode and whole requests, to be recomputed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from joulebench.records.model import Costs, TrialRecord, Window
from joulebench.spec.task import Task
from tests.run_factory import RunBuilder, make_task

PROMPT, NEW = 32, 16
UNITS = {"prefill": "prompt_token", "decode": "token", "request": "token"}
#: Tokens that a step does for each sequence of the batch.
PER_SEQUENCE = {"prefill": PROMPT, "decode": NEW - 1, "request": NEW}
STEPS = 20
ENERGY = {"phase": "request", "domains": ["gpu", "cpu", "ram"], "basis": "gross"}
TOKENS_PER_J: dict[str, Any] = {"tokens_per_j": {"goal": "maximize", "reference": 0.0, **ENERGY}}
GIB = 2**30


def generation_task(**fields: Any) -> Task:
    """A sweep of batch sizes from 1 on, by default."""
    given: dict[str, Any] = {
        "title": "Batch size of a language model",
        "name": "transformer_batch",
        "workload": "function",
        "dataset": None,
        "analyses": ["generation", "batch"],
        "parameters": {
            "batch_size": {"type": "int", "low": 1, "high": 4096, "default": 1, "scale": "log"},
            "prompt_tokens": {"type": "fixed", "value": PROMPT},
            "new_tokens": {"type": "fixed", "value": NEW},
        },
        "stages": {"default": {"method": "default", "repeats": 1}, "sweep": {"method": "sobol", "trials": 8}},
        **fields,
    }
    return make_task(given.pop("objectives", TOKENS_PER_J), **given)


def add(
    run: RunBuilder,
    params: Mapping[str, Any] | None = None,
    step_s: Mapping[str, float] | None = None,
    *,
    stage: str = "sweep",
    wobble: float = 0.004,
    jitter: float = 0.0,
    memory: int | None = None,
    limit: int | None = None,
    idle: bool = False,
    **fields: Any,
) -> TrialRecord:
    """A trial with five windows of `STEPS` steps of each phase, `step_s` seconds a step ± `jitter`.

    Joules are the run's watts × seconds, ± `wobble` over the windows of a phase.
    """
    seconds = dict(step_s or {"prefill": 0.1, "decode": 0.4, "request": 0.5})
    batch = int(run.task.resolve(params or {}).get("batch_size", 1))
    windows: list[Window] = [run.window("build", 0.1)]
    if idle:
        windows += [run.window("settle", 0.5), *(run.window("idle", 0.5) for _ in range(4))]
    for phase, each in seconds.items():
        windows.append(run.window("warmup", 0.5, of=phase))
        windows += [_window(run, phase, each, batch, 1 + wobble * (i - 2) / 2, jitter) for i in range(5)]
    costs = Costs(peak_memory_bytes=memory, memory_limit_bytes=limit)
    given = {"costs": costs, "unit": {p: UNITS[p] for p in seconds}, "windows": tuple(windows), **fields}
    return run.add(params or {}, 0, given.pop("metrics", {}), stage, **given)


def _window(run: RunBuilder, phase: str, each: float, batch: int, scale: float, jitter: float) -> Window:
    step_s = tuple(each * (1 + jitter * math.sin(7 * i)) for i in range(STEPS))
    units = STEPS * batch * PER_SEQUENCE[phase]
    return run.window(phase, sum(step_s), units, scale, steps=STEPS, step_s=step_s)


def out_of_memory(run: RunBuilder, params: Mapping[str, Any], need: int, limit: int) -> TrialRecord:
    """A trial that held and asked for `need` bytes where there were `limit`."""
    error = f"OutOfMemoryError: CUDA out of memory. Tried to allocate {need / GIB:.2f} GiB."
    trial = run.fail(params, "oom", error)
    costs = Costs(peak_memory_bytes=need, memory_limit_bytes=limit)
    run.trials[-1] = trial.model_copy(update={"costs": costs, "stage": "sweep", "origin": "sobol"})
    return run.trials[-1]


def batch_run(
    task: Task | None = None, *, sizes: tuple[int, ...] = (1, 4, 16, 64, 256), **builder: Any
) -> RunBuilder:
    """Efficiency rises to about batch 150 and falls after it; from 512 on memory runs out.

    A request of b sequences takes `request_s(b)`: tokens/J = 16 b / (80 W × seconds).
    """
    run = RunBuilder(task or generation_task(), **builder)
    run.span("start", run.window("start", 1.0))
    for number, size in enumerate(sizes):
        times = request_s(size)
        shares = {"prefill": 0.2 * times, "decode": 0.8 * times, "request": times}
        memory = round((2 + 6 * size / 256) * GIB)
        add(run, {"batch_size": size}, shares, stage="default" if number == 0 else "sweep", jitter=0.02,
            memory=memory, limit=8 * GIB, idle=number == 0)  # fmt: skip
    out_of_memory(run, {"batch_size": 512}, 14 * GIB, 8 * GIB)
    out_of_memory(run, {"batch_size": 1024}, 26 * GIB, 8 * GIB)
    run.span("end")
    return run


def request_s(size: int) -> float:
    """Seconds of a request of `size` sequences."""
    return 0.5 * (1 + size / 40 + (size / 150) ** 2)
