"""Findings on windows: what was left out, what it cost, and what their conditions say."""

from __future__ import annotations

import pytest

from joulebench.records.model import Window
from joulebench.reporting.findings import findings
from joulebench.reporting.prose import banners
from joulebench.reporting.summary import Summary
from joulebench.results.findings import Code, Finding
from joulebench.results.losses import NEAR_ZERO
from tests.results.test_losses import PROTOCOL, disturb, run_of
from tests.run_factory import OBJECTIVES, RunBuilder, make_task


def every(run: RunBuilder, **manifest: object) -> dict[Code, Finding]:
    summary = Summary(run.read(**manifest))
    return {f.code: f for f in (*banners(summary), *findings(summary))}


def test_what_cost_a_trial_is_an_alert_at_the_top() -> None:
    run = run_of({}, {})
    disturb(run, 1, "inference", 2, other_load_cpus=0.9)
    summary = Summary(run.read())
    (alert,) = (b for b in banners(summary) if b.code is Code.BUSY_MACHINE)
    assert alert.level == "alert"
    assert Code.BUSY_MACHINE not in [f.code for f in findings(summary)]
    assert [(g.status, g.trials) for g in summary.failures] == [("invalid", (1,))]


@pytest.mark.parametrize(("extra", "level"), [(1, "note"), (3, "warning")])
def test_more_than_a_twentieth_left_out_is_a_warning(extra: int, level: str) -> None:
    run = run_of(*({} for _ in range(3)))  # 15 measured and 12 idle windows
    short = [run.window("inference", 0.5, 4000) for _ in range(extra)]
    run.trials[0] = run.trials[0].model_copy(update={"windows": (*run.trials[0].windows, *short)})
    assert every(run)[Code.INVALID_WINDOWS].level == level


def test_an_idle_baseline_that_was_lost_is_an_alert() -> None:
    run = run_of({})
    disturb(run, 0, "idle", 3, steal_cpus=0.9)
    assert every(run)[Code.BUSY_MACHINE].level == "alert"


@pytest.mark.parametrize(("disturbed", "level"), [(0, "note"), (2, "alert")])
def test_a_busy_machine_that_was_allowed(disturbed: int, level: str) -> None:
    run = run_of({}, protocol={**PROTOCOL, "allow_busy": True})
    disturb(run, 0, "inference", disturbed, other_load_cpus=0.9)
    found = every(run)
    assert found[Code.ALLOWED_BUSY].level == level
    assert Code.BUSY_MACHINE not in found


def test_throttling_throughout_is_noted_and_counts() -> None:
    run = run_of({})
    disturb(run, 0, "inference", 5, **{"gpu:0_throttled_thermal": 1.0})
    found = every(run)
    assert found[Code.THROTTLED].level == "note"
    assert "100 %" in found[Code.THROTTLED].text
    disturb(run, 0, "inference", 1, **{"gpu:0_throttled_thermal": 0.0})
    alerts = [b.level for b in banners(Summary(run.read())) if b.code is Code.THROTTLED]
    assert alerts == ["alert"]  # it changed, and four windows are too few


def test_conditions_are_not_recorded_only_where_no_window_has_them() -> None:
    run = run_of({})
    assert every(run)[Code.NOT_RECORDED].level == "note"
    disturb(run, 0, "inference", 1, other_load_cpus=0.0)
    assert "hypervisor" in every(run)[Code.NOT_RECORDED].text
    disturb(run, 0, "inference", 1, steal_cpus=0.0)
    assert Code.NOT_RECORDED not in every(run)
    assert Code.NOT_RECORDED not in every(run_of({}), replay="trace.jsonl")


def test_a_gpu_has_conditions_of_its_own() -> None:
    run = RunBuilder(make_task(), watts={"gpu:0": 240.0, "cpu": 60.0})
    run.add({}, 8000, {"val_accuracy": 0.9})
    disturb(run, 0, "inference", 1, other_load_cpus=0.0, steal_cpus=0.0)
    assert "gpu:0" in every(run)[Code.NOT_RECORDED].text
    disturb(run, 0, "inference", 1, **{"gpu:0_other_processes": 0.0, "gpu:0_throttled_thermal": 0.0})
    assert Code.NOT_RECORDED not in every(run)


def windows(run: RunBuilder, scales: list[float]) -> tuple[Window, ...]:
    return tuple(run.window("inference", 1.0, 8000, scale=scale) for scale in scales)


def test_correlated_windows_are_found_above_chance() -> None:
    slow = [1 + 0.01 * (n // 6) for n in range(24)]
    quick = [1 + 0.01 * (n % 2) for n in range(24)]
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, windows=windows(run, slow))
    assert every(run)[Code.CORRELATED_WINDOWS].level == "warning"
    for width in range(9, 14):  # one of six is found by chance in a quarter of all runs
        run.add({"width": width}, 8000, {"val_accuracy": 0.9}, windows=windows(run, quick))
    assert Code.CORRELATED_WINDOWS not in every(run)


def test_a_stretched_trace_is_said_with_the_largest_share() -> None:
    run = run_of({})
    assert Code.REPLAY_STRETCHED not in every(run)
    disturb(run, 0, "inference", 2, replay_stretched=0.25)
    disturb(run, 0, "idle", 1, replay_stretched=0.5)
    found = every(run)[Code.REPLAY_STRETCHED]
    assert found.level == "warning"
    assert "50 %" in found.text


def test_net_near_zero_is_its_own_finding_whatever_the_runner_wrote() -> None:
    objectives = {**OBJECTIVES, "samples_per_j": {**OBJECTIVES["samples_per_j"], "basis": "net"}}
    run = RunBuilder(make_task(objectives), watts={"cpu": 10.0, "ram": 20.0})
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True, status="invalid", error="anything")
    run.add({"width": 9}, 8000, {"val_accuracy": 0.9}, idle=True)
    summary = Summary(run.read())
    assert every(run)[Code.NET_NEAR_ZERO].level == "warning"
    assert {trial: g.reason.endswith(NEAR_ZERO) for g in summary.failures for trial in g.trials} == {
        0: True,
        1: True,
    }
