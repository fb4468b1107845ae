"""Conditions over parameters, such as `width * depth <= 512`: read from a task, never executed as code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_LENGTH = 500

_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISON: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ALLOWED = "numbers, 'text', parameters, + - * / // %, comparisons, and / or / not"


@dataclass(frozen=True)
class Condition:
    """A parsed condition; `names` are the parameters it reads."""

    text: str
    names: frozenset[str]
    _body: ast.expr

    def holds(self, values: Mapping[str, bool | int | float | str]) -> bool:
        """Evaluate the condition for parameter values; a division by zero makes it false.

        Raises:
            ValueError: text where a number is needed, or a number where text is needed.
        """
        try:
            return bool(_evaluate(self._body, values))
        except ZeroDivisionError:
            return False
        except TypeError as error:
            raise ValueError(f"'{self.text}' cannot be evaluated: {error}") from None


@lru_cache(maxsize=1024)
def condition(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ValueError: not a comparison of arithmetic over parameters.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a condition is at most {MAX_LENGTH} characters long (got {len(text)})")
    try:
        body = ast.parse(text.strip(), mode="eval").body
        _check(body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"'{text}' is not a condition such as 'width * depth <= 512'") from None
    if not isinstance(body, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Name):
        raise ValueError(f"'{text}' has no comparison; write, say, 'width * depth <= 512'")
    names = frozenset(node.id for node in ast.walk(body) if isinstance(node, ast.Name))
    if not names:
        raise ValueError(f"'{text}' reads no parameter")
    return Condition(text, names, body)


def _check(node: ast.expr) -> None:
    match node:
        case ast.Name():
            return
        case ast.Constant(value=bool() | int() | float() | str()):
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            parts = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=right_parts) if all(type(o) in _COMPARISON for o in ops):
            parts = [left, *right_parts]
        case ast.BoolOp(values=values):
            parts = values
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            parts = [operand]
        case _:
            raise ValueError(f"'{ast.unparse(node)}' is not allowed in a condition (allowed: {_ALLOWED})")
    for part in parts:
        _check(part)


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_number(left, values), _number(right, values))
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_evaluate(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_evaluate(part, values) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand, values)
        case ast.UnaryOp(operand=operand):
            return -_number(operand, values)
        case ast.Compare(left=left, ops=ops, comparators=right_parts):
            sides = [_evaluate(side, values) for side in (left, *right_parts)]
            steps = zip(ops, sides, sides[1:], strict=False)
            return all(_COMPARISON[type(op)](a, b) for op, a, b in steps)
    raise AssertionError(f"unchecked node {node!r}")


def _number(node: ast.expr, values: Mapping[str, Any]) -> float | int:
    """Evaluate a number. Integers in tasks are below 2^53, and no operator here grows them without bound."""
    value = _evaluate(node, values)
    if isinstance(value, str):
        raise TypeError(f"'{value}' is text, not a number")
    return value  # type: ignore[no-any-return]
