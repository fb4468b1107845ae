"""Text from records as a reader may see it: nothing in it moves the cursor, turns the line or hides. Pure."""

from __future__ import annotations

import re

#: Control characters (C0 but tab and line ends, C1), and those that turn the direction of what follows them.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """`text` with every such character, and every half of a surrogate pair, as a replacement character."""
    return CONTROL.sub("\ufffd", text).encode("utf-8", "replace").decode()
