"""How far estimated joules can be off, as a report shows it: finding, table, frontier and data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from joulebench.presentation.numbers import significant
from joulebench.reporting import write_report
from joulebench.reporting.findings import findings
from joulebench.reporting.model_range import model_range_sentences, model_range_table, model_range_values
from joulebench.reporting.summary import Summary
from joulebench.reporting.tables import frontier_table
from joulebench.results.findings import Code
from tests.results.test_server_share import HOST, LINE
from tests.run_factory import RunBuilder, full_run, loaded, make_task


def level(summary: Summary) -> str | None:
    return next((f.level for f in findings(summary) if f.code is Code.MODEL_RANGE), None)


def test_it_warns_where_the_frontier_depends_on_the_model_and_notes_where_it_does_not() -> None:
    assert level(Summary(full_run().read())) is None
    assert level(Summary(loaded(full_run(), 1.0).read())) == "note"
    uneven = {trial: 1.0 if trial % 2 else 0.1 for trial in range(14)}
    assert level(Summary(loaded(full_run(), uneven).read())) == "warning"


def test_the_table_has_the_run_its_cpu_and_the_frontier_by_both_models() -> None:
    summary = Summary(loaded(full_run(), 0.5).read())
    models, table = summary.model_range, model_range_table(summary)
    assert models is not None
    assert table is not None
    assert (table.rows[0][0].text, table.rows[1][0].text) == ("the run", "its CPU")
    shown = {c.trials for c in models.configurations if c.default or c.on_frontier or c.on_curve_frontier}
    assert len(table.rows) == 2 + len(shown)
    assert shown >= {m.trials for m in summary.members}


def test_a_member_of_the_frontier_has_its_range_beside_its_joules() -> None:
    """By the curve 60 W × 0.75 + 20 W = 65 W in place of 80 W, at the same pace."""
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    gross, net = (next(c for t, c in zip(frontier_table(s).columns, frontier_table(s).rows[0], strict=True)
                       if t.title.endswith(basis)) for s in [Summary(loaded(run, 0.5).read())]
                  for basis in ("gross", "net"))  # fmt: skip
    assert gross.text == "10 mJ/sample"
    assert gross.details[-1].endswith("8.125 … 10")
    assert not any("…" in detail for detail in net.details)  # the objective is gross


def test_without_a_frontier_every_configuration_is_in_the_table() -> None:
    objectives = {
        "j_per_sample": {"goal": "minimize", "phase": "inference", "domains": ["cpu", "ram"], "basis": "gross"}
    }
    task = make_task(objectives, analyses=("batch",))
    run = RunBuilder(task)
    for width in (8, 9, 10):
        run.add({"width": width}, 8000 - width, {})
    summary = Summary(loaded(run, 0.5).read())
    table = model_range_table(summary)
    assert table is not None
    assert not task.has_frontier
    assert len(table.rows) == 2 + 3


def test_report_json_has_the_figures_and_nothing_where_the_cpu_was_measured(tmp_path: Path) -> None:
    folder = loaded(full_run(), 0.5).write(tmp_path / "run")
    write_report(folder)
    found = json.loads((folder.path / "report.json").read_text())["model_range"]
    models = Summary(loaded(full_run(), 0.5).read()).model_range
    assert models is not None
    assert found["tdp_w"] == 60.0
    assert found["total"]["low_j"] == significant(models.total.low) < found["total"]["high_j"]
    assert found["cpu"]["factor"] == pytest.approx(0.75, rel=0.01)  # idle at a load of 0 has other factors
    assert found["leave_frontier"] == found["join_frontier"] == []
    for row in found["configurations"]:
        assert row["low_j"] == row["teads_curve_j"] < row["cpu_load_model_j"] == row["high_j"]
    assert "model-range" in (folder.path / "report.html").read_text()
    measured = Summary(loaded(full_run(measured=True), 0.5).read())
    assert model_range_values(measured) is None
    assert model_range_table(measured) is None
    assert model_range_sentences(measured) == ()


def test_a_share_of_servers_is_told_with_its_source_and_widens_every_range(tmp_path: Path) -> None:
    recorded = {"meters": [LINE], "environment": {"host": HOST}}
    run = loaded(full_run(), 0.5)
    summary = Summary(run.read(**recorded))
    models = summary.model_range
    assert models is not None
    assert models.total.servers_j is not None
    text = " ".join(model_range_sentences(summary))
    assert "Published servers with EPYC 7002 (Rome) draw 0.5 to 1 W a hardware thread idle and 2 to 4 W" in text
    assert "SPECpower_ssj2008" in text
    assert "A share of such a server with 4 threads" in text
    table, plain = model_range_table(summary), model_range_table(Summary(run.read()))
    assert table is not None
    assert plain is not None
    assert [c.title for c in table.columns] == [*(c.title for c in plain.columns), "Share of servers"]
    assert len(table.rows) == len(plain.rows) + 1  # CPU and RAM together
    assert all("…" in row[-1].text for row in table.rows if row[0].text != "its CPU")
    write_report(run.write(tmp_path / "run", **recorded))
    facts = json.loads((tmp_path / "run" / "report.json").read_text())["model_range"]
    assert facts["server_share"]["family"] == "EPYC 7002 (Rome)"
    assert facts["total"]["low_j"] == min(*facts["total"]["server_share_j"], facts["total"]["teads_curve_j"])
    assert all(row["low_j"] == row["server_share_j"][0] for row in facts["configurations"])
