"""report.json: the report's numbers as data, rounded once, and the same bytes wherever they are rendered."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.presentation.numbers import significant
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
from joulebench.reporting.summary import Summary, summarise
from tests.conftest import REPOSITORY
from tests.run_factory import full_run, make_task

RENDERED = (".md", ".json", ".csv", ".png", ".svg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    task = make_task(analyses=("frontier", "proxies"))
    run = full_run(task, trials=20).write(tmp_path_factory.mktemp("runs") / "run")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def found(folder: RunFolder) -> dict:
    return json.loads((folder.path / "report.json").read_text(encoding="ascii"))


@pytest.fixture(scope="module")
def summary(folder: RunFolder) -> Summary:
    return summarise(folder)


def test_it_says_what_was_run(found: dict, summary: Summary) -> None:
    assert found["schema_version"] == 2
    assert found["task"]["digest"] == summary.manifest.digest == summary.task.digest
    assert found["headline"] == summary.headline
    assert found["hardware"] == {"name": "generic_cpu", "title": "Any CPU"}
    assert found["trials"]["recorded"] == sum(summary.statuses.values()) == 22
    assert found["trials"]["oom"] == summary.statuses["oom"] > 0


def test_the_frontier_has_intervals_n_and_kind(found: dict, summary: Summary) -> None:
    assert len(found["frontier"]) == len(summary.members) > 3
    for row, member in zip(found["frontier"], summary.members, strict=True):
        value, own = member.outcomes["samples_per_j"].value, row["objectives"]["samples_per_j"]
        assert own["value"] == significant(value.mean)
        assert (own["low"], own["high"], own["n"]) == (significant(value.low), significant(value.high), value.n)
        assert (own["kind"], own["unit"], own["basis"]) == ("estimated", "samples/J", "gross")
        accuracy = member.outcomes["val_accuracy"].value
        assert row["objectives"]["val_accuracy"]["low"] == significant(accuracy.low)  # by the default's two runs
        assert row["costs"]["parameters"] == member.costs.parameters  # a count, exact
        assert row["params"]["width"] == member.params["width"]


def test_the_ledger_adds_up_by_what_and_by_domain(found: dict) -> None:
    ledger = found["ledger"]
    assert sum(a["energy_j"] for a in ledger["accounts"]) == pytest.approx(ledger["energy_j"], rel=1e-5)
    for account in ledger["accounts"]:
        parts = account["by_source"]
        assert {p["kind"] for p in parts} == {"estimated"}
        assert {p["domain"] for p in parts} == {"cpu", "ram"}
        assert sum(p["energy_j"] for p in parts) == pytest.approx(account["energy_j"], rel=1e-5)
    assert sum(s["share"] for s in ledger["sources"]) == pytest.approx(1)
    assert sum(g["energy_j"] for g in found["groups"]) == pytest.approx(found["cost"]["energy_j"], rel=1e-5)


def test_windows_are_counted_anew(found: dict, summary: Summary) -> None:
    usable = summary.statuses["ok"]
    assert found["windows"] == {
        "inference": {"measured": 5 * usable, "valid": 5 * usable},
        "train": {"measured": usable, "valid": usable},
    }


def test_break_even_and_analyses_are_data(found: dict, summary: Summary) -> None:
    (even,) = summary.break_even
    told = found["break_even"][0]
    assert told["search_j"] == pytest.approx(even.search_j, rel=1e-5)
    assert (told.get("units"), told.get("reason")) == (even.units and significant(even.units), even.reason)
    (proxies,) = found["analyses"]
    assert (proxies["name"], bool(proxies["answer"])) == ("proxies", True)
    assert all(len(s["x"]) == len(s["y"]) for f in proxies["figures"] for s in f["series"])
    assert len(proxies["values"]) > 10
    row = proxies["values"][0]
    assert (type(row["parameters"]), type(row["j_per_sample_gross"]), type(row["kind"])) == (int, float, str)
    assert {type(r["trials"]) for r in proxies["values"]} == {list}
    cells = [c for t in proxies["tables"] for r in t["rows"] for c in r if isinstance(c, dict) and "interval" in c]
    assert cells
    assert not [c for c in cells if any(d.startswith("[") for d in c.get("details", ()))]


_SAME = """
import sys
from pathlib import Path
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
write_report(RunFolder.open(Path(sys.argv[1])))
"""


def _digests(path: Path) -> dict[str, str]:
    files = [p for p in path.iterdir() if p.suffix in RENDERED and p.name != "manifest.json"]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_another_process_place_language_and_time_zone_give_the_same_bytes(
    folder: RunFolder, tmp_path: Path
) -> None:
    before = _digests(folder.path)
    assert {"report.md", "report.json", "frontier.csv", "frontier.svg", "proxies.png"} <= before.keys()
    copy = tmp_path / "elsewhere" / "with spaces"
    copy.mkdir(parents=True)
    for name in ("manifest.json", "trials.jsonl", "ledger.jsonl", "scores.jsonl"):
        (copy / name).write_bytes((folder.path / name).read_bytes())
    other = {"PYTHONHASHSEED": "77", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "LANG": "de_DE.UTF-8", "COLUMNS": "40",
             "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}  # fmt: skip
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: none\ntext.parse_math: True\n")
    subprocess.run(
        [sys.executable, "-c", _SAME, str(copy)], cwd=tmp_path, env={**os.environ, **other}, check=True, timeout=120
    )
    assert _digests(copy) == before


def test_nothing_rendered_names_a_place_or_the_time_of_writing(folder: RunFolder) -> None:
    for name in ("report.md", "report.json", "frontier.csv", "frontier.svg"):
        text = (folder.path / name).read_text(encoding="utf-8")
        assert str(folder.path) not in text
        assert str(Path.home()) not in text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_six_digits_are_kept_and_no_more(value: float) -> None:
    once = significant(value)
    assert significant(once) == once
    assert once == pytest.approx(value, rel=5.1e-6, abs=5e-323)
    assert not str(once).startswith("-0.0") or once != 0
