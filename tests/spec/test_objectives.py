"""Names of objectives: their form, their unit of work, and what is refused."""

from __future__ import annotations

import math

import pytest

from joulebench.spec.objectives import Objective, energy_form, work_unit
from tests.factories import ENERGY


@pytest.mark.parametrize(
    ("name", "unit", "measure", "inverse", "delays"),
    [
        ("samples_per_j", "sample", "J", True, 0),
        ("j_per_token", "token", "J", False, 0),
        ("prompt_tokens_per_wh", "prompt_token", "Wh", True, 0),
        ("samples_per_kgco2e", "sample", "kg CO2e", True, 0),
        ("edp_js_per_sample", "sample", "J·s", False, 1),
        ("ed2p_js2_per_step", "step", "J·s²", False, 2),
    ],
)
def test_energy_is_named_by_its_form(name, unit, measure, inverse, delays):
    form = energy_form(name)
    assert (form.unit, form.measure, form.inverse, form.delays) == (unit, measure, inverse, delays)
    assert work_unit(name) == unit
    Objective(goal="maximize" if inverse else "minimize", **ENERGY).check_name(name)


def test_joules_follow_from_a_value_where_they_can():
    assert energy_form("samples_per_wh").joules(7200.0) == 0.5
    assert energy_form("samples_per_j").joules(0.0) == math.inf
    assert energy_form("j_per_sample").joules(0.5) == 0.5
    assert energy_form("edp_js_per_sample").joules(0.5) is None
    assert energy_form("samples_per_kgco2e").joules(0.5) is None  # without a grid
    with pytest.raises(ValueError, match="not an energy"):
        energy_form("val_accuracy")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("samples_per_kwh", "samples_per_wh"),
        ("samples_per_kg_co2e", "samples_per_kgco2e"),
        ("edp_per_sample", "edp_js_per_sample"),
        ("ed2p_per_sample", "ed2p_js2_per_sample"),
        ("joules_per_sample", "j_per_sample"),
    ],
)
def test_a_wrong_name_of_energy_is_refused_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        Objective(goal="maximize", **ENERGY).check_name(name)


def test_work_per_second_names_a_phase_alone():
    rate = Objective(goal="maximize", phase="inference")
    assert (rate.is_rate, rate.is_energy, rate.is_latency, rate.is_relative) == (True, False, False, True)
    rate.check_name("samples_per_s")
    assert work_unit("samples_per_s") == "sample"
    with pytest.raises(ValueError, match="did you mean 'samples_per_s'"):
        rate.check_name("samples_per_sec")
    for name in ("samples_per_j", "samples_per_wh"):
        with pytest.raises(ValueError, match="missing: domains and basis"):
            rate.check_name(name)
    Objective(goal="maximize").check_name("samples_per_s")  # a workload's own metric
    with pytest.raises(ValueError, match="missing: all three"):
        Objective(goal="maximize").check_name("samples_per_wh")


@pytest.mark.parametrize(
    ("name", "fields", "better"),
    [
        ("j_per_sample", ENERGY, "minimize"),
        ("edp_js_per_sample", ENERGY, "minimize"),
        ("samples_per_wh", ENERGY, "maximize"),
        ("samples_per_s", {"phase": "inference"}, "maximize"),
        ("request_p95_s", {"phase": "request", "quantile": 0.95}, "minimize"),
    ],
)
def test_a_goal_is_the_better_direction(name, fields, better):
    worse = "minimize" if better == "maximize" else "maximize"
    Objective(goal=better, **fields).check_goal(name)
    with pytest.raises(ValueError, match=f"'{name}': the goal must be {better}"):
        Objective(goal=worse, **fields).check_goal(name)
    for goal in (better, worse):
        Objective(goal=goal).check_goal("val_accuracy")


def test_a_rate_takes_no_domains():
    with pytest.raises(ValueError, match="work per second, so it names its phase, and neither"):
        Objective(goal="maximize", **ENERGY).check_name("samples_per_s")
