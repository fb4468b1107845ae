"""Standard output and error that end no measurement: a reader may leave, a terminal may lack a character."""

from __future__ import annotations

import errno
import io
import sys
from typing import Any

#: Nobody reads any more: the other end of the pipe was closed, or the terminal is gone.
_READER_LEFT = (errno.EPIPE, errno.EIO)


class _Sink(io.FileIO):
    """A standard stream's file. Once writing has failed, what is written is dropped, and the failure kept."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def unending() -> None:
    """Let printing to standard output and error raise nothing from here on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        stream.reconfigure(errors="replace")  # a terminal that has no "→" shows "?"
        raw = _raw(stream)
        if isinstance(raw, io.FileIO) and not isinstance(raw, _Sink) and raw.fileno() in (1, 2):
            setattr(sys, name, _rewrapped(stream, raw))


def _raw(stream: io.TextIOWrapper) -> Any:
    """The file below the buffer; `python -u` has none between."""
    return getattr(stream.buffer, "raw", stream.buffer)


def _rewrapped(stream: io.TextIOWrapper, raw: io.FileIO) -> io.TextIOWrapper:
    stream.flush()
    sink = _Sink(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        sink if stream.buffer is raw else io.BufferedWriter(sink),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def failure() -> OSError | None:
    """Why not all that was printed on standard output is where it should be; None if only its reader left."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return None
    if stream.closed:  # by code that was measured
        return None
    stream.flush()
    found: OSError | None = getattr(_raw(stream), "failure", None)
    return None if found is None or found.errno in _READER_LEFT else found
