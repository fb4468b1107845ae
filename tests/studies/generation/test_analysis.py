"""Prefill, decode and whole requests: numbers recomputed from records made by hand, and the report on them."""

from __future__ import annotations

import csv
import io

import pytest

from joulebench.presentation.numbers import significant
from joulebench.records.model import Costs
from joulebench.reporting import write_report
from joulebench.results.latency import STEPS as WITHIN
from joulebench.stats.quantiles import quantile_of
from joulebench.studies.generation.analysis import DECODE, PREFILL, REQUEST, Generation, generation
from joulebench.studies.generation.section import GenerationStudy
from tests.factories import fault
from tests.generation_runs import GIB, NEW, PROMPT, STEPS, add, batch_run, generation_task, out_of_memory
from tests.run_factory import RunBuilder

WATTS = 80.0


def generation_of(run: RunBuilder):
    return generation(run.read())


def section_of(run: RunBuilder):
    read = run.read()
    return GenerationStudy().section(generation(read), read)


def flags(run: RunBuilder) -> list[str]:
    return [c.flag for t in section_of(run).tables for r in t.rows for c in r if c.flag]


def one(**fields):
    """A single trial at batch 2: prefill 0.1 s, decode 0.4 s and a request 0.5 s a step."""
    run = RunBuilder(generation_task(), **fields.pop("builder", {}))
    add(run, {"batch_size": 2}, **{"wobble": 0.0, **fields})
    return run


def test_joules_per_token_of_each_phase():
    point = generation_of(one()).points[0]
    gross = {name: part.gross.mean for name, part in point.parts.items()}
    assert gross[PREFILL] == pytest.approx(WATTS * 0.1 / (2 * PROMPT))
    assert gross[DECODE] == pytest.approx(WATTS * 0.4 / (2 * (NEW - 1)))
    assert gross[REQUEST] == pytest.approx(WATTS * 0.5 / (2 * NEW))
    assert point.parts[REQUEST].units_per_j.mean == pytest.approx(2 * NEW / 40)
    assert [part.unit for part in point.parts.values()] == ["token", "prompt_token", "token"]
    assert {part.net for part in point.parts.values()} == {None}
    assert {part.kind for part in point.parts.values()} == {"estimated"}


def test_net_is_gross_less_idle_where_idle_is_known():
    point = generation_of(one(idle=True)).points[0]
    assert point.parts[DECODE].net.mean == pytest.approx((WATTS - 30) * 0.4 / (2 * (NEW - 1)))


def test_latencies_are_of_steps():
    run = one(jitter=0.1)
    point = generation_of(run).points[0]
    steps = [s for w in run.trials[0].windows if w.phase == "prefill" for s in w.step_s]
    assert len(steps) == 5 * STEPS
    assert point.parts[PREFILL].step_quantile(0.95) == quantile_of(steps, 0.95, WITHIN)
    assert point.parts[PREFILL].step_mean.mean == pytest.approx(sum(steps) / len(steps))
    decode = [s for w in run.trials[0].windows if w.phase == "decode" for s in w.step_s]
    each = point.per_token_s(lambda p: p.step_quantile(0.5))
    assert each.mean == pytest.approx(quantile_of(decode, 0.5, WITHIN).mean / (NEW - 1))
    assert point.requests_per_s.mean == pytest.approx(2 / point.parts[REQUEST].step_mean.mean)


def test_windows_that_do_not_count_give_no_latency():
    run = one()
    (trial,) = run.trials
    overlap = {"fault": fault("overlap")}
    spoilt = tuple(w.model_copy(update=overlap) if w.phase == "decode" else w for w in trial.windows)
    run.trials[0] = trial.model_copy(update={"windows": spoilt})
    point = generation_of(run).points[0]
    assert DECODE not in point.parts
    assert point.per_token_s(lambda p: p.step_quantile(0.5)) is None
    assert (point.closure, point.closes, point.share(DECODE)) == (None, None, None)
    assert point.share(PREFILL).mean == pytest.approx(0.2)


def test_prefill_and_decode_add_up_to_the_request():
    point = generation_of(one(wobble=0.01)).points[0]
    assert point.share(PREFILL).mean == pytest.approx(0.2)
    assert point.share(DECODE).mean == pytest.approx(0.8)
    assert point.closure.mean == pytest.approx(1.0)
    assert point.closure.low < 1 < point.closure.high
    assert point.closes
    lossy = generation_of(one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5}, wobble=0.01)).points[0]
    assert lossy.closure.mean == pytest.approx(0.8)
    assert lossy.closes is False


def test_parts_whose_intervals_reach_zero_are_not_judged():
    point = generation_of(one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5}, wobble=1.9)).points[0]
    assert (point.closure.mean, point.closure.low) == (pytest.approx(0.8), None)
    assert point.closes is None


def test_phases_that_count_different_domains_are_not_compared():
    run = one()
    (trial,) = run.trials

    def without_ram(window):
        return window.model_copy(update={"readings": window.readings[:1]}) if window.phase == "decode" else window

    run.trials[0] = trial.model_copy(update={"windows": tuple(map(without_ram, trial.windows))})
    point = generation_of(run).points[0]
    assert (point.share(DECODE), point.closure) == (None, None)
    assert point.share(PREFILL) is not None


def test_flops_per_joule_are_those_of_the_phase():
    run = one()
    costs = Costs(phase_flops={"decode": 3e9, "prefill": 2e9})
    run.trials[0] = run.trials[0].model_copy(update={"costs": costs})
    point = generation_of(run).points[0]
    assert point.parts[DECODE].flops_per_j.mean == pytest.approx(3e9 / (WATTS * 0.4 / (2 * (NEW - 1))))
    assert point.parts[REQUEST].flops_per_j is None


def test_runs_of_one_configuration_are_merged_and_their_spread_is_between_runs():
    run = one()
    add(run, {"batch_size": 2}, {"prefill": 0.1, "decode": 0.4, "request": 0.6}, wobble=0.0)
    (point,) = generation_of(run).points
    gross = point.parts[REQUEST].gross
    assert point.trials == (0, 1)
    assert (gross.n, gross.varied) == (2, "runs of the configuration")
    assert gross.mean == pytest.approx(WATTS * 0.55 / (2 * NEW))
    rates = [2 * NEW / (WATTS * seconds) for seconds in (0.5, 0.6)]
    assert point.parts[REQUEST].units_per_j.mean == pytest.approx(sum(rates) / 2)  # as objectives are merged
    assert point.parts[REQUEST].step_quantile(0.95).n == 2


def test_without_a_phase_there_is_no_result():
    run = RunBuilder(generation_task())
    assert generation_of(run) is None
    out_of_memory(run, {"batch_size": 64}, 9 * GIB, 8 * GIB)
    assert generation_of(run) is None


def test_configurations_are_in_the_order_of_their_parameters():
    result = generation_of(batch_run(sizes=(1, 64, 4)))
    assert result.names == ("batch_size",)
    assert [p.batch for p in result.points] == [1, 4, 64]
    assert result.best.batch == 64
    assert result.left_out == {"oom": 2}


def test_the_answer_is_about_the_most_efficient_configuration():
    run = batch_run(sizes=(1, 4, 16))
    best = generation_of(run).best
    assert best.batch == 16
    assert (best.share(PREFILL).mean, best.share(DECODE).mean) == pytest.approx((0.2, 0.8))
    decode, prefill = best.parts[DECODE], best.parts[PREFILL]
    assert decode.gross.mean / prefill.gross.mean == pytest.approx((0.8 / 15) / (0.2 / 32), rel=1e-3)
    assert all(p.closes for p in generation_of(run).points)
    assert "batch_size 16" in section_of(run).answer
    assert "1.25 J/token" in section_of(one()).answer
    assert "wide interval" not in section_of(one()).answer
    assert "wide interval" in section_of(one(wobble=0.2)).answer


@pytest.mark.parametrize(("share", "flagged"), [(0.004, []), (0.03, ["inflates decode"])])
def test_a_share_that_goes_to_restoring_the_cache_is_flagged_from_one_percent_on(share, flagged):
    run = one(metrics={"decode_restore_share": share})
    assert generation_of(run).points[0].restore_share == share
    assert flags(run) == flagged


def test_parts_that_do_not_add_up_are_flagged():
    several = one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5})
    add(several, {"batch_size": 4}, {"prefill": 0.1, "decode": 0.2, "request": 0.5})
    assert [p.closes for p in generation_of(several).points] == [False, False]
    assert any("batch_size 2, 4:" in s for s in section_of(several).sentences)
    cells = [c for t in section_of(several).tables for r in t.rows for c in r]
    assert [c.text for c in cells if c.flag == "does not add up"] == ["80 %", "60 %"]


def test_the_report_has_the_section_and_its_files(tmp_path):
    run = batch_run(sizes=(1, 4, 16))
    folder = run.write(tmp_path / "run")
    written = write_report(folder)
    assert written.headline == section_of(run).answer
    text = (tmp_path / "run" / "report.md").read_text()
    assert "## Generation: prefill and decode" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "generation.csv").read_text())))
    point = generation_of(run).points[0]
    assert [row["batch_size"] for row in rows] == ["1", "4", "16"]
    assert float(rows[0]["decode_j_per_token_gross"]) == significant(point.parts[DECODE].gross.mean)
    assert rows[0]["request_kind"] == "estimated"
    assert (tmp_path / "run" / "generation.png").stat().st_size > 0


def test_a_configuration_alone_has_tables_and_no_figure():
    section = section_of(one())
    assert section.plots == ()
    assert len(section.tables) == 3
    run = one().read()
    assert Generation(run, ()).best is None
    assert GenerationStudy().section(Generation(run, ()), run).tables == ()
