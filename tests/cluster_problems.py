"""Functions that cluster tests run on workers: some sleep, some do not live to the end. None needs torch."""

from __future__ import annotations

import math
import os
import random
import signal
import time
from pathlib import Path

#: The environment variable with the folder where functions leave marks for the test that called them.
MARKS = "JOULEBENCH_TEST_MARKS"


def mark(name: str, text: str = "") -> bool:
    """Leave a mark; False if it was there already."""
    path = Path(os.environ[MARKS]) / name
    if path.exists():
        return False
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(text)
    temporary.rename(path)
    return True


def calm(params, seed):
    """Accuracy rises with width, energy too; a little seeded noise."""
    noise = random.Random(seed).gauss(0, 0.005)
    width = params["width"]
    return {
        "accuracy": 1 - math.exp(-width / 8) + noise,
        "train_s": 0.5 * width,
        "step_s": 0.01 * (1 + width) * (1 + noise),
    }


def sleeps(params, seed):
    """Real seconds, though the run's own clock is virtual."""
    time.sleep(0.3)
    return calm(params, seed)


def sleeps_long(params, seed):
    """Long enough that what is not sleep is little."""
    time.sleep(0.5)
    return calm({"width": 1 + params["width"] % 6}, seed)


def falls_once(params, seed):
    """2 and 4: the first worker that tries is killed. 6: the first one says where it is, and waits to die."""
    width = params["width"]
    if width in (2, 4) and mark(f"fell-{width}"):
        os.kill(os.getpid(), signal.SIGKILL)
    if width == 6:
        import ray

        if mark("node", ray.get_runtime_context().get_node_id()):
            time.sleep(60)
    time.sleep(0.1)
    return calm(params, seed)


def falls_always(params, seed):
    if params["width"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return calm(params, seed)


def takes_its_time(params, seed):
    """Says that it has begun."""
    mark(f"began-{params['width']}")
    time.sleep(1.0)
    return calm(params, seed)


_calls: list[int] = []


def wears_out(params, seed):
    """Works four times."""
    _calls.append(seed)
    if len(_calls) > 4:
        raise RuntimeError("worn out")
    return calm(params, seed)


def real_steps(params, seed):
    """Steps of a few milliseconds on the real clock."""
    return {"accuracy": 1 - math.exp(-params["width"] / 8), "step_s": 0.001 * (1 + params["width"] % 7)}


def sees_a_card(params, seed):
    """Says which GPUs CUDA would show to this process."""
    time.sleep(0.2)
    (Path(os.environ[MARKS]) / f"card-{params['width']}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return calm(params, seed)
