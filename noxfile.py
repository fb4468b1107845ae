"""Sessions that run tasks, tests, lint and benchmarks. All but `minimums` share one environment, made by uv."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["tests", "lint"]

# One environment for every session: torch and its CUDA libraries are 6 GB, and each session needs them. uv, because
# it resolves torch and torchvision as the pair they are and hard-links what it has installed before.
HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".nox" / "joulebench"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
BIN = ENVIRONMENT / SCRIPTS


def _uv(session: nox.Session) -> tuple[str, ...]:
    """uv beside nox, which need not be on PATH, else the one that is."""
    if importlib.util.find_spec("uv") is not None:
        return sys.executable, "-m", "uv", "--no-config"
    if shutil.which("uv") is None:
        session.error(f"uv is not installed: {sys.executable} -m pip install uv")
    return "uv", "--no-config"


def _install(session: nox.Session, environment: Path = ENVIRONMENT, *options: str) -> None:
    """Create or bring up to date an environment; takes a second when nothing has changed."""
    uv = _uv(session)
    if not (environment / "pyvenv.cfg").exists():
        session.run(*uv, "venv", "--quiet", "--python", sys.executable, str(environment), external=True)
    given = options or ("--group", "test", "--group", "lint")
    session.run(
        *uv, "pip", "install", "--quiet", "--python", str(environment), "-e", ".[all]", *given, external=True
    )


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
    """Text generation by batch size and model size, in quick form; `-- --budget standard` replaces that."""
    _install(session)
    for task in ("transformer_batch", "transformer_size", "transformer_consistency"):
        _run(session, "joulebench", "run", task, *(session.posargs or ("--budget", "quick")))


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


#: What of the tests is run with the oldest releases: reading of tasks, search, training, counting, cards, a run, a
#: report, help of the commands, the wheel.
MINIMUMS = (
    "tests/spec", "tests/data", "tests/meters", "tests/cards", "tests/presentation", "tests/reporting",
    "tests/stats", "tests/search/test_space.py", "tests/search/test_surrogate.py", "tests/workloads/test_flops.py",
    "tests/workloads/test_networks.py", "tests/workloads/test_transformer.py", "tests/runner/test_local.py",
    "tests/test_package.py", "tests/docs/test_readme.py::test_its_sessions_and_options_exist",
)  # fmt: skip


@nox.session(venv_backend="none")
def minimums(session: nox.Session) -> None:
    """A part of the tests with the oldest release of each direct dependency, in its own environment (5 GB)."""
    environment = HERE / ".nox" / "minimums"
    _install(session, environment, "--resolution", "lowest-direct", "--group", "test")
    session.env["OMP_NUM_THREADS"] = "1"
    pytest = str(environment / SCRIPTS / "pytest")
    session.run(pytest, "-n", "2", *(session.posargs or MINIMUMS), external=True)


#: Size that the core may have, with all that it needs; a quarter of it is CodeCarbon's, with pandas.
CORE_MIB = 400


@nox.session(venv_backend="none")
def wheel(session: nox.Session) -> None:
    """Build the source distribution and from it the wheel; try both in environments of nothing else.

    The core alone, of each: its size, help, a measured program, a report. Then, with the extras, the quick start;
    `-- --core` leaves that out.
    """
    uv, folder = _uv(session), HERE / ".nox" / "wheel"
    environment, built = folder / "environment", folder / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.run(*uv, "build", "--quiet", "--out-dir", str(built), str(HERE), external=True)
    (file,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    # elsewhere, without a variable that leads back here: nothing of the checkout stands in for what is missing
    variables = {"PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": ""}
    command = str(environment / SCRIPTS / "joulebench")

    def install(what: str) -> None:
        session.run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment), external=True)
        session.run(*uv, "pip", "install", "--quiet", "--python", str(environment), what, external=True)
        mib = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file()) >> 20
        session.log(f"{Path(what).name}: {mib} MiB")
        if "[" not in what and mib > CORE_MIB:
            session.error(f"the core takes more than {CORE_MIB} MiB")

    def try_out(*words: str) -> None:
        began_s = time.monotonic()
        session.run(command, *words, external=True, env=variables, silent=True)
        session.log(f"joulebench {' '.join(words)}: {time.monotonic() - began_s:.1f} s")

    published = max((HERE / "reports" / "digits" / "cloud_xeon_vm").iterdir())  # the latest
    for package in (source, file):
        with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
            install(str(package))
            shutil.copytree(published, "published")
            for words in (
                ("--help",),
                ("measure", "--replay", "65", "--", "sleep", "0.1"),
                ("report", "published"),
            ):
                try_out(*words)
    if "--core" in session.posargs:
        return
    with tempfile.TemporaryDirectory() as elsewhere, session.chdir(elsewhere):
        install(f"{file}[all]")
        # what is judged is the package: a busy machine is no fault of it
        words = ("run", "digits", "--budget", "quick", "--allow-busy", *session.posargs)
        session.run(command, *words, external=True, env=variables)
        (report,) = Path().glob("runs/digits/*/*/report.html")
        session.log(f"{report} has {report.stat().st_size} bytes")


def _no_gpu() -> str | None:
    """Why this machine has no NVIDIA GPU to measure, by its driver; None where it has one."""
    if shutil.which("nvidia-smi") is None:
        return "no NVIDIA driver is here (nvidia-smi is not on PATH)"
    told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    lines = (told.stdout or told.stderr).strip().splitlines()
    if told.returncode == 0 and any(line.startswith("GPU ") for line in lines):
        return None
    return f"nvidia-smi names no GPU ({lines[0] if lines else f'exit code {told.returncode}'})"


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Ten minutes on an NVIDIA GPU, and a page of what came out; `-- --data PATH` for CIFAR-10.

    Its counters, the tests that need one, and the `short` budgets. Without a GPU: exit code 2.
    """
    if (why := _no_gpu()) is not None:
        print(f"nox -s gpu: {why}", file=sys.stderr)
        raise SystemExit(2)
    _install(session)
    _run(session, "python", "-m", "tests.gpu.tour", *session.posargs)


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
    _run(session, "python", "-m", "tests.gate.power.study", *session.posargs)


@nox.session(venv_backend="none")
def coverage_study(session: nox.Session) -> None:
    """How often the intervals hold the truth: the table of docs/measuring.md, made anew; most of an hour."""
    _install(session)
    _run(session, "python", "-m", "tests.coverage_study", "--jobs", "2", *session.posargs)


#: What `search_study` compares with; as new as the registry has them, apart from what joulebench depends on.
RIVALS = ("optuna>=5", "pymoo>=0.6.1", "ax-platform>=1.3", "scipy", "torch")


@nox.session(venv_backend="none")
def search_study(session: nox.Session) -> None:
    """Search methods on named tables, `-- --document docs/search.md` for the tables there; most of an hour.

    `-- --rivals` makes the stored runs of Optuna, pymoo and Ax anew, in an environment of their own; hours.
    """
    _install(session)
    if "--rivals" in session.posargs:
        rivals = ENVIRONMENT.with_name("rivals")
        uv = _uv(session)
        if not (rivals / "pyvenv.cfg").exists():
            session.run(*uv, "venv", "--quiet", "--python", sys.executable, str(rivals), external=True)
        session.run(*uv, "pip", "install", "--quiet", "--python", str(rivals), *RIVALS, external=True)
    session.env["OMP_NUM_THREADS"] = "1"  # a process a core, and times of one thread
    _run(session, "python", "-m", "tests.search.study.study", "--jobs", "2", *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Mutated inputs of every kind, judged by oracles; `-- --minutes 10 --seed 1`, `-- --only task --number 7`."""
    _install(session)
    _run(session, "python", "-m", "tests.fuzz", *session.posargs)


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
