"""Source of what a run takes from the running program itself (`__main__`): a script, or cells of a notebook.

No other process can import it. It is kept in the run's manifest, to be compared when the run is resumed from its
program, and is never executed.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import json
import linecache
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from joulebench.errors import InputError

PROGRAM = "__main__"
NOTEBOOK = "notebook"


def is_programs(name: str) -> bool:
    """Whether a name is of something that the running program defines."""
    return name.partition(":")[0] == PROGRAM


def program_file() -> Path | None:
    """The script that runs; None in a notebook and where code was typed."""
    file = getattr(sys.modules.get(PROGRAM), "__file__", None)
    return Path(file).absolute() if isinstance(file, str) and Path(file).is_file() else None


def program_folder() -> Path:
    """Where the running program's own modules are imported from."""
    return Path.cwd() if (file := program_file()) is None else file.parent


def program_label() -> str:
    """The name of the running script, or `notebook`."""
    return NOTEBOOK if (file := program_file()) is None else file.name


def defined(name: str) -> object | None:
    """The class or function of this name that the running program defines; None if it defines none.

    What the program has imported is not its own: a record could name anything by it.
    """
    found: Any = sys.modules.get(PROGRAM)
    for part in name.partition(":")[2].split("."):
        found = getattr(found, "__dict__", {}).get(part)
    is_one = isinstance(found, type | FunctionType)
    return found if is_one and getattr(found, "__module__", None) == PROGRAM else None


@dataclass(frozen=True)
class _Piece:
    text: str
    line: int = 0  # of its file, or of its cell, that it begins at; 0: none
    defines: str = ""


def source_of(name: str) -> dict[str, str]:
    """What stands behind a name of the running program: its source, and that of all of the program that it uses.

    Statements of the program by what they define; of other modules which is meant; of values numbers, digests of
    what is made of texts and numbers, which may be a password, and types of the rest. Empty where its own source is
    not known, as of what was typed at Python's prompt.
    """
    pieces = _pieces(name)
    first = next(iter(pieces.values()), None)
    return {key: piece.text for key, piece in pieces.items()} if first is not None and first.line else {}


def digest_of(source: Mapping[str, str]) -> str:
    """SHA-256 of a kept source."""
    return hashlib.sha256(json.dumps(sorted(source.items())).encode()).hexdigest()


def difference(name: str, before: Mapping[str, str]) -> str | None:
    """Where the running program's source is another than a kept one, with its first line; None if nowhere."""
    now, file = _pieces(name), program_label()
    for key in (*before, *(key for key in now if key not in before)):
        old, piece = before.get(key), now.get(key)
        if piece is None:
            return f"{file}: {key}, which is gone,"
        if old is None:
            return f"{file}, line {piece.line}: {key}, which is new,"
        if old != piece.text:
            return f"{file}, {_changed_lines(key, old, piece)}"
    return None


def _changed_lines(key: str, old: str, now: _Piece) -> str:
    before, after = old.splitlines(), now.text.splitlines()
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
    _, old_start, old_end, start, end = changes[0]
    was = before[old_start].strip()[:60] if old_start < old_end else ""
    new = after[start].strip()[:60] if start < end else ""
    what = f"was `{was}`, is `{new}`" if was and new else f"`{was}` is gone" if was else f"`{new}` is new"
    count = sum(max(c[2] - c[1], c[4] - c[3]) for c in changes)
    where = f"line {now.line + start}: " if now.line else ""
    return f"{where}{key} ({what}{f'; {count} lines in all' if count > 1 else ''})"


def _pieces(name: str) -> dict[str, _Piece]:
    program = vars(sys.modules[PROGRAM])
    found: dict[str, _Piece] = {}
    waiting = [name.partition(":")[2].partition(".")[0]]
    while waiting:
        if (key := waiting.pop(0)) in found or key not in program:
            continue
        piece, used = _described(key, program[key])
        if piece is not None:
            found[key] = piece
            waiting += [other for other in used if other not in found]
    return found


def _described(name: str, value: object) -> tuple[_Piece | None, list[str]]:
    """What is kept of one name of the program, and the names that its source uses."""
    if isinstance(value, ModuleType):
        return _Piece(f"import {value.__name__} as {name}"), []
    if isinstance(value, type | FunctionType):
        if value.__module__ != PROGRAM:
            return _Piece(f"from {value.__module__} import {value.__qualname__} as {name}"), []
        places = ((code.co_filename, partial(_spans, code.co_firstlineno)) for code in _codes(value))
        found = [piece for file, spans in places if (piece := _statement(file, spans)) is not None]
        of_name = next((piece for piece in found if piece.defines == name), None)
        if isinstance(value, type) and of_name is None:
            used = (*value.__bases__, *(p for p in vars(value).values() if isinstance(p, type | FunctionType)))
            return _values(value), [part.__name__ for part in used]
        piece = of_name or next(iter(found), None)
        return piece, [] if piece is None else _globals(piece.text)
    return _Piece(f"{name} = {_value(value)}"), _made_of(value)


def _made_of(value: object, depth: int = 3) -> list[str]:
    """Names of classes and functions of the program that a value holds, or is an object of."""
    if isinstance(value, partial):
        return _made_of((value.func, value.args, value.keywords), depth)
    if isinstance(value, Mapping | list | tuple | set | frozenset) and type(value).__module__ != PROGRAM:
        parts = [*value.values()] if isinstance(value, Mapping) else [*value]
        return [name for part in parts for name in _made_of(part, depth - 1)] if depth else []
    one = value if isinstance(value, type | FunctionType) else type(value)
    return [one.__qualname__.partition(".")[0]] if one.__module__ == PROGRAM else []


def _codes(value: type | FunctionType) -> Iterator[CodeType]:
    """Code that the program compiled of a function and of what it wraps, or of what a class itself defines."""
    program = vars(sys.modules[PROGRAM])
    for part in vars(value).values() if isinstance(value, type) else [value]:
        part = part.fget if isinstance(part, property) else getattr(part, "__func__", part)
        for one in (part, inspect.unwrap(part) if callable(part) else part):
            if isinstance(one, FunctionType) and one.__globals__ is program:
                yield one.__code__
            elif isinstance(one, type) and one.__qualname__.startswith(f"{value.__qualname__}."):
                yield from _codes(one)


def _values(value: type) -> _Piece:
    """A class without code of its own, which says nothing of where it stands: its bases, fields and values."""
    fields = [f"{name}: {kind!r}" for name, kind in inspect.get_annotations(value).items()]
    values = [f"{name} = {_value(part)}" for name, part in vars(value).items() if not name.startswith("__")]
    bases = ", ".join(base.__qualname__ for base in value.__bases__)
    return _Piece("\n    ".join([f"class {value.__name__}({bases}):", *sorted(fields), *sorted(values)]))


def _statement(file: str, wanted: Callable[[ast.stmt], bool]) -> _Piece | None:
    """The last and innermost wanted statement of a file or cell that is in no function or class."""
    lines = linecache.getlines(file)
    try:
        every = list(_statements(ast.parse("".join(lines)).body))
    except SyntaxError:  # edited meanwhile
        return None
    found = next((statement for statement in reversed(every) if wanted(statement)), None)
    if found is None:
        return None
    start = _first_line(found)
    return _Piece("".join(lines[start - 1 : found.end_lineno]), start, getattr(found, "name", ""))


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _statements(part for part in ast.iter_child_nodes(statement) if isinstance(part, ast.stmt))


def _spans(line: int, statement: ast.stmt) -> bool:
    return _first_line(statement) <= line <= (statement.end_lineno or 0)


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _globals(text: str) -> list[str]:
    """Names outside of it that a statement uses."""
    whole = symtable.symtable(textwrap.dedent(text), "source", "exec")
    found, waiting = dict[str, None](), [whole]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        used = (s for s in table.get_symbols() if s.is_referenced() and (table is whole or s.is_global()))
        found |= dict.fromkeys(sorted(symbol.get_name() for symbol in used))
    return list(found)


def _value(value: object) -> str:
    """A number as it is; of anything else made of plain values a digest, else its type."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    try:
        text = json.dumps(value, sort_keys=True, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}"
    return f"{type(value).__name__} with digest {hashlib.sha256(text.encode()).hexdigest()}"


def _plain(value: object) -> object:
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    raise TypeError


def refuse_elsewhere(names: Iterable[str], where: str) -> None:
    """Refuse what only the running program defines, where other processes would have to import it.

    Raises:
        InputError: one of the names is of that kind.
    """
    if (name := next((n for n in names if is_programs(n)), None)) is not None:
        raise InputError(
            f"{where}: {name} is defined in the running program itself, which other processes cannot import; put "
            "it into a module of its own"
        )
