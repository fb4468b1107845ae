"""What a command prints may find no reader and no room; what it does comes to its end all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulebench.records.folder import RunFolder
from tests.conftest import REPOSITORY
from tests.run_factory import full_run
from tests.runner.test_local import write_toy
from tests.runner.test_meter_check import GATED

FULL = Path("/dev/full")


def start(*arguments, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *options.pop("python", ()), "-m", "joulebench", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


def unread(*arguments, **options) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*arguments, stdout=writing, **options)
    os.close(writing)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.parametrize("python", [(), ("-u",)])
def test_a_list_that_nobody_reads_ends_quietly(python):
    assert unread("tasks", python=python) == (0, "")


def test_a_run_that_nobody_reads_is_complete(tmp_path):
    path = write_toy(tmp_path, method="random")
    assert unread("run", path, "--replay", "9", "--out", tmp_path / "runs") == (0, "")
    (run,) = tmp_path.glob("runs/toy/*/*")
    assert RunFolder.open(run).ledger()[-1].ending == "done"
    assert (run / "report.html").exists()


def test_a_gate_that_is_missed_unread_is_missed(tmp_path):
    path = tmp_path / "gated.toml"
    path.write_text(GATED.format(max_rsd=1e-9))
    assert unread("run", path, "--out", tmp_path / "runs") == (1, "")


def test_bad_input_is_bad_input_unread(tmp_path):
    code, errors = unread("report", tmp_path)
    assert (code, errors.count("\n")) == (2, 1)


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_what_could_not_be_written_is_not_done(tmp_path):
    folder = full_run().write(tmp_path / "run")
    with FULL.open("w") as full:
        process = start("export", folder.path, stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert (errors.count("\n"), errors.endswith(": No space left on device\n")) == (1, True)


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_run_goes_on_when_what_it_prints_has_no_room(tmp_path):
    path = write_toy(tmp_path, method="random", sobol=1, search=1)
    with FULL.open("w") as full:
        process = start("run", path, "--replay", "9", "--out", tmp_path / "runs", stdout=full)
        process.communicate(timeout=120)
    (run,) = tmp_path.glob("runs/toy/*/*")
    assert RunFolder.open(run).ledger()[-1].ending == "done"


def test_a_closed_standard_output_is_none(tmp_path):
    command = f"{sys.executable} -m joulebench tasks >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
