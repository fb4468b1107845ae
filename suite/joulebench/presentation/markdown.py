"""Jinja environments, and escaping of text from records for Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from joulebench.text import one_line, without_surrogates

SHARED = Path(__file__).parent / "templates"
_SPECIAL = re.compile(r"([\\`*|\[\]$~])")


def markdown_environment(templates: Path) -> Environment:
    """Templates whose values are made safe; the filter `md` lets Markdown through, `code` fits a fenced block."""
    environment = template_environment(templates, autoescape=False)
    environment.finalize = markdown_safe
    environment.filters |= {"md": Markup, "code": code}
    return environment


def template_environment(templates: Path, autoescape: bool) -> Environment:
    """Templates in a folder, and those that all pages share; a name they do not know is an error."""
    return Environment(
        loader=FileSystemLoader([templates, SHARED]),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )


def tidy(text: str) -> str:
    """Rendered Markdown with at most one empty line in a row, and one newline at its end."""
    return without_surrogates(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def markdown_safe(value: Any) -> Any:
    """Text from records with all markup of Markdown and HTML escaped; other values, and Markup, as they are."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    escaped = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", escaped)


def code(text: str) -> Markup:
    """Text for a fenced code block, with its fences broken so that it cannot end the block."""
    return Markup(one_line(text).replace("```", "` ` `"))
