"""Control and bidirectional characters stripped from untrusted text. Pure."""

from __future__ import annotations

import re

#: Control characters (C0 but tab and line ends, C1), and those that turn the direction of what follows them.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """Replace control characters, direction marks and lone surrogates by �."""
    return CONTROL.sub("\ufffd", text).encode("utf-8", "replace").decode()


def flat(text: str) -> str:
    """`visible` text on one line."""
    return " ".join(visible(text).split())


def short(text: str, most: int = 80) -> str:
    """`flat` text of at most `most` characters, for figures."""
    line = flat(text)
    return line if len(line) <= most else f"{line[:most]}…"
