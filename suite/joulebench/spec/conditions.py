"""Conditions over parameters, such as `width * depth <= 512`: read from a task, never executed as code."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

MAX_LENGTH = 500
#: Of operators within operators; evaluating takes several frames of Python's stack for each.
MAX_DEPTH = 50
Kind = Literal["number", "text"]

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
        """Evaluate the condition for parameter values; a division by zero, or a number too large, makes it false.

        Raises:
            ValueError: text where a number is needed, or a number where text is needed.
        """
        try:
            return bool(_evaluate(self._body, values))
        except (ZeroDivisionError, OverflowError):
            return False
        except TypeError as error:
            raise ValueError(f"'{self.text}' cannot be evaluated: {error}") from None

    def check(self, kinds: Mapping[str, Set[Kind]]) -> None:
        """Check that it can be evaluated for every value, by the kinds of values that each parameter has.

        Raises:
            ValueError: text is calculated with, or ordered against a number.
        """
        _kinds(self._body, kinds)


@lru_cache(maxsize=1024)
def condition(text: str) -> Condition:
    """Parse a condition.

    Raises:
        ValueError: not a comparison of arithmetic over parameters.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a condition is at most {MAX_LENGTH} characters long (got {len(text)})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python warns of, such as `1or width`, is no condition
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


def _check(node: ast.expr, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"a condition is at most {MAX_DEPTH} operators deep")
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
        _check(part, depth + 1)


def _kinds(node: ast.expr, of: Mapping[str, Set[Kind]]) -> Set[Kind]:
    """Kinds of value that a part of a condition may have."""
    match node:
        case ast.Name(id=name):
            return of[name]
        case ast.Constant(value=value):
            return {"text"} if isinstance(value, str) else {"number"}
        case ast.BinOp(left=left, right=right):
            numbers = [left, right]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            numbers = [operand]
        case ast.UnaryOp(operand=operand):
            _kinds(operand, of)
            return {"number"}
        case ast.BoolOp(values=parts):
            return frozenset().union(*(_kinds(part, of) for part in parts))
        case ast.Compare(left=left, ops=ops, comparators=right_parts):
            sides = [_kinds(side, of) for side in (left, *right_parts)]
            for op, a, b in zip(ops, sides, sides[1:], strict=False):
                if not isinstance(op, ast.Eq | ast.NotEq) and len(a | b) > 1:
                    raise ValueError(f"'{ast.unparse(node)}' orders text against a number")
            return {"number"}
        case _:
            raise AssertionError(f"unchecked node {node!r}")
    for part in numbers:
        if _kinds(part, of) != {"number"}:
            raise ValueError(f"'{ast.unparse(node)}' calculates with text, not with numbers")
    return {"number"}


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_number(left, values), _number(right, values))
        case ast.BoolOp(op=joint, values=parts):  # the first that decides it, as in Python
            for part in parts[:-1]:
                value = _evaluate(part, values)
                if bool(value) is isinstance(joint, ast.Or):
                    return value
            return _evaluate(parts[-1], values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand, values)
        case ast.UnaryOp(operand=operand):
            return -_number(operand, values)
        case ast.Compare(left=left, ops=ops, comparators=right_parts):
            before = _evaluate(left, values)
            for sign, side in zip(ops, right_parts, strict=True):
                after = _evaluate(side, values)
                if not _COMPARISON[type(sign)](before, after):
                    return False
                before = after
            return True
    raise AssertionError(f"unchecked node {node!r}")


def _number(node: ast.expr, values: Mapping[str, Any]) -> float | int:
    """Evaluate a number. Integers in tasks are below 2^53, and no operator here grows them without bound."""
    value = _evaluate(node, values)
    if isinstance(value, str):
        raise TypeError(f"'{value}' is text, not a number")
    return value  # type: ignore[no-any-return]
