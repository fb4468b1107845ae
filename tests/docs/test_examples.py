"""The notebooks of examples/ run from their first cell to their last, and hold no output."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
#: What each has to have in the end: statements that its kernel runs after its cells.
CHECKS = {
    "compare_functions.ipynb": """
assert block.joules > 0 and block.kind == "estimated", block
assert result["single"].energy_ratio.low < result["single"].energy_ratio.high < 1, result
assert result["single"].measured.power_w == __import__("pytest").approx(65, rel=0.02)
assert len(joulebench.load(record)) == 24, record
""",
    "search_your_model.ipynb": """
assert [t.record.session for t in results] == [0, 0, 0, 1, 1, 1]
assert [t.status for t in results] == ["ok"] * 6, results.to_dataframe()
assert results.frontier() and (results.path / "report.html").exists()
(code,) = results.manifest().own_code
assert code.source["MLP"].startswith("class MLP(joulebench.Workload):")
""",
    "card_of_a_model.ipynb": """
text = readme.read_text()
assert "license: mit" in text and "Written by hand." in text, text
assert "joulebench card: begin" in text and "/sample" in text, text
""",
}


def test_every_notebook_is_checked_and_named_in_the_readme():
    assert {path.name for path in NOTEBOOKS} == set(CHECKS)
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all(f"(examples/{path.name})" in text for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_holds_no_output(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 2
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert not any(cell.get("attachments") for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    """As a dry run on a machine that may be busy: 65 W."""
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("JOULEBENCH_ALLOW_BUSY", "1")
    monkeypatch.setenv("PATH", _with_command(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert [line.split(" ")[0] for line in first.source.splitlines()] == ["REPLAY", "ALLOW_BUSY"]
    first.source = 'REPLAY, ALLOW_BUSY = "65", True'
    notebook.cells.append(nbformat.v4.new_code_cell(CHECKS[path.name]))
    (work := tmp_path / "work").mkdir()
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(work)}})
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not any("Traceback" in str(output) for output in shown)
    tables = [o["data"]["text/html"] for o in shown if "<table" in o.get("data", {}).get("text/html", "")]
    assert tables


def _with_command(tmp_path) -> str:
    """PATH with the command `joulebench` of this very environment first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "joulebench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m joulebench "$@"\n')
    command.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
