"""Power caps: choices within a setting checked by hand, settings without effect, and the report."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.presentation.rows import Exact
from joulebench.reporting import write_report
from joulebench.stats.estimate import Estimate, point
from joulebench.studies.power_cap.analysis import TOLERANCES, Cap, compare, power_cap
from joulebench.studies.power_cap.section import PowerCapStudy
from tests.run_factory import ENERGY, RunBuilder, make_task

SETTING = (("network", "resnet"), ("batch_size", 64))


def caps(*rows) -> list[Cap]:
    return [Cap(float(w), point(float(e)), point(float(t)), {}, (i,)) for i, (w, e, t) in enumerate(rows)]


#: Lower caps save energy and cost time, until at 100 W the longer run eats the saving.
TYPICAL = caps((100, 90, 1.5), (150, 80, 1.08), (200, 88, 1.04), (250, 100, 1.0))


def test_the_best_cap_is_the_one_with_least_energy_within_the_tolerated_time():
    (curve,) = compare({SETTING: TYPICAL}).curves
    chosen = {c.tolerance: c for c in curve.choices}
    assert [chosen[t].cap.watts for t in TOLERANCES] == [250.0, 200.0, 150.0]
    assert chosen[0.05].saving == pytest.approx(0.12)
    assert chosen[0.10].time.mean == pytest.approx(1.08)
    assert [c.on_frontier for c in curve.caps] == [False, True, True, True]


def test_intervals_of_energy_carry_to_the_saving():
    wide = Estimate(80.0, 5, 1.0, 78.0, 82.0, "windows")
    base = Estimate(100.0, 5, 1.0, 98.0, 102.0, "windows")
    pair = [Cap(150.0, wide, point(1.0), {}, (0,)), Cap(250.0, base, point(1.0), {}, (1,))]
    energy = compare({SETTING: pair}).curves[0].choice(0.0).energy
    assert energy.low < 0.8 < energy.high


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(1, 1e6), st.floats(0.1, 1e4)), min_size=2, max_size=9,
             unique_by=lambda row: row[0]),
)  # fmt: skip
def test_more_tolerance_never_saves_less_and_the_highest_cap_is_always_allowed(rows):
    (curve,) = compare({SETTING: caps(*rows)}).curves
    savings = [c.saving for c in curve.choices]
    assert savings == sorted(savings)
    assert savings[0] >= 0
    for choice in curve.choices:
        assert choice.time.mean <= 1 + choice.tolerance + 1e-12
    assert any(c.on_frontier for c in curve.caps)


def test_caps_without_effect_give_the_noise():
    idle = caps((100, 40, 1.0), (150, 42, 1.0), (200, 38, 0.95), (250, 40, 1.0))
    result = compare({SETTING: TYPICAL, (*SETTING[:1], ("batch_size", 8)): idle})
    assert [c.unaffected for c in result.curves] == [False, True]
    assert result.affected == result.curves[:1]
    assert result.noise == pytest.approx(1.633 / 40, rel=1e-3)  # of 40, 42, 38, 40
    assert result.names == ("batch_size",)


def test_a_cap_that_cuts_peaks_has_an_effect():
    """Mean power under the lowest cap, but lower still under it: the cap bites at the peaks."""
    (curve,) = compare({SETTING: caps((100, 80, 1.1), (250, 90, 1.0))}).curves
    assert curve.caps[0].power_w < 80
    assert not curve.unaffected


def test_settings_with_one_cap_are_counted_only():
    result = compare({SETTING: TYPICAL, (): caps((100, 1, 1))})
    assert (len(result.curves), result.single) == (1, 1)
    assert compare({SETTING: TYPICAL[:1]}) is None


WATTS = {"type": "choice", "values": [100, 150, 250], "ordered": True, "default": 250}


def table_task(**fields):
    return make_task(
        {"energy_per_epoch_j": {"goal": "minimize"}, "time_per_epoch_s": {"goal": "minimize"},
         "val_accuracy": {"goal": "maximize"}},
        workload="table", dataset=None, analyses=["power_cap"],
        parameters={
            "batch_size": {"type": "choice", "values": [8, 64], "ordered": True, "default": 8},
            "power_limit_w": {**WATTS, **fields},
        },
        stages={"grid": {"method": "grid"}},
    )  # fmt: skip


def table_run(**fields) -> RunBuilder:
    run = RunBuilder(table_task(**fields))
    for batch in (8, 64):
        for watts, energy_j, time_s in ((100, 90.0, 1.5), (150, 80.0, 1.08), (250, 100.0, 1.0)):
            metrics = {"energy_per_epoch_j": energy_j * batch, "time_per_epoch_s": time_s * batch,
                       "val_accuracy": 0.9 + watts / 1e5}  # fmt: skip
            run.add(
                {"batch_size": batch, "power_limit_w": watts},
                0,
                metrics,
                "grid",
                windows=(run.window("count", 1.0),),
            )
    return run


@pytest.mark.parametrize("scope", ["task", "device"])
def test_a_table_is_read_by_its_metrics(scope, tmp_path):
    run = table_run(scope=scope)
    run.fail({"batch_size": 8}, "failed", "x")
    result = power_cap(run.read())
    assert (result.energy, result.time, result.kind, result.lost) == (
        "energy_per_epoch_j",
        "time_per_epoch_s",
        None,
        1,
    )
    assert [c.choice(0.10).saving for c in result.curves] == pytest.approx([0.2, 0.2])
    section = PowerCapStudy().section(result, run.read())
    rows = section.rows
    assert len(rows) == 6
    assert [r["power_limit_w"] for r in rows if r["best_within_0.1"]] == [Exact(150.0)] * 2
    assert len(section.plots) == 2
    page = write_report(run.write(tmp_path / "run")).page
    assert "## Power caps" in page.with_name("report.md").read_text()


def measured_run(phase) -> RunBuilder:
    """Half the watts, 5 % longer at 150 W."""
    task = make_task(
        {"j_per_sample": {"goal": "minimize", **ENERGY, "phase": phase}}, analyses=["power_cap"],
        parameters={"power_limit_w": {"type": "choice", "values": [150, 250], "default": 250, "scope": "device"}},
        stages={"grid": {"method": "grid"}},
    )  # fmt: skip
    run = RunBuilder(task, watts={"gpu:0": 200.0}, measured=True)
    for watts, scale, seconds in ((150, 0.5, 1.05), (250, 1.0, 1.0)):
        windows = [run.window(phase, seconds, 1000, scale=scale) for _ in range(5)]
        run.add({"power_limit_w": watts}, 0, {}, "grid", windows=tuple(windows), unit={"inference": "sample"})
    return run


@pytest.mark.parametrize("phase", ["inference", "train"])
def test_measured_trials_are_read_by_their_windows(phase):
    run = measured_run(phase)
    result = power_cap(run.read())
    assert result.kind == "measured"
    best = result.curves[0].choice(0.10)
    assert (best.cap.watts, best.time.mean) == (150.0, pytest.approx(1.05))
    assert best.saving == pytest.approx(1 - 0.525)


def test_tasks_without_a_cap_or_energy_have_no_section():
    run = RunBuilder(make_task())
    assert power_cap(run.read()) is None
    assert power_cap(RunBuilder(table_task()).read()) is None


def test_long_tables_are_grouped():
    many = {(("gpu", g), ("batch_size", b)): TYPICAL for g in ("a", "b") for b in range(20)}
    run = RunBuilder(table_task()).read()
    section = PowerCapStudy().section(compare(many), run)
    assert [row[0].text for row in section.tables[0].rows] == ["a", "b"]
    assert len(section.plots[0].series) == 6
    one = PowerCapStudy().section(compare({SETTING: TYPICAL}), run)
    assert one.tables[0].rows[0][-1].text == "150 W"


def test_of_each_setting_the_best_cap_its_neighbours_and_the_highest_are_confirmed():
    caps = (100, 150, 200, 250, 300, 350)
    task = make_task(
        {"j_per_sample": {"goal": "minimize", **ENERGY}}, analyses=["power_cap"],
        parameters={
            "power_limit_w": {"type": "choice", "values": caps, "default": 350, "scope": "device"},
            "batch_size": {"type": "choice", "values": [8, 64], "default": 8},
        },
        stages={"grid": {"method": "grid"}},
    )  # fmt: skip
    run = RunBuilder(task, watts={"gpu:0": 400.0}, measured=True)
    for batch, best in ((8, 150), (64, 100)):
        for watts in caps:
            scale = 0.5 + abs(watts - best) / 1000
            windows = tuple(run.window("inference", 1.0, 1000, scale=scale) for _ in range(5))
            params = {"power_limit_w": watts, "batch_size": batch}
            run.add(params, 0, {}, "grid", windows=windows, unit={"inference": "sample"})
    read = run.read()
    confirmed = PowerCapStudy().confirms(power_cap(read), read)
    assert [(p["batch_size"], p["power_limit_w"]) for p in confirmed] == [
        (8, 100), (8, 150), (8, 200), (8, 350), (64, 100), (64, 150), (64, 350),
    ]  # fmt: skip


def test_the_best_cap_is_the_searchs_own_choice_of_the_confirmed_ones():
    """150 W is not confirmed; 200 W was the search's choice, and 100 W is not significantly better."""
    (curve,) = compare({SETTING: [
        Cap(100.0, Estimate(90.0, 2, 10.0, 60.0, 120.0, "runs"), point(1.0), {}, (0,), True, 96.0),
        Cap(150.0, point(70.0), point(1.0), {}, (1,)),
        Cap(200.0, Estimate(95.0, 2, 10.0, 65.0, 125.0, "runs"), point(1.0), {}, (2,), True, 80.0),
        Cap(250.0, Estimate(100.0, 2, 10.0, 70.0, 130.0, "runs"), point(1.0), {}, (3,), True, 100.0),
    ]}).curves  # fmt: skip
    assert [c.cap.watts for c in curve.choices] == [200.0] * len(TOLERANCES)
    assert curve.choice(0.0).saving == pytest.approx(0.05)


def test_confirming_runs_are_the_caps_values():
    task = measured_run("inference").task
    run = RunBuilder(task, watts={"gpu:0": 200.0}, measured=True)
    for stage, scale in (("grid", 0.5), ("confirm", 0.6), ("confirm", 0.62)):
        for watts, factor in ((150, scale), (250, 1.0)):
            windows = tuple(run.window("inference", 1.0, 1000, scale=factor) for _ in range(5))
            run.add({"power_limit_w": watts}, 0, {}, stage, windows=windows, unit={"inference": "sample"})
    cap = power_cap(run.read()).curves[0].caps[0]
    assert cap.confirmed
    assert (cap.energy_j.mean, cap.searched_j) == (pytest.approx(0.122), pytest.approx(0.1))


def test_a_published_table_is_not_confirmed():
    read = table_run().read()
    assert PowerCapStudy().confirms(power_cap(read), read) == []
