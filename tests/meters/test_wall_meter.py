"""A wall meter's log beside a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from joulebench.errors import InputError
from joulebench.meters.wall_meter import compare, comparison, import_log, read_log
from joulebench.records.model import Reading, Window
from joulebench.reporting import summarise
from joulebench.reporting.findings import findings
from tests.runner.test_local import run_toy

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def window(start_s: float, seconds: float, joules: float, steps: int = 10) -> Window:
    utc = (EPOCH + timedelta(seconds=start_s)).isoformat().replace("+00:00", "Z")
    reading = Reading(domain="cpu", energy_j=joules, source="t", kind="measured")
    return Window(
        phase="inference", start_utc=utc, start_s=start_s, end_s=start_s + seconds, steps=steps, units=steps,
        readings=(reading,),
    )  # fmt: skip


def write_log(path, rows) -> None:
    lines = [f"{(EPOCH + timedelta(seconds=t)).isoformat()},{w}" for t, w in rows]
    path.write_text("utc,watts\n" + "\n".join(lines) + "\n")


def test_the_ratio_is_of_energies_over_the_same_time(tmp_path):
    write_log(tmp_path / "log.csv", [(t, 150.0) for t in range(61)])
    windows = [window(5.0, 10.0, 1000.0), window(20.5, 10.25, 1025.0)]
    found = compare(windows, read_log(tmp_path / "log.csv"))
    assert found.ratio == pytest.approx(1.5)
    assert found.covered_s == pytest.approx(20.25)
    assert found.by_window.mean == pytest.approx(1.5)
    assert found.by_window.n == 2


def test_a_ramp_is_integrated(tmp_path):
    write_log(tmp_path / "log.csv", [(0, 0.0), (5, 50.0), (10, 100.0)])
    found = compare([window(2.0, 6.0, 100.0)], read_log(tmp_path / "log.csv"))
    assert found.wall_j == pytest.approx(5 * (8**2 - 2**2))


def test_windows_outside_the_log_or_in_its_holes_are_left_out(tmp_path):
    write_log(tmp_path / "log.csv", [(t, 100.0) for t in [*range(21), *range(60, 81)]])
    trace = read_log(tmp_path / "log.csv")
    assert compare([window(-1.0, 5.0, 1.0), window(78.0, 5.0, 1.0), window(30.0, 5.0, 1.0)], trace) is None
    assert compare([window(19.0, 2.0, 1.0)], trace) is None
    assert compare([window(61.0, 5.0, 400.0)], trace).ratio == pytest.approx(1.25)


def test_unix_seconds_are_times_too(tmp_path):
    base = EPOCH.timestamp()
    (tmp_path / "log.csv").write_text(f"utc,watts\n{base},80\n{base + 10},80\n")
    assert compare([window(1.0, 5.0, 200.0)], read_log(tmp_path / "log.csv")).ratio == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns 'utc' and 'watts'"),
        ("time,watts\n1,2\n", "columns 'utc' and 'watts'"),
        ("utc,watts\n2026-01-01T00:00:00,5\n", "line 2: .*no time zone"),
        ("utc,watts\n1,5\n2,x\n", "line 3"),
        ("utc,watts\n1,5\n1,6\n", "times must rise"),
        ("utc,watts\n1,-5\n", "not negative"),
        ("utc,watts\nnan,5\n", "not a time"),
    ],
)
def test_a_broken_log_is_refused_by_line(tmp_path, text, message):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_log(tmp_path / "log.csv")


def test_imported_beside_a_run_it_stands_in_the_report(tmp_path):
    folder = run_toy(tmp_path, method="random")  # 100 W on a virtual clock that begins in 2000
    base = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
    log = tmp_path / "log.csv"
    log.write_text("utc,watts\n" + "\n".join(f"{base + t},140" for t in range(0, 5000, 5)) + "\n")
    assert comparison(folder) is None
    assert import_log(folder, log).ratio == pytest.approx(1.4)
    assert comparison(folder).ratio == pytest.approx(1.4)
    (note,) = [f for f in findings(summarise(folder)) if f.code == "wall_meter"]
    assert "a ratio of 1.4" in note.text


def test_a_log_of_another_time_is_refused(tmp_path):
    folder = run_toy(tmp_path, method="random")
    log = tmp_path / "log.csv"
    log.write_text("utc,watts\n0,100\n10,100\n")
    with pytest.raises(InputError, match="covers no window"):
        import_log(folder, log)
    assert not (folder.path / "wall.csv").exists()
