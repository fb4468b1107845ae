"""Pages and files of sections: self-contained HTML, Markdown, CSV and still figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from joulebench.errors import unwritable
from joulebench.host.files import make_folder, write_whole
from joulebench.presentation.chart import interactive
from joulebench.presentation.markdown import markdown_environment, template_environment, tidy
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import csv_text
from joulebench.presentation.section import Section
from joulebench.presentation.still import still
from joulebench.text import visible, without_surrogates

#: plotly.js as it stands in every page: the basic build, whose README says where it is from.
PLOTLY_JS = Path(__file__).parent / "vendor" / "plotly-basic.min.js"


def files_of(parts: Sequence[Section]) -> dict[str, bytes]:
    """CSV and still figures of every section, by file name."""
    return {name: content for section in parts for name, content in _section_files(section).items()}


def _section_files(section: Section) -> dict[str, bytes]:
    files = {}
    if section.rows is not None:
        files[f"{section.name}.csv"] = csv_text(section.rows, section.columns).encode()
    if section.plots:
        files[f"{section.name}.png"] = still(section.plots, section.title, "png")
        files[f"{section.name}.svg"] = still(section.plots, section.title, "svg")
    return files


def html_environment(templates: Path) -> Environment:
    """Templates whose values are escaped, with no line break between a number and its unit."""
    environment = template_environment(templates, autoescape=True)
    environment.finalize = _unbroken
    return environment


def html_page(
    template: Path, content: Mapping[str, Any], parts: Sequence[Section], files: Mapping[str, bytes]
) -> str:
    """A self-contained page: plotly.js inlined, and the PNGs of `files` for readers without scripts."""
    pictures = {name: _inlined(png) for name, png in files.items() if name.endswith(".png")}
    drawn = [(part, with_json(part.plots), pictures.get(f"{part.name}.png")) for part in parts]
    plotly_js = Markup(PLOTLY_JS.read_text(encoding="utf-8"))
    text: str = (
        html_environment(template.parent)
        .get_template(template.name)
        .render(**content, sections=drawn, pictures=pictures, plotly_js=plotly_js)
    )
    return without_surrogates(text)


def _inlined(png: bytes) -> Markup:
    return Markup(f"data:image/png;base64,{base64.b64encode(png).decode()}")


def with_json(plots: Iterable[Plot]) -> list[tuple[Plot, Markup]]:
    """Each plot, and its JSON as it stands in the page."""
    return [(plot, interactive(plot)) for plot in plots]


def markdown_page(template: Path, content: Mapping[str, Any], parts: Sequence[Section]) -> str:
    """The same facts as Markdown."""
    text: str = markdown_environment(template.parent).get_template(template.name).render(**content, sections=parts)
    return tidy(text)


_BEFORE_UNIT = re.compile(r"(?<=\d) (?=%|\d{3}\b|[GMkmµn]?(?:J|W|Wh|s)\b|[KMGT]iB\b|[kMGT]\b)")


def _unbroken(value: Any) -> Any:
    """Put no-break spaces between a number and its unit, and between its thousands."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _BEFORE_UNIT.sub("\u00a0", visible(value))


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder and write files into it atomically, each to a temporary file that is then renamed.

    Raises:
        InputError: the folder cannot be written; `IncompleteError` where the disk is full.
    """
    try:
        make_folder(folder)
        for name, content in files.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise unwritable(Path(error.filename or folder), error) from None
