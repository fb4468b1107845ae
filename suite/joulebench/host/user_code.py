"""Calls of a user's code, which may neither end this process nor look like the user's Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from joulebench.errors import IncompleteError

_came: list[int] = []  # signals that have come


def interrupt(number: int, _: FrameType | None = None) -> None:
    """Handle a signal as Ctrl-C: blocks are left, so that children end and records say how."""
    _came.append(number)
    raise KeyboardInterrupt


def interruptions() -> int:
    """How many signals have interrupted this process so far."""
    return len(_came)


@contextmanager
def user_code() -> Iterator[None]:
    """Block that calls a user's code: `os._exit` raises SystemExit, and a fork of this process ends with the block.

    A `KeyboardInterrupt` that no signal caused becomes a `RuntimeError`, where Ctrl-C has Python's own handler or
    `interrupt`: others do not say whether it came.
    """
    pid, thread, leave, before = os.getpid(), threading.current_thread(), os._exit, len(_came)
    main, handler = thread is threading.main_thread(), signal.getsignal(signal.SIGINT)
    is_told = not main or handler in (signal.default_int_handler, interrupt)

    def left(status: int) -> NoReturn:
        """End a trial instead of the process; from another thread, the process, but not as if all were done."""
        if os.getpid() == pid and threading.current_thread() is thread:
            raise SystemExit(f"os._exit({status})")
        leave(status if os.getpid() != pid else status or IncompleteError.exit_code)

    os._exit = left
    if main and is_told:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt as raised:
        if not is_told or before != len(_came):
            raise
        raise RuntimeError("KeyboardInterrupt").with_traceback(raised.__traceback__) from None
    finally:
        if main and is_told:
            signal.signal(signal.SIGINT, handler)
        os._exit = leave
        end_copy(pid)


def end_copy(pid: int) -> None:
    """End this process if it is a fork of process `pid`: what follows is the original's to do, once."""
    if os.getpid() != pid:
        os._exit(0)
