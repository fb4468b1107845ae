"""From sections to pages and files, for whatever has sections: HTML that needs nothing else, and Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from suite.reporting import render
from suite.reporting.plots import interactive
from suite.reporting.section import Section


def environment(kind: Literal["html", "markdown"]) -> Environment:
    """Templates whose text from records is shown and does nothing else."""
    found = render._environment(autoescape=kind == "html")
    if kind == "html":
        found.finalize = render._unbroken
        return found
    found.finalize = render._markdown_safe
    found.filters |= {"md": Markup, "code": render._code}
    return found


def files_of(parts: Sequence[Section]) -> dict[str, bytes]:
    """CSV and still figures of every section, by file name."""
    return {name: content for section in parts for name, content in render._section_files(section).items()}


def html_page(
    template: str, content: Mapping[str, Any], parts: Sequence[Section], files: Mapping[str, bytes]
) -> str:
    """One page that needs nothing else; `files` holds the PNGs that stand in where scripts do not run."""
    pictures = {
        name: Markup(f"data:image/png;base64,{base64.b64encode(png).decode()}")
        for name, png in files.items()
        if name.endswith(".png")
    }
    drawn = [
        (part, [render._with_json(interactive(p)) for p in part.plots], pictures.get(f"{part.name}.png"))
        for part in parts
    ]
    text: str = (
        environment("html")
        .get_template(template)
        .render(**content, sections=drawn, plotly_js=Markup(get_plotlyjs()))
    )
    return render._without_surrogates(text)


def markdown_page(template: str, content: Mapping[str, Any], parts: Sequence[Section]) -> str:
    """The same facts as Markdown."""
    text: str = environment("markdown").get_template(template).render(**content, sections=parts)
    return render._without_surrogates(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each beside and move it over.

    Raises:
        InputError: the folder cannot be written.
    """
    for name, content in files.items():
        render._replace(folder / name, content)
