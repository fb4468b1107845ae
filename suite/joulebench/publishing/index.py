"""Index of published sets, as Markdown and as a sortable HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from joulebench.errors import InputError
from joulebench.host.files import locked_folder
from joulebench.presentation.markdown import markdown_environment, tidy
from joulebench.presentation.numbers import joules
from joulebench.presentation.pages import html_environment, write_files
from joulebench.publishing.copying import RUNS
from joulebench.publishing.verifying import published
from joulebench.records.folder import RunFolder
from joulebench.records.model import TrialRecord, combined
from joulebench.reporting.summary import published_busy
from joulebench.spec.reading import read_file, read_json
from joulebench.text import without_surrogates

#: Beside the result of a run that was published with --allow-busy.
BUSY = "busy machine"
TEMPLATES = Path(__file__).parent / "templates"
INTRODUCTION = (
    "Every set here is a copy of a run's records with the report made from them: `joulebench verify` rechecks the "
    "checksums and the records, and makes the reports anew, which must come out the same."
)


@dataclass(frozen=True)
class Entry:
    """Row of the index; `link` is relative to `reports/`."""

    task: str
    title: str
    hardware: str
    date: str
    link: str
    headline: str
    trials: int | None = None
    budget: str = ""
    energy_j: float | None = None
    kind: str = ""
    label: str = ""


def write_index(reports: Path) -> None:
    """Write `README.md` and `index.html` of everything published below `reports`.

    Raises:
        InputError: a published set cannot be read, or the folder not be written.
    """
    with locked_folder(reports):  # or a set that is published meanwhile could be missing
        write_files(reports, index_files(reports))


def stale_index(reports: Path) -> list[str]:
    """List index files that are out of date; empty if the folder has no index."""
    if not (reports / "index.html").is_file():
        return []
    made = index_files(reports)
    return [name for name, content in made.items() if read_file(reports / name) != content]


def index_files(reports: Path) -> dict[str, bytes]:
    """Render the index files by name; the same sets give the same bytes."""
    entries = [_entry(path, reports) for path in published(reports)]
    runs = [e for e in entries if e.trials is not None]
    comparisons = [e for e in entries if e.trials is None]
    return {"README.md": _markdown(runs, comparisons).encode(), "index.html": _html(runs, comparisons).encode()}


def _entry(path: Path, reports: Path) -> Entry:
    link = path.resolve().relative_to(reports.resolve()).as_posix()
    if (path / RUNS).is_file():
        facts = _json(path / "comparison.json")
        machines = ", ".join(m["label"] for m in facts["machines"])
        date = max(m["created_utc"] for m in facts["machines"])[:10]
        name = facts["task"]["name"]
        return Entry(name, facts["title"], machines, date, f"{link}/comparison.md", facts["headline"])
    folder = RunFolder.open(path)
    manifest, trials = folder.manifest(), folder.trials()
    energy_j, kind = _joules(trials)
    facts = _json(path / "report.json")
    return Entry(
        task=manifest.task["name"],
        title=manifest.task["title"],
        hardware=str(manifest.hardware["name"]),
        date=manifest.created_utc[:10],
        link=f"{link}/report.md",
        headline=facts["headline"],
        trials=len(trials),
        budget=manifest.budget or "",
        energy_j=energy_j,
        kind=kind,
        label=BUSY if published_busy(folder) else "",
    )


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def _joules(trials: Iterable[TrialRecord]) -> tuple[float | None, str]:
    """Sum the joules of all trials; estimated if any part is."""
    readings = [r for t in trials for w in t.windows for r in w.readings if r.role == "primary"]
    return (sum(r.energy_j for r in readings), combined(r.kind for r in readings)) if readings else (None, "")


def _markdown(runs: Sequence[Entry], comparisons: Sequence[Entry]) -> str:
    content = {"introduction": Markup(INTRODUCTION), "runs": runs, "comparisons": comparisons, "joules": joules}
    text: str = markdown_environment(TEMPLATES).get_template("index.md.j2").render(**content)
    return tidy(text)


def _html(runs: Sequence[Entry], comparisons: Sequence[Entry]) -> str:
    introduction = INTRODUCTION.replace("`", "")
    content = {"introduction": introduction, "runs": runs, "comparisons": comparisons, "joules": joules}
    text: str = html_environment(TEMPLATES).get_template("index.html.j2").render(**content)
    return without_surrogates(text)
