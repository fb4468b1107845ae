"""Workflows run pinned actions with a token that reads, and leave none behind for the code of a pull request."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

FILES = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_trusts_little(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)
    assert len(re.findall(r"uses: .*@[0-9a-f]{40} # v\d+\.\d+\.\d+", text)) == len(used)  # a person can read it
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        # what a stranger may name is given by a variable, never written into a script
        assert not re.search(r"\$\{\{\s*github\.(?:head_ref|event)", step.get("run", ""))


def test_a_token_that_writes_never_meets_the_code_that_is_measured():
    jobs = [job for path in FILES for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()]
    writing = [job for job in jobs if "permissions" in job]
    assert [job["permissions"] for job in writing] == [{"contents": "write"}]
    for step in (step for job in writing for step in job["steps"]):
        assert step.get("with", {}).get("path") in (None, "measured")  # what was measured lies beside the checkout
        assert "run" not in step or step["run"].split()[0].startswith(".ci/")


def gitlab() -> dict[str, Any]:
    """The jobs that docs/gate.md gives for GitLab."""
    text = (REPOSITORY / "docs" / "gate.md").read_text(encoding="utf-8")
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    return {name: job for block in found if isinstance(block, dict) for name, job in block.items()}


def test_the_jobs_for_gitlab_call_what_exists():
    assert set(gitlab()) == {"energy", "energy:processor-time", "energy:baseline", "energy:store"}
    for job in gitlab().values():
        for script in job["script"]:
            done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
            assert done.stderr == ""
            for called in re.findall(r"(?:^| )(\.ci/\w+)", script):
                assert os.access(REPOSITORY / called, os.X_OK)
        assert "--quiet" in job["script"][-1] or job["script"][-1].startswith(".ci/baseline store")


def test_gitlab_gives_the_token_that_writes_to_no_job_that_measures():
    having = {name: job for name, job in gitlab().items() if "BASELINE_TOKEN" in str(job)}
    assert set(having) == {"energy:store"}
    (job,) = having.values()
    assert job["environment"] == "energy-baselines"
    assert not [line for line in job["script"] if "nox" in line or "pip" in line]


def scripts(path: Path) -> list[str]:
    """Shell lines of a workflow, one for each session that a job's matrix names."""
    found = []
    for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
        sessions = job.get("strategy", {}).get("matrix", {}).get("session", [""])
        lines = [step["run"] for step in job["steps"] if "run" in step]
        found += [line.replace("${{ matrix.session }}", name) for line in lines for name in sessions]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shell_step_is_bash_and_calls_what_exists(path):
    noxfile = (REPOSITORY / "noxfile.py").read_text(encoding="utf-8")
    for script in scripts(path):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert "--user" not in script  # refused by the Python of Debian and Ubuntu (PEP 668)
        for session in re.findall(r"nox -s (\w+)", script):
            assert f"def {session}(" in noxfile
        if (name := script.split()[0]).startswith("."):
            assert os.access(REPOSITORY / name, os.X_OK)


def test_the_package_is_tested_by_itself():
    lines = {line for path in FILES for line in scripts(path)}
    assert {"nox -s wheel", "nox -s minimums"} <= lines


def test_options_of_the_gate_in_workflows_exist():
    told = subprocess.run(
        [sys.executable, "-m", "joulebench", "gate", "--help"], capture_output=True, text=True, check=True
    ).stdout
    given = {
        option
        for script in (
            *(s for path in FILES for s in scripts(path)),
            *(s for job in gitlab().values() for s in job["script"]),
        )
        if " regression -- " in script
        for option in re.findall(r"--[a-z][a-z-]+", script.split(" -- ", 1)[1])
    }
    assert "--require-energy" in given
    assert all(option in told for option in given), given


def clean(folder: Path, *path: Path) -> dict[str, str]:
    """Environment of a runner that has nothing but the system, and the package registry."""
    registry = {
        k: v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_")) or k.lower().endswith("_proxy")
    }
    return {
        **registry,
        "HOME": str(folder),
        "PATH": ":".join([*map(str, path), "/usr/bin", "/bin"]),
        "RUNNER_TEMP": str(folder),
        "GITHUB_PATH": str(folder / "path"),
    }


def installations() -> list[str]:
    """Shell lines of workflows, and of what they call, that install nox."""
    called = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    alone = [line.split(" && ")[0] for line in called]
    return [s for s in (*alone, *(s for path in FILES for s in scripts(path))) if "pip install" in s]


@pytest.mark.slow
@pytest.mark.parametrize("script", installations())
def test_what_installs_nox_leaves_a_nox_that_reads_the_sessions(script, tmp_path):
    """In an environment with nothing in it but the package registry."""
    python = Path(sys.base_prefix) / "bin" / "python3"
    tools = tmp_path / "python" / "bin"  # as of setup-python
    if script.startswith("python3 -m venv"):  # the runner's own, in which nothing may be installed
        tools.mkdir(parents=True)
        (tools / "python3").symlink_to(python)
    else:
        subprocess.run([python, "-m", "venv", tools.parent], check=True)
    subprocess.run(["bash", "-e", "-c", script], check=True, cwd=tmp_path, env=clean(tmp_path, tools))
    added = [Path(p) for p in (tmp_path / "path").read_text().splitlines()] if (tmp_path / "path").exists() else []
    told = subprocess.run(
        ["nox", "--list", "-f", str(REPOSITORY / "noxfile.py")],
        cwd=tmp_path, env=clean(tmp_path, *added, tools), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "regression" in told.stdout
