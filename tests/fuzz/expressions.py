"""Conditions of task files: random ones against Python's own arithmetic, and texts that are none."""

from __future__ import annotations

import random
import warnings
from typing import Any

from joulebench.spec.conditions import MAX_LENGTH, condition

_NAMES = ("width", "depth", "pool", "kind", "rate")
_NUMBERS = (
    "0", "1", "2", "-1", "3.5", "0.0", "1e308", "1e999", "1e-320", "5e-324", "9007199254740993", "9" * 60, "9" * 400,
    "0x10", "1_000", "True", "False", "07", "1.", ".5", "1j", "None",
)  # fmt: skip
_ARITHMETIC = ("+", "-", "*", "/", "//", "%", "**", "@", "<<", "&", "|")
_COMPARISON = ("<", "<=", ">", ">=", "==", "!=", "in", "is", "not in", "<>")
_TEXT = ("'deep'", "''", '"wide"', "'\\d'", "'\\ud800'", "'\\x1b[31m'", "b'x'", "f'{width}'", "'" + "x" * 60 + "'")
_ODD = (
    "", " ", "\n", "\t", "\x00", "\\", "(", ")", "[", "]", "{", "}", ",", ":", ":=", ";", "#", "'", '"', "\ud800", "\u202e",
    "ﬁ", "名", "\x1b[31m", "lambda", "await", "yield", "if", "else", "for", "__import__('os')", "exec", "~", "+", "not",
    "print(1)", "...", "width.real", "*", "1if width else 2", "0or width", "\ufeff",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 512, 2**53, -(2**53), True, False, 0.0, -0.0, 0.1, 1e-9, 1e308, -1e308, 5e-324, "deep", "", "wide",
)  # fmt: skip


def any_text(rng: random.Random) -> str:
    """A condition, or something near to one."""
    text = _condition(rng, rng.randint(1, 4))
    kind = rng.random()
    if kind < 0.6:
        return text
    if kind < 0.66:
        deep = rng.choice(("not ", "-", "(", "- -", "not(", "1<", "width and not ", "1+"))
        return deep * rng.randint(1, MAX_LENGTH // len(deep)) + text + ")" * rng.choice((0, 90))
    for _ in range(rng.randint(1, 3)):
        at, end = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        odd = rng.choice((*_ODD, *_NUMBERS, *_TEXT))
        text = rng.choice((text[:at] + odd + text[at:], text[:at] + text[end:], text[:at] + odd + text[end:]))
    return text


def _condition(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if depth <= 0 or kind < 0.4:
        compared = [_sum(rng, rng.randint(0, depth + 1))]
        for _ in range(rng.choice((1, 1, 1, 2))):
            sign = rng.choice(_COMPARISON[:6] if rng.random() < 0.95 else _COMPARISON)
            compared += [sign, _sum(rng, rng.randint(0, depth + 1))]
        return " ".join(compared)
    if kind < 0.75:
        joined = f" {rng.choice(('and', 'or'))} ".join(
            _condition(rng, depth - 1) for _ in range(rng.choice((2, 3)))
        )
        return f"({joined})" if rng.random() < 0.5 else joined
    return f"not {_condition(rng, depth - 1)}" if kind < 0.9 else rng.choice(_NAMES)


def _sum(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if depth <= 0 or kind < 0.35:
        return rng.choice(_NAMES) if kind < 0.2 or rng.random() < 0.5 else rng.choice((*_NUMBERS[:15], *_TEXT[:3]))
    if kind < 0.45:
        return f"-{_sum(rng, depth - 1)}"
    sign = rng.choice(_ARITHMETIC[:6] if rng.random() < 0.96 else _ARITHMETIC)
    text = f"{_sum(rng, depth - 1)} {sign} {_sum(rng, depth - 1)}"
    return f"({text})" if rng.random() < 0.5 else text


def failures(rng: random.Random) -> tuple[str, list[str]]:
    """A random text, and what is wrong with how it is read and evaluated."""
    text = any_text(rng)
    values = {name: rng.choice(_VALUES) for name in _NAMES}
    return text, judge(text, values)


def judge(text: str, values: dict[str, Any]) -> list[str]:
    """What is wrong: an error other than a ValueError of one short line, a warning, or another result than Python's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = condition(text)
        except ValueError as error:
            message = str(error)
            return [f"a message of {len(message)} characters"] if len(message) > 2 * MAX_LENGTH + 200 else []
        except Exception as error:
            return [f"reading raises {type(error).__name__}: {error}"[:200]]
        if caught:
            return [f"reading warns: {caught[0].message}"]
    if unknown := found.names - set(_NAMES):
        values = {**values, **dict.fromkeys(unknown, 3)}
    try:
        got: Any = found.holds(values)
    except ValueError as error:
        return [f"a message of {len(str(error))} characters"] if len(str(error)) > 2 * MAX_LENGTH + 200 else []
    except Exception as error:
        return [f"evaluating raises {type(error).__name__}: {error}"[:200]]
    if type(got) is not bool:
        return [f"gives {got!r}, which is no truth value"]
    return [] if got is (expected := _python(text, values)) else [f"is {got} where Python says {expected}"]


def _python(text: str, values: dict[str, Any]) -> object:
    """Python's own truth of a text that has been checked; what has no value is false."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(eval(text.strip(), {"__builtins__": {}}, dict(values)))
    except (ZeroDivisionError, OverflowError):
        return False
    except Exception as error:
        return type(error).__name__
