"""A sweep of batch sizes: optimum, ties, memory limit and break-even, recomputed by hand."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from joulebench.presentation.numbers import significant
from joulebench.reporting import write_report
from joulebench.stats.estimate import point
from joulebench.stats.intervals import ratio
from joulebench.studies.batch.analysis import batch_sweep, differ, swept
from joulebench.studies.batch.section import BatchStudy
from tests.generation_runs import ENERGY, GIB, NEW, add, batch_run, generation_task, out_of_memory, request_s
from tests.run_factory import ENERGY as RUN_ENERGY
from tests.run_factory import RunBuilder, make_task

WATTS = 80.0


def sweep_of(run: RunBuilder):
    return batch_sweep(run.read())


def section_of(run: RunBuilder):
    read = run.read()
    return BatchStudy().section(batch_sweep(read), read)


def steps(seconds: float) -> dict[str, float]:
    return {"prefill": 0.2 * seconds, "decode": 0.8 * seconds, "request": seconds}


def sweep(times: dict[int, float], task=None, **more) -> RunBuilder:
    """A run over batch sizes with these seconds a request."""
    run = RunBuilder(task or generation_task())
    for size, seconds in times.items():
        add(run, {"batch_size": size}, steps(seconds), **more)
    return run


def test_the_optimum_and_what_it_gains():
    result = sweep_of(batch_run())
    assert (result.parameter, result.objective, result.unit, result.phase) == (
        "batch_size", "tokens_per_j", "token", "request",
    )  # fmt: skip
    assert [s.size for s in result.sizes] == [1, 4, 16, 64, 256]
    for size in result.sizes:
        expected = NEW * size.size / (WATTS * size.cost.unit_s.mean * NEW * size.size)
        assert size.efficiency.mean == pytest.approx(expected, rel=1e-3)
    assert result.best.size == result.peak.size == 256
    assert result.shape == "rising"
    assert result.gain.mean == pytest.approx(256 * request_s(1) / request_s(256), rel=1e-3)
    assert result.gain == ratio(result.best.efficiency, result.smallest.efficiency)


def test_efficiency_by_a_net_energy_delay_product_is_net():
    task = make_task(
        {"edp_js_per_sample": {"goal": "minimize", **RUN_ENERGY, "basis": "net"}},
        parameters={"batch_size": {"type": "int", "low": 1, "high": 64, "default": 1}},
        analyses=["batch"],
    )
    run = RunBuilder(task)
    for size, samples in ((1, 1000), (8, 4000)):  # a second each, of 80 W; idle takes 30 W
        run.add({"batch_size": size}, samples, {"val_accuracy": 0.9}, idle=True)
    assert [s.efficiency.mean for s in sweep_of(run).sizes] == pytest.approx([1000 / 50, 4000 / 50], rel=1e-3)


def test_an_optimum_inside_the_sweep():
    result = sweep_of(batch_run(sizes=(1, 32, 128, 384)))
    assert (result.best.size, result.shape, result.ties) == (128, "interior", ())


@pytest.mark.parametrize(
    ("times", "shape"),
    [
        ({8: 1.0}, "one size"),
        ({1: 1.0, 2: 1.5, 4: 2.0}, "rising"),
        ({1: 1.0, 2: 3.0, 4: 9.0}, "falling"),
        ({1: 1.0, 2: 1.5, 4: 2.999}, "flat"),
        ({1: 1.0, 2: 2.0, 4: 4.001}, "flat"),
        ({1: 1.0, 2: 1.5, 4: 4.0}, "interior"),
    ],
)
def test_how_efficiency_goes_at_the_ends(times, shape):
    assert sweep_of(sweep(times)).shape == shape


def test_the_edge_is_explained_by_memory_or_by_the_task():
    run = sweep({1: 1.0, 2: 1.5, 4: 2.0})
    assert "4 096" in section_of(run).sentences[0]
    assert sweep_of(run).highest == 4096
    out_of_memory(run, {"batch_size": 8}, 9 * GIB, 8 * GIB)
    assert "8 ran out of memory" in section_of(run).sentences[0]
    single = sweep({8: 1.0})
    assert (sweep_of(single).shape, section_of(single).plots) == ("one size", ())


def test_sizes_that_are_no_different_are_listed():
    run = sweep({1: 1.0, 2: 1.0, 4: 2.0, 8: 3.99, 16: 16.0})
    result = sweep_of(run)
    assert result.best.size == 8
    assert [s.size for s in result.ties] == [2, 4]
    assert result.gain.mean == pytest.approx(8 / 3.99, rel=1e-3)
    assert [row["not_told_apart"] for row in section_of(run).rows] == [False, True, True, False, False]


def test_sizes_closer_than_runs_of_one_configuration_do_not_differ_significantly():
    """Windows vary by 0.05 %, runs of the default by 4 %: the spread between runs decides."""
    run = sweep({1: 1.0, 2: 1.0, 4: 1.9}, wobble=0.0005)
    before = sweep_of(run)
    assert before.ties == ()
    add(run, {"batch_size": 1}, steps(1.06), wobble=0.0005)
    result = sweep_of(run)
    assert result.rsd == pytest.approx(0.0412, abs=2e-4)  # 1 and 1/1.06
    assert [s.size for s in result.ties] == [1, 2]  # two runs leave one degree of freedom: 1.9 may be chance
    for pace in (1.03, 1.0, 1.06, 1.03):
        add(run, {"batch_size": 1}, steps(pace), wobble=0.0005)
    result = sweep_of(run)
    assert [s.size for s in result.ties] == [2]
    two, four = (s for s in result.sizes if s.size > 1)
    assert not differ(four, two)
    assert differ(*(s for s in before.sizes if s.size > 1))


def test_a_size_without_an_interval_does_not_differ_significantly():
    run = sweep({1: 1.0, 2: 1.5})
    a, b = sweep_of(run).sizes
    assert not differ(a, replace(b, efficiency=point(99.0)))


def test_the_knee_is_the_smallest_size_within_five_percent():
    run = sweep({1: 1.0, 8: 4.2, 16: 7.8, 32: 15.5, 64: 40.0}, memory=GIB)
    result = sweep_of(run)
    assert (result.best.size, result.knee.size) == (32, 16)
    assert result.knee.efficiency.mean / result.best.efficiency.mean == pytest.approx(0.9936, abs=1e-4)
    assert (result.knee.p95_s.mean, result.best.p95_s.mean) == pytest.approx((7.8, 15.5))


def test_memory_and_its_limit():
    result = sweep_of(batch_run())
    assert result.best.memory_share == pytest.approx(1.0)
    limit = result.memory_limit
    assert (limit.largest_completed, limit.smallest_oom) == (256, 512)
    assert (limit.required_bytes, limit.limit_bytes) == (14 * GIB, 8 * GIB)
    assert sweep_of(sweep({1: 1.0})).memory_limit is None


def test_a_constraint_moves_the_best_from_the_peak():
    task = generation_task(constraints={"request_p95_s": {"phase": "request", "quantile": 0.95, "at_most": 3.0}})
    run = sweep({1: 1.0, 2: 1.5, 4: 2.5, 8: 4.0}, task)
    result = sweep_of(run)
    assert (result.best.size, result.peak.size) == (4, 8)
    assert result.peak.efficiency.mean / result.best.efficiency.mean == pytest.approx(1.25, rel=1e-3)
    rows = {row[0].text: row[0].flag for row in section_of(run).tables[0].rows}
    assert rows == {"1": "", "2": "", "4": "", "8": "breaks a constraint"}


def test_break_even_against_the_default_and_against_the_smallest():
    task = generation_task(
        parameters={"batch_size": {"type": "int", "low": 1, "high": 64, "default": 2}},
        stopping={"inferences": 1e6},
    )
    run = sweep({1: 1.0, 2: 1.5, 8: 4.0}, task, wobble=0.001)
    result = sweep_of(run)
    ledger = result.run.ledger
    j = {1: 80 * 1.0 / NEW, 2: 80 * 1.5 / (2 * NEW), 8: 80 * 4.0 / (8 * NEW)}
    default, smallest = result.against_default, result.against_smallest
    assert default.search_j == pytest.approx(ledger.total_j)
    assert default.units == pytest.approx(ledger.total_j / (j[2] - j[8]))
    assert smallest.units == pytest.approx(ledger.total_j / (j[1] - j[8]))
    assert default.net.mean == pytest.approx(1e6 * (j[2] - j[8]) - ledger.total_j)
    assert default.net.low == pytest.approx(1e6 * default.saving.low - ledger.total_j)
    assert default.volume * default.saving.mean == pytest.approx(1.25e6)


def test_a_volume_too_small_is_a_net_loss_and_none_stated_gives_none():
    small = sweep_of(sweep({1: 1.0, 8: 4.0}, generation_task(stopping={"inferences": 10})))
    assert small.against_default.net.mean < 0
    assert small.against_smallest is None  # it is the default
    assert sweep_of(sweep({1: 1.0, 8: 4.0})).against_default.net is None
    best = sweep_of(sweep({1: 1.0, 8: 40.0}, generation_task(stopping={"inferences": 10})))
    assert best.against_default.units is None
    assert best.against_default.net.mean == pytest.approx(-best.run.ledger.total_j)


def test_an_objective_in_joules_per_token_gives_the_same_sweep():
    j_per_token = {"j_per_token": {"goal": "minimize", **ENERGY}}
    times = {1: 1.0, 2: 1.5, 4: 4.0}
    by_rate, by_cost = sweep_of(sweep(times)), sweep_of(sweep(times, generation_task(objectives=j_per_token)))
    assert [s.efficiency.mean for s in by_cost.sizes] == pytest.approx([s.efficiency.mean for s in by_rate.sizes])
    assert (by_cost.best.size, by_cost.unit) == (2, "token")


def test_the_parameter_is_the_one_that_varies():
    assert swept(generation_task()) == "batch_size"
    width = {"width": {"type": "int", "low": 1, "high": 8, "default": 1}}
    other = {**width, "pool": {"type": "choice", "values": [True, False], "default": True}}
    assert swept(generation_task(parameters=other)) == "width"
    two = {**width, "depth": {"type": "int", "low": 1, "high": 8, "default": 1}}
    assert swept(generation_task(parameters=two)) is None
    assert swept(generation_task(parameters={"batch_size": {"type": "fixed", "value": 1}})) is None
    assert sweep_of(RunBuilder(generation_task(parameters=two))) is None


def test_only_configurations_that_differ_in_nothing_else_are_on_the_sweep():
    parameters = {
        "batch_size": {"type": "int", "low": 1, "high": 64, "default": 1},
        "layers": {"type": "int", "low": 1, "high": 8, "default": 2},
    }
    run = sweep({1: 1.0, 2: 1.5}, generation_task(parameters=parameters))
    add(run, {"batch_size": 4, "layers": 8}, steps(0.1))
    assert [s.size for s in sweep_of(run).sizes] == [1, 2]


def test_nothing_usable_has_an_answer_and_no_figure():
    run = RunBuilder(generation_task())
    assert section_of(run).answer
    out_of_memory(run, {"batch_size": 1}, 9 * GIB, 8 * GIB)
    limit = sweep_of(run).memory_limit
    assert (limit.largest_completed, limit.smallest_oom, limit.limit_bytes) == (None, 1, 8 * GIB)
    assert section_of(run).plots == ()
    task = generation_task(constraints={"request_p95_s": {"phase": "request", "quantile": 0.95, "at_most": 0.1}})
    shut = sweep({1: 1.0}, task)
    assert (sweep_of(shut).best, sweep_of(shut).peak.size) == (None, 1)
    assert section_of(shut).answer != section_of(RunBuilder(generation_task())).answer


def test_the_answer_and_the_files(tmp_path):
    task = generation_task(analyses=["batch"])
    run = batch_run(task, sizes=(1, 32, 128, 384), measured=True)
    written = write_report(run.write(tmp_path / "run"))
    result = sweep_of(run)
    assert written.headline == section_of(run).answer
    assert result.kind == "measured"
    assert result.best.memory_share == pytest.approx(0.625)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "batch.csv").read_text())))
    assert [row["batch_size"] for row in rows] == ["1", "32", "128", "384"]
    assert float(rows[2]["tokens_per_j_gross"]) == significant(result.best.efficiency.mean)
    assert [row["best"] for row in rows] == ["false", "false", "true", "false"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f'id="chart-batch-{name}"' in page for name in ("efficiency", "latency", "memory"))
    table = section_of(run).tables[0]
    assert table.rows[-1][1].text == "out of memory"
    assert table.columns[1].details == ("n = 5 windows within a run, measured",)


def test_the_best_size_its_neighbours_and_what_it_is_compared_with_are_confirmed():
    read = batch_run(sizes=(1, 8, 32, 128, 384, 500)).read()
    study = BatchStudy()
    result = study.analyse(read)
    assert (result.best.size, result.smallest.size) == (128, 1)
    confirmed = {p["batch_size"] for p in study.confirms(result, read)}
    assert confirmed == {1, 32, 128, 384} | ({result.default.size} if result.default else set())
    rising = batch_run(sizes=(1, 4, 16)).read()
    assert {p["batch_size"] for p in study.confirms(study.analyse(rising), rising)} == {1, 4, 16}
