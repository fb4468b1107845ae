"""The container recipes hold together: instructions, shell lines, paths, and no root where it runs."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import tomllib

import pytest

from tests.conftest import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (REPOSITORY / "containers" / "joulebench.def").read_text(encoding="utf-8")
INSTALL = REPOSITORY / "containers" / "install.sh"
#: What hatchling needs of the tree to build the wheel.
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
BUILT_FROM = {
    "pyproject.toml",
    PROJECT["project"]["readme"],
    *PROJECT["project"]["license-files"],
    "suite",
    *PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"],
}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", "")
    return [
        (name, rest.strip()) for name, rest in (line.split(" ", 1) for line in text.splitlines() if line.strip())
    ]


def arguments(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def sections() -> dict[str, str]:
    """Sections of the Apptainer recipe; the header has the name ''."""
    parts = re.split(r"^%(\w+)\n", APPTAINER, flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def parses(script: str, shell: str) -> str:
    """What the shell has against a script; empty if nothing."""
    return subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False).stderr


def test_every_instruction_is_one_and_the_image_has_a_version():
    known = {"ARG", "FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions()} <= known
    defaults = dict(a.split("=") for a in arguments("ARG"))
    (image,) = arguments("FROM")
    image = image.replace("${CUDA}", defaults["CUDA"])
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu24\.04", image)
    header = sections()[""]
    assert f"From: {image}" in header.replace("{{ CUDA }}", defaults["CUDA"])
    assert "Bootstrap: docker" in header


def test_it_runs_joulebench_and_not_as_root():
    names = [name for name, _ in instructions()]
    assert [json.loads(a) for a in arguments("ENTRYPOINT")] == [["joulebench"]]
    assert json.loads(arguments("CMD")[0])[0] in ("hardware", "--help")
    (user,) = arguments("USER")
    assert user not in ("root", "0")
    assert any(f"useradd --create-home --uid 10001 {user}" in run for run in arguments("RUN"))
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert "compute,utility" in " ".join(arguments("ENV"))  # without utility there is no NVML


def test_its_shell_lines_are_of_a_shell():
    """Docker and Apptainer run them by /bin/sh."""
    for run in arguments("RUN"):
        assert parses(run, "sh") == ""
    found = sections()
    for name in ("post", "environment", "test", "runscript"):
        assert parses(found[name].replace("{{ TORCH_BACKEND }}", "pypi"), "sh") == ""
    assert parses(INSTALL.read_text(encoding="utf-8"), "bash") == ""
    assert INSTALL.stat().st_mode & 0o111


def copied() -> dict[str, set[str]]:
    """What each recipe takes from the tree, by recipe."""
    docker: set[str] = set()
    for copy in arguments("COPY"):
        *sources, _ = shlex.split(copy)
        docker |= set(sources)
    apptainer = {line.split()[0] for line in sections()["files"].splitlines() if line.strip()}
    return {"Dockerfile": docker, "joulebench.def": apptainer}


@pytest.mark.parametrize("recipe", ["Dockerfile", "joulebench.def"])
def test_what_the_wheel_is_built_from_is_copied_and_exists(recipe):
    taken = copied()[recipe]
    assert taken == BUILT_FROM | {"containers/install.sh"}
    assert all((REPOSITORY / path).exists() for path in taken)


def test_what_is_copied_is_sent_to_the_daemon_and_runs_are_not():
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]

    def sent(path: str) -> bool:
        return any(fnmatch.fnmatch(path, f"{k}*") for k in kept)

    assert all(sent(path) for path in copied()["Dockerfile"])
    assert not any(sent(path) for path in ("runs/x", ".nox/x", ".git/HEAD", "reports/x", "tests/x"))


def test_both_recipes_install_alike():
    (docker,) = (run for run in arguments("RUN") if "install.sh" in run)
    apptainer = next(line.strip() for line in sections()["post"].splitlines() if "install.sh" in line)
    assert docker.replace('"$TORCH_BACKEND"', "") == apptainer.replace('"{{ TORCH_BACKEND }}"', "")
    packages = [re.search(r"--no-install-recommends (.*?)(?: &&|$)", text, flags=re.M)[1].split()
                for text in (" ".join(arguments("RUN")), sections()["post"])]  # fmt: skip
    assert packages[0] == packages[1]
    declared = {a.split("=")[0] for a in arguments("ARG")}
    assert declared == {line.split("=")[0].strip() for line in sections()["arguments"].splitlines() if "=" in line}


@pytest.mark.slow
def test_the_install_script_makes_a_command_that_runs_elsewhere(tmp_path):
    """From the package registry; torch comes from uv's cache where it has it."""
    folder = tmp_path / "env"
    subprocess.run([str(INSTALL), str(folder)], check=True, cwd=tmp_path)
    told = subprocess.run(
        [str(folder / "bin" / "joulebench"), "tasks"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "digits" in told.stdout
