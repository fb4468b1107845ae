"""What windows that do not count cost a run, by the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from joulebench.records.model import FaultKind, Reading, TrialRecord, Window
from joulebench.results.findings import Code
from joulebench.results.losses import NEAR_ZERO, losses
from tests.run_factory import OBJECTIVES, RunBuilder, make_task

PROTOCOL = {"warmup_s": 0.5, "window_s": 1.0, "idle_s": 2.0}


def run_of(*added: Mapping[str, Any], **task: Any) -> RunBuilder:
    run = RunBuilder(make_task(**task))
    for number, fields in enumerate(added or ({},)):
        run.add({"width": 8 + number}, 8000, {"val_accuracy": 0.9}, idle=True, **fields)
    return run


def disturb(run: RunBuilder, trial: int, phase: str, first: int, **conditions: float) -> None:
    """Conditions for the first windows of a phase of a trial."""
    record, seen, windows = run.trials[trial], 0, list[Window]()
    for window in record.windows:
        if window.phase == phase and seen < first:
            seen += 1
            window = window.model_copy(update={"conditions": {**window.conditions, **conditions}})
        windows.append(window)
    run.trials[trial] = TrialRecord.model_validate({**dict(record), "windows": tuple(windows)})


def test_windows_are_counted_by_reason() -> None:
    run = run_of({}, {})
    disturb(run, 0, "inference", 2, other_load_cpus=0.9)
    disturb(run, 1, "inference", 1, steal_cpus=0.5)
    disturb(run, 1, "idle", 1, other_load_cpus=0.9)
    known = losses(run.read())
    busy = known.groups[Code.BUSY_MACHINE]
    assert busy.measured == {FaultKind.OTHER_LOAD: 2, FaultKind.STOLEN_TIME: 1}
    assert busy.idle == {FaultKind.OTHER_LOAD: 1}
    assert (known.measured, known.idle, known.phases["inference"].valid) == (12, 8, 7)
    assert (known.phases["train"].measured, known.phases["train"].valid) == (2, 2)
    assert busy.baselines == []  # three idle windows are left
    assert busy.first is not None
    assert busy.first.kind is FaultKind.OTHER_LOAD


def test_a_trial_recorded_as_ok_is_lost_where_too_few_windows_count_today() -> None:
    run = run_of({}, {})
    disturb(run, 0, "inference", 1, other_load_cpus=0.9)  # four of the five windows that the protocol asks for
    known = losses(run.read())
    assert known.groups[Code.BUSY_MACHINE].trials == [0]
    assert set(known.without_value) == {0}


def test_a_raced_trial_needs_min_windows_only() -> None:
    run = run_of({"raced": True})
    disturb(run, 0, "inference", 3, other_load_cpus=0.9)
    assert losses(run.read()).groups[Code.BUSY_MACHINE].trials == []
    disturb(run, 0, "inference", 4, other_load_cpus=0.9)
    assert losses(run.read()).groups[Code.BUSY_MACHINE].trials == [0]


def test_a_trial_is_lost_to_what_it_would_have_had_enough_windows_without() -> None:
    run = run_of({})
    extra = [run.window("inference", 0.5, 4000) for _ in range(3)]  # too short, and more of them
    run.trials[0] = run.trials[0].model_copy(update={"windows": (*run.trials[0].windows, *extra)})
    disturb(run, 0, "inference", 2, other_load_cpus=0.9)
    known = losses(run.read())
    assert known.groups[Code.BUSY_MACHINE].trials == [0]
    assert known.groups[Code.INVALID_WINDOWS].trials == []
    assert known.groups[Code.INVALID_WINDOWS].measured == {FaultKind.TOO_SHORT: 3}


def test_an_idle_baseline_without_two_windows_is_lost() -> None:
    run = run_of({})
    disturb(run, 0, "idle", 3, other_load_cpus=0.9)
    busy = losses(run.read()).groups[Code.BUSY_MACHINE]
    assert (busy.baselines, busy.trials) == ([0], [])


def test_throttling_that_changed_is_a_group_of_its_own() -> None:
    run = run_of({})
    disturb(run, 0, "inference", 1, **{"gpu:0_throttled_thermal": 0.5})
    known = losses(run.read())
    assert known.groups[Code.THROTTLED].measured == {FaultKind.THROTTLING_CHANGED: 1}
    assert known.groups[Code.THROTTLED].trials == [0]


def test_with_allow_busy_windows_count_and_those_that_would_not_are_counted() -> None:
    run = run_of({}, protocol={**PROTOCOL, "allow_busy": True})
    disturb(run, 0, "inference", 2, other_load_cpus=0.9)
    disturb(run, 0, "idle", 1, steal_cpus=0.9)
    known = losses(run.read())
    assert (known.groups, known.allowed) == ({}, 3)
    assert known.without_value == {}


def test_a_quiet_run_loses_nothing() -> None:
    known = losses(run_of({}).read())
    assert (known.groups, known.allowed, known.without_value) == ({}, 0, {})


@pytest.mark.parametrize(
    ("watts", "near"), [({"cpu": 10.0, "ram": 20.0}, True), ({"cpu": 60.0, "ram": 20.0}, False)]
)
def test_net_energy_that_may_be_zero_is_named(watts: dict[str, float], near: bool) -> None:
    objectives = {**OBJECTIVES, "samples_per_j": {**OBJECTIVES["samples_per_j"], "basis": "net"}}
    run = RunBuilder(make_task(objectives), watts=watts)
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    without = losses(run.read()).without_value
    assert without == ({0: NEAR_ZERO} if near else {})


def test_a_net_objective_without_baseline_says_so() -> None:
    objectives = {**OBJECTIVES, "samples_per_j": {**OBJECTIVES["samples_per_j"], "basis": "net"}}
    run = RunBuilder(make_task(objectives))
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    disturb(run, 0, "idle", 4, other_load_cpus=0.9)
    known = losses(run.read())
    assert known.groups[Code.BUSY_MACHINE].baselines == [0]
    assert set(known.without_value) == {0}
    assert known.without_value[0] != NEAR_ZERO


def test_readings_of_a_check_meter_that_disagree_are_the_rest() -> None:
    run = run_of({})
    record = run.trials[0]
    readings = (
        Reading(domain="cpu", energy_j=60.0, source="rapl_package", kind="measured"),
        Reading(domain="cpu", energy_j=6.0, source="psys", kind="measured", role="check"),
    )
    index = next(i for i, w in enumerate(record.windows) if w.phase == "inference")
    windows = list(record.windows)
    windows[index] = windows[index].model_copy(update={"readings": readings})
    run.trials[0] = record.model_copy(update={"windows": tuple(windows)})
    assert losses(run.read()).groups[Code.INVALID_WINDOWS].measured == {FaultKind.METERS_DISAGREE: 1}
