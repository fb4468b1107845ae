"""The meters that measured blocks share, started once and for one block at a time."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from joulebench.errors import InputError
from joulebench.measurement.instrument import Instrument


class _Key(NamedTuple):
    pid: int  # a fork of this process has no sampling threads
    hardware: str | None
    replay: str | None


class _Mine(NamedTuple):
    name: str
    goes_on: Callable[[], bool]


_running: dict[_Key, Instrument] = {}
#: The block that is being measured, as `ONE`.
_measuring: dict[str, _Mine] = {}
ONE = "one"


@contextmanager
def measuring(
    what: str, hardware: str | None, replay: str | None, goes_on: Callable[[], bool] = lambda: True
) -> Iterator[Instrument]:
    """Meters for one block; they go on running afterwards, for the next.

    Args:
        goes_on: whether the block is still being run, where nothing may tell that it ended: another may then begin.

    Raises:
        InputError: another block is being measured: the machine's joules cannot be told apart. Or the meters do not
            start (`Instrument.start`).
    """
    key = _Key(os.getpid(), hardware, replay)
    mine = _Mine(what, goes_on)
    try:  # no lock: Ctrl-C may come between its being taken and the block that lets it go
        if (left := _measuring.get(ONE)) is not None and not left.goes_on() and _measuring.get(ONE) is left:
            del _measuring[ONE]
        if (other := _measuring.setdefault(ONE, mine)) is not mine:
            raise InputError(
                f"{what}: another block is being measured ({other.name}); the machine's joules cannot be "
                "told apart, so measure one after the other"
            )
        if key not in _running:
            stop()
            _running[key] = Instrument.start(hardware, replay)
        yield _running[key]
    finally:
        if ONE in _measuring and _measuring[ONE] is mine:  # not in a fork that leaves its parent's block
            del _measuring[ONE]  # without a call, at which Ctrl-C would come


def stop() -> None:
    """Stop the meters of this process."""
    for key in list(_running):
        instrument = _running.pop(key)
        if key.pid == os.getpid():
            instrument.stop()


def _forked() -> None:
    """A fork begins without a block: the one that its parent was in is not its own."""
    _measuring.clear()


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
