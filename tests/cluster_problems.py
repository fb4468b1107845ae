"""Functions that cluster tests run on workers: some sleep, some do not live to the end."""

from __future__ import annotations

import os
import signal
import time

from tests.problems import tradeoff
from tests.ray_clusters import mark


def sleeps(params, seed):
    """Real seconds, on a clock that is otherwise virtual."""
    time.sleep(0.3)
    return tradeoff({"width": 1 + params["width"] % 6}, seed)


def falls_once(params, seed):
    """Points 2 and 4: the first worker that tries is killed; the first at 6 says where it is, and waits to die."""
    width = params["width"]
    if width in (2, 4) and mark(f"fell-{width}"):
        os.kill(os.getpid(), signal.SIGKILL)
    if width == 6:
        import ray

        if mark("node", ray.get_runtime_context().get_node_id()):
            time.sleep(60)
    time.sleep(0.1)
    return tradeoff({"width": width}, seed)


def falls_always(params, seed):
    if params["width"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return tradeoff({"width": params["width"]}, seed)


def shipped(params, seed):
    """1 if this module came by Ray's runtime environment."""
    return {**tradeoff({"width": 1 + params["width"] % 6}, seed), "accuracy": float("runtime_resources" in __file__)}
