"""Objectives per Wh, per kg CO2e, per second and with delay: values and intervals by hand, and one ranking."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.presentation.units import objective_unit, scaled
from joulebench.records.model import Reading, Window
from joulebench.reporting.site import at_site
from joulebench.results.frontier import beats_reference, frontier
from joulebench.results.outcome import configurations, trial_outcomes
from joulebench.results.run import Run
from joulebench.runner.plan import plan
from joulebench.spec.hardware import Host
from joulebench.stats.estimate import estimate
from tests.factories import ENERGY, UTC, make_task, make_trial
from tests.run_factory import RunBuilder
from tests.run_factory import make_task as run_task

WIDTH = {"width": {"type": "int", "low": 1, "high": 99, "default": 1}}
STAGES = {"init": {"method": "sobol", "trials": 9}}
GRID = {"grid_intensity_g_per_kwh": {"value": 500.0}, "pue": {"value": 1.2}}
#: kg CO2e of a joule: 500 g/kWh × 1.2 / 1000 / 3.6e6
KG_PER_J = 0.6 / 3.6e6
SECONDS = (1.0, 1.4, 1.5, 1.0, 1.1)


def objective(name, **fields):
    energy = {} if name.endswith("_per_s") else ENERGY
    goal = "maximize" if name.startswith("samples") else "minimize"
    return {"goal": goal, "phase": "inference", **energy, **fields}


def task_of(*names, **fields):
    return make_task(WIDTH, STAGES, {name: objective(name) for name in names}, **fields)


def window(number, seconds, phase="inference", watts=80.0):
    """1000 units at a constant power: joules and seconds per unit vary together."""
    reading = Reading(domain="cpu", energy_j=watts * seconds, source="rapl_package", kind="measured")
    begin = 10.0 * number
    return Window(
        phase=phase, start_utc=UTC, start_s=begin, end_s=begin + seconds, units=1000, steps=10, readings=(reading,)
    )


def value_of(name, phase="inference", **fields):
    task = task_of(name, **fields).at(GRID)
    if phase == "train":
        changed = {n: o.model_copy(update={"phase": phase}) for n, o in task.objectives.items()}
        task = task.model_copy(update={"objectives": changed})
    windows = tuple(window(i, s, phase) for i, s in enumerate(SECONDS))
    return trial_outcomes(task, make_trial(task).model_copy(update={"windows": windows}))[name]


@pytest.mark.parametrize(
    ("name", "power", "factor"), [("edp_js_per_sample", 2, 80e-6), ("ed2p_js2_per_sample", 3, 80e-9)]
)
def test_a_product_with_delay_is_taken_in_each_window(name, power, factor):
    outcome = value_of(name)
    expected = estimate([factor * s**power for s in SECONDS])
    for end in ("mean", "low", "high", "sem"):
        assert getattr(outcome.value, end) == pytest.approx(getattr(expected, end))
    assert (outcome.value.n, outcome.kind, outcome.domains) == (5, "measured", ("cpu",))
    mean_s = sum(SECONDS) / 5
    assert outcome.value.mean > 1.02 * factor * mean_s**power  # not the product of means


@pytest.mark.parametrize(
    ("name", "factor"), [("samples_per_wh", 3600.0), ("samples_per_kgco2e", 1 / KG_PER_J), ("samples_per_s", 80.0)]
)
def test_work_per_wh_kg_and_second_is_that_per_joule_times_a_constant(name, factor):
    per_joule, other = value_of("samples_per_j").value, value_of(name).value
    assert per_joule.mean == pytest.approx(1000 / (80 * 1.2))
    for end in ("mean", "low", "high", "sem"):
        assert getattr(other, end) == pytest.approx(factor * getattr(per_joule, end))
    assert other.n == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("edp_js_per_sample", 80 * 6 / 5000 * 6 / 5000),
        ("samples_per_wh", 3600 * 5000 / 480),
        ("samples_per_s", 5000 / 6),
    ],
)
def test_a_training_is_one_value(name, value):
    trained = value_of(name, "train").value
    assert (trained.mean, trained.low) == (pytest.approx(value), None)


def test_carbon_without_a_grid_is_absent():
    task = task_of("samples_per_kgco2e", "samples_per_j")
    trial = make_trial(task)
    assert trial_outcomes(task, trial) == {}
    assert task.without_carbon == "objectives.samples_per_kgco2e"
    placed = task.at(GRID)
    assert placed.without_carbon is None
    assert placed.digest == task.digest
    assert set(trial_outcomes(placed, trial)) == set(task.objectives)


def test_a_run_is_refused_at_its_start_where_no_grid_is_given():
    host = Host("Some CPU", 2, ())
    for task, path in (
        (task_of("samples_per_kgco2e"), "objectives"),
        (task_of("samples_per_j", constraints={"samples_per_kgco2e": {**ENERGY, "at_least": 1.0}}), "constraints"),
    ):
        with pytest.raises(InputError, match=f"^{path}.samples_per_kgco2e: needs the grid's .* --grid-intensity"):
            plan(task, host=host)
        placed = plan(task, host=host, grid_intensity=500.0, pue=1.2).task
        assert placed.energy_form("samples_per_kgco2e").scale == pytest.approx(1 / KG_PER_J)


def test_a_reader_takes_the_grid_of_the_manifest_and_a_report_another_one(tmp_path):
    energy = {**ENERGY, "domains": ["cpu", "ram"]}
    run = RunBuilder(run_task({"samples_per_kgco2e": {"goal": "maximize", "reference": 0.0, **energy}}))
    run.hardware |= GRID
    run.add({}, 8000, {"val_accuracy": 0.9}, wobble=0.0)
    read = Run.of(run.write(tmp_path / "run"))

    def value(of):
        return of.frontier[0].outcomes["samples_per_kgco2e"].value.mean

    assert value(read) == pytest.approx(8000 / 80 / KG_PER_J)
    elsewhere = at_site(read.manifest, grid_intensity_g_per_kwh=250.0)
    moved = Run(elsewhere, read.task.at(elsewhere.hardware), read.trials)
    assert value(moved) == pytest.approx(2 * value(read))


def test_references_and_bounds_are_in_the_objectives_unit():
    task = task_of("samples_per_wh", constraints={"edp_js_per_sample": {**ENERGY, "at_most": 1e-5}})
    (made,) = configurations(task, [make_trial(task, j_per_unit=0.01, spread=0.0)])  # 1 s for 1000 samples
    assert made.constraints["edp_js_per_sample"].value.mean == pytest.approx(1e-5)
    assert made.outcomes["samples_per_wh"].value.mean == pytest.approx(360_000)
    for reference, beaten in ((350_000.0, True), (370_000.0, False)):
        bound = task_of("samples_per_wh")
        of = bound.objectives["samples_per_wh"].model_copy(update={"reference": reference})
        assert beats_reference(bound.model_copy(update={"objectives": {"samples_per_wh": of}}), made) is beaten


def test_values_are_shown_in_their_units():
    task = task_of("samples_per_wh", "samples_per_kgco2e", "samples_per_s", "edp_js_per_sample")
    shown = {name: objective_unit(name, o) for name, o in task.objectives.items()}
    assert list(shown.values()) == ["samples/Wh", "samples/kg CO2e", "samples/s", "J·s/sample"]
    name = "edp_js_per_sample"
    assert scaled(name, 2e-5, task.objectives[name]) == (1e-6, "µJ·s/sample")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9999), st.integers(0, 9)), min_size=2, max_size=8, unique_by=lambda v: v[0])
)
def test_one_grid_leaves_ranking_and_frontier_as_they_are(models):
    ranked = []
    for name in ("samples_per_j", "samples_per_wh", "samples_per_kgco2e"):
        quality = {"val_accuracy": {"goal": "maximize"}}
        for objectives in ({name: objective(name)}, {**quality, name: objective(name)}):
            task = make_task(WIDTH, STAGES, objectives).at(GRID)
            trials = [
                make_trial(task, {"width": i + 1}, {"val_accuracy": accuracy / 10}, mj / 1000, trial=i)
                for i, (mj, accuracy) in enumerate(models)
            ]
            every = configurations(task, trials)
            order = sorted(every, key=lambda c: c.outcomes[name].value.mean)
            ranked.append([c.params["width"] for c in (*order, *frontier(task, every))])
    assert ranked[::2] == [ranked[0]] * 3
    assert ranked[1::2] == [ranked[1]] * 3
