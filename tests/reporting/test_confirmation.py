"""What a report says of a frontier that was confirmed, and of one that was not."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest

from joulebench.presentation.numbers import significant
from joulebench.reporting import write_report
from joulebench.reporting.confirmation import confirmation_sentences, confirmation_table
from joulebench.reporting.export_csv import frontier_csv
from joulebench.reporting.findings import findings
from joulebench.reporting.frontier_plot import hypervolume_plot
from joulebench.reporting.mlflow_content import study_logged
from joulebench.reporting.prose import interval_note
from joulebench.reporting.summary import Summary
from joulebench.reporting.tables import frontier_table
from joulebench.results.findings import Code
from tests.run_factory import OBJECTIVES, RunBuilder, confirmed_run, full_run, make_task


def codes(summary: Summary) -> list[Code]:
    return [finding.code for finding in findings(summary)]


def test_a_frontier_that_nobody_confirmed_is_provisional() -> None:
    summary = Summary(confirmed_run(confirmed=False).read())
    assert summary.provisional
    assert "provisional" in summary.headline
    assert Code.PROVISIONAL in codes(summary)
    assert (confirmation_table(summary).rows, confirmation_sentences(summary)) == ((), ())


def test_a_confirmed_frontier_is_not_provisional() -> None:
    summary = Summary(confirmed_run().read())
    assert not summary.provisional
    assert "provisional" not in summary.headline
    assert Code.PROVISIONAL not in codes(summary)


def test_one_configuration_alone_was_not_chosen() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    assert not Summary(run.read()).provisional


def test_the_table_has_promised_and_confirmed_values_runs_and_probability() -> None:
    table = confirmation_table(Summary(confirmed_run().read()))
    titles = [c.title for c in table.columns]
    assert titles[4:] == ["Probability on it", "val_accuracy ↑", "samples_per_j ↑", "test_accuracy"]
    first = dict(zip(titles, table.rows[0], strict=True))
    assert (first["Runs"].text, first["Trials"].text) == ("2", "5, 8")
    assert first["val_accuracy ↑"].details == ("promised 0.95",)
    assert first["samples_per_j ↑"].text == "190 samples/J"
    assert first["samples_per_j ↑"].interval.startswith("[")
    assert first["test_accuracy"].interval.startswith("[")
    assert first["Probability on it"].text == "> 99.9 %"  # of 2 000 draws, not certain
    assert len(confirmation_sentences(Summary(confirmed_run().read()))) >= 4


def test_test_scores_share_one_spread_between_runs() -> None:
    """Three configurations scored twice, ± 0.001: three degrees of freedom, not one."""
    (member,) = Summary(confirmed_run().read()).members
    score = member.scores["test_accuracy"]
    assert (score.n, score.freedom) == (2, 3)
    assert score.sem == pytest.approx(0.001)
    assert score.mean == pytest.approx(0.92)


def test_the_width_within_a_run_stands_beside_the_interval_that_holds_both() -> None:
    def cell(run: RunBuilder) -> tuple[str, ...]:
        table = frontier_table(Summary(run.read()))
        column = [c.title for c in table.columns].index("J per sample, gross")
        return table.rows[0][column].details

    single = RunBuilder(make_task())
    single.add({}, 8000, {"val_accuracy": 0.9})
    assert not any("within one run" in d for d in cell(single))
    # t(4) × 0.00316 / √2: five windows that rise evenly count as two
    assert any("within one run ± 0.621 %" in d for d in cell(confirmed_run()))


def test_intervals_are_explained_by_what_they_hold() -> None:
    single, repeated = (Summary(r.read()) for r in (confirmed_run(confirmed=False), confirmed_run()))
    notes = [interval_note(e for m in s.members for e in m.gross.values()) for s in (single, repeated)]
    assert notes[0] != notes[1]
    assert Code.NOT_REPEATED in codes(single)
    assert Code.NOT_REPEATED not in codes(repeated)


def test_runs_that_differ_are_said_with_interval_and_degrees_of_freedom() -> None:
    run = RunBuilder(make_task())
    for units in (8000, 9000):
        run.add({}, units, {"val_accuracy": 0.9})
    summary = Summary(run.read())
    (finding,) = (f for f in findings(summary) if f.code is Code.RUNS_DIFFER)
    spread = summary.rsd["samples_per_j"]
    assert spread.freedom == 1
    assert f"{100 * spread.sd:.3g} %" in finding.text
    assert f"{100 * spread.interval[0]:.3g} %" in finding.text
    assert Code.NOT_REPEATED not in codes(summary)


def test_the_hypervolume_curve_is_the_searchs_and_the_confirmed_one_a_point() -> None:
    summary = Summary(confirmed_run().read())
    plain = Summary(confirmed_run(confirmed=False).read())
    assert [t for t, _ in summary.searched_hypervolume] == [0, 1, 2, 3]
    assert [v for _, v in summary.searched_hypervolume] == pytest.approx([v for _, v in plain.searched_hypervolume])
    plot = hypervolume_plot(summary)
    assert plot is not None
    curve, point = plot.series
    known = summary.run.membership
    assert known is not None
    assert known.hypervolume is not None
    assert point.y == pytest.approx((known.hypervolume.mean,))
    assert point.y[0] < curve.y[-1]
    assert point.y[0] == pytest.approx(summary.hypervolume[-1])


def test_confirming_runs_do_not_make_the_search_look_converged() -> None:
    run = confirmed_run()
    for _ in range(12):
        run.add({"width": 9}, 15200, {"val_accuracy": 0.94}, "confirm")
    assert Code.HYPERVOLUME_FLAT not in codes(Summary(run.read()))


def test_report_json_has_confirmation_as_data(tmp_path: Path) -> None:
    folder = confirmed_run().write(tmp_path / "run")
    write_report(folder)
    told = json.loads((folder.path / "report.json").read_text(encoding="ascii"))
    known = Summary(confirmed_run().read())
    assert told["provisional"] is False
    (member,) = told["frontier"]
    assert (member["confirmed"], member["probability"] > 0.95) == (True, True)
    (energy,) = member["energy"]
    assert energy["within_run"] == pytest.approx(0.00621, rel=1e-3)
    confirmation = told["confirmation"]
    assert (confirmation["members"], confirmation["dropped"]) == (2, 1)
    assert confirmation["differences"]["samples_per_j"]["value"] == pytest.approx(-0.05, abs=2e-4)
    assert confirmation["differences"]["samples_per_j"]["relative"] is True
    assert confirmation["differences"]["val_accuracy"]["relative"] is False
    assert {"value", "low", "high"} <= confirmation["hypervolume"].keys()
    assert len(confirmation["configurations"]) == 3
    assert told["run_to_run"]["samples_per_j"]["sd"] == significant(known.rsd["samples_per_j"].sd)


def test_report_json_of_an_unconfirmed_run_has_no_confirmation(tmp_path: Path) -> None:
    folder = full_run().write(tmp_path / "run")
    write_report(folder)
    told = json.loads((folder.path / "report.json").read_text(encoding="ascii"))
    assert told["provisional"] is True
    assert "confirmation" not in told
    assert {m["confirmed"] for m in told["frontier"]} == {False}
    assert not [m for m in told["frontier"] if "probability" in m]


def test_csv_and_tracker_have_it(tmp_path: Path) -> None:
    folder = confirmed_run().write(tmp_path / "run")
    summary = Summary(confirmed_run().read())
    (row,) = csv.DictReader(io.StringIO(frontier_csv(summary)))
    assert row["confirmed"] == "true"
    assert float(row["probability"]) > 0.95
    logged = study_logged(folder, summary)
    assert logged.metrics["confirmed_configurations"] == 3
    assert logged.metrics["hypervolume_low"] < logged.metrics["hypervolume"] < logged.metrics["hypervolume_high"]
    assert logged.metrics["samples_per_j_winners_curse"] == pytest.approx(-0.05, abs=2e-4)
    assert logged.tags["joulebench.provisional"] == "false"


def test_a_hypervolume_on_a_log_scale_says_so_wherever_it_stands(tmp_path: Path) -> None:
    run = confirmed_run()
    scale = {"scale": "log", "reference": 10.0}
    run.task = make_task(OBJECTIVES | {"samples_per_j": {**OBJECTIVES["samples_per_j"], **scale}})
    summary = Summary(run.read())
    known = summary.run.membership
    assert known is not None
    assert known.hypervolume is not None
    assert known.hypervolume.mean == pytest.approx(0.84 * math.log(19), rel=1e-3)  # 190 samples/J, accuracy 0.94
    sentence = "Hypervolume is on a log scale: samples_per_j in nats from its reference of 10."
    assert any(s.startswith(sentence) for s in confirmation_sentences(summary))
    plot = hypervolume_plot(summary)
    assert plot is not None
    assert sentence in plot.alt
    assert plot.y.detail == "product of objective units, samples_per_j in nats (log scale)"
    folder = run.write(tmp_path / "run")
    logged = study_logged(folder, summary).metrics
    assert "hypervolume" not in logged
    assert logged["hypervolume_log_samples_per_j"] == pytest.approx(known.hypervolume.mean)
    assert logged["hypervolume_log_samples_per_j_low"] == known.hypervolume.low
    write_report(folder)
    told = json.loads((folder.path / "report.json").read_text(encoding="ascii"))
    assert told["hypervolume"] == pytest.approx(known.hypervolume.mean, rel=1e-5)
    accuracy = {"scale": "linear", "reference": 0.1}
    assert told["hypervolume_scales"] == {"val_accuracy": accuracy, "samples_per_j": scale}
    plain = Summary(confirmed_run().read())
    assert not any("log scale" in s for s in confirmation_sentences(plain))
