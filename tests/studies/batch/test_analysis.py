"""A sweep of batch sizes: the optimum, its neighbours, the wall and the worth, recomputed by hand."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest

from joulebench.presentation.numbers import significant
from joulebench.reporting import write_report
from joulebench.stats.estimate import point
from joulebench.stats.intervals import ratio
from joulebench.studies.batch.analysis import batch, swept, told_apart
from joulebench.studies.batch.section import answer, batch_section, sentences, worth
from tests.generation_runs import ENERGY, GIB, NEW, add, batch_run, generation_task, out_of_memory, request_s
from tests.run_factory import RunBuilder

WATTS = 80.0


def found_in(run: RunBuilder):
    return batch(run.read())


def section_of(run: RunBuilder):
    return batch_section(found_in(run))


def told(run: RunBuilder) -> str:
    found = found_in(run)
    return " ".join(sentences(found, worth(found)))


def steps(seconds: float) -> dict[str, float]:
    return {"prefill": 0.2 * seconds, "decode": 0.8 * seconds, "request": seconds}


def sweep(times: dict[int, float], task=None, **more) -> RunBuilder:
    """A run over batch sizes with these seconds a request."""
    run = RunBuilder(task or generation_task())
    for size, seconds in times.items():
        add(run, {"batch_size": size}, steps(seconds), **more)
    return run


def test_the_optimum_and_what_it_gains():
    found = found_in(batch_run())
    assert (found.parameter, found.objective, found.unit, found.phase) == (
        "batch_size", "tokens_per_j", "token", "request",
    )  # fmt: skip
    assert [s.size for s in found.sizes] == [1, 4, 16, 64, 256]
    for size in found.sizes:
        expected = NEW * size.size / (WATTS * size.cost.unit_s.mean * NEW * size.size)
        assert size.efficiency.mean == pytest.approx(expected, rel=1e-3)
    assert found.best.size == found.peak.size == 256
    assert found.shape == "rising"
    assert found.gain.mean == pytest.approx(256 * request_s(1) / request_s(256), rel=1e-3)
    assert found.gain == ratio(found.best.efficiency, found.smallest.efficiency)


def test_an_optimum_inside_the_sweep():
    run = batch_run(sizes=(1, 32, 128, 384))
    found = found_in(run)
    assert (found.best.size, found.shape, found.ties) == (128, "interior", ())
    text = told(run)
    assert "The optimum lies inside the sweep" in text
    assert "Every other size is told apart from batch_size 128." in text


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
    assert found_in(sweep(times)).shape == shape


def test_the_edge_is_said_with_its_reason():
    run = sweep({1: 1.0, 2: 1.5, 4: 2.0})
    assert "still rises at the edge: batch_size 4 is the largest that has a value (the task allows 4 096)" in told(
        run
    )
    out_of_memory(run, {"batch_size": 8}, 9 * GIB, 8 * GIB)
    assert "the largest that has a value (8 ran out of memory)" in told(run)
    assert "falls from the smallest size on" in told(sweep({1: 1.0, 2: 3.0, 4: 9.0}))
    assert "levels off" in told(sweep({1: 1.0, 2: 2.0, 4: 4.001}))
    assert "Only batch_size 8 has a value" in told(sweep({8: 1.0}))


def test_sizes_that_are_no_different_are_listed():
    run = sweep({1: 1.0, 2: 1.0, 4: 2.0, 8: 3.99, 16: 16.0})
    found = found_in(run)
    assert found.best.size == 8
    assert [s.size for s in found.ties] == [2, 4]
    assert "Not told apart from batch_size 8: 2, 4." in told(run)
    assert (
        "(gross, estimated; 2, 4 not told apart from it), 2.01 times that of batch_size 1" in section_of(run).answer
    )


def test_sizes_closer_than_runs_of_one_configuration_are_not_told_apart():
    """Windows say ± 0.05 %, runs of the default 3 %: the repeatability limit decides."""
    run = sweep({1: 1.0, 2: 1.0, 4: 1.9}, wobble=0.0005)
    before = found_in(run)
    assert before.ties == ()
    add(run, {"batch_size": 1}, steps(1.06), wobble=0.0005)
    found = found_in(run)
    assert found.rsd == pytest.approx(0.0412, abs=2e-4)  # 1 and 1/1.06
    assert [s.size for s in found.ties] == [2]
    two, four = (s for s in found.sizes if s.size > 1)
    assert abs(math.log(four.efficiency.mean / two.efficiency.mean)) < 1.96 * found.rsd * math.sqrt(2)
    assert told_apart(four, two, None)
    assert not told_apart(four, two, found.rsd)


def test_a_size_without_an_interval_is_not_told_apart():
    run = sweep({1: 1.0, 2: 1.5})
    a, b = found_in(run).sizes
    assert not told_apart(a, replace(b, efficiency=point(99.0)), None)


def test_the_knee_is_the_smallest_size_within_five_percent():
    run = sweep({1: 1.0, 8: 4.2, 16: 7.8, 32: 15.5, 64: 40.0}, memory=GIB)
    found = found_in(run)
    assert (found.best.size, found.knee.size) == (32, 16)
    assert "batch_size 16 is the smallest within 5 % of the best: 99.4 % of its efficiency" in told(run)
    assert "p95 7.8 s against 15.5 s" in told(run)


def test_memory_and_the_wall():
    run = batch_run()
    found = found_in(run)
    assert found.best.memory_share == pytest.approx(1.0)
    wall = found.wall
    assert (wall.largest_ok, wall.smallest_oom) == (256, 512)
    assert (wall.need_bytes, wall.limit_bytes) == (14 * GIB, 8 * GIB)
    expected = (
        "Memory of 8 GiB ends between batch_size 256, the largest that completed, and 512, the smallest that ran "
        "out, which needs at least 14 GiB."
    )
    assert expected in told(run)
    assert found_in(sweep({1: 1.0})).wall is None


def test_a_constraint_moves_the_best_from_the_peak():
    task = generation_task(constraints={"request_p95_s": {"phase": "request", "quantile": 0.95, "at_most": 3.0}})
    run = sweep({1: 1.0, 2: 1.5, 4: 2.5, 8: 4.0}, task)
    found = found_in(run)
    assert (found.best.size, found.peak.size) == (4, 8)
    assert answer(found, worth(found)).startswith(
        "batch_size 4 is the most efficient of 4 within the constraints: "
    )
    assert "batch_size 8 is 25 % more efficient and breaks a constraint of the task." in told(run)
    rows = {row[0].text: row[0].flag for row in section_of(run).tables[0].rows}
    assert rows == {"1": "", "2": "", "4": "", "8": "breaks a constraint"}


def test_break_even_against_the_default_and_against_the_smallest():
    task = generation_task(
        parameters={"batch_size": {"type": "int", "low": 1, "high": 64, "default": 2}},
        stopping={"inferences": 1e6},
    )
    run = sweep({1: 1.0, 2: 1.5, 8: 4.0}, task, wobble=0.001)
    found = found_in(run)
    ledger = found.run.ledger
    paid = worth(found)
    j = {1: 80 * 1.0 / NEW, 2: 80 * 1.5 / (2 * NEW), 8: 80 * 4.0 / (8 * NEW)}
    default, smallest = paid.against_default, paid.against_smallest
    assert default.search_j == pytest.approx(ledger.total_j)
    assert default.units == pytest.approx(ledger.total_j / (j[2] - j[8]))
    assert smallest.units == pytest.approx(ledger.total_j / (j[1] - j[8]))
    assert default.net.mean == pytest.approx(1e6 * (j[2] - j[8]) - ledger.total_j)
    assert default.net.low == pytest.approx(1e6 * default.saving.low - ledger.total_j)
    text = told(run)
    assert "Against the default, batch_size 2, the run (" in text
    assert "Against batch_size 1, it does so after" in text
    assert "At the stated volume of 1 000 000 tokens the best saves 1.25 MJ" in text
    assert "a net saving of" in text


def test_a_volume_too_small_is_a_net_loss_and_none_stated_says_nothing():
    small = sweep({1: 1.0, 8: 4.0}, generation_task(stopping={"inferences": 10}))
    assert "a net loss of" in told(small)
    assert "stated volume" not in told(sweep({1: 1.0, 8: 4.0}))
    best = sweep({1: 1.0, 8: 40.0}, generation_task(stopping={"inferences": 10}))
    assert "the search then saves nothing: its" in told(best)
    assert "there is no break-even: the default configuration is itself the most efficient" in told(best)


def test_an_objective_in_joules_per_token_gives_the_same_sweep():
    j_per_token = {"j_per_token": {"goal": "minimize", **ENERGY}}
    times = {1: 1.0, 2: 1.5, 4: 4.0}
    by_rate, by_cost = found_in(sweep(times)), found_in(sweep(times, generation_task(objectives=j_per_token)))
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
    assert found_in(RunBuilder(generation_task(parameters=two))) is None


def test_only_configurations_that_differ_in_nothing_else_are_on_the_sweep():
    parameters = {
        "batch_size": {"type": "int", "low": 1, "high": 64, "default": 1},
        "layers": {"type": "int", "low": 1, "high": 8, "default": 2},
    }
    run = sweep({1: 1.0, 2: 1.5}, generation_task(parameters=parameters))
    add(run, {"batch_size": 4, "layers": 8}, steps(0.1))
    assert [s.size for s in found_in(run).sizes] == [1, 2]


def test_nothing_usable_is_said():
    run = RunBuilder(generation_task())
    assert section_of(run).answer.startswith("No batch_size has a value")
    out_of_memory(run, {"batch_size": 1}, 9 * GIB, 8 * GIB)
    assert "The smallest tried, batch_size 1, ran out of memory of 8 GiB" in told(run)
    assert section_of(run).plots == ()
    task = generation_task(constraints={"request_p95_s": {"phase": "request", "quantile": 0.95, "at_most": 0.1}})
    shut = sweep({1: 1.0}, task)
    assert section_of(shut).answer == "Every batch_size measured breaks a constraint."


def test_the_answer_and_the_files(tmp_path):
    task = generation_task(analyses=["batch"])
    run = batch_run(task, sizes=(1, 32, 128, 384), measured=True)
    written = write_report(run.write(tmp_path / "run"))
    found = found_in(run)
    assert written.headline.startswith("batch_size 128 is the most efficient of 4: ")
    assert "(gross, measured)" in written.headline
    assert f"{found.gain.mean:.1f} times that of batch_size 1 (95 % interval" in written.headline
    assert "of memory (62.5 % of the limit)" in written.headline
    assert "the run pays for itself after" in written.headline
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "batch.csv").read_text())))
    assert [row["batch_size"] for row in rows] == ["1", "32", "128", "384"]
    assert float(rows[2]["tokens_per_j_gross"]) == significant(found.best.efficiency.mean)
    assert [row["best"] for row in rows] == ["false", "false", "true", "false"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f'id="chart-batch-{name}"' in page for name in ("efficiency", "latency", "memory"))
    table = section_of(run).tables[0]
    assert table.rows[-1][1].text == "out of memory"
    assert table.columns[1].details == ("n = 5 windows within a run, measured",)
