"""Global settings of the process that user code may change: torch's, numpy's, Python's; put back after it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple


class _Setting(NamedTuple):
    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]


@contextmanager
def restored(changed: Callable[[list[str]], None]) -> Iterator[None]:
    """Put every setting back that the block changes; the next trial would run with it.

    Args:
        changed: called at the end with the names of those that were put back, if there are any.
    """
    before = [(setting, value) for setting in _settings() if (value := _now(setting)) is not None]
    try:
        yield
    finally:
        differing = [(setting, value) for setting, value in before if _now(setting) != value]
        for setting, value in differing:
            with suppress(OSError):  # the directory is gone
                setting.put(value)
        if differing:
            changed([setting.name for setting, _ in differing])


def _now(setting: _Setting) -> Any:
    """A setting's value; None for the working directory where it was deleted."""
    with suppress(OSError):
        return setting.get()
    return None


def _settings() -> list[_Setting]:
    settings = [
        _Setting("the working directory", os.getcwd, os.chdir),
        _Setting("Python's output", lambda: (sys.stdout, sys.stderr), _put_output),
        _Setting("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        _Setting("Python's garbage collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    ]
    if (numpy := sys.modules.get("numpy")) is not None:
        settings.append(_Setting("numpy's error handling", numpy.geterr, lambda how: numpy.seterr(**how)))
    if (torch := sys.modules.get("torch")) is not None:
        settings += _of_torch(torch)
    return settings


def _put_output(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


def _of_torch(torch: Any) -> list[_Setting]:
    def attribute(name: str, owner: Any, field: str) -> _Setting:
        return _Setting(name, lambda: getattr(owner, field), lambda value: setattr(owner, field, value))

    return [
        _Setting("torch's threads", torch.get_num_threads, torch.set_num_threads),
        _Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        _Setting("torch's default device", torch.get_default_device, lambda _: torch.set_default_device(None)),
        _Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
        _Setting("torch's anomaly mode", torch.is_anomaly_enabled, torch.set_anomaly_enabled),
        _Setting(
            "torch's deterministic mode",
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        _Setting(
            "torch's precision of matmul", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
        ),
        attribute("cuDNN's benchmark mode", torch.backends.cudnn, "benchmark"),
        attribute("cuDNN's deterministic mode", torch.backends.cudnn, "deterministic"),
    ]
