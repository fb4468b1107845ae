"""End of a process whose trial does not end: a kernel that hangs, a server that never answers.

Nothing in Python can stop code that hangs in a library, so the process ends. It first says so in the records, and
`resume` goes on with the next trial.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from joulebench.errors import IncompleteError
from joulebench.host import power_limit
from joulebench.host.process import kill_all

#: Time for each of the last acts of a process.
LAST_S = 10.0


@contextmanager
def watchdog(limit_s: float | None, overdue: Callable[[], None]) -> Iterator[None]:
    """End the process with exit code 3 if the block takes longer than `limit_s`; None: never.

    Code that holds Python's interpreter lock all the time keeps the watchdog from running.

    Args:
        overdue: called before, in a thread of its own; what it raises does not keep the process.
    """
    if limit_s is None:
        yield
        return
    ended, turn = threading.Event(), threading.Lock()

    def watch() -> None:
        if ended.wait(limit_s):
            return
        with turn:  # the block has not ended, and will not go on
            if not ended.is_set():
                _end(overdue)

    threading.Thread(target=watch, name="joulebench-watchdog", daemon=True).start()
    try:
        yield
    finally:
        with turn:
            ended.set()


def _end(overdue: Callable[[], None]) -> None:
    try:
        for act in (overdue, power_limit.restore_all, lambda: kill_all(psutil.Process().children())):
            within = threading.Thread(target=_quietly, args=(act,), daemon=True)
            within.start()
            within.join(LAST_S)  # a disk or a driver may hang, too
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):
                stream.flush()
    finally:
        os._exit(IncompleteError.exit_code)


def _quietly(act: Callable[[], None]) -> None:
    with suppress(BaseException):
        act()
