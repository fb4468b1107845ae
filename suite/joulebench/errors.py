"""Errors that are the user's to mend: one clear line and an exit code, never a traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

from joulebench.text import one_line


class InputError(Exception):
    """Something given to joulebench cannot be used; the message is one line and says what is allowed."""

    exit_code: int = 2

    def __str__(self) -> str:
        return message(super().__str__())


class MissingFileError(InputError):
    """A file that is to be read is not there."""


class GateError(InputError):
    """A measurement failed its gate and --strict was given, or records cannot be published."""

    exit_code = 1


class IncompleteError(InputError):
    """The run ended before it was complete, though its input was fine. What was recorded is kept."""

    exit_code = 3


class ProgramError(IncompleteError):
    """A program that was to be measured failed; joulebench ends with its exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class DeviceLostError(IncompleteError):
    """The process can use its accelerator no more, as after a device-side assert; a new process can go on.

    Attributes:
        folder: the run's, once it is known.
    """

    folder: Path | None = None


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def is_full(error: OSError) -> bool:
    """Whether it is the disk that is full, over a quota or a limit, or failing, and not the path that is wrong."""
    return error.errno in _FULL


def unwritable(path: Path, error: OSError) -> InputError:
    """Error for a file that cannot be written: an `IncompleteError` where the disk is full."""
    kind = IncompleteError if is_full(error) else InputError
    return kind(f"{path}: cannot be written: {error.strerror or error}; what was there before is untouched")


class MeterError(IncompleteError):
    """A meter that was available has failed: its joules cannot be trusted from here on, and the run stops."""


def described(error: BaseException) -> str:
    """`Type: message` of whatever was raised, on one line; the message of an error may raise one itself."""
    try:
        message = one_line(str(error))[:500]
    except KeyboardInterrupt:
        raise
    except BaseException:
        message = "(its message cannot be printed)"
    return f"{type(error).__name__}: {message}".removesuffix(": ")


def first_line(error: BaseException) -> str:
    """First line of a library's message, without a full stop; the type of an error that has none."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


#: Of a message: a longer one loses its middle, which is somebody's value.
MOST_CHARACTERS = 1600


def message(text: str) -> str:
    """`text` on one line that a terminal can show."""
    line = one_line(text)
    if len(line) <= MOST_CHARACTERS:
        return line
    return f"{line[: MOST_CHARACTERS - 400]} … {line[-390:]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, or the empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near and near[0] != name else ""
