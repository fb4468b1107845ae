"""The files of a report: complete, escaped, the same twice, and whole for whatever a run looks like."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from joulebench.errors import InputError
from joulebench.presentation.numbers import significant
from joulebench.records.folder import RunFolder
from joulebench.records.model import ScoreRecord
from joulebench.reporting import write_report
from joulebench.reporting.render import render_markdown
from joulebench.reporting.summary import summarise
from tests.run_factory import ENERGY, OBJECTIVES, RunBuilder, full_run, make_task

FILES = ("report.html", "report.md", "frontier.csv", "frontier.png", "frontier.svg")
HOSTILE = "<script>alert(1)</script> | `x` $\\frac{ </script>\n\x00& \"'"


class Page(HTMLParser):
    """Elements of a page, its text, and what is inside scripts of data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data: dict[str, str] = {}
        self._inside = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._open.append(tag)
        self._inside = found.get("id") or "" if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        if tag in self._open:
            while self._open.pop() != tag:
                continue

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script" and self._inside:
            self.data[self._inside] = data
        elif self._open and self._open[-1] not in ("script", "style"):
            self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = full_run(trials=20).write(tmp_path_factory.mktemp("runs") / "run")
    write_report(run)
    return run


def read(folder: RunFolder, name: str) -> str:
    return (folder.path / name).read_text(encoding="utf-8")


def test_it_writes_its_files_and_returns_the_page(folder: RunFolder) -> None:
    written = write_report(folder)
    assert written.page == folder.path / "report.html"
    assert written.headline == summarise(folder).headline
    assert {*FILES} <= {p.name for p in folder.path.iterdir()}
    assert not [p for p in folder.path.iterdir() if p.suffix == ".tmp"]


def test_the_same_records_give_the_same_bytes(folder: RunFolder) -> None:
    before = {name: (folder.path / name).read_bytes() for name in FILES}
    write_report(folder)
    assert {name: (folder.path / name).read_bytes() for name in FILES} == before


def test_the_page_needs_nothing_else(folder: RunFolder) -> None:
    page = Page(read(folder, "report.html"))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        assert not (attributes.get("src") or "data:").startswith(("http", "//"))
    assert read(folder, "report.html").count("Plotly.newPlot(chart") == 1
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy


def test_the_page_is_accessible(folder: RunFolder) -> None:
    page = Page(read(folder, "report.html"))
    assert [page.count(t) for t in ("h1", "main", "header", "footer", "nav")] == [1, 1, 1, 1, 1]
    assert page.count("caption") == page.count("table") >= 5
    assert page.count("figcaption") == page.count("figure") == 2
    assert all(a.get("aria-label") for _, a in page.tags if (a.get("class") or "").startswith("chart"))
    assert all(a.get("alt") for t, a in page.tags if t == "img")
    assert all(a.get("scope") for t, a in page.tags if t == "th")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)


def test_charts_hold_every_usable_trial_on_hover(folder: RunFolder) -> None:
    page = Page(read(folder, "report.html"))
    figure = json.loads(page.data["data-frontier-1"])
    hovers = [text for trace in figure["data"] for text in trace["hovertext"] if "on the frontier" not in text]
    usable = [t for t in folder.trials() if t.status == "ok"]
    assert len(hovers) == len(usable)
    assert all("width = " in h and "stage " in h and "n = 5" in h for h in hovers)
    assert any("WIDE INTERVAL" in h for h in hovers)
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert "samples/J" in figure["layout"]["xaxis"]["title"]["text"]
    assert figure["data"][-1]["line"]["shape"] == "vh"
    assert json.loads(page.data["data-hypervolume"])["data"][0]["y"][-1] > 0


def test_wide_intervals_are_flagged_wherever_they_appear(folder: RunFolder) -> None:
    rows = list(csv.DictReader(io.StringIO(read(folder, "frontier.csv"))))
    wide = [row for row in rows if row["samples_per_j_wide"] == "true"]
    assert wide
    for row in wide:
        line = next(ln for ln in read(folder, "report.md").splitlines() if ln.startswith(f"| {row['trials']} |"))
        assert "⚠ wide interval" in line
    flags = sum((a.get("class") or "") == "flag" for _, a in Page(read(folder, "report.html")).tags)
    assert flags == read(folder, "report.md").count("**⚠ wide interval**")


def test_csv_cells(folder: RunFolder) -> None:
    rows = list(csv.DictReader(io.StringIO(read(folder, "frontier.csv"))))
    summary = summarise(folder)
    assert len(rows) == len(summary.members)
    for row, member in zip(rows, summary.members, strict=True):
        value = member.outcomes["samples_per_j"].value
        assert row["trials"] == " ".join(map(str, member.trials))
        assert row["width"] == str(member.params["width"])
        assert row["pool"] == ("true" if member.params["pool"] else "false")
        found = [float(row[f"samples_per_j{end}"]) for end in ("", "_low", "_high")]
        assert found == [significant(v) for v in (value.mean, value.low, value.high)]
        assert found == pytest.approx([value.mean, value.low, value.high], rel=5e-6)
        assert row["samples_per_j_kind"] == "estimated"
        assert int(row["parameters"]) == member.costs.parameters
        accuracy = member.outcomes["val_accuracy"].value
        assert float(row["val_accuracy_low"]) == pytest.approx(accuracy.low, rel=5e-6)  # of the repeated default
        assert row["confirmed"] == "false"
        assert row["probability"] == ""
        assert row["test_accuracy"] == ("0.9" if "test_accuracy" in member.scores else "")


def test_markdown_tables_are_whole_and_hold_the_numbers(folder: RunFolder) -> None:
    text = read(folder, "report.md")
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1
    summary = summarise(folder)
    assert summary.headline in text
    assert "joulebench run digits_nas --budget standard --hardware generic_cpu --seed 3" in text
    assert "0.0 J" not in text
    for heading in ("Frontier", "Findings", "Cost of the search", "Ledger", "Provenance", "Environment"):
        assert f"\n## {heading}" in text


def test_hostile_names_and_errors_stay_text(tmp_path: Path) -> None:
    task = make_task(
        title=HOSTILE,
        description=HOSTILE,
        deviations=(HOSTILE,),
        parameters={"kind": {"type": "choice", "values": [HOSTILE, "b"], "default": "b"}},
    )
    run = RunBuilder(task)
    run.add({}, 8000, {"val_accuracy": 0.9}, stage=HOSTILE)
    run.add({"kind": HOSTILE}, 4000, {"val_accuracy": 0.95}, stage=HOSTILE)
    run.fail({"kind": HOSTILE}, "failed", HOSTILE)
    folder = run.write(
        tmp_path / "run", hardware={"name": HOSTILE, "title": HOSTILE}, environment={HOSTILE: {HOSTILE: HOSTILE}},
        meters=[{"domain": "cpu", "source": "cpu_load_model", "method": HOSTILE}], replay=HOSTILE,
    )  # fmt: skip
    page = Page(write_report(folder).page.read_text(encoding="utf-8"))
    assert page.count("script") == 4  # two figures' data, plotly.js, the page's own
    assert "<script>alert(1)</script>" in "".join(page.text)
    assert json.loads(page.data["data-frontier-1"])
    prose, command, rest = read(folder, "report.md").split("```")  # a block that the command cannot close
    assert "<script" not in prose + rest
    assert "\x00" not in prose + command + rest + "".join(page.text)
    ElementTree.fromstring(read(folder, "frontier.svg"))
    rows = list(csv.DictReader(io.StringIO(read(folder, "frontier.csv"))))
    assert {row["kind"] for row in rows} == {HOSTILE.replace("\x00", "\ufffd"), "b"}


THREE = {**OBJECTIVES, "val_loss": {"goal": "minimize"}}
ONE = {"j_per_sample": {"goal": "minimize", **ENERGY}}


@pytest.mark.parametrize("objectives", [OBJECTIVES, THREE, ONE, {"val_accuracy": {"goal": "maximize"}}])
@pytest.mark.parametrize("kind", ["empty", "failed", "below", "single", "blind", "full"])
def test_any_run_has_a_report(tmp_path: Path, objectives: dict, kind: str) -> None:
    task = make_task(objectives)
    if kind == "full":
        run = full_run(task)
    else:
        run = RunBuilder(task, **({"watts": {}} if kind == "blind" else {}))
        run.span("start")
        if kind == "failed":
            run.fail({}, "oom", "out of memory")
        elif kind == "below":
            run.add({}, 8000, {"val_accuracy": 0.05, "val_loss": 0.1})
        elif kind != "empty":
            run.add({}, 8000, {"val_accuracy": 0.9, "val_loss": 0.1})
    folder = run.write(tmp_path / "run")
    write_report(folder)
    text = read(folder, "report.md")
    if kind in ("empty", "failed"):
        assert "No configuration is on the frontier" in text
        assert len(read(folder, "frontier.csv").splitlines()) == 1
    if kind == "blind":
        assert "No energy was read" in text
        assert "not measured" in text
    assert not re.search(r"\b0 J\b", text)
    assert all((folder.path / name).stat().st_size > 0 for name in FILES)


def test_a_run_without_ledger_or_scores_files_has_a_report(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path / "run", RunBuilder(make_task()).manifest())
    assert write_report(folder).page.is_file()


def test_a_damaged_record_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = full_run().write(tmp_path / "run")
    folder.trials_path.write_text("{}\n")
    with pytest.raises(InputError, match=r"trials\.jsonl, line 1"):
        write_report(folder)
    assert not (folder.path / "report.html").exists()


def test_markdown_shows_no_time_of_writing(folder: RunFolder) -> None:
    dates = set(re.findall(r"\d{4}-\d\d-\d\d", render_markdown(summarise(folder))))
    assert dates == {"2026-01-02"}
    assert b"dc:date" not in (folder.path / "frontier.svg").read_bytes()


def test_reporting_loads_no_torch() -> None:
    code = "import sys, joulebench.reporting; sys.exit('torch' in sys.modules or 'ax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_scores_of_classes_have_a_table_of_their_own(tmp_path: Path) -> None:
    run = full_run()
    members = [t for m in summarise(run.write(tmp_path / "first")).members for t in m.trials]
    for n, trial in enumerate(members):
        classes = {"recall.cat": 0.5, "precision.cat": 0.8, "f1.cat": 0.6 + 0.1 * n, "f1.dog": 0.25}
        run.scores.append(ScoreRecord(trial=trial, split="test", metrics={"f1_macro": 0.7, **classes}))
    summary = summarise(run.write(tmp_path / "run"))
    assert summary.members[0].scores.keys() >= {"test_f1_macro"}
    assert not any("cat" in name for m in summary.members for name in m.scores)
    text = render_markdown(summary)
    assert "Test scores by class, of trial" in text
    cat, dog = (
        next(line for line in text.splitlines() if line.startswith(f"| {name} |")) for name in ("cat", "dog")
    )
    assert [cell.split()[0] for cell in cat.split("|")[2:4]] == ["0.8", "0.5"]
    assert f"0.6 … {0.6 + 0.1 * (len(members) - 1):.3g}" in cat
    assert [cell.strip() for cell in dog.split("|")[2:4]] == ["—", "—"]
    written = write_report(summary_folder := RunFolder.open(tmp_path / "run"))
    member = json.loads((summary_folder.path / "report.json").read_text())["frontier"][0]
    assert written.page.exists()
    assert member["class_scores"]["dog"]["f1"]["value"] == 0.25
    assert "Test scores by class" not in render_markdown(summarise(RunFolder.open(tmp_path / "first")))
