"""Writes a run's report beside its records: HTML, Markdown, CSV and still figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from suite.errors import InputError
from suite.record import RunFolder, uncollected
from suite.reporting import prose, tables
from suite.reporting.export import frontier_csv
from suite.reporting.facts import FILE, report_json
from suite.reporting.figures import frontier_figure
from suite.reporting.frontier_table import frontier_table
from suite.reporting.interactive import Chart, charts
from suite.reporting.limits import efficiency_table, limit_sentences
from suite.reporting.panels import panels
from suite.reporting.payback import break_even_text
from suite.reporting.plots import interactive, still
from suite.reporting.section import Records, Section
from suite.reporting.sections import ANALYSES, sections
from suite.reporting.site import at_site
from suite.reporting.summary import Summary, summarise_of, with_wall
from suite.reporting.text import visible

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class BreakEvenText:
    """One break-even in sentences, under the objective it is about."""

    objective: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """Where the page is, the run in one sentence, and whether it passed its task's gate (None: it has none)."""

    page: Path
    headline: str
    passed: bool | None = None


def write_report(
    folder: RunFolder, *, pue: float | None = None, grid_intensity_g_per_kwh: float | None = None
) -> Written:
    """Write `report.html`, `report.md`, `report.json`, and CSV, PNG and SVG of the frontier and of every analysis.

    The same records give the same bytes. A run that has not finished, or has no usable trial, has a report too.
    With a PUE or a grid intensity the report is made as for that site, and says what it does to the ranking.

    Raises:
        InputError: the records are damaged or not of their task, or the folder cannot be written.
    """
    with uncollected():
        try:
            return _write(folder, pue, grid_intensity_g_per_kwh)
        except OverflowError as error:
            raise InputError(
                f"{folder.path}: its records hold a number too large to reckon with ({error})"
            ) from None


def _write(folder: RunFolder, pue: float | None, grid_intensity_g_per_kwh: float | None) -> Written:
    records = Records.of(folder)
    site = at_site(records.manifest, pue=pue, grid_intensity_g_per_kwh=grid_intensity_g_per_kwh)
    records = replace(records, manifest=site)
    summary, parts = with_wall(folder, summarise_of(records), records), sections(records)
    asked = (pue is not None or grid_intensity_g_per_kwh is not None) and "pue" not in records.task.analyses
    if asked and (ranked := ANALYSES["pue"](records)) is not None:
        parts = (*parts, ranked)
    files = {name: content for section in parts for name, content in _section_files(section).items()}
    if summary.task.has_frontier:
        files |= {
            "frontier.csv": frontier_csv(summary).encode(),
            "frontier.png": frontier_figure(summary, "png"),
            "frontier.svg": frontier_figure(summary, "svg"),
        }
    files["report.md"] = render_markdown(summary, parts).encode()
    files[FILE] = report_json(summary, parts, headline(summary, parts)).encode()
    pictures = {name: content for name, content in files.items() if name.endswith(".png")}
    files["report.html"] = render_html(summary, parts, pictures).encode()
    for name, content in files.items():
        _replace(folder.path / name, content)
    passed = next((section.verdict for section in parts if section.verdict is not None), None)
    return Written(folder.path / "report.html", headline(summary, parts), passed)


def headline(summary: Summary, parts: Sequence[Section]) -> str:
    """The run in one sentence; where it looks for no frontier, what its first analysis found."""
    return parts[0].answer if parts and not summary.task.has_frontier else summary.headline


def _section_files(section: Section) -> dict[str, bytes]:
    files = {f"{section.name}.csv": section.csv.encode()}
    if section.plots:
        files[f"{section.name}.png"] = still(section.plots, section.title, "png")
        files[f"{section.name}.svg"] = still(section.plots, section.title, "svg")
    return files


def render_html(summary: Summary, parts: Sequence[Section], pictures: Mapping[str, bytes]) -> str:
    """One page that needs nothing else: plotly.js and the still figures (for readers without scripts) inlined."""
    environment = _environment(autoescape=True)
    environment.finalize = _unbroken
    inlined = {
        name: Markup(f"data:image/png;base64,{base64.b64encode(png).decode()}") for name, png in pictures.items()
    }
    drawn = [
        (part, [_with_json(interactive(p)) for p in part.plots], inlined.get(f"{part.name}.png")) for part in parts
    ]
    text: str = environment.get_template("report.html.j2").render(
        **_content(summary, parts),
        sections=drawn,
        charts=[_with_json(chart) for chart in charts(summary)],
        plotly_js=Markup(get_plotlyjs()),
        still=inlined.get("frontier.png"),
    )
    return _without_surrogates(text)


def _with_json(chart: Chart) -> tuple[Chart, Markup]:
    return chart, Markup(chart.json)


def render_markdown(summary: Summary, parts: Sequence[Section] = ()) -> str:
    """The same facts as Markdown."""
    environment = _environment(autoescape=False)
    environment.finalize = _markdown_safe
    environment.filters |= {"md": Markup, "code": _code}
    text: str = environment.get_template("report.md.j2").render(**_content(summary, parts), sections=parts)
    return _without_surrogates(re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


def _content(summary: Summary, parts: Sequence[Section]) -> dict[str, Any]:
    task = summary.task
    return {
        "summary": summary,
        "headline": headline(summary, parts),
        "title": task.title,
        "description": " ".join(task.description.split()),
        "facts": tables.facts(summary),
        "banners": prose.banners(summary),
        "frontier": tables.condensed(frontier_table(summary)),
        "limits": efficiency_table(summary),
        "limit_sentences": limit_sentences(summary),
        "one_training_run": prose.ONE_TRAINING_RUN,
        "wide_note": prose.wide_note(task.protocol),
        "counting_note": prose.counting_note(summary),
        "spread": prose.spread(summary),
        "has_frontier": task.has_frontier,
        "cost_title": "Cost of the search" if task.has_frontier else "Cost of the run",
        "cost_sentences": prose.search_price(summary),
        "break_evens": [
            BreakEvenText(b.objective, break_even_text(b, task.protocol.target_rel_ci))
            for b in summary.break_even
            if task.has_frontier
        ],
        "groups": tables.groups_table(summary),
        "ledger": tables.ledger_table(summary),
        "provenance": tables.provenance_table(summary),
        "checks": prose.check_sentences(summary),
        "failures": tables.failures_table(summary),
        "environment": tables.environment_table(summary),
        "command": visible(prose.repeat_command(summary)),
        "still_alt": " ".join(panel.alt for panel in panels(summary)),
    }


def _environment(autoescape: bool) -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )


_BEFORE_UNIT = re.compile(r"(?<=\d) (?=%|\d{3}\b|[GMkmµn]?(?:J|W|Wh|s)\b|[KMGT]iB\b|[kMGT]\b)")


def _unbroken(value: Any) -> Any:
    """A number keeps its unit and its thousands on one line."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _BEFORE_UNIT.sub("\u00a0", visible(value))


_SPECIAL = re.compile(r"([\\`*|\[\]$~])")


def _markdown_safe(value: Any) -> Any:
    """Text from records as Markdown that shows it and does nothing else."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    flat = " ".join(visible(value).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", flat)


def _code(text: str) -> Markup:
    """Text for a fenced block, which it cannot close."""
    return Markup(" ".join(text.split()).replace("```", "` ` `"))


def _without_surrogates(text: str) -> str:
    """A reason or name may hold half a character, which no file can."""
    return text.encode("utf-8", "replace").decode()


def _replace(path: Path, content: bytes) -> None:
    """Write beside and move over, so that a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
