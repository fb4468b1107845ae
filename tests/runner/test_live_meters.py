"""A live meter in a run: what records say of it, and that no record says what is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from joulebench.errors import InputError
from joulebench.meters.replay import PowerTrace
from joulebench.records.folder import RunFolder
from joulebench.reporting.render import write_report
from joulebench.runner.local import resume, run
from joulebench.spec.stage import Stage
from tests.live_emulators import ANSWERS, Device, served
from tests.meter_sources import TickingClock
from tests.runner.test_local import linear_task

ONE_TRIAL = {"stages": {"init": Stage(method="random", trials=1)}}


@pytest.fixture(scope="module")
def plug():
    """The address of a plug that shows 50 W."""
    with served(Device(PowerTrace("wall", (0.0,), (50.0,)), TickingClock()), ANSWERS["shelly_gen2"]) as address:
        yield address


@pytest.fixture(scope="module")
def recorded(plug, tmp_path_factory) -> tuple[RunFolder, str]:
    """A run of one trial with the plug, and the plug's file."""
    folder = tmp_path_factory.mktemp("live")
    file = folder / "plug.toml"
    file.write_text(
        f'url = "http://me:5ecret@{plug}/rpc?token=5ecret"\npath = "apower"\nunit = "W"\nscope = "wall"\n'
        'interval_s = 0.05\nlog = "plug.csv"\n'
    )
    task = linear_task(window_s=0.3, control=False).model_copy(update=ONE_TRIAL)
    return run(task, out=folder / "runs", meters=(str(file),)), str(file)


def test_every_window_has_its_reading_beside_the_others(recorded):
    folder, _ = recorded
    (trial,) = folder.trials()
    windows = [w for w in trial.windows if w.phase == "inference"]
    assert windows
    for window in windows:
        (wall,) = [r for r in window.readings if r.domain == "wall"]
        assert (wall.source, wall.kind, wall.role) == ("live_plug", "measured", "check")
        assert wall.energy_j == pytest.approx(50.0 * window.duration_s, rel=0.01)
        assert {r.domain for r in window.readings if r.role == "primary"} == {"cpu", "ram"}
        assert window.conditions["plug_sampling_cpus"] < 0.5


def test_no_record_says_what_is_asked(recorded):
    folder, file = recorded
    manifest = folder.manifest()
    assert manifest.own_meters == ("plug.toml",)
    assert "power of the wall in W, by HTTP every 0.05 s" in [m["method"] for m in manifest.meters]
    for path in folder.path.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            assert not any(word in text for word in (b"5ecret", b"127.0.0.1", file.encode()))


def test_reports_show_it_as_a_check(recorded):
    folder, _ = recorded
    write_report(folder)
    text = (folder.path / "report.md").read_text()
    assert "live_plug (check, never summed)" in text
    assert "--meter plug.toml" in text


def test_its_log_is_one_of_a_wall_meter(recorded):
    _, file = recorded
    lines = Path(file).with_suffix(".csv").read_text().splitlines()
    assert lines[0] == "utc,watts"
    assert len(lines) > 10


def test_a_resumed_run_needs_the_file_again(recorded, tmp_path, monkeypatch):
    folder, file = recorded
    begun = tmp_path / "begun"
    shutil.copytree(folder.path, begun)
    begun_folder = RunFolder.open(begun)
    begun_folder.trials_path.write_text("")
    ledger = begun_folder.ledger_path.read_text().splitlines(keepends=True)
    begun_folder.ledger_path.write_text("".join(ledger[:1]))
    monkeypatch.chdir(begun)  # with a file of the recorded name in the run's own folder
    (begun / "plug.toml").write_text("what a record brought along")
    for meters, said in (
        ((), "began with the live meter plug.toml, and records do not say what it asks"),
        ((file, "other.toml"), "the run began without 'other.toml'"),
        ((str(begun / "plug.toml"),), "not TOML"),
    ):
        with pytest.raises(InputError, match=said):
            resume(begun, meters=meters)
    done = resume(begun, meters=(file,))
    (trial,) = done.trials()
    assert any(r.source == "live_plug" for w in trial.windows for r in w.readings)
