"""Errors that are the user's to mend: one clear line and an exit code, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class InputError(Exception):
    """Something given to joulebench cannot be used; the message is one line and says what is allowed."""

    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return one_line(super().__str__())


class GateError(InputError):
    """A measurement failed its gate and --strict was given, or records cannot be published."""

    exit_code = 1


class IncompleteError(InputError):
    """The run ended before it was complete, though its input was fine. What was recorded is kept."""

    exit_code = 3


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


def one_line(text: str) -> str:
    """`text` on one line, without a character that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, or the empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
