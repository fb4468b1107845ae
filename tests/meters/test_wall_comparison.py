"""A wall meter's energy beside a run's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from joulebench.errors import InputError
from joulebench.meters.wall_comparison import compare, compare_run, import_log
from joulebench.meters.wall_log import read_log
from joulebench.records.model import Reading, Window
from joulebench.reporting import summarise
from joulebench.reporting.findings import findings
from joulebench.results.run import Run
from tests.commands.calling import call
from tests.runner.test_local import run_toy

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TOY_S = datetime(2000, 1, 1, tzinfo=UTC).timestamp()  # where the virtual clock of a replay begins


def window(
    start_s: float, seconds: float, joules: float, phase="inference", steps: int = 10, kind="measured"
) -> Window:
    utc = (EPOCH + timedelta(seconds=start_s)).isoformat().replace("+00:00", "Z")
    reading = Reading(domain="cpu", energy_j=joules, source="t", kind=kind)
    return Window(
        phase=phase, start_utc=utc, start_s=start_s, end_s=start_s + seconds, steps=steps, units=steps,
        readings=(reading,),
    )  # fmt: skip


def course(rng, trials: int = 6, window_s: float = 1.0) -> list[Window]:
    """Touching windows of 40, 60 and 100 W: idle, training of a varying length, forty of inference."""
    windows, at = [], 0.0
    for _ in range(trials):
        parts = [(5.0, 40, "idle", 0)] * 4 + [(rng.uniform(22, 48), 60, "train", 1)]
        for seconds, watts, phase, steps in [*parts, *[(window_s, 100, "inference", 10)] * 40]:
            windows.append(window(at, seconds, seconds * watts * rng.normal(1, 0.01), phase, steps))
            at += seconds
    return windows


def wall_of(windows, rng, factor, *, period_s=1.0, offset_s=0.0, noise_w=1.0, margin_s=100.0) -> list[tuple]:
    """Samples (seconds from EPOCH, W) of a machine that takes `factor` times what software counts."""
    times = np.arange(windows[0].start_s - margin_s, windows[-1].end_s + margin_s, period_s)
    watts = np.full(len(times), 40.0 * factor)
    for w in windows:
        watts[(times >= w.start_s) & (times < w.end_s)] = factor * w.readings[0].energy_j / w.duration_s
    watts = np.maximum(watts + rng.normal(0, noise_w, len(watts)), 0)
    return [(float(t) + offset_s, float(p)) for t, p in zip(times, watts, strict=True)]


def write_log(path, rows):
    lines = [f"{(EPOCH + timedelta(seconds=t)).isoformat()},{w}" for t, w in rows]
    path.write_text("utc,watts\n" + "\n".join(lines) + "\n")
    return path


def log_of(tmp_path, rows):
    return read_log(write_log(tmp_path / "log.csv", rows))


def test_the_ratio_is_of_energies_over_the_same_time(tmp_path):
    log = log_of(tmp_path, [(t, 150.0) for t in range(81)])
    result = compare([window(5.0, 30.0, 3000.0), window(45.5, 20.25, 2025.0)], log)
    assert result.ratio.mean == pytest.approx(1.5)
    assert result.covered_s == pytest.approx(50.25)
    assert (result.windows, result.left_out, result.ratio.n) == (2, 0, 2)
    assert (result.ratio.low, result.ratio.high) == (
        None,
        None,
    )  # nothing varied: no interval rather than none wide


def test_a_ramp_is_integrated(tmp_path):
    log = log_of(tmp_path, [(t / 4, 2.5 * t) for t in range(41)])
    assert compare([window(2.0, 6.0, 100.0)], log).wall_j == pytest.approx(5 * (8**2 - 2**2))


@pytest.mark.parametrize("period_s", [0.2, 1.0])
@pytest.mark.parametrize("offset_s", [-7.3, 0.0, 5.0])
def test_known_ratio_and_offset_are_recovered(tmp_path, period_s, offset_s):
    rng = np.random.default_rng(7)
    windows = course(rng)
    log = log_of(tmp_path, wall_of(windows, rng, 1.5, period_s=period_s, offset_s=offset_s))
    result = compare(windows, log)
    assert result.offset.estimated
    assert abs(result.offset.offset_s - offset_s) <= period_s
    assert result.ratio.low <= 1.5 <= result.ratio.high
    assert 0 < result.ratio.high - result.ratio.low < 0.03
    assert set(result.by_phase) == {"train", "inference"}
    assert all(v.low <= 1.5 <= v.high for v in result.by_phase.values())
    assert (result.windows, result.left_out) == (len(windows), 0)


def test_windows_with_few_samples_count_with_those_they_touch(tmp_path):
    """At a sample a second one window of 1 s has one; forty that touch have forty."""
    rng = np.random.default_rng(8)
    windows = [*course(rng, trials=2), window(500.0, 2.0, 200.0), window(510.0, 19.0, 1900.0)]
    result = compare(windows, log_of(tmp_path, wall_of(windows, rng, 1.5)))
    assert result.left_out == 2  # the two that stand alone
    assert result.by_phase["inference"].n == 2


def test_too_slow_a_log_is_refused_with_the_period_that_would_do(tmp_path):
    """Windows of 5 s, one minute apart, a sample every 10 s: a wall meter's edges would be all there is."""
    windows = [window(60.0 * i, 5.0, 500.0) for i in range(20)]
    log = log_of(tmp_path, [(t, 80.0 + 60 * (t % 60 < 5)) for t in range(-20, 1220, 10)])
    with pytest.raises(InputError, match=r"20 samples.* 10 s apart, and every 0\.25 s would do"):
        compare(windows, log)
    with pytest.raises(InputError, match="at least 20"):
        compare(windows, log_of(tmp_path, [(t, 80.0) for t in range(19)]))


def test_windows_outside_the_log_or_in_its_holes_are_left_out(tmp_path):
    log = log_of(tmp_path, [(t, 100.0) for t in [*range(41), *range(80, 121)]])
    result = compare([window(-1.0, 30.0, 1.0), window(35.0, 30.0, 1.0), window(85.0, 30.0, 2400.0)], log)
    assert (result.windows, result.left_out) == (1, 1)
    assert result.ratio.mean == pytest.approx(1.25)


def test_windows_that_overlap_are_refused(tmp_path):
    log = log_of(tmp_path, [(t, 100.0) for t in range(100)])
    with pytest.raises(InputError, match="overlap"):
        compare([window(10.0, 30.0, 100.0), window(20.0, 30.0, 100.0)], log)


def test_without_a_clear_peak_zero_is_taken_if_it_fits_and_the_log_refused_if_not(tmp_path):
    rng = np.random.default_rng(9)
    flat = [window(30.0 * i, 30.0, 1500.0 * rng.normal(1, 1e-5)) for i in range(10)]
    result = compare(flat, log_of(tmp_path, wall_of(flat, rng, 1.5, offset_s=5.0)))
    assert (result.offset.estimated, result.offset.offset_s) == (False, 0.0)
    assert result.ratio.low <= 1.5 <= result.ratio.high
    turns = [window(10.0 * i, 10.0, 400.0 if i % 2 else 200.0) for i in range(100)]
    with pytest.raises(InputError, match="no one offset"):
        compare(turns, log_of(tmp_path, wall_of(turns, rng, 1.5, offset_s=4.0, margin_s=-150.0)))


def test_a_clock_5_s_off_over_slow_samples_is_corrected_and_its_uncertainty_is_in_the_interval(tmp_path):
    rng = np.random.default_rng(10)
    windows = course(rng, trials=12, window_s=5.0)
    log = log_of(tmp_path, wall_of(windows, rng, 1.5, period_s=10.0, offset_s=5.0, noise_w=0.5))
    result = compare(windows, log)
    assert abs(result.offset.offset_s - 5) <= 10
    assert result.ratio.low <= 1.5 <= result.ratio.high
    assert result.ratio.high > result.ratio.low


@pytest.mark.parametrize(("hours", "hint"), [(2, "2 h earlier"), (-5.5, "5.5 h later")])
@pytest.mark.parametrize("margin_s", [100.0, 30_000.0])
def test_a_time_zone_is_named(tmp_path, hours, hint, margin_s):
    rng = np.random.default_rng(11)
    windows = course(rng)
    period_s = 1.0 if margin_s < 1000 else 5.0
    rows = wall_of(windows, rng, 1.5, period_s=period_s, offset_s=hours * 3600, margin_s=margin_s)
    with pytest.raises(InputError, match=hint):
        compare(windows, log_of(tmp_path, rows))


def toy_log(path, watts, *, by_ms=False):
    scale = 1000 if by_ms else 1
    path.write_text("utc,watts\n" + "".join(f"{(TOY_S + t / 10) * scale},{watts}\n" for t in range(-100, 20000)))
    return path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return run_toy(tmp_path_factory.mktemp("toy"), method="random")  # 100 W, estimated


def wall_finding(folder):
    (finding,) = [f for f in findings(summarise(folder)) if f.code == "wall_meter"]
    return finding


def test_imported_beside_a_run_it_stands_in_the_report(toy, tmp_path):
    (toy.path / "wall.csv").unlink(missing_ok=True)
    assert compare_run(toy, Run.of(toy).windows) is None
    assert import_log(toy, toy_log(tmp_path / "log.csv", 140)).ratio.mean == pytest.approx(1.4)
    assert compare_run(toy, Run.of(toy).windows).ratio.mean == pytest.approx(1.4)
    assert wall_finding(toy).level == "note"


def test_the_command_prints_the_ratio_or_one_line(toy, tmp_path, monkeypatch, capsys):
    (toy.path / "wall.csv").unlink(missing_ok=True)
    code, out, _ = call(monkeypatch, capsys, "wall", toy.path, toy_log(tmp_path / "log.csv", 140))
    assert (code, "1.4 over" in out, "cannot be estimated" in out) == (0, True, True)
    code, out, err = call(monkeypatch, capsys, "wall", toy.path, toy_log(tmp_path / "log.csv", 80))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    code, out, _ = call(monkeypatch, capsys, "wall", toy.path, toy_log(tmp_path / "log.csv", 80), "--allow-below")
    assert (code, "warning" in out) == (0, True)


@pytest.mark.parametrize(
    ("watts", "hint"), [(80, "--allow-below"), (0.14, "kilowatts"), (140_000, "milliwatts"), (0, "--allow-below")]
)
def test_a_log_that_cannot_be_of_the_run_is_refused(toy, tmp_path, watts, hint):
    (toy.path / "wall.csv").unlink(missing_ok=True)
    with pytest.raises(InputError, match=hint):
        import_log(toy, toy_log(tmp_path / "log.csv", watts))
    assert not (toy.path / "wall.csv").exists()


def test_an_estimate_may_be_too_high_but_a_measurement_not(tmp_path, toy):
    result = import_log(toy, toy_log(tmp_path / "log.csv", 80), allow_below=True)
    assert (result.below_software, result.kind) == (True, "estimated")
    assert wall_finding(toy).level == "warning"
    measured = compare([window(1.0, 30.0, 3000.0)], log_of(tmp_path, [(t, 80.0) for t in range(40)]))
    assert (measured.below_software, measured.kind) == (True, "measured")


def test_more_than_three_times_software_is_a_warning(toy, tmp_path):
    assert import_log(toy, toy_log(tmp_path / "log.csv", 310)).implausible
    assert wall_finding(toy).level == "warning"


def test_a_log_that_lies_in_the_folder_but_cannot_be_used_is_a_warning(toy):
    (toy.path / "wall.csv").write_text("utc,watts\n1,x\n")
    assert wall_finding(toy).level == "warning"
    assert "line 2" in wall_finding(toy).text


def test_a_log_of_another_time_is_refused(toy, tmp_path):
    (toy.path / "wall.csv").unlink(missing_ok=True)
    log = tmp_path / "log.csv"
    log.write_text("utc,watts\n" + "".join(f"{t},100\n" for t in range(30)))
    with pytest.raises(InputError, match=r"1970-01-01.* the run 2000-01-01"):
        import_log(toy, log)
    with pytest.raises(InputError, match="milliseconds"):
        import_log(toy, toy_log(log, 140, by_ms=True))
    assert not (toy.path / "wall.csv").exists()
