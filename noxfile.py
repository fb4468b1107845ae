"""Sessions that run tasks, tests, lint and benchmarks. All share one environment, made by uv."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["tests", "lint"]

# One environment for every session: torch and its CUDA libraries are 6 GB, and each session needs them. uv, because
# it resolves torch and torchvision as the pair they are and hard-links what it has installed before.
HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".nox" / "joulebench"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")


def _install(session: nox.Session) -> None:
    """Create or bring up to date the shared environment; takes a second when nothing has changed."""
    uv = ("uv", "--no-config")
    if not (ENVIRONMENT / "pyvenv.cfg").exists():
        session.run(*uv, "venv", "--quiet", "--python", sys.executable, str(ENVIRONMENT), external=True)
    groups = ("--group", "test", "--group", "lint")
    python = ("--python", str(ENVIRONMENT))
    session.run(*uv, "pip", "install", "--quiet", *python, "-e", ".", *groups, external=True)


def _run(session: nox.Session, command: str, *arguments: str) -> None:
    # uv does not compile what it installs, and images often forbid Python to keep what it compiles: then every
    # process compiles torch anew, which is half of its start
    session.run(str(BIN / command), *arguments, external=True, env={"PYTHONDONTWRITEBYTECODE": ""})


@nox.session(venv_backend="none")
def quickstart(session: nox.Session) -> None:
    """The main job on embedded data: a CNN search on handwritten digits, and its report."""
    _install(session)
    _run(session, "joulebench", "run", "digits", "--budget", "quick", *session.posargs)


@nox.session(venv_backend="none")
def cifar10(session: nox.Session) -> None:
    """CNN search on CIFAR-10; arguments after `--` go to `joulebench run cifar10`."""
    _install(session)
    _run(session, "joulebench", "run", "cifar10", *session.posargs)


@nox.session(venv_backend="none")
def transformers(session: nox.Session) -> None:
    """Text generation: batch size, model size, and models beside one another; arguments go to each run."""
    _install(session)
    for task in ("transformer_batch", "transformer_size", "transformer_consistency"):
        _run(session, "joulebench", "run", task, *session.posargs)


#: The studies, in their quick form; the last trains on CIFAR-10, and arguments of the session go to it.
STUDIES = (
    "proxies_depth", "proxies_stride", "proxies_families", "profile_extrapolation", "energy_prediction",
    "batch_sweep", "power_cap", "training_inference",
)  # fmt: skip


@nox.session(venv_backend="none")
def studies(session: nox.Session) -> None:
    """What predicts energy, and what does not: every study in quick form; `-- --data PATH` for CIFAR-10."""
    _install(session)
    for task in STUDIES:
        arguments = session.posargs if task == STUDIES[-1] else ()
        _run(session, "joulebench", "run", task, "--budget", "quick", *arguments)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The tests, several at once; `-- --slow` runs the long ones too."""
    _install(session)
    session.env["OMP_NUM_THREADS"] = "1"  # a process a core: threads of several would wait for one another
    _run(session, "pytest", "-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", *session.posargs)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """ruff, mypy, import-linter, the import graph's rules and the catalogue's own check."""
    _install(session)
    _run(session, "ruff", "check", ".")
    _run(session, "ruff", "format", "--check", ".")
    _run(session, "mypy")
    _run(session, "lint-imports")
    _run(session, "python", "-m", "tests.structure")
    _run(session, "joulebench", "check")


@nox.session(venv_backend="none")
def regression(session: nox.Session) -> None:
    """The energy gate: time and joules of reference configurations; `-- --against main`, `-- --update-baseline`."""
    _install(session)
    _run(session, "joulebench", "gate", *session.posargs)


@nox.session(venv_backend="none")
def gate_study(session: nox.Session) -> None:
    """How often the gate is wrong, and what it finds: the tables of docs/gate.md, made anew; minutes."""
    _install(session)
    _run(session, "python", "-m", "joulebench.gate.power.study", *session.posargs)


@nox.session(venv_backend="none")
def coverage_study(session: nox.Session) -> None:
    """How often the intervals hold the truth: the table of docs/measuring.md, made anew; most of an hour."""
    _install(session)
    _run(session, "python", "-m", "tests.coverage_study", "--jobs", "2", *session.posargs)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Performance, by pytest-benchmark."""
    _install(session)
    _run(
        session,
        "pytest",
        "tests/benchmarks",
        "--benchmark-enable",
        "--benchmark-only",
        "-s",
        *session.posargs,
    )
