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
from joulebench.studies.generation.section import answer, generation_section, sentences
from tests.generation_runs import GIB, NEW, PROMPT, STEPS, add, batch_run, generation_task, out_of_memory
from tests.run_factory import RunBuilder

WATTS = 80.0


def found_in(run: RunBuilder):
    return generation(run.read())


def one(**fields):
    """A single trial at batch 2: prefill 0.1 s, decode 0.4 s and a request 0.5 s a step."""
    run = RunBuilder(generation_task(), **fields.pop("builder", {}))
    add(run, {"batch_size": 2}, **{"wobble": 0.0, **fields})
    return run


def test_joules_per_token_of_each_phase():
    point = found_in(one()).points[0]
    gross = {name: part.gross.mean for name, part in point.parts.items()}
    assert gross[PREFILL] == pytest.approx(WATTS * 0.1 / (2 * PROMPT))
    assert gross[DECODE] == pytest.approx(WATTS * 0.4 / (2 * (NEW - 1)))
    assert gross[REQUEST] == pytest.approx(WATTS * 0.5 / (2 * NEW))
    assert point.parts[REQUEST].units_per_j.mean == pytest.approx(2 * NEW / 40)
    assert [part.unit for part in point.parts.values()] == ["token", "prompt_token", "token"]
    assert {part.net for part in point.parts.values()} == {None}
    assert {part.kind for part in point.parts.values()} == {"estimated"}


def test_net_is_gross_less_idle_where_idle_is_known():
    point = found_in(one(idle=True)).points[0]
    assert point.parts[DECODE].net.mean == pytest.approx((WATTS - 30) * 0.4 / (2 * (NEW - 1)))


def test_latencies_are_of_steps():
    run = one(jitter=0.1)
    point = found_in(run).points[0]
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
    spoilt = tuple(w.model_copy(update={"fault": "overlap"}) if w.phase == "decode" else w for w in trial.windows)
    run.trials[0] = trial.model_copy(update={"windows": spoilt})
    point = found_in(run).points[0]
    assert DECODE not in point.parts
    assert point.per_token_s(lambda p: p.step_quantile(0.5)) is None
    assert (point.closure, point.closes, point.share(DECODE)) == (None, None, None)
    assert point.share(PREFILL).mean == pytest.approx(0.2)


def test_prefill_and_decode_add_up_to_the_request():
    point = found_in(one(wobble=0.01)).points[0]
    assert point.share(PREFILL).mean == pytest.approx(0.2)
    assert point.share(DECODE).mean == pytest.approx(0.8)
    assert point.closure.mean == pytest.approx(1.0)
    assert point.closure.low < 1 < point.closure.high
    assert point.closes
    lossy = found_in(one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5}, wobble=0.01)).points[0]
    assert lossy.closure.mean == pytest.approx(0.8)
    assert lossy.closes is False


def test_parts_whose_intervals_reach_zero_are_not_said_to_add_up_or_not():
    point = found_in(one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5}, wobble=1.9)).points[0]
    assert (point.closure.mean, point.closure.low) == (pytest.approx(0.8), None)
    assert point.closes is None
    text = sentences(found_in(one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5}, wobble=1.9)))
    assert any("too wide to say more" in s for s in text)


def test_phases_that_count_different_domains_are_not_compared():
    run = one()
    (trial,) = run.trials

    def without_ram(window):
        return window.model_copy(update={"readings": window.readings[:1]}) if window.phase == "decode" else window

    run.trials[0] = trial.model_copy(update={"windows": tuple(map(without_ram, trial.windows))})
    point = found_in(run).points[0]
    assert (point.share(DECODE), point.closure) == (None, None)
    assert point.share(PREFILL) is not None


def test_flops_per_joule_are_those_of_the_phase():
    run = one()
    costs = Costs(phase_flops={"decode": 3e9, "prefill": 2e9})
    run.trials[0] = run.trials[0].model_copy(update={"costs": costs})
    point = found_in(run).points[0]
    assert point.parts[DECODE].flops_per_j.mean == pytest.approx(3e9 / (WATTS * 0.4 / (2 * (NEW - 1))))
    assert point.parts[REQUEST].flops_per_j is None


def test_runs_of_one_configuration_are_merged_and_their_spread_is_between_runs():
    run = one()
    add(run, {"batch_size": 2}, {"prefill": 0.1, "decode": 0.4, "request": 0.6}, wobble=0.0)
    (point,) = found_in(run).points
    gross = point.parts[REQUEST].gross
    assert point.trials == (0, 1)
    assert (gross.n, gross.varied) == (2, "runs of the configuration")
    assert gross.mean == pytest.approx(WATTS * 0.55 / (2 * NEW))
    rates = [2 * NEW / (WATTS * seconds) for seconds in (0.5, 0.6)]
    assert point.parts[REQUEST].units_per_j.mean == pytest.approx(sum(rates) / 2)  # as objectives are merged
    assert point.parts[REQUEST].step_quantile(0.95).n == 2


def test_without_a_phase_there_is_nothing_to_say():
    run = RunBuilder(generation_task())
    assert found_in(run) is None
    out_of_memory(run, {"batch_size": 64}, 9 * GIB, 8 * GIB)
    assert found_in(run) is None


def test_configurations_are_in_the_order_of_their_parameters():
    found = found_in(batch_run(sizes=(1, 64, 4)))
    assert found.names == ("batch_size",)
    assert [p.batch for p in found.points] == [1, 4, 64]
    assert found.best.batch == 64
    assert found.lost == {"oom": 2}


def test_sentences():
    found = found_in(batch_run(sizes=(1, 4, 16)))
    text = " ".join(sentences(found))
    assert answer(found).startswith("At batch_size 16, the most efficient of 3 configurations, a request takes ")
    assert "mJ/token" in answer(found)
    assert "of a request's energy prefill 20 % and decode 80 %" in answer(found)
    assert "A token made takes 8.53 times (95 % interval" in text  # 0.8 / 15 over 0.2 / 32
    assert "they account for the request" in text
    assert "Trials without a value are left out: 2 oom." in text
    assert "Net is gross less idle power" in text
    assert answer(found_in(one())).startswith("A request takes 1.25 J/token")
    assert "(estimated, wide interval, 0.8 tokens/J)" in answer(found_in(one(wobble=0.2)))


def test_a_share_that_goes_to_restoring_the_cache_is_flagged_from_one_percent_on():
    low = found_in(one(metrics={"decode_restore_share": 0.004}))
    assert any("takes at most 0.4 % of its time" in s for s in sentences(low))
    high = found_in(one(metrics={"decode_restore_share": 0.03}))
    assert any("takes more than 1 % of its time (3 %)" in s for s in sentences(high))
    (flag,) = (c.flag for t in generation_section(high).tables for r in t.rows for c in r if c.flag)
    assert flag == "decode looks dearer"


def test_parts_that_do_not_add_up_are_said():
    found = found_in(one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5}))
    assert any("They do not account for it: the machine" in s for s in sentences(found))
    several = one(step_s={"prefill": 0.1, "decode": 0.3, "request": 0.5})
    add(several, {"batch_size": 4}, {"prefill": 0.1, "decode": 0.2, "request": 0.5})
    assert any("for it at batch_size 2, 4: the machine" in s for s in sentences(found_in(several)))
    cells = [c for t in generation_section(found).tables for r in t.rows for c in r]
    assert any(c.flag == "does not add up" and c.text == "80 %" for c in cells)


def test_the_report_has_the_section_and_its_files(tmp_path):
    run = batch_run(sizes=(1, 4, 16))
    folder = run.write(tmp_path / "run")
    written = write_report(folder)
    assert written.headline == answer(found_in(run))
    text = (tmp_path / "run" / "report.md").read_text()
    assert "## Generation: prefill and decode" in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "generation.csv").read_text())))
    point = found_in(run).points[0]
    assert [row["batch_size"] for row in rows] == ["1", "4", "16"]
    assert float(rows[0]["decode_j_per_token_gross"]) == significant(point.parts[DECODE].gross.mean)
    assert rows[0]["request_kind"] == "estimated"
    assert (tmp_path / "run" / "generation.png").stat().st_size > 0


def test_a_configuration_alone_has_tables_and_no_figure():
    section = generation_section(found_in(one()))
    assert section.plots == ()
    assert len(section.tables) == 3
    empty = Generation(one().read(), ())
    assert answer(empty) == "No configuration has a valid window of a whole request or of decode."
