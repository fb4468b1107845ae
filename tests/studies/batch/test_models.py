"""Batch sizes of several models: an optimum for each, recomputed by hand."""

from __future__ import annotations

import csv
import io

import pytest

from joulebench.reporting import write_report
from joulebench.studies.batch.analysis import batch_sweep, model_parameter
from joulebench.studies.batch.section import BatchStudy
from tests.generation_runs import NEW, add, generation_task
from tests.run_factory import RunBuilder

PARAMETERS = {
    "batch_size": {"type": "int", "low": 1, "high": 64, "default": 1, "scale": "log"},
    "architecture": {"type": "choice", "values": ["small", "large", "huge"], "default": "small"},
}
WATTS = 80.0
#: Seconds a request by model and size: of `small` 8 is best, of `large` 2, or 4 as well.
SECONDS = {"small": {1: 1.0, 2: 1.5, 8: 4.0}, "large": {1: 3.0, 2: 4.0, 4: 8.0, 8: 40.0}}


def run_of(seconds, **fields) -> RunBuilder:
    run = RunBuilder(generation_task(parameters=PARAMETERS, analyses=["batch"], **fields))
    for model, times in seconds.items():
        for size, s in times.items():
            steps = {"prefill": 0.2 * s, "decode": 0.8 * s, "request": s}
            add(run, {"architecture": model, "batch_size": size}, steps)
    return run


def test_each_model_has_its_own_optimum():
    result = batch_sweep(run_of(SECONDS).read())
    small, large = result.models
    assert small is result
    assert [s.model for s in (small, large)] == [{"architecture": "small"}, {"architecture": "large"}]
    assert [s.size for s in large.sizes] == [1, 2, 4, 8]
    assert (small.best.size, small.ties) == (8, ())
    assert large.best.size in (2, 4)
    assert [s.size for s in large.ties] == [6 - large.best.size]
    assert small.gain.mean == pytest.approx(8 * 1.0 / 4.0, rel=1e-3)
    assert large.gain.mean == pytest.approx(2 * 3.0 / 4.0, rel=1e-3)
    assert small.best.efficiency.mean == pytest.approx(NEW * 8 / (WATTS * 4.0), rel=1e-3)


def test_the_section_has_one_sentence_one_table_and_every_size(tmp_path):
    run = run_of(SECONDS)
    read = run.read()
    section = BatchStudy().section(batch_sweep(read), read)
    answer = section.answer.replace("large 4", "large 2").replace("no different: 4", "no different: 2")
    assert answer.startswith("Most efficient batch_size of each of 2 architectures in tokens/J (gross, estimated")
    assert "small 8 (2 times the smallest); large 2 (1.5 times the smallest; no different: 2)" in answer
    assert section.sentences[0].startswith("No size is the best")
    (table,) = section.tables
    assert [c.text for c in table.rows[0][:2]] == ["small", "8"]
    assert [row["architecture"] for row in section.rows] == ["small"] * 3 + ["large"] * 4
    (plot,) = section.plots
    assert [s.name for s in plot.series] == ["small", "large"]
    assert plot.series[0].y == pytest.approx((0.5, 2 / 3, 1.0), rel=1e-3)
    write_report(run.write(tmp_path / "run"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "batch.csv").read_text())))
    assert [row["batch_size"] for row in rows] == ["1", "2", "8", "1", "2", "4", "8"]


def test_one_size_may_serve_every_model():
    read = run_of({"small": {1: 1.0, 4: 2.0}, "huge": {1: 9.0, 4: 12.0, 8: 70.0}}).read()
    result = batch_sweep(read)
    assert "One size serves every architecture: 4 is" in BatchStudy().section(result, read).sentences[0]
    confirmed = [(p["architecture"], p["batch_size"]) for p in BatchStudy().confirms(result, read)]
    assert confirmed == [("small", 4), ("small", 1), ("huge", 4), ("huge", 1)]


def test_a_single_model_is_reported_as_without_a_choice():
    read = run_of({"small": SECONDS["small"]}).read()
    result = batch_sweep(read)
    assert result.models == ()
    alone = RunBuilder(generation_task(parameters={"batch_size": PARAMETERS["batch_size"]}, analyses=["batch"]))
    for size, s in SECONDS["small"].items():
        add(alone, {"batch_size": size}, {"prefill": 0.2 * s, "decode": 0.8 * s, "request": s})
    other = alone.read()
    assert BatchStudy().section(result, read).answer == BatchStudy().section(batch_sweep(other), other).answer


def test_what_counts_as_a_model():
    def name(parameters):
        return model_parameter(generation_task(parameters=parameters), "batch_size")

    assert name(PARAMETERS) == "architecture"
    assert name({**PARAMETERS, "dtype": {"type": "choice", "values": ["a", "b"], "default": "a"}}) is None
    assert name({**PARAMETERS, "architecture": {"type": "fixed", "value": "small"}}) is None
    mixed = {"type": "choice", "values": ["a", 1], "default": "a"}
    assert name({**PARAMETERS, "architecture": mixed}) is None
