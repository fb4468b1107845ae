"""The meters that measured blocks share, started once and for one block at a time."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from joulebench.errors import InputError
from joulebench.measurement.instrument import Instrument


class _Key(NamedTuple):
    pid: int  # a fork of this process has no sampling threads
    hardware: str | None
    replay: str | None


_lock = threading.Lock()
_running: dict[_Key, Instrument] = {}
_measuring: list[str] = []


@contextmanager
def measuring(what: str, hardware: str | None, replay: str | None) -> Iterator[Instrument]:
    """Meters for one block; they go on running afterwards, for the next.

    Raises:
        InputError: another block is being measured: the machine's joules cannot be told apart. Or the meters do not
            start (`Instrument.start`).
    """
    key = _Key(os.getpid(), hardware, replay)
    if not _lock.acquire(blocking=False):
        raise InputError(
            f"{what}: another block is being measured ({_measuring[0] if _measuring else 'in another thread'}); "
            "the machine's joules cannot be told apart, so measure one after the other"
        )
    try:
        _measuring[:] = [what]
        if key not in _running:
            stop()
            _running[key] = Instrument.start(hardware, replay)
        yield _running[key]
    finally:
        _measuring.clear()
        _lock.release()


def stop() -> None:
    """Stop the meters of this process."""
    for key in list(_running):
        instrument = _running.pop(key)
        if key.pid == os.getpid():
            instrument.stop()


def _forked() -> None:
    """A fork begins with a free lock: the block that its parent was in is not its own."""
    global _lock
    _lock = threading.Lock()
    _measuring.clear()


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
