"""Sections of a report, one per study; a study that fails is replaced by a section that says so."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from joulebench.errors import described
from joulebench.presentation.pages import files_of
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import is_row
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Column, Table
from joulebench.results.run import Run
from joulebench.spec.registry import STUDIES, is_own
from joulebench.spec.task import FRONTIER, GATE_STUDY
from joulebench.studies.base import load_study


def sections(
    run: Run,
    asked: Sequence[str] = (),
    trusted: Collection[str] = (),
    fitting: Sequence[str] = (),
    leading: str | None = None,
) -> tuple[Section, ...]:
    """Run the studies that the task names, those `asked` for and those `fitting`, in this order.

    The one that is `leading` comes first, whether it is one of these or not, where it fits.

    A study without a result has no section, or one that says so if it was `asked` for. A study that fails has a
    section with its error; the others are not affected. Code of the task's author (`package.module:Class`) runs
    only if it is `asked` for or `trusted`: records may come from anyone.
    """
    named = [name for name in run.task.analyses if name != FRONTIER]
    names = dict.fromkeys([*([] if leading is None else [leading]), *named, *asked, *fitting])
    return tuple(_sections(run, names, asked, {*asked, *trusted}))


def _sections(
    run: Run, names: Collection[str], asked: Collection[str], trusted: Collection[str]
) -> Iterator[Section]:
    shown: set[str] = set()
    for number, name in enumerate(names):
        stem = name if name in STUDIES.shipped else f"study_{number}"
        if is_own(name) and name not in trusted:
            yield _placeholder(
                run, stem, name,
                f"The study {name} did not run: it is code of the task's author, which a report runs only if "
                f"asked. If you trust that code: joulebench report RUN --study {name}",
            )  # fmt: skip
            continue
        try:
            part = _section(run, name, shown, unasked=name not in (*run.task.analyses, *asked))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # one study's error must not cost the report
            part = _placeholder(run, stem, name, _failure(name, error))
        if part is None and name in asked:
            part = _placeholder(run, stem, name, f"The study {name} has no result for these records.")
        if part is not None:
            shown.add(part.name)
            yield part


def _section(run: Run, name: str, shown: Collection[str], unasked: bool) -> Section | None:
    study = load_study(name)
    if unasked and not study.fits(run):
        return None
    stem = type(study).name  # an instance may change its own
    if stem in shown:
        raise ValueError(f"another study of this report is named '{stem}'")
    result = study.analyse(run)
    return None if result is None else _checked(study.section(result, run), stem)


def drawn(run: Run, parts: Sequence[Section]) -> tuple[tuple[Section, ...], dict[str, bytes]]:
    """Draw the sections: CSV files and figures by file name; one that fails is replaced by its error."""
    kept: list[Section] = []
    files: dict[str, bytes] = {}
    for part in parts:
        try:
            files |= files_of((part,))
        except Exception as error:
            part = _placeholder(run, part.name, part.name, _failure(part.name, error))
        kept.append(part)
    return tuple(kept), files


def _checked(section: Section, name: str) -> Section:
    """Check a section's name and the types that the page's templates expect.

    Raises:
        TypeError: a field has another type, or the name is not the study's.
    """
    if not isinstance(section, Section):
        raise TypeError(f"section() must return a Section (got {type(section).__name__})")
    parts = (("sentences", str), ("plots", Plot), ("tables", Table), ("columns", str))
    wrong = [
        f"{field} must hold {kind.__name__}s" for field, kind in parts if not _all(getattr(section, field), kind)
    ]
    wrong += [
        f"{field} must be a str"
        for field in ("name", "title", "answer")
        if not _all([getattr(section, field)], str)
    ]
    if section.rows is not None and not (isinstance(section.rows, tuple) and all(map(is_row, section.rows))):
        wrong.append("rows must be None or a tuple of values by column name")
    wrong += ["verdict must be True, False or None"] if section.verdict not in (True, False, None) else []
    for table in section.tables if not wrong else ():
        cells = [cell for row in table.rows for cell in row]
        texts = [table.caption, *(t for c in cells if isinstance(c, Cell) for t in (c.text, c.flag, *c.below))]
        if not (_all(table.columns, Column) and _all(cells, Cell) and _all(texts, str)):
            wrong.append("tables must be of Columns, Cells and str")
    if wrong:
        raise TypeError(f"Section.{wrong[0]}")
    if section.name != name:
        raise TypeError(f"Section.name must be the study's, {name!r} (got {section.name!r})")
    return section


def _all(parts: Iterable[object], kind: type) -> bool:
    """Whether all are of a type; str exactly, as a subclass may mark itself as safe HTML."""
    return all(type(part) is str if kind is str else isinstance(part, kind) for part in parts)


def _placeholder(run: Run, stem: str, name: str, text: str) -> Section:
    """Section in place of a missing one; a gate that could not be judged is not passed."""
    verdict = False if run.task.gate is not None and name == GATE_STUDY else None
    return Section(stem, f"Study {name}", text, verdict)


def _failure(name: str, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"The study {name} failed, so its section is missing: {described(error)}{place}"
