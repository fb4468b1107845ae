"""Sections of a report: those of the task's studies, and what stands in the place of one that fails."""

from __future__ import annotations

import asyncio
import json
import sys
import types

import numpy as np
import pytest
from markupsafe import Markup

from joulebench.errors import InputError
from joulebench.presentation.section import Section
from joulebench.presentation.table import Table
from joulebench.reporting import write_report
from joulebench.results.run import Run
from joulebench.spec.registry import STUDIES
from joulebench.studies.base import Study, check_studies, load_study
from joulebench.studies.sections import sections
from tests.run_factory import RunBuilder, full_run, make_task


def section(name: str, **fields) -> Section:
    given = {"title": "Mine", "answer": "It is so.", "verdict": None, "rows": ({"a": 1},)}
    return Section(name=name, **({"sentences": (), "plots": (), "tables": ()} | given | fields))


def broken(_):
    raise ValueError("no such thing")


def leaves(_):
    sys.exit(0)


def cancelled(_):
    raise asyncio.CancelledError


FAILING = {
    "raises": {"analyse": broken},
    "exits": {"analyse": leaves},
    "raises_in_section": {"section": lambda: broken(None)},
    "returns_text": {"section": lambda: "a text"},
    "other_name": {"section": lambda: section("frontier")},
    "wrong_parts": {"section": lambda: section("wrong_parts", title=3)},
    "verdict_in_words": {"section": lambda: section("verdict_in_words", verdict="no")},
    "safe_html": {"section": lambda: section("safe_html", answer=Markup("<script>"))},
    "bare_columns": {"section": lambda: section("bare_columns", tables=(Table("t", ("a",), ()),))},
    "bare_row": {"section": lambda: section("bare_row", rows=("a",))},
    "array_in_a_row": {"section": lambda: section("array_in_a_row", rows=({"a": np.arange(3)},))},
    "cancelled": {"analyse": cancelled},
}


@pytest.fixture
def mine(monkeypatch):
    """A module of the user's own, `mine`, with studies that work and that fail."""
    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)

    def study(name, analyse=len, section=None):
        def made(self, result, run):
            return section() if section else globals()["section"](name, answer=f"{result} characters.")

        body = {"name": name, "analyse": lambda self, run: analyse(run.task.title), "section": made}
        setattr(module, name.capitalize(), type(name.capitalize(), (Study,), body))

    study("length")
    for name, parts in FAILING.items():
        study(name, **parts)
    return module


@pytest.mark.parametrize("name", STUDIES.shipped)
def test_any_study_of_a_run_without_trials_says_so_or_nothing(name):
    run = RunBuilder(make_task(analyses=[name]))
    parts = sections(Run(run.manifest(), run.task, ()))
    assert all(part.name == name and part.answer and part.rows is not None for part in parts)


def test_every_folder_is_a_study():
    assert len(STUDIES.shipped) == 17
    for name in STUDIES.shipped:
        assert load_study(name).name == name


@pytest.mark.parametrize("name", FAILING)
def test_a_study_that_fails_leaves_the_report_standing(mine, tmp_path, name):
    own = f"mine:{name.capitalize()}"
    folder = full_run(trials=3).write(tmp_path / "run")
    write_report(folder, studies=[own, "mine:Length"])
    parts = {p["title"]: p for p in json.loads((folder.path / "report.json").read_text())["analyses"]}
    assert "failed" in parts[f"Study {own}"]["answer"]
    assert not parts[f"Study {own}"].get("values")
    assert parts["Mine"]["answer"].endswith("characters.")
    text = (folder.path / "report.md").read_text()
    assert "## Frontier" in text


def test_ones_own_study_runs_where_it_is_asked_for_or_trusted_and_nowhere_else(mine, tmp_path):
    folder = full_run(make_task(analyses=["frontier", "mine:Length"]), trials=3).write(tmp_path / "run")
    run = Run.of(folder)
    shown = {"untrusted": sections(run), "trusted": sections(run, trusted=["mine:Length"]),
             "asked": sections(run, ["mine:Length"])}  # fmt: skip
    names = {how: [part.name for part in parts] for how, parts in shown.items()}
    assert names == {"untrusted": ["study_0"], "trusted": ["length"], "asked": ["length"]}
    assert "--study mine:Length" in shown["untrusted"][0].answer


def test_another_question_changes_no_record(tmp_path):
    folder = full_run(trials=4).write(tmp_path / "run")
    before = {p.name: p.read_bytes() for p in folder.path.iterdir()}
    write_report(folder, studies=["pue"])
    assert {n: (folder.path / n).read_bytes() for n in before} == before
    assert (folder.path / "pue.csv").exists()
    assert not Run.of(folder).findings


def test_a_gate_that_could_not_be_judged_is_not_passed(tmp_path, monkeypatch):
    monkeypatch.setattr("joulebench.studies.consistency.section.consistency", lambda *_: broken(None))
    task = make_task(analyses=["consistency"], gate={"max_rsd": 0.02})
    folder = full_run(task, trials=3).write(tmp_path / "run")
    assert write_report(folder).passed is False


@pytest.mark.parametrize("name", ["consistency", "proxies", "training_inference"])
def test_what_a_study_needs_is_asked_before_a_run(name):
    objectives = {"val_accuracy": {"goal": "maximize", "reference": 0.0}}
    with pytest.raises(InputError, match=f"t.toml: analyses: '{name}' needs an energy objective"):
        check_studies(make_task(objectives, analyses=[name]), "t.toml")
    check_studies(make_task(analyses=[name]), "t.toml")


@pytest.mark.parametrize("name", ["Batch", "frontier", "report", "a b", "batch", "", 3])
def test_a_name_that_could_not_be_a_files_is_refused(mine, name):
    mine.Bad = type("Bad", (Study,), {"name": name, "analyse": len, "section": len})
    with pytest.raises(InputError, match="study: 'mine:Bad'"):
        load_study("mine:Bad")


def test_another_studys_verdict_passes_no_gate(mine, tmp_path, monkeypatch):
    monkeypatch.setattr("joulebench.studies.consistency.section.consistency", lambda *_: broken(None))

    def shown(self, result, run):
        return section("sure", verdict=True)

    mine.Sure = type("Sure", (Study,), {"name": "sure", "analyse": lambda self, run: 1, "section": shown})
    task = make_task(analyses=["mine:Sure", "consistency"], gate={"max_rsd": 0.02})
    folder = full_run(task, trials=3).write(tmp_path / "run")
    assert write_report(folder, trusted=["mine:Sure"]).passed is False


def test_two_studies_of_one_name_do_not_overwrite_one_another(mine, tmp_path):
    mine.Other = type("Other", (mine.Length,), {})
    folder = full_run(trials=3).write(tmp_path / "run")
    parts = sections(Run.of(folder), ["mine:Length", "mine:Other"])
    assert [part.name for part in parts] == ["length", "study_1"]


def test_a_study_cannot_name_a_file_elsewhere(mine, tmp_path):
    def analyse(self, run):
        self.name = "../escaped"
        return 1

    mine.Moving = type("Moving", (Study,), {"name": "moving", "analyse": analyse,
                                            "section": lambda self, result, run: section(self.name)})  # fmt: skip
    folder = full_run(trials=3).write(tmp_path / "run")
    write_report(folder, studies=["mine:Moving"])
    assert not (tmp_path / "escaped.csv").exists()
    assert "failed" in (folder.path / "report.md").read_text()
