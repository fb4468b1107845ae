"""Text that may be anybody's made harmless for terminals and pages. Pure."""

from __future__ import annotations

import re

#: Control characters (C0 but tab and line ends, C1), and those that turn the direction of what follows them.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """Replace control characters, direction marks and lone surrogates by �."""
    return without_surrogates(CONTROL.sub("\ufffd", text))


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, which reasons and names may hold but UTF-8 files cannot."""
    return text.encode("utf-8", "replace").decode()


def is_utf8(text: str) -> bool:
    """Whether a text, such as a file's name, has no lone surrogates."""
    return text == without_surrogates(text)


def one_line(text: str) -> str:
    """`visible` text on one line."""
    return " ".join(visible(text).split())


def short(text: str, most: int = 80) -> str:
    """`one_line` of at most `most` characters."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[:most]}…"
