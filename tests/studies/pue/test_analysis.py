"""A factor on every joule changes nothing; factors that differ between domains can: properties, and the report."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.reporting.site import at_site
from joulebench.results.run import Run
from joulebench.studies.pue.analysis import (
    EXAMPLE_PUE,
    Scenario,
    Subject,
    compare_scenarios,
    effect,
    pue,
    sensitivity,
    site_of,
)
from joulebench.studies.pue.section import PROOF, PueStudy
from tests.run_factory import RunBuilder, make_task

joules = st.integers(1, 10**6).map(float)
rows = st.lists(st.tuples(joules, joules, st.integers(0, 20)), min_size=2, max_size=15)
subjects = rows.map(
    lambda drawn: [Subject(str(i), {"gpu": g, "cpu": c}, (float(q),)) for i, (g, c, q) in enumerate(drawn)]
)


@given(subjects, st.floats(1e-3, 1e3))
def test_a_constant_factor_changes_neither_ranking_nor_frontier(points, factor):
    result = effect(points, Scenario("all", {"gpu": factor, "cpu": factor}))
    assert not result.changes
    assert result.least == effect(points, Scenario("none", {})).least
    if result.kendall is not None:
        assert result.kendall == pytest.approx(1.0)
        assert result.spearman == pytest.approx(1.0)


@given(subjects)
def test_inside_its_range_a_family_reorders_nothing_and_outside_it_does(points):
    room = sensitivity(points, "gpu").order
    for factor in _inside(room):
        assert effect(points, Scenario("in", {"gpu": factor})).moved == 0 or _tied(points)
    if room.high is not None and not _tied(points):
        assert effect(points, Scenario("beyond", {"gpu": room.high * (1 + 1e-9) + 1e-9})).moved > 0


def _inside(room):
    """Factors well inside: near an end, rounding decides."""
    low, high = room.low, 4.0 if room.high is None else room.high
    return [f for f in (low + 0.25 * (1 - low), 1 + 0.75 * (high - 1)) if low < f < high]


def _tied(points):
    """Whether two are level, or level at a factor so near the end that rounding decides."""
    sums = sorted(s.energy_j for s in points)
    return any(b - a < 1e-6 * b for a, b in itertools.pairwise(sums))


A = Subject("a", {"gpu": 10.0, "cpu": 1.0}, (0.9,))
B = Subject("b", {"gpu": 4.0, "cpu": 6.0}, (0.9,))


def test_factors_at_which_two_tie_by_hand():
    """11 J against 10 J: level where 10 w + 1 = 4 w + 6, w = 5/6 on the GPU; 10 + w = 4 + 6 w, 6/5 on the CPU."""
    scenarios = compare_scenarios([A, B], 1.5)
    assert scenarios.least == "b"
    assert not scenarios.constant.changes
    room = {s.family: s for s in scenarios.sensitivities}
    assert room["gpu"].order.low == room["gpu"].least.low == pytest.approx(5 / 6)
    assert room["gpu"].order.high is None
    assert room["cpu"].order.high == pytest.approx(6 / 5)
    on_cpu = next(v for v in scenarios.effects if v.scenario.name == "PUE 1.5 on CPU alone")
    assert (on_cpu.least, on_cpu.moved, on_cpu.kendall) == ("a", 2, -1.0)
    assert (on_cpu.entered, on_cpu.left) == (("a",), ("b",))


def test_the_frontier_keeps_what_is_better_elsewhere():
    good = Subject("good", {"gpu": 20.0, "cpu": 1.0}, (0.99,))
    assert [s.label for s in compare_scenarios([A, B, good], 1.5).frontier] == ["b", "good"]


def test_one_family_has_no_factors_by_domain():
    scenarios = compare_scenarios([Subject("a", {"cpu": 1.0}), Subject("b", {"cpu": 2.0})], None)
    assert scenarios.is_example
    assert scenarios.pue == EXAMPLE_PUE
    assert len(scenarios.effects) == 1
    assert scenarios.sensitivities == ()


def test_a_pue_below_one_or_a_single_configuration():
    with pytest.raises(ValueError, match="at least 1"):
        compare_scenarios([A, B], 0.9)
    assert compare_scenarios([A], 1.5) is None


def study() -> RunBuilder:
    """Four models with the same CPU joules and RAM joules that go another way."""
    run = RunBuilder(make_task(analyses=["frontier", "pue"]))
    for width, seconds, quality in ((4, 1.0, 0.6), (8, 1.5, 0.7), (16, 2.5, 0.8), (32, 4.0, 0.75)):
        windows = [run.window("inference", seconds, 1000) for _ in range(5)]
        run.add({"width": width}, 1000, {"val_accuracy": quality}, windows=tuple(windows))
    return run


def test_records_are_ranked_by_domain(tmp_path):
    run = study()
    scenarios = pue(run.read())
    assert scenarios.families == ("cpu", "ram")
    assert scenarios.unit == "sample"
    assert scenarios.subjects[0].by_family == pytest.approx({"cpu": 0.06, "ram": 0.02})
    assert [s.label for s in scenarios.frontier] == ["trial 0", "trial 1", "trial 2"]
    # power is the same throughout, so no factor on one domain can reorder
    assert not any(v.changes for v in scenarios.effects)
    section = PueStudy().section(scenarios, run.read())
    assert PROOF in section.sentences
    rows = section.rows
    assert [r["on_frontier"] for r in rows] == [True, True, True, False]
    assert rows[0]["building_j_per_sample"] == pytest.approx(0.08 * 1.56)
    assert rows[0]["g_co2e_per_sample"] is None


def test_training_energy_and_tasks_without_energy():
    task = make_task({"j_per_sample": {"goal": "minimize", "phase": "train", "domains": ["cpu", "ram"],
                                       "basis": "gross"}})  # fmt: skip
    run = RunBuilder(task)
    for width in (4, 8):
        run.add({"width": width}, 0, {}, windows=(run.window("train", width, 1000),))
    assert pue(run.read()).subjects[1].energy_j == pytest.approx(8 * 80 / 1000)
    assert pue(replace(run.read(), trials=run.trials[:1])) is None
    assert pue(replace(run.read(), task=make_task({"val_accuracy": {"goal": "maximize"}}))) is None


def test_a_reader_may_put_the_run_at_another_site(tmp_path):
    folder = study().write(tmp_path / "run")
    manifest = at_site(folder.manifest(), pue=1.2, grid_intensity_g_per_kwh=56.0)
    moved = replace(Run.of(folder), manifest=manifest)
    assert site_of(moved) == (1.2, 56.0)
    assert site_of(Run.of(folder)) == (None, None)  # nothing is written back
    assert at_site(manifest) is manifest
    scenarios = pue(moved)
    row = PueStudy().section(scenarios, moved).rows[0]
    assert row["g_co2e_per_sample"] == pytest.approx(0.08 * 1.2 / 3.6e6 * 56)
    assert scenarios.grid_intensity_g_per_kwh == 56


@pytest.mark.parametrize("choice", [{"pue": 0.9}, {"pue": float("nan")}, {"grid_intensity_g_per_kwh": -1.0}])
def test_impossible_sites_are_refused(tmp_path, choice):
    manifest = study().write(tmp_path / "run").manifest()
    with pytest.raises(InputError, match="at least"):
        at_site(manifest, **choice)
