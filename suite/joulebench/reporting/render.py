"""Writer of a run's report: HTML, Markdown, JSON, CSV and still figures, beside its records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.presentation.pages import html_page, markdown_page, with_json, write_files
from joulebench.presentation.section import Section
from joulebench.presentation.still import still
from joulebench.presentation.table import condensed
from joulebench.records.folder import RunFolder, uncollected
from joulebench.reporting import prose, tables
from joulebench.reporting.confirmation import confirmation_sentences, confirmation_table
from joulebench.reporting.efficiency import efficiency_sentences, efficiency_table
from joulebench.reporting.export_csv import frontier_csv
from joulebench.reporting.export_json import FILE, report_json
from joulebench.reporting.findings import findings
from joulebench.reporting.frontier_plot import frontier_plots, hypervolume_plot
from joulebench.reporting.model_range import model_range_sentences, model_range_table
from joulebench.reporting.repeat import needs as needs_of_command
from joulebench.reporting.repeat import repeat_command
from joulebench.reporting.site import at_site
from joulebench.reporting.summary import Summary, summarise
from joulebench.reporting.tables import frontier_table
from joulebench.results.run import Run
from joulebench.spec.registry import FITTING, LEADING
from joulebench.spec.task import GATE_STUDY
from joulebench.studies.base import needs
from joulebench.studies.break_even import break_even_text
from joulebench.studies.sections import drawn, sections
from joulebench.text import visible

TEMPLATES = Path(__file__).parent / "templates"
PROVISIONAL = "It is provisional: the frontier's members were not confirmed by new runs."


@dataclass(frozen=True)
class BreakEvenText:
    """Sentences on the break-even of one objective."""

    objective: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """Page of a written report, its headline, and whether the run passed its task's gate (None: it has none)."""

    page: Path
    headline: str
    passed: bool | None = None
    answers: tuple[str, ...] = ()  # of the studies that were asked for


def write_report(
    folder: RunFolder,
    *,
    pue: float | None = None,
    grid_intensity_g_per_kwh: float | None = None,
    studies: Sequence[str] = (),
    trusted: Collection[str] = (),
) -> Written:
    """Write `report.html`, `report.md`, `report.json`, and CSV, PNG and SVG of the frontier and of every analysis.

    The same records give the same bytes. A run that has not finished, or has no usable trial, has a report too.
    With a PUE or a grid intensity the report is made as for that site, and says what it does to the ranking.

    Args:
        studies: asked of the records besides those that the task names: short names or `package.module:Class`.
        trusted: studies of the task author's own (`package.module:Class`) that may be imported.

    Raises:
        InputError: the records are damaged or not of their task, or the folder cannot be written.
    """
    with uncollected():
        try:
            return _write(folder, pue, grid_intensity_g_per_kwh, studies, trusted)
        except OverflowError as error:
            raise InputError(
                f"{folder.path}: its records hold a number too large to reckon with ({error})"
            ) from None


def _write(
    folder: RunFolder,
    pue: float | None,
    grid_intensity_g_per_kwh: float | None,
    studies: Sequence[str],
    trusted: Collection[str],
) -> Written:
    for name in studies:  # a study asked for by name is refused, one that the task names has an error section
        if (why := needs(name, folder.task())) is not None:
            raise InputError(f"--study: '{name}' {why}")
    run = Run.of(folder)
    site = at_site(run.manifest, pue=pue, grid_intensity_g_per_kwh=grid_intensity_g_per_kwh)
    run = replace(run, manifest=site, task=run.task.at(site.hardware))
    summary = summarise(folder, run)
    elsewhere = ("pue",) if pue is not None or grid_intensity_g_per_kwh is not None else ()
    parts, files = drawn(run, sections(run, studies, trusted, (*FITTING, *elsewhere), LEADING))
    content = _content(summary, parts)
    if summary.task.has_frontier:
        plots, title = content["frontier_plots"], f"{summary.task.name} v{summary.task.version}"
        title += f", budget {summary.manifest.budget}" if summary.manifest.budget else ""
        files |= {
            "frontier.csv": frontier_csv(summary).encode(),
            "frontier.png": still(plots, title, "png"),
            "frontier.svg": still(plots, title, "svg"),
        }
    files["report.md"] = _markdown(content, parts).encode()
    files[FILE] = report_json(summary, parts, headline(summary, parts)).encode()
    pictures = {name: content for name, content in files.items() if name.endswith(".png")}
    files["report.html"] = _html(content, parts, pictures).encode()
    write_files(folder.path, files)
    passed = next((part.verdict for part in parts if part.name == GATE_STUDY), None)
    answers = tuple(part.answer for part in parts if part.name in studies)
    return Written(folder.path / "report.html", headline(summary, parts), passed, answers)


def headline(summary: Summary, parts: Sequence[Section]) -> str:
    """The run in one sentence; without a frontier, the answer of its first study."""
    own = [part for part in parts if part.name != LEADING or LEADING in summary.task.analyses] or parts
    answers = [part.answer for part in own if part.rows is not None] or [part.answer for part in own]
    text = answers[0] if answers and not summary.task.has_frontier else summary.headline
    return f"Untrained models: {text}" if summary.task.protocol.skip_train else text


def _html(content: Mapping[str, Any], parts: Sequence[Section], pictures: Mapping[str, bytes]) -> str:
    """The report as one self-contained page."""
    charts = {
        "frontier_charts": with_json(plot for plot in content["frontier_plots"] if plot.drawn),
        "hypervolume_charts": with_json(filter(None, [hypervolume_plot(content["summary"])])),
    }
    return html_page(TEMPLATES / "report.html.j2", {**content, **charts}, parts, pictures)


def render_markdown(summary: Summary, parts: Sequence[Section] = ()) -> str:
    """The report as Markdown."""
    return _markdown(_content(summary, parts), parts)


def _markdown(content: Mapping[str, Any], parts: Sequence[Section]) -> str:
    return markdown_page(TEMPLATES / "report.md.j2", content, parts)


def _content(summary: Summary, parts: Sequence[Section]) -> dict[str, Any]:
    task, plots = summary.task, frontier_plots(summary)
    provisional = (PROVISIONAL,) if summary.provisional else ()
    return {
        "summary": summary,
        "frontier_plots": plots,
        "headline": headline(summary, parts),
        "leading": LEADING,
        "brand": "joulebench report",
        "generator": summary.manifest.joulebench,
        "title": task.title,
        "description": " ".join(task.description.split()),
        "facts": tables.facts(summary),
        "banners": prose.banners(summary),
        "findings": findings(summary),
        "frontier": condensed(frontier_table(summary)),
        "classes": tables.classes_table(summary),
        "efficiency": efficiency_table(summary),
        "efficiency_sentences": efficiency_sentences(summary),
        "confirmation": confirmation_table(summary),
        "confirmation_sentences": confirmation_sentences(summary),
        "interval_note": prose.interval_note(
            energy for m in summary.members for energy in (*m.gross.values(), *m.net.values())
        ),
        "wide_note": prose.wide_note(task.protocol),
        "counting_note": prose.counting_note(summary),
        "spread": prose.spread(summary),
        "has_frontier": task.has_frontier,
        "cost_title": "Cost of the search" if task.has_frontier else "Cost of the run",
        "cost_sentences": prose.search_price(summary),
        "break_evens": [
            BreakEvenText(b.objective, (*break_even_text(b, task.protocol.target_rel_ci), *provisional))
            for b in summary.break_even
            if task.has_frontier
        ],
        "model_range": model_range_table(summary),
        "model_range_sentences": model_range_sentences(summary),
        "groups": tables.groups_table(summary),
        "ledger": tables.ledger_table(summary),
        "provenance": tables.provenance_table(summary),
        "checks": prose.check_sentences(summary),
        "failures": tables.failures_table(summary),
        "environment": tables.environment_table(summary),
        "command": visible(repeat_command(summary)),
        "needs": needs_of_command(summary),
        "still_alt": " ".join(plot.alt for plot in plots),
    }
