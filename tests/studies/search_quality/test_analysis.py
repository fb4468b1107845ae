"""Search methods compared: numbers recomputed from records made by hand, and the section on them."""

from __future__ import annotations

import itertools
import math

import pytest

from joulebench.records.model import EpochRecord
from joulebench.reporting import write_report
from joulebench.spec.task import Task
from joulebench.studies.search_quality.analysis import BROKEN_BELOW, search_quality
from joulebench.studies.search_quality.curves import ProblemVariant
from joulebench.studies.search_quality.section import SearchQualityStudy
from tests.run_factory import RunBuilder, make_task

OBJECTIVES = {"hypervolume_share": {"goal": "maximize", "reference": 0.0}}


def study_task(settings_=None, **fields) -> Task:
    return make_task(
        OBJECTIVES,
        workload="search",
        dataset=None,
        analyses=["search_quality"],
        parameters={
            "problem": {"type": "choice", "values": ["hill", "valley"], "default": "hill"},
            "method": {"type": "choice", "values": ["random", "clever"], "default": "random"},
            "repeat": {"type": "int", "low": 1, "high": 99, "default": 1},
            "trials": {"type": "fixed", "value": 4},
            "initial": {"type": "fixed", "value": 2},
            **(settings_ or {}),
        },
        stages={"searches": {"method": "grid"}},
        **fields,
    )


def add(run, volumes, method="random", repeat=1, best=10.0, seconds=1.0, cost_j=None, status="ok", **params):
    """A search: a train window of `seconds` for each proposal (80 W in all), a volume after each trial."""
    windows = list(
        itertools.chain.from_iterable(
            (run.window("train", seconds, 1), run.window("validate", 0.1)) for _ in volumes
        )
    )
    spent = itertools.accumulate([cost_j or 0.0] * len(volumes))
    epochs = tuple(
        EpochRecord(
            index=i, units=1,
            metrics={"val_hypervolume": v} | ({"val_trial_cost_j": c} if cost_j is not None else {}),
        )
        for i, (v, c) in enumerate(zip(volumes, spent, strict=True))
    )  # fmt: skip
    metrics = {"hypervolume": volumes[-1], "proposing_s": seconds * len(volumes), "duplicates": 1.0}
    if best is not None:
        metrics |= {"best_hypervolume": best, "hypervolume_share": volumes[-1] / best}
    run.add(
        {"method": method, "repeat": repeat, **params}, 0, metrics if status == "ok" else {}, "searches",
        windows=tuple(windows), epochs=epochs, status=status,
    )  # fmt: skip


def two_methods(repeats=7, **fields) -> RunBuilder:
    """clever ends one volume above random, seed by seed; both spread over seeds by a half."""
    run = RunBuilder(study_task(**fields))
    for repeat in range(1, repeats + 1):
        base = 0.5 * (repeat - (repeats + 1) / 2) / repeats
        add(run, [2 + base, 4 + base, 5 + base, 8 + base], "random", repeat)
        add(run, [2 + base, 4 + base, 9 + base, 9 + base], "clever", repeat, seconds=3.0)
    return run


def result_of(built):
    return search_quality(built.read())


def section_of(built):
    run = built.read()
    return SearchQualityStudy().section(search_quality(run), run)


def test_shares_joules_and_trials_are_read_from_the_records():
    run = RunBuilder(study_task())
    add(run, [0.0, 5.0, 9.5, 9.5], seconds=2.0, cost_j=100.0)
    (group,) = result_of(run).groups
    (search,) = group.searches
    assert search.shares == (0.0, 0.5, 0.95, 0.95)
    assert search.proposing_j == pytest.approx((160.0, 320.0, 480.0, 640.0))  # (60 + 20) W for 2 s each
    assert search.cost_j == (100.0, 200.0, 300.0, 400.0)
    assert search.total_j == pytest.approx((260.0, 520.0, 780.0, 1040.0))
    assert (search.trials_to(0.5), search.trials_to(0.95), search.trials_to(0.98)) == (2.0, 3.0, math.inf)
    assert (search.share_after(1), search.share_after(2), search.share_after(99)) == (0.0, 0.5, 0.95)
    assert (search.share_within(100.0), search.share_within(520.0), search.share_within(1e9)) == (0.0, 0.5, 0.95)
    assert (group.proposal_j, group.proposal_s) == pytest.approx((160.0, 2.0))
    assert result_of(run).kind == "estimated"


def test_a_measured_run_is_called_measured():
    run = RunBuilder(study_task(), measured=True)
    add(run, [1.0])
    assert result_of(run).kind == "measured"


def test_without_readings_there_are_no_joules_and_no_zero():
    run = RunBuilder(study_task(), watts={})
    add(run, [1.0, 2.0])
    result = result_of(run)
    assert result.kind is None
    assert result.groups[0].proposal_j is None
    assert not any("joules" in plot.id for plot in section_of(run).plots)
    assert {row["proposing_j"] for row in section_of(run).rows} == {None}


def test_the_same_search_again_counts_once():
    run = two_methods()
    add(run, [9.9], "clever", repeat=1)
    assert [len(group.searches) for group in result_of(run).groups] == [7, 7]


def test_the_best_of_the_runs_stands_in_for_one_that_nobody_knows():
    run = RunBuilder(study_task())
    add(run, [1.0, 4.0], best=None)
    add(run, [1.0, 2.0], "clever", best=None)
    result = result_of(run)
    assert [group.final.mean for group in result.groups] == [1.0, 0.5]
    assert result.best_of_runs == (ProblemVariant("hill"),)


def test_a_search_that_failed_counts_with_what_it_had_reached():
    run = two_methods(repeats=1)
    add(run, [3.0], "clever", repeat=2, status="failed")
    result = result_of(run)
    group = result.group(ProblemVariant("hill"), "clever")
    assert sorted(s.final for s in group.searches) == [0.3, 0.9]
    assert group.length == 4
    assert [s.status for s in group.searches] == ["ok", "failed"]
    run = RunBuilder(study_task(NOISE))
    for noise in (0.1, 1.0):
        add(run, [5.0], noise=noise)
        add(run, [1.0], "clever", noise=noise, status="failed")
    (easy, hard) = result_of(run).levels("clever", "noise", "hill")
    assert (easy.verdict, hard.verdict, easy.difference.n) == ("undecided", "undecided", 1)


def test_methods_are_compared_seed_by_seed():
    (pair,) = result_of(two_methods()).paired_differences()
    assert (pair.method, pair.wins, pair.losses) == ("clever", 7, 0)
    assert pair.difference.mean == pytest.approx(0.1)
    assert pair.difference.low == pytest.approx(0.1)
    assert pair.verdict == "better"
    (few,) = result_of(two_methods(repeats=5)).paired_differences()
    assert few.verdict == "too few repeats to tell"


def test_verdicts_follow_the_interval():
    run = RunBuilder(study_task())
    for repeat, gap in enumerate([-1, -1, -1, -1, -1, -1, 1], start=1):
        add(run, [5.0], "random", repeat)
        add(run, [5.0 + gap], "clever", repeat)
    (pair,) = result_of(run).paired_differences()
    assert (pair.wins, pair.losses, pair.verdict) == (1, 6, "not significant")
    run = RunBuilder(study_task())
    for repeat in range(1, 8):
        add(run, [5.0], "random", repeat)
        add(run, [4.0], "clever", repeat)
    assert result_of(run).paired_differences()[0].verdict == "worse"


def test_the_rival_is_the_task_s_choice():
    assert result_of(two_methods()).rival == "random"
    other = two_methods(options={"rival": "clever"})
    assert result_of(other).rival == "clever"
    assert result_of(other).paired_differences()[0].verdict == "worse"
    assert result_of(two_methods(options={"rival": "nobody"})).rival is None


def test_break_even_is_extra_joules_of_proposals_over_trials_saved():
    (break_even,) = result_of(two_methods(repeats=1)).break_evens()
    # random ends at 0.8 after 4 proposals of 80 J, clever has that after 3 of 240 J: 400 J more for a trial less
    assert (break_even.level, break_even.trials, break_even.rival_trials) == (0.8, 3.0, 4.0)
    assert break_even.trial_j == pytest.approx(400.0)


def test_what_saves_no_trial_has_no_break_even():
    run = RunBuilder(study_task())
    add(run, [5.0, 9.0], "random")
    add(run, [5.0, 9.0], "clever")
    assert result_of(run).break_evens() == ()
    run = RunBuilder(study_task())
    add(run, [5.0, 5.0], "random")
    add(run, [4.0, 4.0], "clever")
    assert result_of(run).break_evens() == ()


def test_trials_to_a_level_are_medians_with_those_that_never_reached_it():
    run = RunBuilder(study_task())
    for repeat, volumes in enumerate([[9.0], [1.0, 9.0], [1.0, 1.0]], start=1):
        add(run, volumes, repeat=repeat)
    (group,) = result_of(run).groups
    assert (group.trials_to(0.9).mean, group.reached(0.9)) == (2.0, 2)
    assert (group.trials_to(0.95).mean, group.reached(0.95)) == (math.inf, 0)


NOISE = {"noise": {"type": "choice", "values": [0.0, 0.1, 1.0], "ordered": True, "default": 0.1}}
STEEP = {"steep": {"type": "choice", "values": [1, 2], "default": 1}}


def robustness() -> RunBuilder:
    """clever is better at noise 0 and 0.1, and no better than random at noise 1 and where it is steep."""
    run = RunBuilder(study_task({**NOISE, **STEEP}))
    for repeat in range(1, 7):
        for setting, clever in (
            ({"noise": 1.0}, 5.0),
            ({"noise": 0.0}, 9.5),
            ({"noise": 0.1}, 9.2),
            ({"steep": 2}, 4.0),
        ):
            add(run, [4.5 + 0.1 * repeat], "random", repeat, **setting)
            add(run, [clever], "clever", repeat, **setting)
    return run


def test_where_a_method_stops_being_better_than_the_rival():
    result = result_of(robustness())
    assert result.base == {"noise": 0.1, "steep": 1}
    levels = result.levels("clever", "noise", "hill")
    assert [(x.value, x.verdict) for x in levels] == [(0.0, "better"), (0.1, "better"), (1.0, "undecided")]
    # clever always ends at 0.95, random at 0.46 … 0.51: sd √0.00035, with 5 degrees of freedom
    assert (levels[0].share, levels[0].rival_share) == pytest.approx((0.95, 0.485))
    half = 2.5705818 * math.sqrt(0.00035 / 6)
    assert levels[0].difference.low == pytest.approx(0.465 - half)
    assert levels[2].difference.high == pytest.approx(0.015 + half)  # above the 0.02 that would be worth having
    assert [x.verdict for x in result.levels("clever", "steep", "hill")] == ["better", "no better"]
    low = {result.label(c.variant) for c in result.groups if c.method == "clever" and c.final.mean < BROKEN_BELOW}
    assert low == {"noise = 1.0", "steep = 2"}


def test_a_level_with_more_noise_has_a_wider_interval():
    run = RunBuilder(study_task(NOISE))
    for repeat, gap in enumerate((-1.0, 0.5, 1.0, 1.0, 1.5), start=1):
        for noise, gain in ((0.0, 0.8), (0.1, 0.8), (1.0, gap)):
            add(run, [5.0], "random", repeat, noise=noise)
            add(run, [5.0 + gain], "clever", repeat, noise=noise)
    calm, _, noisy = result_of(run).levels("clever", "noise", "hill")
    assert (calm.difference.low, calm.verdict) == (pytest.approx(0.08), "better")
    half = 2.7764451 * math.sqrt(0.00925 / 5)  # the shares' gaps: −0.1, 0.05, 0.1, 0.1, 0.15, mean 0.06
    assert noisy.difference.low == pytest.approx(0.06 - half)
    assert noisy.verdict == "undecided"


def test_the_answer_names_the_levels_by_verdict():
    section = section_of(robustness())
    assert section.answer == (
        "clever against random: by noise better at 0 to 0.1, undecided at 1; by steep better at 1, no better at 2 "
        "(final hypervolume, n = 6 repeats, 95 % intervals)."
    )
    table = next(t for t in section.tables if t.caption.startswith("Where the search stops"))
    shown = [(row[0].text, row[2].text, row[3].text, row[4].text, row[6].text) for row in table.rows]
    assert shown[0] == ("noise = 0", "95 %", "48.5 %", "46.5 points", "better")
    assert [(setting, verdict) for setting, *_, verdict in shown] == [
        ("noise = 0", "better"), ("noise = 0.1", "better"), ("noise = 1", "undecided"),
        ("steep = 1", "better"), ("steep = 2", "no better"),
    ]  # fmt: skip


def test_a_method_may_be_better_nowhere():
    run = RunBuilder(study_task(NOISE))
    for noise, repeat in itertools.product((0.1, 1.0), (1, 2, 3)):
        add(run, [5.0 + 0.1 * repeat], "random", repeat, noise=noise)
        add(run, [4.0], "clever", repeat, noise=noise)
    assert section_of(run).answer.startswith("clever against random: by noise no better at 0.1 to 1 (final")


def test_settings_are_walked_one_at_a_time_from_the_base():
    result = result_of(robustness())
    assert result.factors == {"noise": (0.0, 0.1, 1.0), "steep": (1, 2)}
    assert [result.label(c) for c in result.along("noise", "hill")] == ["noise = 0.0", "base", "noise = 1.0"]
    assert [result.label(c) for c in result.along("steep", "hill")] == ["base", "steep = 2"]
    plots = {plot.id: plot for plot in section_of(robustness()).plots}
    clever = plots["search-quality-setting-0-noise"].series[1]
    assert (clever.name, clever.x) == ("clever", (0.0, 0.1, 1.0))
    assert clever.y == pytest.approx((0.95, 0.92, 0.5))
    assert plots["search-quality-setting-0-steep"].series[0].low == pytest.approx((0.46, 0.46))


def test_the_section_holds_every_search():
    run = two_methods()
    add(run, [7.0, 9.9], "clever", repeat=1, problem="valley", cost_j=5.0)
    section = section_of(run)
    rows = section.rows
    assert len(rows) == 15
    last = next(r for r in rows if r["problem"] == "valley")
    assert (last["method"], last["trials"], last["trials_to_98"], last["trials_to_90"]) == ("clever", 2, 2, 2)
    assert last["share"] == pytest.approx(0.99)
    assert (last["proposing_j"], last["trial_cost_j"]) == pytest.approx((160.0, 10.0))
    assert [len(t.rows) for t in section.tables] == [3, 3, 1, 3]
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)
    joules = next(p for p in section.plots if p.id == "search-quality-joules-1")
    assert "proposals (estimated) and trials (as stated)" in joules.x.full_title


def test_curves_are_medians_at_each_number_of_trials():
    plot = next(p for p in section_of(two_methods()).plots if p.id == "search-quality-trials-0")
    chance, clever = plot.series
    assert (chance.name, chance.x) == ("random", (1.0, 2.0, 3.0, 4.0))
    assert chance.y == pytest.approx((0.2, 0.4, 0.5, 0.8))
    assert clever.y == pytest.approx((0.2, 0.4, 0.9, 0.9))
    assert chance.low[0] < chance.y[0] < chance.high[0]


def test_a_run_without_a_finished_trial_has_no_section():
    assert result_of(RunBuilder(study_task())) is None
    run = RunBuilder(study_task())
    run.fail({}, "failed", "broke before its first proposal")
    assert result_of(run) is None


def test_a_report_is_written_and_repeats(tmp_path):
    run = robustness()
    first = run.write(tmp_path / "a")
    written = write_report(first)
    assert written.headline == section_of(run).answer
    names = {p.name for p in first.path.iterdir()}
    assert {"report.html", "report.md", "search_quality.csv", "search_quality.png", "search_quality.svg"} <= names
    second = run.write(tmp_path / "b")
    write_report(second)
    for name in ("report.md", "search_quality.csv", "search_quality.svg"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
