"""Standard output and error that never raise: a closed pipe or encoding error must not end a measurement."""

from __future__ import annotations

import errno
import io
import sys
from typing import Any, TextIO, cast

from joulebench.host.global_state import open_standard_files
from joulebench.text import visible

#: The reader is gone: the pipe or terminal was closed.
_READER_LEFT = (errno.EPIPE, errno.EIO)


class _Sink(io.FileIO):
    """File of a standard stream; after a write error it keeps the error and drops further output."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


class _Visible(io.TextIOWrapper):
    """Text of a standard stream, all that is printed: no character that a terminal would obey gets through."""

    def write(self, text: str, /) -> int:
        super().write(visible(text).replace("\r", "\ufffd"))
        return len(text)


class _Terminal:
    """The stream for a display that draws by control characters; its texts come without any."""

    def __init__(self, stream: _Visible) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def terminal(stream: TextIO) -> TextIO:
    """Return `sys.stdout` or `sys.stderr` as a live display needs it, whose control characters are its own."""
    return cast("TextIO", _Terminal(stream)) if isinstance(stream, _Visible) else stream


def make_tolerant() -> None:
    """Replace standard output and error by streams that never raise; one that is closed becomes the null device."""
    open_standard_files()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        stream.reconfigure(errors="replace")  # a terminal that has no "→" shows "?"
        raw = _raw(stream)
        if isinstance(raw, io.FileIO) and not isinstance(raw, _Sink) and raw.fileno() in (1, 2):
            setattr(sys, name, _rewrapped(stream, raw))


def _raw(stream: io.TextIOWrapper) -> Any:
    """The raw file below the buffer; with `python -u` there is no buffer."""
    return getattr(stream.buffer, "raw", stream.buffer)


def _rewrapped(stream: io.TextIOWrapper, raw: io.FileIO) -> io.TextIOWrapper:
    stream.flush()
    sink = _Sink(raw.fileno(), "w", closefd=False)
    return _Visible(
        sink if stream.buffer is raw else io.BufferedWriter(sink),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def failure() -> OSError | None:
    """Return the error that lost standard output; None if there is none, or only the reader left."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper) or stream.closed:  # closed by measured code
        return None
    stream.flush()
    error: OSError | None = getattr(_raw(stream), "failure", None)
    return None if error is None or error.errno in _READER_LEFT else error
