"""Constraints, latencies, memory and stopping rules as a report states them."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from joulebench.presentation.numbers import interval, sample_size, significant
from joulebench.presentation.units import bound, objective_unit, scaled
from joulebench.records.model import Costs
from joulebench.reporting.efficiency import efficiencies
from joulebench.reporting.export_csv import frontier_csv
from joulebench.reporting.findings import findings
from joulebench.reporting.frontier_plot import frontier_plots
from joulebench.reporting.prose import banners, counting_note
from joulebench.reporting.render import render_markdown
from joulebench.reporting.summary import Summary
from joulebench.reporting.tables import facts, failures_table, frontier_table
from joulebench.stats.estimate import Estimate
from tests.generation_runs import ENERGY, GIB, TOKENS_PER_J, add, batch_run, generation_task, out_of_memory
from tests.run_factory import RunBuilder, full_run, make_task

P95 = {"phase": "request", "quantile": 0.95}
LIMITS = {
    "request_p95_s": {**P95, "at_most": 3.0},
    "peak_memory_bytes": {"at_most": 5 * GIB},
    "small": "batch_size <= 2000",
}


def summary_of(run: RunBuilder, **manifest: Any) -> Summary:
    return Summary(run.read(**manifest))


def finding(summary: Summary, code: str) -> str:
    return next(f.text for f in findings(summary) if f.code == code)


def constrained() -> Summary:
    task = generation_task(analyses=["frontier"], constraints=LIMITS)
    return summary_of(batch_run(task, sizes=(1, 32, 128, 256)))


def test_the_facts_hold_every_constraint() -> None:
    parameters = {
        "width": {"type": "int", "low": 1, "high": 9, "default": 2},
        "kernel": {"type": "int", "low": 1, "high": 9, "default": 3, "only_if": "width > 1"},
    }
    task = make_task(parameters=parameters, constraints={"val_accuracy": {"at_least": 0.5}, "c": "width <= 8"})
    found = dict(facts(summary_of(RunBuilder(task))))
    assert found["Constraints"] == "val_accuracy ≥ 0.5"
    assert found["Constraints on parameters"] == "width <= 8"
    assert found["Parameters that depend on others"] == "kernel only if width > 1"
    found = dict(facts(constrained()))
    assert found["Constraints"] == "request_p95_s ≤ 3 s (p95 of request steps); peak_memory_bytes ≤ 5 GiB"
    assert found["Configurations"] == "4 with a value for every objective, 3 of them within every constraint"


def test_a_configuration_that_breaks_a_constraint_is_counted_and_named() -> None:
    summary = constrained()
    assert summary.broken == {"request_p95_s": 1, "peak_memory_bytes": 1}
    text = finding(summary, "constraints")
    assert text.startswith("Of 4, 1 configuration completes but breaks request_p95_s ≤ 3 s, 1 ")
    assert [m.params["batch_size"] for m in summary.members] == [128]
    assert [p.breaks for p in summary.points if p.outcomes] == [(), (), (), ("request_p95_s", "peak_memory_bytes")]
    breaks = [line for s in frontier_plots(summary)[0].series for h in s.hover for line in h if line[0] == "breaks"]
    assert breaks == [("breaks", "request_p95_s ≤ 3 s"), ("breaks", "peak_memory_bytes ≤ 5 GiB")]


def test_where_none_keeps_the_constraints_that_is_the_headline() -> None:
    task = generation_task(analyses=["frontier"], constraints={"request_p95_s": {**P95, "at_most": 0.1}})
    summary = summary_of(batch_run(task, sizes=(1, 4)))
    assert summary.headline.startswith("No configuration of 4 trials keeps every constraint")
    codes = {finding.code for finding in findings(summary)}
    assert "none_feasible" in codes
    assert not codes & {"below_reference", "hypervolume_zero"}


def test_constrained_quantities_have_columns() -> None:
    summary = constrained()
    table = frontier_table(summary)
    titles = [c.title for c in table.columns]
    column = titles.index("request_p95_s ≤ 3 s")
    assert table.rows[0][column].text.endswith(" s")
    assert "Peak memory ≤ 5 GiB" in titles
    (row,) = csv.DictReader(io.StringIO(frontier_csv(summary)))
    member = summary.members[0]
    assert float(row["request_p95_s"]) == significant(member.constraints["request_p95_s"].value.mean)
    assert float(row["request_p95_s_low"]) == significant(member.constraints["request_p95_s"].value.low)
    assert int(row["peak_memory_bytes"]) == member.costs.peak_memory_bytes


LATENCY = {"request_p95_s": {**P95, "goal": "minimize", "reference": 10.0}}


def test_a_latency_objective_is_in_seconds_everywhere() -> None:
    task = generation_task(analyses=["frontier"], objectives={**LATENCY, **TOKENS_PER_J})
    summary = summary_of(batch_run(task))
    (plot,) = frontier_plots(summary)
    assert plot.x.title == "request energy, tokens/J"
    assert (plot.y.title, plot.y.detail) == ("request latency, s", "p95 of steps; lower is better")
    assert plot.y.log
    assert ", request_p95_s 0.523…5.26 s;" in summary.headline
    column = [c.title for c in frontier_table(summary).columns].index("request_p95_s ↓")
    assert frontier_table(summary).rows[0][column].text == "522.7 ms"
    assert "request_p95_s 522.7 ms" not in render_markdown(summary).split("## Findings")[1]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("p95_s", 0.0123, (1e-3, "ms")), ("p95_s", 5000.0, (1.0, "s")), ("peak_memory_bytes", 3e9, (2.0**30, "GiB"))],
)
def test_prefixes(name: str, value: float, words: tuple[float, str]) -> None:
    task = generation_task(constraints={"p95_s": {**P95, "at_most": 1.0}, "peak_memory_bytes": {"at_most": 1.0}})
    quantity = task.outcome_constraints[name]
    assert scaled(name, value, quantity) == words
    assert objective_unit(name, quantity) == words[1][-1]


def test_a_bound_in_words() -> None:
    task = generation_task(
        constraints={"p95_s": {**P95, "at_most": 0.25}, "tokens_per_j": {**ENERGY, "at_least": 2.0}}
    )
    found = [bound(n, c) for n, c in task.outcome_constraints.items()]
    assert found == ["≤ 250 ms", "≥ 2 tokens/J"]


def test_a_metric_with_a_standard_error_has_its_interval() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, sems={"val_accuracy": 0.01})
    summary = summary_of(run)
    value = summary.members[0].outcomes["val_accuracy"].value
    assert (value.low, value.high) == pytest.approx((0.9 - 0.0196, 0.9 + 0.0196), abs=1e-5)
    assert interval(value) == "[0.8804, 0.9196]"
    assert sample_size(value) == "as its source states"
    assert "0.9 (\\[0.8804, 0.9196\\], as its source states)" in render_markdown(summary)
    assert interval(Estimate(0.9, 1, None, None, None, "single run")) is None


# -- failures ----------------------------------------------------------------------------------------------------


def test_trials_out_of_memory_are_one_group_with_what_they_need() -> None:
    run = batch_run()
    run.fail({"batch_size": 3}, "infeasible", "flash_attention_2 runs on CUDA only")
    summary = summary_of(run)
    oom, infeasible = summary.failures
    assert (oom.trials, oom.need_low, oom.need_high, oom.limit_bytes) == ((5, 6), 14 * GIB, 26 * GIB, 8 * GIB)
    assert (infeasible.status, infeasible.need_low) == ("infeasible", None)
    cells = [[c.text for c in row] for row in failures_table(summary).rows]
    assert cells[0][:4] == ["oom", "2", "14 GiB … 26 GiB", "8 GiB"]
    assert cells[1][:4] == ["infeasible", "1", "—", "—"]
    text = finding(summary, "failing_trials")
    assert text.startswith("3 of 8 trials gave no value (2 oom, 1 infeasible).")
    assert "a configuration that does not exist" in text
    assert finding(summary, "out_of_memory") == (
        "2 of 8 trials ran out of memory. The least of them needs at least 14 GiB where a trial had 8 GiB. The "
        "most that a completed trial held is 8 GiB (100 % of it). The largest batch_size that completed is 256; "
        "the smallest that ran out is 512."
    )


def test_without_bytes_the_table_has_no_columns_for_them() -> None:
    summary = summary_of(full_run())
    assert [c.title for c in failures_table(summary).columns] == ["Status", "Trials", "Reason", "Which"]
    assert finding(summary, "out_of_memory").startswith("2 of 14 trials ran out of memory. The most that")


def test_a_parameter_that_does_not_decide_about_memory_is_not_named() -> None:
    run = batch_run()
    out_of_memory(run, {"batch_size": 2}, 9 * GIB, 8 * GIB)
    assert "The largest batch_size" not in finding(summary_of(run), "out_of_memory")


# -- against the limit -------------------------------------------------------------------------------------------


def test_achieved_flops_are_the_phases_own() -> None:
    run = RunBuilder(generation_task(analyses=["frontier"]))
    add(run, {"batch_size": 2}, wobble=0.0)
    costs = Costs(phase_flops={"request": 1e9}, parameters=5)
    run.trials[0] = run.trials[0].model_copy(update={"costs": costs})
    peak = {"peak_flops": {"fp32": {"value": 1e12, "source": "made up", "date": "2026-01-01"}}, "title": "Any CPU"}
    summary = summary_of(run, hardware={"name": "generic_cpu", **peak})
    found = list(efficiencies(summary))
    assert [target.phase for _, target, *_ in found] == ["request"]
    assert found[0][3].flops_per_s.mean == pytest.approx(1e9 * 2 * 16 / 0.5)
    titles = [c.title for c in frontier_table(summary).columns]
    assert "FLOPs per token of request" in titles
    assert "MACs" not in titles
    (row,) = csv.DictReader(io.StringIO(frontier_csv(summary)))
    assert float(row["request_flops_per_token"]) == 1e9


def test_counts_without_some_operators_are_marked_as_the_least() -> None:
    run = RunBuilder(make_task())
    for width, units, unknown in ((2, 20, {}), (9, 10, {"aten::_fft_r2c": 2})):
        run.add({"width": width}, units, {"val_accuracy": 0.5 + width / 100})
        costs = run.trials[-1].costs.model_copy(update={"unsupported_ops": unknown})
        run.trials[-1] = run.trials[-1].model_copy(update={"costs": costs})
    summary = summary_of(run)
    table = frontier_table(summary)
    place = [c.title for c in table.columns].index("MACs")
    assert {cell.text for cell in (row[place] for row in table.rows)} == {"20 k", "≥ 10 k"}
    assert "aten::_fft_r2c" in counting_note(summary)


# -- stopping rules ----------------------------------------------------------------------------------------------


def test_a_run_stopped_by_its_own_rule_is_finished_and_says_why() -> None:
    run = RunBuilder(generation_task(stopping={"max_energy_j": 1e6, "inferences": 1000}))
    run.span("start")
    add(run)
    run.span("stopped", note="the energy budget of 1e+06 J: 999 J are spent")
    run.span("end")
    summary = summary_of(run)
    codes = {banner.code for banner in banners(summary)}
    assert "stopped_early" in codes
    assert "unfinished" not in codes
    assert summary.ledger.stopped == "the energy budget of 1e+06 J: 999 J are spent"
    found = dict(facts(summary))
    assert (found["Energy budget"], found["Stated volume"]) == ("1 MJ", "1 000 tokens after the search")


def test_a_stop_in_an_earlier_session_is_no_longer_true() -> None:
    run = RunBuilder(generation_task())
    run.span("stopped", note="a budget")
    run.span("end")
    run.span("start", session=1)
    run.span("end", session=1)
    assert summary_of(run).ledger.stopped == ""
