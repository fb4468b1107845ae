"""The consistency check: verdict, causes of the spread and net energy, from synthetic records."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest

from joulebench.errors import InputError
from joulebench.presentation.rows import csv_text
from joulebench.presentation.section import Section
from joulebench.records.model import LedgerEntry, Reading
from joulebench.reporting import write_report
from joulebench.results.consistency import PRECHECK, consistency, meter_check_of, meter_check_protocol
from joulebench.spec.task import Protocol, Task
from joulebench.studies.base import check_studies
from joulebench.studies.consistency.section import ConsistencyStudy
from tests.run_factory import ENERGY, RunBuilder, make_task

TIMES = (1.00, 1.01, 1.02, 1.01, 1.00, 1.03, 1.01, 1.00, 1.02, 1.00)


def check_task(**fields) -> Task:
    objectives = {"j_per_sample": {"goal": "minimize", **ENERGY}}
    stages = {"default": {"method": "default", "repeats": 1}}
    return make_task(
        objectives, stages=stages, **{"analyses": ["consistency"], "gate": {"max_rsd": 0.02}, **fields}
    )


def run_of(times=TIMES, scales=None, idle=True, task=None, **builder) -> RunBuilder:
    """One trial of the default: windows of these lengths, each of 100 samples; power times `scales`."""
    run = RunBuilder(task or check_task(), **builder)
    windows = [run.window("settle", 0.5), *(run.window("idle", 0.5) for _ in range(4))] if idle else []
    windows += [
        run.window("inference", seconds, 100, scale=scale)
        for seconds, scale in zip(times, scales or [1.0] * len(times), strict=True)
    ]
    run.add({}, 100, {}, "default", windows=tuple(windows))
    return run


def result(run: RunBuilder):
    return consistency(run.read())


def section_of(run: RunBuilder) -> Section:
    return ConsistencyStudy().section(result(run), run.read())


def test_it_passes_with_the_spread_of_joules_per_sample():
    check = result(run_of())
    assert check.passed
    assert check.rsd.value == pytest.approx(stdev(TIMES) / fmean(TIMES))
    assert check.rsd.low < check.rsd.value < check.rsd.high
    assert check.j_per_unit.mean == pytest.approx(0.8 * fmean(TIMES))
    assert section_of(run_of()).verdict is True


def test_joules_at_constant_estimated_power_have_the_spread_of_time():
    run = run_of()
    check = result(run)
    assert check.steady_power
    assert check.time_rsd.value == pytest.approx(check.rsd.value)


def test_measured_power_that_moves_is_not():
    run = run_of([1.0] * 10, [1 + 0.03 * (-1) ** i for i in range(10)], measured=True)
    check = result(run)
    assert not check.passed
    assert not check.steady_power
    assert check.kind == "measured"
    assert section_of(run).verdict is False


@pytest.mark.parametrize("idle_w", [59.0, 10.0])
def test_the_net_share_is_that_of_idle_and_load_power(monkeypatch, idle_w):
    monkeypatch.setitem(__import__("tests.run_factory", fromlist=["x"]).IDLE_WATTS, "cpu", idle_w)
    run = run_of()
    assert result(run).net_share.mean == pytest.approx((60 - idle_w) / 80)


def test_without_quiet_idle_net_is_not_stated():
    assert result(run_of(idle=False)).net_share is None


def test_a_drift_shows():
    run = run_of([1.0 + 0.01 * i for i in range(10)])
    assert result(run).drift.shows
    assert result(run).drift.relative == pytest.approx(0.09 / 1.045, rel=0.02)


def test_invalid_windows_are_left_out():
    run = run_of([0.5, *TIMES])  # too short for the protocol's 1 s
    check = result(run)
    assert len(check.windows) == 11
    assert len(check.valid) == 10
    assert [w.reason is None for w in check.windows] == [False, *[True] * 10]


def test_a_gate_fails_closed():
    for run in (run_of([0.5] * 10), RunBuilder(check_task())):
        check = result(run)
        assert check.passed is False
        assert not check.valid
    failed = RunBuilder(check_task())
    failed.fail({}, "oom", "out of memory")
    assert "out of memory" in section_of(failed).answer


def test_a_verdict_within_the_interval_is_close():
    assert result(run_of([1.1 + 0.018 * (-1) ** i for i in range(10)])).close


def test_check_meters_and_other_load():
    run = RunBuilder(check_task())
    windows = []
    for i, seconds in enumerate(TIMES):
        readings = (
            Reading(domain="gpu:0", energy_j=100 * seconds, source="nvml_counter", kind="measured"),
            Reading(domain="gpu:0", energy_j=94 * seconds, source="nvml_power", kind="measured", role="check"),
        )
        conditions = {"other_load_cpus": 0.005 * i}
        windows.append(run.window("inference", seconds, 10, readings=readings, conditions=conditions))
    run.add({}, 10, {}, "default", windows=tuple(windows))
    check = result(run)
    (second,) = check.checks
    assert (second.domain, second.source) == ("gpu:0", "nvml_power")
    assert second.rel_difference == pytest.approx(-0.06)
    assert check.most_other_load == pytest.approx(0.045)


def test_a_precheck_is_judged_from_its_ledger_entry():
    task = make_task()
    run = RunBuilder(task)
    windows = tuple(run.window(PRECHECK, seconds, 64) for seconds in TIMES)
    check = meter_check_of(task, LedgerEntry(session=0, event="precheck", windows=windows))
    assert check.rsd.n == 10
    assert check.passed
    protocol = meter_check_protocol(Protocol(window_s=5.0, warmup_s=2.0))
    assert (protocol.window_s, protocol.warmup_s, protocol.repeats, protocol.max_repeats) == (1.0, 1.0, 10, 10)
    assert meter_check_protocol(Protocol(window_s=0.3, warmup_s=0.1, max_warmup_s=1.0)).window_s == 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"analyses": ["frontier"]}, "needs 'consistency' among analyses"),
        ({"objectives": {"val_accuracy": {"goal": "maximize"}}}, "needs an energy objective"),
    ],
)
def test_a_task_whose_gate_nothing_judges_is_refused(change, message):
    with pytest.raises((ValueError, InputError), match=message):
        check_studies(Task.model_validate(check_task().model_dump(mode="json") | change), "t.toml")


def test_its_report_has_the_verdict_and_no_frontier(tmp_path):
    folder = run_of().write(tmp_path / "run")
    written = write_report(folder)
    assert written.passed is True
    assert written.headline.startswith("PASS")
    names = {p.name for p in folder.path.iterdir()}
    assert {"consistency.csv", "consistency.png", "consistency.svg", "report.html", "report.md"} <= names
    assert not {n for n in names if n.startswith("frontier")}
    text = (folder.path / "report.md").read_text()
    assert "frontier" not in text.lower()
    assert "## Consistency of the meter" in text
    page = (folder.path / "report.html").read_text()
    assert 'id="chart-consistency-windows"' in page
    assert 'id="frontier"' not in page
    lines = (folder.path / "consistency.csv").read_text().splitlines()
    assert len(lines) == 11
    before = {n: (folder.path / n).read_bytes() for n in names if n.startswith(("consistency", "report"))}
    write_report(folder)
    assert {n: (folder.path / n).read_bytes() for n in before} == before


@pytest.mark.parametrize("kind", ["empty", "blind", "short"])
def test_any_run_has_a_section(tmp_path, kind):
    run = RunBuilder(check_task()) if kind == "empty" else run_of([0.5] * 10 if kind == "short" else TIMES)
    if kind == "blind":
        run = run_of(watts={})
    folder = run.write(tmp_path / "run")
    assert write_report(folder).passed is False
    section = section_of(run)
    assert not section.plots
    assert "nan" not in csv_text(section.rows, section.columns)
    assert not any(math.isnan(w.seconds) for w in result(run).windows)


def test_gate_is_an_error_of_its_own_kind():
    from joulebench.errors import GateError

    assert issubclass(GateError, InputError)
