"""Text from records as a reader may see it: nothing in it moves the cursor, turns the line or hides. Pure."""

from __future__ import annotations

import re

#: Control characters (C0 but tab and line ends, C1), and those that turn the direction of what follows them.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """`text` with every such character, and every half of a surrogate pair, as a replacement character."""
    return CONTROL.sub("\ufffd", text).encode("utf-8", "replace").decode()


def flat(text: str) -> str:
    """On one line, without control characters and halves of characters."""
    return " ".join(visible(text).split())


def short(text: str, most: int = 80) -> str:
    """On one line that a figure has room for."""
    line = flat(text)
    return line if len(line) <= most else f"{line[:most]}…"
