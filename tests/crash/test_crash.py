"""A process killed, or a full disk, at any step of what is written: nothing finished is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from joulebench.records.folder import RunFolder
from tests.conftest import REPOSITORY
from tests.crash.commands import COMMANDS, RUN, lay_task

NAMES = [command.name for command in COMMANDS]


def attacked(*options):
    """Steps by command, and how many attacks of each kind it stood, of how many."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash", *map(str, options)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.rsplit(maxsplit=4) for line in done.stdout.splitlines()[1:]]
    pairs = {name: [tuple(map(int, pair.split("/"))) for pair in kinds] for name, _, *kinds in rows}
    return {name: (int(steps), *pairs[name]) for name, steps, *_ in rows}


def check(found, names):
    assert list(found) == names
    for steps, *kinds in found.values():
        assert steps > 40
        assert all(stood == tried > 0 for stood, tried in kinds)


def test_a_file_that_the_system_lets_grow_no_further_ends_a_run_with_one_line_and_loses_no_trial(tmp_path):
    """The report's page is larger than the limit, the records are not."""
    lay_task(tmp_path)
    limited = f"ulimit -f 300; exec {sys.executable} -m joulebench {' '.join(RUN)}"
    done = subprocess.run(["sh", "-c", limited], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
    assert "report.html" in done.stderr
    (manifest,) = tmp_path.glob("runs/*/*/*/manifest.json")
    folder = RunFolder.open(manifest.parent)
    assert folder.ledger()[-1].ending == "done"
    assert not list(folder.path.glob("*.html"))
    assert not list(folder.path.glob(".*"))


def test_crashes_at_some_steps_lose_nothing():
    names = ["run", "resume", "gate --update-baseline", "publish", "publish --refresh"]
    only = [word for name in names for word in ("--only", name)]
    check(attacked("--every", 37, "--kills", 1, *only), names)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_crash_at_any_step_loses_nothing(name):
    found = attacked("--only", name)
    check(found, [name])
    ((steps, killed, full, at_random),) = found.values()
    assert (killed, full, at_random) == ((steps, steps), (steps, steps), (20, 20))
