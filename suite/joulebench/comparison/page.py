"""Writer of the comparison of several runs: HTML, Markdown, JSON, CSV and still figures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from joulebench.comparison.analysis import Comparison, compare
from joulebench.comparison.consistency import consistency_section, forms_sentence, verdict_sentence
from joulebench.comparison.join import Joined, Machine, join, labelled
from joulebench.comparison.machines import confounders, differences, machine_sections
from joulebench.comparison.sections import frontier_section, kind_of, objective_sections, overall_sentence
from joulebench.errors import InputError
from joulebench.presentation.numbers import count
from joulebench.presentation.pages import files_of, html_page, markdown_page, write_files
from joulebench.presentation.rows import Exact, json_text
from joulebench.presentation.section import Section
from joulebench.records.folder import RunFolder
from joulebench.reporting.render import Written
from joulebench.results.findings import Code, Finding
from joulebench.results.losses import losses
from joulebench.results.run import Run
from joulebench.spec.reading import read_json
from joulebench.stats.estimate import Estimate

TEMPLATES = Path(__file__).parent / "templates"
NAME = "comparison"


def write_comparison(folders: Sequence[RunFolder], out: Path | None = None) -> Written:
    """Compare runs of one task and write the result to `out`; the same records give the same bytes.

    The default of `out` is `comparison/<machine>_vs_<machine>…` beside the first run's hardware folder.

    Raises:
        InputError: runs that cannot be compared (both are named), damaged records, or `out` cannot be written.
    """
    joined = join(read_runs(folders))
    target = out or folders[0].path.resolve().parent.parent / NAME / name_of(joined)
    comparison = compare(joined)
    files = comparison_files(comparison, sections_of(comparison))
    if not _is_ours(target) and (there := sorted(name for name in files if (target / name).exists())):
        raise InputError(f"{target / there[0]}: exists, and no comparison wrote it; choose another --out")
    write_files(target, files)
    return Written(target / f"{NAME}.html", headline(comparison))


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds a comparison, which another replaces."""
    try:
        found = read_json(folder / f"{NAME}.json")
    except InputError:
        return False
    return isinstance(found, dict) and {"task", "machines", "headline"} <= found.keys()


def read_runs(folders: Sequence[RunFolder]) -> tuple[Machine, ...]:
    """Read the runs and label them by hardware."""
    return labelled([(str(folder.path), Run.of(folder)) for folder in folders])


def name_of(joined: Joined) -> str:
    """Return the name of the comparison's folder, made of the machines' labels."""
    return "_vs_".join(re.sub(r"[^\w-]", "-", m.label).strip("-") for m in joined.machines)


def sections_of(comparison: Comparison) -> tuple[Section, ...]:
    """Return the page's sections, in order."""
    frontiers, verdict = frontier_section(comparison), consistency_section(comparison)
    between, last = ((part,) if part else () for part in (frontiers, verdict))
    return (*objective_sections(comparison), *between, *machine_sections(comparison.joined), *last)


def headline(comparison: Comparison) -> str:
    """State each pair's overall ratio in a sentence, and whether relative energy is consistent across machines.

    Of the first energy objective, else of the first objective.
    """
    objectives = comparison.joined.task.objectives
    name = next((n for n, o in objectives.items() if o.is_energy), next(iter(objectives)))
    joined = comparison.joined
    verdict = next((verdict_sentence(joined, c) for c in comparison.consistency if c.objective == name), None)
    ratios = (overall_sentence(joined, pair) for pair in comparison.of(name))
    return " ".join(filter(None, (*ratios, verdict, forms_sentence(joined) if verdict else None)))


def comparison_files(comparison: Comparison, parts: Sequence[Section]) -> dict[str, bytes]:
    """Return the content of every file of the comparison, by name."""
    files = files_of(parts)
    content = _content(comparison)
    files[f"{NAME}.md"] = markdown_page(TEMPLATES / f"{NAME}.md.j2", content, parts).encode()
    files[f"{NAME}.json"] = as_json(comparison).encode()
    files[f"{NAME}.html"] = html_page(TEMPLATES / f"{NAME}.html.j2", content, parts, files).encode()
    return files


def _content(comparison: Comparison) -> dict[str, Any]:
    joined = comparison.joined
    machines = [m.label for m in joined.machines]
    return {
        "title": f"{joined.task.title}: {len(machines)} machines",
        "brand": "joulebench comparison",
        "generator": joined.machines[0].run.manifest.joulebench,
        "headline": headline(comparison),
        "description": " ".join(joined.task.description.split()),
        "machines": machines,
        "banners": list(banners(joined)),
        "facts": _facts(joined),
    }


def _facts(joined: Joined) -> list[tuple[str, str]]:
    rows = [
        ("Task", f"{joined.task.name}, version {joined.task.version}"),
        ("Shared configurations", count(len(joined.shared))),
    ]
    for machine in joined.machines:
        manifest = machine.run.manifest
        trials = f"{len(machine.run.trials)} trials, {len(machine.configurations)} configurations with every value"
        budget = f"budget {manifest.budget}" if manifest.budget else "no budget"
        rows.append((machine.label, f"{trials}; {budget}; began {manifest.created_utc[:19]}Z"))
    return rows


def banners(joined: Joined) -> Iterator[Finding]:
    """Yield what a reader must know before reading a number."""
    if replayed := [m.label for m in joined.machines if m.run.manifest.replay]:
        text = f"Those of {', '.join(replayed)} come from a recorded trace, not from that machine."
        yield Finding("alert", Code.REPLAYED, "Replayed joules", text)
    busy = [m.label for m in joined.machines if m.task.protocol.allow_busy or losses(m.run).lost_to_busy]
    if busy:
        text = f"Other work ran beside the run of {', '.join(busy)}, or was allowed to; see that run's report."
        yield Finding("alert", Code.BUSY_MACHINE, "A machine was busy", text)
    energies = [n for n, o in joined.task.objectives.items() if o.is_energy]
    if estimated := [n for n in energies if kind_of(joined, n) == "estimated"]:
        text = (
            f"{', '.join(estimated)}: at least one machine's joules are from a load model, not a meter; a ratio "
            "with them is an estimate. See the section on where joules come from."
        )
        yield Finding("warning", Code.ESTIMATED, "Estimated energy", text)
    if unlike := confounders(joined):
        labels = [m.label for m in joined.machines]
        points = (
            f"{name}: {', '.join(f'{value} ({label})' for label, value in zip(labels, values, strict=True))}"
            for name, values in unlike
        )
        text = "These differ and change joules by themselves:"
        yield Finding("warning", Code.NOT_ALIKE, "Not measured alike", text, tuple(points))
    if not joined.shared:
        text = "Frontiers are shown; ratios and rank correlation need configurations that both machines ran."
        yield Finding("warning", Code.NOTHING_SHARED, "No configuration is shared by all machines", text)
    for machine in joined.machines:
        if differs := machine.run.manifest.hardware_override:
            title = f"{machine.label}: the profile is not that machine's"
            yield Finding("warning", Code.FORCED_HARDWARE, title, f"{differs}.")


def as_json(comparison: Comparison) -> str:
    """Return the comparison as JSON: floats to six significant digits, missing values absent."""
    joined = comparison.joined
    labels = [m.label for m in joined.machines]
    tree = {
        "title": joined.task.title,
        "headline": headline(comparison),
        "task": {"name": joined.task.name, "version": joined.task.version},
        "machines": [
            {
                "label": m.label, "digest": m.run.manifest.run_digest, "created_utc": m.run.manifest.created_utc,
                "confirmed": m.run.confirmation is not None,
            }
            for m in joined.machines
        ],
        "domains": joined.domains,
        "shared_configurations": len(joined.shared),
        "objectives": [
            {
                "objective": a.objective, "base": a.base, "machine": a.machine,
                "compares": "ratio" if a.is_ratio else "difference", "kind": kind_of(joined, a.objective) or None,
                "overall": a.overall and _figures(a.overall), "ranks": a.ranks and vars(a.ranks),
                "configurations": [
                    {"configuration": Exact(json.loads(k)), **_figures(e)} for k, e in a.each.items()
                ],
            }
            for a in comparison.pairs
        ],
        "consistency": [
            {
                "objective": c.objective, "kind": kind_of(joined, c.objective), "verdict": c.verdict,
                "deviation": _figures(c.deviation), "pairs": c.pairs, "kept": c.kept, "clear": c.clear,
                "reversed": [[Exact(json.loads(key)) for key in pair] for pair in c.reversed],
                "largest_spread": max(c.spread.values()),
            }
            for c in comparison.consistency
        ],
        "carried": [vars(t) for t in comparison.transfers],
        "frontiers": {m.label: [Exact(json.loads(c.key)) for c in m.run.frontier] for m in joined.machines},
        "differences": [
            {"what": n, "values": dict(zip(labels, v, strict=True))} for n, v in differences(joined)
        ],
    }  # fmt: skip
    return json_text(tree)


def _figures(value: Estimate) -> dict[str, Any]:
    """The fields of an estimate but those that say which other estimates have the same error."""
    return {name: field for name, field in vars(value).items() if name != "pooled"}
