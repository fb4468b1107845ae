"""The container recipes carried out here, in a copy of this machine's system in place of their image.

What a recipe installs, copies, sets and runs is done as it says, in an overlay over `/` that is gone afterwards, by
its user and with nothing but its variables. What cannot be shown here is the image itself: CUDA's, of Ubuntu.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.test_containers import instructions, sections

#: As a container's own shell has it; HOME is that of root.
BARE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
#: Variables of this machine that lead to the package registry.
REGISTRY = {
    k: v
    for k, v in os.environ.items()
    if k.startswith(("PIP_", "UV_INDEX", "SSL_CERT_", "REQUESTS_")) or k.lower().endswith("_proxy")
}


class Image:
    """A copy of this machine's system, changed by shell lines that are collected first and run at once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, folder / "root"
        for name in ("root", "changes", "work"):
            (folder / name).mkdir()
        layers = f"lowerdir=/,upperdir={folder}/changes,workdir={folder}/work"
        self.lines = [
            "set -eu",
            f"mount -t overlay overlay -o {layers} {self._root}",
            *(f"mount --rbind /{name} {self._root}/{name}" for name in ("proc", "dev", "sys")),
        ]

    def copy(self, source: str, target: str) -> None:
        """Copy a file or a folder's content from the tree; a target that ends with / is a folder."""
        path, inside = REPOSITORY / source, f"{self._root}{target}"
        parent = inside if path.is_dir() or target.endswith("/") else str(Path(inside).parent)
        self.lines.append(f"mkdir -p {parent} && cp -r {path}{'/.' if path.is_dir() else ''} {inside}")

    def shell(self, script: str, variables: Mapping[str, str], user: str = "root", folder: str = "/") -> None:
        given = [f"{name}={value}" for name, value in {**REGISTRY, **variables}.items()]
        words = ["chroot", f"--userspec={user}", str(self._root), "/usr/bin/env", "-i", *given]
        self.lines.append(shlex.join([*words, "sh", "-c", f"cd {folder}\n{script}"]))

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run all lines in a mount table of their own, which ends with them."""
        command, script = ["unshare", "--mount", "bash"], "\n".join(self.lines)
        return subprocess.run(command, input=script, capture_output=True, text=True, check=False)


def printed(image: Image) -> str:
    done = image.run()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def image(tmp_path) -> Iterator[Image]:
    folder = tmp_path / "image"
    folder.mkdir()
    made = Image(folder)
    tried = made.run()
    if tried.returncode:
        pytest.skip(f"no overlay of this system can be mounted: {tried.stderr.strip()[-200:]}")
    yield made
    shutil.rmtree(folder)  # pytest keeps what is left here, and this is 7 GB


@pytest.mark.slow
def test_the_dockerfile_makes_a_system_that_runs_joulebench(image):
    """From the package registry: minutes, and 7 GB for as long."""
    arguments: dict[str, str] = {}
    variables, user, folder = dict(BARE), "root", "/"
    words: dict[str, list[str]] = {}
    for name, rest in instructions():
        if name == "ARG":
            arguments |= dict([rest.split("=", 1)])
        elif name == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                image.copy(source, target)
        elif name == "RUN":
            image.shell(rest, {**variables, **arguments}, user, folder)
        elif name == "ENV":
            for given in shlex.split(rest):
                key, value = given.split("=", 1)
                variables[key] = re.sub(r"\$(\w+)", lambda found: variables[found[1]], value)
        elif name == "USER":
            user = rest
        elif name == "WORKDIR":
            folder = rest
        elif name in ("ENTRYPOINT", "CMD"):
            words[name] = json.loads(rest)
    image.shell(shlex.join([*words["ENTRYPOINT"], *words["CMD"]]), variables, user, folder)
    image.shell("id -u; joulebench run digits --budget quick --replay 50 --quiet; ls runs", variables, user, folder)
    told = printed(image)
    assert "cpu_load_model" in told  # of `joulebench hardware`
    assert re.search(r"^10001$", told, flags=re.M)
    assert told.endswith("digits\n")


@pytest.mark.slow
def test_the_apptainer_recipe_makes_a_system_that_runs_joulebench(image):
    """From the package registry: minutes, and 7 GB for as long."""
    found = sections()
    for line in found["files"].splitlines():
        if line.strip():
            image.copy(*line.split())
    image.shell(found["post"].replace("{{ TORCH_BACKEND }}", "pypi"), BARE)
    image.shell(found["environment"] + found["test"], BARE)
    runs = f"set -- hardware\n{found['environment']}{found['runscript']}"
    image.shell(runs, BARE, "nobody", "/tmp")
    told = printed(image)
    assert "transformer_batch" in told  # of %test
    assert "cpu_load_model" in told
