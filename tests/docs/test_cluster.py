"""What docs/cluster.md prints can be used as printed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from joulebench.spec.catalog import profile_files, task_files
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def test_the_cluster_file_is_one():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with Ray, which is not installed")
    (text,) = blocks("yaml")
    found = yaml.safe_load(text)
    assert found["provider"]["type"] == "local"
    assert found["min_workers"] == found["max_workers"] == len(found["provider"]["worker_ips"])
    start = found["worker_start_ray_commands"][-1]
    option = subprocess.run(
        ["bash", "-c", f"cat() {{ printf nvidia_h100; }}; ray() {{ printf '%s\\n' \"$@\"; }}; {start}"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()[-1]  # fmt: skip
    assert option == '--resources={"nvidia_h100":1,"joulebench":1}'


def test_the_slurm_script_is_one():
    (script,) = blocks("bash")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_what_it_names_exists():
    help_text = "".join(
        subprocess.run(
            [sys.executable, "-m", "joulebench", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for command in ("run", "resume", "hardware")
    )
    commands = re.findall(r"joulebench (?:run|resume|hardware) [^\n`#]*", TEXT)
    assert len(commands) > 6
    for option in {option for command in commands for option in re.findall(r"--[a-z][a-z-]+", command)}:
        assert option in help_text, option
    for name in re.findall(r"joulebench run (\w+)", TEXT):
        assert name in task_files() or name == "TASK"
    for name in re.findall(r'\{"(\w+)": 1, "joulebench"', TEXT):
        assert name in profile_files()
