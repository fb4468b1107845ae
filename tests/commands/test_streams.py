"""What a command prints may find no reader and no room; what it does comes to its end all the same."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
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
PATHS = os.pathsep.join(map(str, (REPOSITORY / "suite", REPOSITORY)))


def start(*arguments, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
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


EVIL = "\x1b[31mred\x07\u202egnp\u2028\x9b1m"
HIDDEN = set("\x1b\x07\u202e\u2028\x9b\r")


def test_no_command_prints_what_a_terminal_obeys(tmp_path):
    """Titles, parameters, errors and arguments are anybody's; also on a terminal of no width."""
    path = write_toy(tmp_path, method="random", sobol=1, search=1)
    shown = EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00")
    text = path.read_text().replace("A trade-off with failures", f"a\\r\\n{shown}")
    path.write_text(text.replace('values = ["a", "b"]', f'values = ["a", "b{shown}"]'))
    run = full_run(trials=2).write(tmp_path / "run", budget=EVIL, environment={EVIL: EVIL}).path
    commands = [
        ("run", path, "--replay", "9", "--out", tmp_path / "runs"),
        ("card", run),
        ("export", run),
        *((name, tmp_path / EVIL) for name in ("report", "check", "resume", "publish", "verify", "card", "gate")),
        ("hardware", EVIL), ("run", EVIL), (EVIL,), ("run", path, "--set", f"{EVIL}=1"), ("wall", run, EVIL),
        ("card", run, "--format", EVIL), ("compare", run, tmp_path / EVIL), ("gate", "--form", EVIL),
    ]  # fmt: skip
    for command in commands:
        process = start(*command, stdout=subprocess.PIPE)
        out, err = process.communicate(timeout=120)
        assert not HIDDEN & set(out + err), command
        if process.returncode:
            assert (process.returncode, err.count("\n")) == (2, 1), command
    (made,) = tmp_path.glob("runs/toy/*/*")
    assert RunFolder.open(made).ledger()[-1].ending == "done"


@pytest.mark.parametrize("columns", ["0", "1", "-5"])
def test_a_live_display_on_an_odd_terminal(tmp_path, columns):
    path = write_toy(tmp_path, method="random", sobol=1, search=1)
    main, side = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": columns, "TERM": "xterm"}
    command = [
        sys.executable,
        "-m",
        "joulebench",
        "run",
        str(path),
        "--replay",
        "9",
        "--out",
        str(tmp_path / "runs"),
    ]
    process = subprocess.Popen(command, env=environment, stdout=side, stderr=side, cwd=tmp_path)
    os.close(side)
    seen = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end was closed
        while part := os.read(main, 65536):
            seen += part
    os.close(main)
    assert process.wait(timeout=60) == 0
    assert b"\x1b[" in seen  # the display's own


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path, closed):
    path = write_toy(tmp_path, method="random", sobol=1, search=1)
    code = (
        "import os, sys; sys.argv = ['joulebench', *sys.argv[1:]]; from joulebench.commands import main; "
        "main.app = lambda **_: [os.write(n, b'noise') for n in (1, 2)] and 0; f = None\n"
        "try: main.main()\nexcept SystemExit: pass\n"
        f"f = open({str(path)!r}); assert f.fileno() > 2"
    )
    quoted = shlex.join([sys.executable, "-c", code])
    assert subprocess.run(["sh", "-c", f"{quoted} {closed}"], check=False, timeout=60).returncode == 0


def test_a_closed_standard_output_is_none(tmp_path):
    command = f"{sys.executable} -m joulebench tasks >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
