"""Mutations of trees (JSON, TOML), tables (CSV) and bytes, each a function of a seeded generator."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Callable, MutableSequence, Sequence
from typing import Any

#: A key that begins so is written without it: beside the key itself it is there twice.
TWICE = "@@twice@@"
#: A key that no part of joulebench knows.
UNKNOWN = "zz_unknown"
#: A text that is written as a list or table nested a thousand times.
_DEEP = {"@@list@@": ("[", "]"), "@@table@@": ('{"a":', "}")}
_DEPTH = 1000

_HOSTILE = [
    "", " ", "\x00", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "abc\u202egnp.exe", "\u2066x\u2069", "\ud800", "\ufeffx",
    "a\r\nb", "a\u2028b", "\x9b2J", "<i onload=x>", "]]><i onload=x>", "=cmd|' /C calc'!A0", "$(touch Z)", "`touch Z`",
    "{{ 7 * 7 }}", "%s%n%99999999d", "../../../Z", "../secret", "../../secret/manifest.json", "/etc/passwd", "/dev/zero",
    "/dev/stdin", "/dev/null", "/proc/self/environ", "C:\\Z", "a/b", ".", "..", "~", "x" * 300, "x" * 200_000, "é", "名",
    "1_000", "1e5", "0x10", "true", "-", "--help", "os:system", "a.b:C", "joulebench.errors:one_line", "2026-99-99",
    "2026-01-01T00:00:00", "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00Z", "１２", "²",
]  # fmt: skip
_NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 255, 2**31, 2**53, 2**53 + 1, 2**63, 2**64, 10**18, 10**30, 10**31, -(10**18), 10**400, 0.0, -0.0,
    0.5, -0.5, 1e-9, 5e-324, 1e22, 1e300, 1.7976931348623157e308, -1e308, math.nan, math.inf, -math.inf, True, False,
]  # fmt: skip
_FACTORS = (1e3, 1e-3, 1e6, 1e-6, 3600, -1, 0, 1e300, 2, 1.0000001)
_SNIPPETS = [
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xc3", b"\n", b"\r", b"\r\n", b",", b";", b'"', b"'", b"{", b"}", b"[", b"]",
    b"\\", b"\\ud800", b"\x1b[2J", b"NaN", b"-Infinity", b"1e999", b"-", b"0", b"9" * 400, b"null", b"#", b"\t", b"//",
    "\u202e".encode(), "名".encode(), "é".encode("latin-1"), b"x" * 200_000, b"=", b": ",
]  # fmt: skip


def atom(rng: random.Random) -> Any:
    """A value of any kind that something may stumble over."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(_NUMBERS)
    if kind < 0.8:
        return rng.choice(_HOSTILE)
    return rng.choice([None, [], {}, [[]], [1, "a"], {"a": 1}, *_DEEP, ["x"] * 5000])


def word(rng: random.Random) -> str:
    """A value as it may stand on a command line or in a cell."""
    value = atom(rng)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _written(text: str, equals: str) -> str:
    """The text of a tree with its markers replaced."""
    for marker, (opens, ends) in _DEEP.items():
        if marker in text:
            opened = opens.replace(":", equals) * _DEPTH
            text = text.replace(f'"{marker}"', f"{opened}1{ends * _DEPTH}")
    return text.replace(TWICE, "")


def changed_tree(tree: Any, rng: random.Random) -> None:
    """Change one to three places of a tree of dicts and lists."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(*_place(tree, rng), rng)


def _place(tree: Any, rng: random.Random) -> tuple[Any, Any]:
    """A container and a key in it, found by descending at random."""
    parent, key = tree, rng.choice(_keys(tree)) if _keys(tree) else None
    while key is not None and rng.random() < 0.75:
        inner = parent[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        parent, key = inner, rng.choice(_keys(inner))
    return parent, key


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def _change(parent: Any, key: Any, rng: random.Random) -> None:
    if key is None:
        return
    value = parent[key]
    operations: list[Callable[[], Any]] = [
        lambda: parent.__setitem__(key, atom(rng)),
        lambda: parent.__setitem__(key, _near(value, rng)),
        lambda: parent.__setitem__(key, _near(value, rng)),
        lambda: parent.__delitem__(key),
        lambda: parent.__setitem__(key, [value]),
        lambda: parent.__setitem__(key, {"a": value}),
        lambda: parent.__setitem__(key, json.dumps(value)[:300]),
    ]
    if isinstance(parent, dict):
        other = rng.choice(list(parent))
        operations += [
            lambda: parent.__setitem__(f"{TWICE}{key}", atom(rng)),
            lambda: parent.__setitem__(misspelt(str(key), rng), parent.pop(key)),
            lambda: parent.__setitem__(rng.choice(_HOSTILE), value),
            lambda: _swap(parent, key, other),
        ]
    else:
        operations += [
            lambda: parent.insert(key, value),
            lambda: parent.extend(parent[:50] * 3),
            lambda: _swap(parent, key, rng.randrange(len(parent))),
            lambda: parent.reverse(),
        ]
    rng.choice(operations)()


def _swap(parent: Any, a: Any, b: Any) -> None:
    parent[a], parent[b] = parent[b], parent[a]


def _near(value: Any, rng: random.Random) -> Any:
    """A value of the same type, or nearly."""
    if isinstance(value, bool):
        return rng.choice((not value, int(value), str(value).lower()))
    if isinstance(value, int | float):
        if rng.random() < 0.4:
            return rng.choice(_NUMBERS)
        scaled = value * rng.choice(_FACTORS)
        return (
            int(scaled)
            if isinstance(value, int) and (isinstance(scaled, int) or math.isfinite(scaled)) and rng.random() < 0.7
            else scaled
        )
    if isinstance(value, str):
        at = rng.randint(0, len(value))
        return rng.choice(
            (rng.choice(_HOSTILE), value[:at] + rng.choice(_HOSTILE) + value[at:], misspelt(value, rng))
        )
    return atom(rng)


def misspelt(text: str, rng: random.Random) -> str:
    """`text` with one letter more, less or otherwise."""
    at = rng.randrange(len(text) + 1)
    return rng.choice((text[:at] + "x" + text[at:], text[:at] + text[at + 1 :], text[:at] + "q" + text[at + 1 :]))


def json_bytes(tree: Any) -> bytes:
    return _written(json.dumps(tree, separators=(",", ":")), ":").encode()


def toml_bytes(tree: dict[str, Any]) -> bytes:
    """A tree as TOML, its tables inline."""
    lines = (f"{json.dumps(str(key))} = {_toml(value)}\n" for key, value in tree.items())
    return _written("".join(lines), "=").encode("utf-8", "surrogatepass")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return '""' if value is None else repr(value)


def changed_lines(content: bytes, rng: random.Random) -> bytes:
    """JSON lines with one or two of them changed."""
    lines = content.splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(lines))
        kind = rng.random()
        if kind < 0.85:
            tree = json.loads(lines[at]) if lines[at] in content else {}  # not changed yet
            changed_tree(tree, rng)
            lines[at] = json_bytes(tree)
        else:
            lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [lines[at], lines[0]]))
        if not lines:
            break
    return b"\n".join(lines) + (b"" if rng.random() < 0.03 else b"\n")


def changed_csv(content: bytes, rng: random.Random) -> bytes:
    """CSV with some cells, rows or the header changed."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    for _ in range(rng.choice((1, 1, 1, 2))):
        at, kind = rng.randrange(len(rows)), rng.random()
        row: MutableSequence[str] = rows[at]
        column = rng.randrange(len(row)) if row else 0
        if kind < 0.5 and row:
            row[column] = word(rng)
        elif kind < 0.6 and row:
            row[column] = row[column].replace(".", ",")
        elif kind < 0.7 and len(rows) > 1:
            factor, column = rng.choice(_FACTORS), rng.randrange(len(rows[0]) or 1)
            for scaled in rows[1:]:
                scaled[column : column + 1] = [_scaled(cell, factor) for cell in scaled[column : column + 1]]
        elif kind < 0.78 and row:
            del row[column]
        elif kind < 0.84:
            row.append(word(rng))
        elif kind < 0.9:
            rows.insert(at, list(row))
        elif kind < 0.95 and len(rows) > 1:
            del rows[at]
        else:
            _swap(rows, at, rng.randrange(len(rows)))
    text = io.StringIO()
    separator = rng.choice(",,,,,,,,;\t")
    csv.writer(text, delimiter=separator, lineterminator=rng.choice(("\n", "\n", "\r\n", "\r"))).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def _scaled(cell: str, factor: float) -> str:
    try:
        return repr(float(cell) * factor)
    except ValueError:
        return cell


def changed_bytes(content: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Bytes cut, joined, flipped, encoded otherwise, or with something put into them."""
    at, end = sorted((rng.randint(0, len(content)), rng.randint(0, len(content))))
    text = content.decode("utf-8", "replace")
    operations: list[Callable[[], bytes]] = [
        lambda: content[:at],
        lambda: content[at:],
        lambda: content[:at] + content[end:],
        lambda: content + content,
        lambda: content + (rng.choice(others) if others else b""),
        lambda: content[:at] + rng.choice(_SNIPPETS) + content[at:],
        lambda: content[:at] + rng.choice(_SNIPPETS) + content[at:],
        lambda: content[:at] + bytes([(content + b"\0")[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: content.replace(b"\n", b"\r"),
        lambda: text.encode(rng.choice(("utf-16", "utf-32", "utf-16-be"))),
        lambda: b"\x1f\x8b" + content,
        lambda: b"\x00" * rng.choice((1, 4096)),
        lambda: rng.choice(
            (b"", b"\n", b" ", b"[]", b"{}", b"null", b"0", b'"a"', b"[" * 100_000, b'{"a":' * 5000)
        ),
    ]
    return rng.choice(operations)()
