"""What a report states, recomputed by hand from synthetic records."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from joulebench.records.model import Ending, Reading, ScoreRecord
from joulebench.reporting import tables
from joulebench.reporting.export_json import facts
from joulebench.reporting.findings import findings
from joulebench.reporting.prose import banners, check_sentences, search_price
from joulebench.reporting.repeat import repeat_command
from joulebench.reporting.summary import Summary, summarise
from joulebench.reporting.tables import provenance_table
from joulebench.results.cost import Candidate, break_even, search_cost
from joulebench.results.energy import Energy, total_j
from joulebench.results.findings import Code
from joulebench.results.members import Member
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate, point
from joulebench.stats.intervals import difference
from joulebench.studies.break_even import break_even_text
from tests.run_factory import ENERGY, OBJECTIVES, WATTS, RunBuilder, full_run, make_task


def summary_of(run: RunBuilder, **manifest: Any) -> Summary:
    return Summary(run.read(**manifest))


def codes(summary: Summary) -> list[Code]:
    return [finding.code for finding in findings(summary)]


def _gross(member: Member | None) -> Energy:
    assert member is not None
    (energy,) = member.gross.values()
    return energy


def test_the_ledger_holds_every_joule_and_second(tmp_path: Path) -> None:
    run = full_run()
    summary = summarise(run.write(tmp_path / "run"))
    ledger = summary.ledger
    windows = [w for r in (*run.trials, *run.entries) for w in r.windows]
    assert ledger.total_j == pytest.approx(total_j(windows))
    assert ledger.total_j == pytest.approx(math.fsum(a.energy_j or 0 for a in ledger.accounts))
    assert ledger.total_j == pytest.approx(sum(ledger.by_family.values()))
    assert ledger.total_j == pytest.approx(sum(ledger.group_j(g) or 0 for g in
                                               ("training", "measured", "protocol", "overhead")))  # fmt: skip
    assert ledger.duration_s == pytest.approx(run.now_s)  # windows touch, so their sum is the clock
    accounts = {a.name: a for a in ledger.accounts}
    ok = sum(t.status == "ok" for t in run.trials)
    assert accounts["train"].energy_j == pytest.approx(ok * 3.0 * 80)
    assert accounts["idle"].energy_j == pytest.approx(2 * 4 * 0.5 * 30)
    assert accounts["data"].energy_j == pytest.approx(1.5 * 80)
    assert accounts["inference"].group == "measured"
    assert accounts["score"].windows == ok + 1  # one a trial, and the final scores


def test_a_check_is_never_summed_and_a_broken_reading_is_not_read() -> None:
    run = RunBuilder(make_task())
    readings = (
        Reading(domain="cpu", energy_j=100.0, source="rapl_package", kind="measured"),
        Reading(domain="cpu", energy_j=120.0, source="psys", kind="measured", role="check"),
        Reading(domain="ram", energy_j=math.nan, source="ram_model", kind="estimated"),
    )
    run.span("start", run.window("data", 1.0, readings=readings), run.window("propose", 1.0, readings=()))
    summary = summary_of(run)
    assert summary.ledger.total_j == 100.0
    assert summary.ledger.measured_share == 1.0
    assert {a.name: a.energy_j for a in summary.ledger.accounts}["propose"] is None
    assert summary.ledger.checks[0].rel_difference == pytest.approx(0.2)
    assert "meters_disagree" in codes(summary)


def test_a_model_beside_a_counter_is_a_finding_on_its_error_and_not_a_disagreement_of_meters() -> None:
    run = RunBuilder(make_task())
    readings = (
        Reading(domain="cpu", energy_j=100.0, source="rapl_package", kind="measured"),
        Reading(domain="cpu", energy_j=180.0, source="cpu_load_model", kind="estimated", role="check"),
    )
    run.span("start", run.window("data", 1.0, readings=readings), run.window("data", 1.0, readings=readings))
    summary = summary_of(run)
    (check,) = summary.ledger.checks
    assert (check.is_model, check.check_j, check.primary_j) == (True, 360.0, 200.0)
    assert check.rel_difference == pytest.approx(0.8)
    assert "model_error" in codes(summary)
    assert "meters_disagree" not in codes(summary)
    assert "model_range" not in codes(summary)  # the CPU was measured
    (found,) = facts(summary, (), "")["ledger"]["checks"]
    assert (found["kind"], found["primary_kind"], found["rel_difference"]) == (
        "estimated",
        "measured",
        check.rel_difference,
    )
    (sentence,) = check_sentences(summary)
    assert "Example CPU" in sentence


def test_a_killed_session_is_mentioned() -> None:
    run = full_run()
    run.span("start", session=1)
    summary = summary_of(run)
    assert summary.ledger.open_sessions == (1,)
    assert "open_session" in codes(summary)
    assert "open_session" not in codes(summary_of(full_run()))


def test_joules_per_sample_gross_and_net() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, wobble=0.0, idle=True)
    summary = summary_of(run)
    (target,) = summary.targets
    gross, net = summary.members[0].gross[target], summary.members[0].net[target]
    assert gross.mean == pytest.approx(80 / 8000)
    assert net.mean == pytest.approx((80 - 30) / 8000)
    assert (gross.basis, net.basis, net.per) == ("gross", "net", "sample")
    assert set(net.variances) == {"windows", "idle"}
    assert (gross.kind, gross.measured_share, gross.domains) == ("estimated", 0.0, ("cpu", "ram"))
    assert summary.idle_w["cpu"] is not None
    assert summary.idle_w["cpu"].mean == pytest.approx(10.0)


def test_idle_power_of_a_model_has_no_interval() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    measured = Reading(domain="ram", energy_j=1.0, source="rapl_dram", kind="measured")
    windows = tuple(
        w.model_copy(
            update={"readings": (w.readings[0], measured.model_copy(update={"energy_j": 20 * w.duration_s}))}
        )
        for w in run.trials[0].windows
    )
    run.trials = [run.trials[0].model_copy(update={"windows": windows})]
    summary = summary_of(run)
    cpu, ram = summary.idle_w["cpu"], summary.idle_w["ram"]
    assert cpu is not None
    assert ram is not None
    assert (cpu.mean, cpu.n, cpu.sem, cpu.low, cpu.high) == (pytest.approx(10.0), 4, None, None, None)
    assert (ram.mean, ram.low, ram.high) == (pytest.approx(20.0),) * 3
    modelled, read = (row[5] for row in provenance_table(summary).rows)
    assert modelled.interval == ""
    assert read.interval.startswith("[")


def test_idle_power_has_an_interval_only_of_several_windows() -> None:
    run = RunBuilder(make_task(), measured=True)
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    several = summary_of(run)
    single = summary_of(run)
    vars(single)["idle_w"] = {d: point(10.0) for d in several.idle_w}
    (known, _), (bare, _) = ([row[5] for row in provenance_table(s).rows] for s in (several, single))
    assert known.interval.startswith("[")
    assert known.interval.endswith(" W")
    assert (bare.text, bare.interval) == ("10 W", "")


def test_without_idle_there_is_no_net() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    summary = summary_of(run)
    assert summary.members[0].net == {}
    assert "no_idle" in codes(summary)


def test_scores_belong_to_their_trials_and_the_last_one_counts() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.scores = [ScoreRecord(trial=0, split="test", metrics={"accuracy": a}) for a in (0.1, 0.88)]
    assert summary_of(run).members[0].scores["test_accuracy"].mean == 0.88


# -- break-even --------------------------------------------------------------------------------------------------


def _run_with_gain() -> RunBuilder:
    """The default at 10 mJ a sample; width 9 as good at 5 mJ; width 10 better at 8 mJ; width 11 cheap and bad."""
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.add({"width": 9}, 16000, {"val_accuracy": 0.9})
    run.add({"width": 10}, 10000, {"val_accuracy": 0.95})
    run.add({"width": 11}, 80000, {"val_accuracy": 0.5})
    return run


def test_break_even_is_the_search_over_the_saving() -> None:
    summary = summary_of(_run_with_gain())
    (found,) = summary.break_even
    assert found.best is not None
    assert found.best.label == "trial 1"  # not trial 3, which is cheaper and worse
    assert found.search_j == pytest.approx(summary.ledger.total_j)
    assert found.units == pytest.approx(summary.ledger.total_j / (0.010 - 0.005))
    default, best = _gross(summary.default), found.best.energy  # type: ignore[union-attr]
    least = difference(default, best).low
    assert least is not None
    assert found.high == pytest.approx(found.search_j / least)
    assert found.low < found.units < found.high  # type: ignore[operator]
    text = " ".join(break_even_text(found, 0.02))
    assert "50 % less per sample" in text
    assert "95 % interval" in text


def test_break_even_counts_only_the_objectives_domains() -> None:
    objectives = {**OBJECTIVES, "samples_per_j": {**OBJECTIVES["samples_per_j"], "domains": ["cpu"]}}
    run = RunBuilder(make_task(objectives))
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.add({"width": 9}, 16000, {"val_accuracy": 0.9})
    summary = summary_of(run)
    assert summary.break_even[0].search_j == pytest.approx(summary.ledger.by_family["cpu"])


def test_break_even_says_why_there_is_none() -> None:
    def reason(run: RunBuilder) -> str:
        return summary_of(run).break_even[0].reason or ""

    run = RunBuilder(make_task())
    run.add({"width": 9}, 8000, {"val_accuracy": 0.9})
    assert "no usable trial of the default" in reason(run)
    run.add({}, 80000, {"val_accuracy": 0.95})
    assert "itself the most efficient" in reason(run)
    worse = RunBuilder(make_task())
    worse.add({}, 8000, {"val_accuracy": 0.9})
    worse.add({"width": 9}, 4000, {"val_accuracy": 0.99})
    assert "itself the most efficient" in reason(worse)
    assert summary_of(worse).break_even[0].units is None
    blind = RunBuilder(make_task(), watts={})
    blind.add({}, 8000, {"val_accuracy": 0.9})
    assert "not measured" in reason(blind)


def _candidate(label: str, quality: float, mean: float, half: float | None) -> Candidate:
    ends = (None, None) if half is None else (mean - half, mean + half)
    gross = Estimate(mean, 5, 0.1, *ends, "windows within a run", math.inf) if half is not None else point(mean)
    energy = Energy(**vars(gross), domains=("cpu",), kind="measured", measured_share=1.0, per="sample")
    return Candidate(label, {"q": quality}, energy)


def test_break_even_without_an_upper_end_and_without_interval() -> None:
    goals = {"q": "maximize"}

    def solve(default: Candidate, best: Candidate) -> Any:
        return break_even("samples_per_j", "sample", ("cpu",), 100.0, default, [best], goals)

    unsure = solve(_candidate("a", 1, 10, 2), _candidate("b", 1, 9, 2))
    assert unsure.units == pytest.approx(100.0)
    assert unsure.high is None
    assert unsure.low == pytest.approx(100 / (1 + math.hypot(2, 2)))
    assert "the difference may be zero" in break_even_text(unsure, 0.02)[0]
    assert "wide interval" in break_even_text(unsure, 0.02)[1]
    single = solve(_candidate("a", 1, 10, None), _candidate("b", 1, 9, 2))
    assert (single.low, single.high) == (None, None)
    assert "no interval" in break_even_text(single, 0.02)[0]
    no_gain = solve(_candidate("a", 1, 9, 1), _candidate("b", 1, 10, 1))
    assert "uses no less energy" in no_gain.reason
    bad = solve(_candidate("a", 1, 9, 1), _candidate("b", 0.5, 1, 1))
    assert "at least as good as the default in q" in bad.reason


# -- carbon ------------------------------------------------------------------------------------------------------


def test_carbon_only_with_an_intensity() -> None:
    summary = summary_of(full_run())
    assert summary.cost.carbon_g is None
    assert "Carbon is not stated" in search_price(summary)[1]
    hardware = {
        "name": "lab",
        "grid_intensity_g_per_kwh": {"value": 400.0, "source": "the utility"},
        "pue": {"value": 1.5, "source": "the building"},
    }
    summary = summary_of(full_run(), hardware=hardware)
    assert summary.cost.carbon_g == pytest.approx(summary.ledger.total_j / 3.6e6 * 1.5 * 400)
    assert all(s in search_price(summary)[1] for s in ("400 g CO2/kWh", "the utility", "PUE 1.5", "the building"))


@pytest.mark.parametrize("given", [None, "400", True, -1, math.nan, {"value": None}, {}])
def test_an_intensity_that_is_no_number_is_not_given(given: Any) -> None:
    assert search_cost(summary_of(full_run()).ledger, {"grid_intensity_g_per_kwh": given}).carbon_g is None


# -- diagnoses, banners, headline --------------------------------------------------------------------------------


def test_failure_signatures() -> None:
    found = codes(summary_of(full_run(trials=30)))
    assert {"wide_intervals", "fall_back_meter", "failing_trials"} <= set(found)
    assert "one_point" not in found


def test_a_one_point_frontier() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.add({"width": 9}, 4000, {"val_accuracy": 0.8})
    assert "one_point" in codes(summary_of(run))


def test_flat_and_zero_hypervolume() -> None:
    run = RunBuilder(make_task())
    for width in range(8, 22):
        run.add({"width": width}, 8000, {"val_accuracy": 0.9})
    assert "hypervolume_flat" in codes(summary_of(run))
    low = RunBuilder(make_task())
    low.add({}, 8000, {"val_accuracy": 0.05})
    assert "hypervolume_zero" in codes(summary_of(low))


def test_trials_that_lost_a_meter_do_not_compare() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.watts = {"cpu": 60.0}
    run.add({"width": 9}, 8000, {"val_accuracy": 0.8})
    assert "mixed_domains" in codes(summary_of(run))


def test_runs_that_differ_are_said() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.add({}, 9000, {"val_accuracy": 0.9})
    assert "runs_differ" in codes(summary_of(run))
    assert "runs_differ" not in codes(summary_of(full_run()))


def test_short_windows_are_left_out_and_said() -> None:
    run = RunBuilder(make_task())
    trial = run.add({}, 8000, {"val_accuracy": 0.9})
    short = run.window("inference", 0.5, 4000)
    run.trials[0] = trial.model_copy(update={"windows": (*trial.windows, short)})
    summary = summary_of(run)
    assert _gross(summary.members[0]).n == 5
    assert summary.losses.phases["inference"].valid == 5
    assert "invalid_windows" in codes(summary)


def test_banners_say_what_the_joules_are() -> None:
    (estimated,) = banners(summary_of(full_run()))
    assert estimated.code == "estimated"
    assert "Measured share of the run's joules: 0 %" in estimated.text
    assert [p.split(":")[0] for p in estimated.points] == ["cpu", "ram"]
    mixed = banners(summary_of(full_run(watts={"gpu:0": 240.0, **WATTS})))[0]
    assert (mixed.code, len(mixed.points)) == ("estimated", 2)
    measured = banners(summary_of(full_run(measured=True)))[0]
    assert (measured.level, measured.code) == ("note", "all_measured")
    assert "power supply" in measured.text
    replayed = banners(summary_of(full_run(), replay="trace.jsonl"))[0]
    assert (replayed.level, replayed.code) == ("alert", "replayed")
    quick = summary_of(full_run(make_task(deviations=("It looks at the test split.",))), budget="quick")
    assert [b.code for b in banners(quick)][1:] == ["narrowed", "deviations"]


def test_headlines() -> None:
    assert summary_of(_run_with_gain()).headline.startswith(
        "Frontier of 3 configurations (provisional): val_accuracy 0.5…0.95 at 125…1 000 samples/J (estimated); "
    )
    empty = RunBuilder(make_task())
    assert summary_of(empty).headline == "No usable trial of 0; cost so far energy not measured, 0 s."
    empty.fail({}, "oom", "")
    assert summary_of(empty).headline == "No usable trial of 1 (1 oom); cost so far 56 J in 700 ms."
    one = RunBuilder(make_task({"j_per_sample": {"goal": "minimize", **ENERGY}}), measured=True)
    one.add({}, 8000, {}, wobble=0.0)
    assert summary_of(one).headline.startswith("Best of one objective: 10 mJ/sample (measured); search cost")


def test_the_command_repeats_the_run() -> None:
    summary = summary_of(full_run(), hardware={"name": "a b"}, budget=None)
    assert repeat_command(summary) == "joulebench run digits_nas --hardware RUN --seed 3"


def test_training_energy_has_no_interval_within_a_run() -> None:
    objectives = {"j_per_sample": {"goal": "minimize", **ENERGY, "phase": "train"}}
    run = RunBuilder(make_task(objectives))
    run.add({}, 8000, {})
    summary = summary_of(run)
    energy = _gross(summary.members[0])
    assert (energy.mean, energy.n, energy.low) == (pytest.approx(240 / 1200), 1, None)
    assert summary.break_even == ()


def test_a_run_is_finished_when_its_last_session_is() -> None:
    def unfinished(*ends: tuple[int, Ending]) -> bool:
        run = RunBuilder(make_task())
        run.span("start")
        run.add({}, 8000, {"val_accuracy": 0.9})
        for session, ending in ends:
            run.span("end", session=session, ending=ending)
        return "unfinished" in [b.code for b in banners(summary_of(run))]

    assert unfinished()
    assert unfinished((0, "interrupted"))
    assert not unfinished((0, "done"))
    assert not unfinished((0, "interrupted"), (1, "done"))


def test_training_that_was_cut_off_is_said() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, stopped_by="time")
    run.add({"width": 9}, 8000, {"val_accuracy": 0.9}, stopped_by="patience")
    assert "training_cut_off" in codes(summary_of(run))
    run.trials.pop(0)
    assert "training_cut_off" not in codes(summary_of(run))


def test_nothing_better_than_the_reference_is_said() -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.05})
    summary = summary_of(run)
    assert summary.headline.startswith("No trial of 1 beats the reference")
    assert "below_reference" in codes(summary)


def test_the_command_that_repeats_a_run_names_all_that_was_chosen() -> None:
    run = RunBuilder(make_task())
    manifest = run.manifest(data_path="my data.zip", overrides={"width": 9, "pool": True}, replay="65")
    command = repeat_command(Summary(Run(manifest, run.task, [])))
    assert command == (
        "joulebench run digits_nas --budget standard --set width=9 --set pool=true --hardware generic_cpu --seed 3 "
        "--data 'my data.zip' --replay 65"
    )
    own = manifest.model_copy(update={"task_file": "/x/digits_nas.toml"})
    command = repeat_command(Summary(Run(own, run.task, [])))
    assert command == "joulebench run RUN --hardware generic_cpu --seed 3 --data 'my data.zip' --replay 65"


def test_what_was_found_in_the_data_is_a_warning() -> None:
    remark = "2 of 10 test images stand in train too"
    (found,) = (f for f in findings(summary_of(full_run(), data={"remarks": [remark]})) if f.code is Code.DATA)
    assert (found.level, remark in found.text) == ("warning", True)
    assert Code.DATA not in codes(summary_of(full_run()))
    assert Code.DATA not in codes(summary_of(full_run(), data={"remarks": "no list"}))


def test_a_run_of_a_model_names_it():
    options = {"model": "hf:text-classification:bert", "texts": "lines.txt", "input": [3, 8]}
    found = dict(tables.facts(summary_of(full_run(make_task(workload="model", options=options)))))
    assert found["Model"] == "hf:text-classification:bert"
    assert found["Texts"] == "lines.txt"
    assert found["Input"] == "random, of shape 3, 8"
    assert "Model" not in dict(tables.facts(summary_of(full_run())))
