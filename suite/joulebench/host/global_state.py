"""Global settings of the process that user code may change: torch's, numpy's, Python's; put back after it."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from joulebench.host.user_code import interruptions


class _Setting(NamedTuple):
    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]
    is_handler: bool = False


@contextmanager
def restored(changed: Callable[[list[str]], None]) -> Iterator[None]:
    """Put every setting back that the block changes; the next trial would run with it.

    Args:
        changed: called at the end with the names of those that were put back, if there are any.
    """
    interrupted = interruptions()
    before = [(setting, value) for setting in _settings() if (value := _now(setting)) is not None]
    try:
        yield
    finally:
        differing = [(setting, value) for setting, value in before if _now(setting) != value]
        if interruptions() != interrupted:  # the program took its handler off: the next signal ends it at once
            differing = [(setting, value) for setting, value in differing if not setting.is_handler]
        for setting, value in differing:
            with suppress(OSError, ValueError):  # the directory is gone; only root raises a hard limit again
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
        _Setting("the standard files", lambda: [_is_open(n) for n in range(3)], lambda _: open_standard_files()),
        _Setting(
            "Python's output",
            lambda: (sys.stdout, sys.stderr, _closed(sys.stdout), _closed(sys.stderr)),
            lambda before: _put_output(*before),
        ),
        _Setting("Python's recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        _Setting("Python's garbage collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        _environment(),
        _Setting("warnings as errors", _errors, _put_errors),
        _Setting("Python's tracing", lambda: (sys.gettrace(), sys.getprofile()), _put_tracing),
    ]
    if hasattr(os, "sched_getaffinity"):
        settings.append(
            _Setting(
                "the CPUs it may use", lambda: os.sched_getaffinity(0), lambda cpus: os.sched_setaffinity(0, cpus)
            )
        )
    settings += [_limit(name) for name in ("RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_FSIZE") if hasattr(resource, name)]
    if threading.current_thread() is threading.main_thread():  # others may not set handlers
        settings += [_handler(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    if (numpy := sys.modules.get("numpy")) is not None:
        settings.append(_Setting("numpy's error handling", numpy.geterr, lambda how: numpy.seterr(**how)))
    if (torch := sys.modules.get("torch")) is not None:
        settings += _of_torch(torch)
    return settings


def _environment() -> _Setting:
    names = list(os.environ)  # those that a module adds when it is imported stay: it may rely on them
    return _Setting(
        "environment variables",
        lambda: {name: os.environ[name] for name in names if name in os.environ},
        os.environ.update,
    )


def _errors() -> list[Any]:
    return [f for f in warnings.filters if f[0] == "error"]


def _put_errors(before: list[Any]) -> None:
    # other filters stay: a module adds them once, when it is imported
    kept = [f for f in warnings.filters if f[0] != "error" or f in before]
    with warnings.catch_warnings():  # as the block ends, Python forgets what the filters have decided
        pass
    warnings.filters[:] = kept  # type: ignore[index]


def _put_tracing(functions: tuple[Any, Any]) -> None:
    sys.settrace(functions[0])
    sys.setprofile(functions[1])


def _limit(name: str) -> _Setting:
    which = getattr(resource, name)
    return _Setting(
        f"the limit {name}", lambda: resource.getrlimit(which), lambda both: resource.setrlimit(which, both)
    )


def _handler(number: signal.Signals) -> _Setting:
    return _Setting(
        f"the handler of {number.name}",
        lambda: signal.getsignal(number),
        lambda handler: signal.signal(number, handler),
        is_handler=True,
    )


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def open_standard_files() -> None:
    """Open the null device where standard input, output or errors are closed: no record may be opened there."""
    for number in range(3):
        if not _is_open(number):
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)


def _closed(stream: Any) -> bool:
    return bool(getattr(stream, "closed", False))


def _null() -> Any:
    return Path(os.devnull).open("w", encoding="utf-8")  # it stays open


def _put_output(stdout: Any, stderr: Any, *were_closed: bool) -> None:
    """Put Python's streams back; what is printed after one was closed goes to the null device."""
    sys.stdout, sys.stderr = (
        _null() if _closed(stream) and not was_closed else stream
        for stream, was_closed in zip((stdout, stderr), were_closed, strict=True)
    )


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
