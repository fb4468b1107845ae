"""The model of a search, from start to end. Imported when a qnehvi stage needs it, never with the package."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from typing import Any

import torch

from joulebench.search import acquisition, surrogate
from joulebench.search.encoding import Array, Encoding
from joulebench.search.expected import expected
from joulebench.search.observations import Observations
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task

__all__ = ["expected", "fitted", "settings"]

THREADS = 1  # the matrices are small: a second thread gains little, and one keeps sums in one order


def settings(task: Task) -> dict[str, Any]:
    """Versions and settings, for the run's manifest."""
    return {
        "versions": {name: version(name) for name in ("ax-platform", "botorch", "gpytorch", "torch")},
        "acquisition": "qlognei" if len(task.objectives) == 1 else acquisition.ACQUISITION,
        "mc_samples": acquisition.Samples.of(len(task.objectives)).acquisition,
        "threads": THREADS,
        "device": str(_device()),
    }


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def fitted(
    task: Task, encoding: Encoding, known: Observations, pending: Sequence[Params], seed: int
) -> Iterator[acquisition.Judge]:
    """A model of what is known, to judge candidates by.

    Raises:
        RuntimeError: the model could not be fitted or evaluated.
    """
    device = _device()
    with _quiet(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _threads(THREADS):
        rows = encoding.encode([o.params for o in known.seen])
        try:
            found = _fit(task, known, rows, encoding, device)
            torch.manual_seed(seed)
            yield acquisition.Judge(task, known, found, rows, encoding.encode(pending), seed)
        except Exception as error:
            raise RuntimeError(
                f"search of task '{task.name}': the model failed after {len(known.seen)} configurations:"
                f" {type(error).__name__}: {error}"
            ) from error


#: The last fit, by task: what was known, as the model sees it, and the models. For the next proposal of a batch.
_fits: dict[str, tuple[Observations, bytes, surrogate.Surrogate]] = {}


def _fit(
    task: Task, known: Observations, rows: Array, encoding: Encoding, device: torch.device
) -> surrogate.Surrogate:
    """The models of what is known: a function of that alone, so proposals of one batch need fit them once.

    A copy each time: what models remember of being used must not pass from one proposal to the next.
    """
    last, seen = _fits.get(task.digest), rows.tobytes()  # rows too: to Python, choices `1` and `true` are equal
    if last is None or last[:2] != (known, seen):
        torch.manual_seed(0)  # a fit draws only where it fails at first
        last = known, seen, surrogate.fit(task, known, rows, encoding.groups, device)
        _fits.clear()
        _fits[task.digest] = last
    return deepcopy(last[2])


@contextmanager
def _quiet() -> Iterator[None]:
    """Ax and BoTorch warn of routine things; what really fails raises."""
    logger = logging.getLogger("ax")
    handlers = {handler: handler.level for handler in logger.handlers}
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
