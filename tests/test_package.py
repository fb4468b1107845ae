"""The package as others have it: its names, the wheel, and a repository of theirs beside it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import joulebench
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "suite" / "joulebench"
#: The kinds of files that are no modules.
DATA = {".css", ".csv", ".j2", ".js", ".md", ".toml", ".txt", ".typed"}

IMPORT_EVERYTHING = """
import importlib, inspect, pkgutil, joulebench
names = [m.name for m in pkgutil.walk_packages(joulebench.__path__, "joulebench.")]
for name in names:
    if name != "joulebench.__main__":
        importlib.import_module(name)
public = {name: getattr(joulebench, name) for name in joulebench.__all__}
print([len(names), {n: "function" if inspect.isfunction(v) else "class" if inspect.isclass(v) else repr(v)
                    for n, v in public.items()}])
"""

#: Each public name is called once every module is imported: what it gives, or what it refuses.
CALL_EVERYTHING = (
    IMPORT_EVERYTHING
    + """
from joulebench.host.clock import VirtualClock
class Mine(joulebench.Workload):
    def build(self, params): pass
    def phases(self): return {}
context = joulebench.Context("cpu", 0, VirtualClock())
task = joulebench.Task(
    name="t", title="T", workload="function", options={"function": "math:hypot"},
    parameters={"width": {"type": "fixed", "value": 1}}, objectives={"loss": {"goal": "minimize"}},
    stages={"default": {"method": "default", "repeats": 1}},
)
def refused(*arguments, what=joulebench.run):
    try:
        what(*arguments)
    except joulebench.InputError as error:
        return str(error)
called = {
    "Context": context.device, "Epoch": joulebench.Epoch(0, 64).units,
    "InputError": str(joulebench.InputError("a\\nb")), "Phase": joulebench.Phase(lambda: None, 3).units,
    "Task": task.name, "Workload": Mine(context).phases(),
    "run": refused("no_such_task") is not None and refused(3) is not None,
    "Results": len(joulebench.Results.__mro__) > 2,
    "load": refused("no/such/run", what=joulebench.load) is not None,
    "resume": refused("no/such/run", what=joulebench.resume) is not None,
    "measure": refused(3, what=joulebench.measure) is not None,
    "compare": refused({}, what=joulebench.compare) is not None,
    "trainer_callback": joulebench.trainer_callback().epochs == (),
    "lightning_callback": callable(joulebench.lightning_callback),  # which needs an optional library
}
print(called)
"""
)


def environment(**changes: str) -> dict[str, str]:
    """That of a process which is no part of these tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "PYTEST_"))}
    return {**kept, **changes}


def python(folder, *arguments, **changes) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(**changes), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> list[str]:
    """What a process prints that imports every module and then calls every public name."""
    return python(tmp_path_factory.mktemp("elsewhere"), "-c", CALL_EVERYTHING).splitlines()[-2:]


def test_no_module_takes_a_public_name(everything):
    """A module's import sets its name in the package: a module `run` would hide the function."""
    count, kinds = ast.literal_eval(everything[0])
    assert count == sum(1 for path in PACKAGE.rglob("*.py")) - 1  # the package itself is not within itself
    assert kinds == {n: "class" if n[0].isupper() else "function" for n in joulebench.__all__}
    assert kinds["run"] == "function"
    assert not {path.stem for path in PACKAGE.iterdir()} & set(joulebench.__all__)


def test_every_public_name_works_once_every_module_is_imported(everything):
    called = ast.literal_eval(everything[1])
    assert called == {
        "Context": "cpu", "Epoch": 64, "InputError": "a b", "Phase": 3, "Task": "t", "Workload": {},
        "Results": True, "trainer_callback": True, "lightning_callback": True,
        **dict.fromkeys(("run", "load", "resume", "measure", "compare"), True),
    }  # fmt: skip
    assert set(called) == set(joulebench.__all__)


def test_to_import_it_loads_no_torch(tmp_path):
    code = "import sys; from joulebench import run; print(callable(run), 'torch' in sys.modules)"
    assert python(tmp_path, "-c", code).split() == ["True", "False"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    python(REPOSITORY, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (built,) = folder.iterdir()
    return built


def test_the_wheel_has_every_file_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    files = {p.relative_to(PACKAGE.parent).as_posix() for p in PACKAGE.rglob("*") if p.suffix in {".py", *DATA}}
    for folder in ("tasks", "hardware_profiles"):
        files |= {f"joulebench/_{folder}/{path.name}" for path in (REPOSITORY / folder).glob("*.toml")}
    assert {name for name in names if ".dist-info/" not in name} == files
    assert {Path(name).suffix for name in files} == {".py", *DATA}  # some of every kind
    commands = ConfigParser()
    commands.read_string(entry_points)
    assert dict(commands["console_scripts"]) == {"joulebench": "joulebench.commands.main:main"}
    assert dict(commands["pytest11"]) == {"joulebench": "joulebench.gate.plugin"}


def test_the_wheel_works_without_the_checkout(wheel, tmp_path):
    """Without `site`, Python reads no .pth file, so nothing here knows of the checkout."""
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    path = {"PYTHONPATH": os.pathsep.join([str(installed), sysconfig.get_path("purelib")])}
    code = "import sys, joulebench; print(joulebench.__file__, *sys.path, sep='\\n')"
    file, *searched = python(elsewhere, "-S", "-c", code, **path).splitlines()
    assert Path(file) == installed / "joulebench" / "__init__.py"
    assert str(PACKAGE.parent) not in searched
    listed = python(elsewhere, "-S", "-m", "joulebench", "tasks", **path)
    assert all(task.stem in listed for task in (REPOSITORY / "tasks").glob("*.toml"))
    code = "from joulebench.spec import catalog; print(*map(len, (catalog.all_profiles(), catalog.task_files())))"
    kept = [len(list((REPOSITORY / folder).glob("*.toml"))) for folder in ("hardware_profiles", "tasks")]
    assert python(elsewhere, "-S", "-c", code, **path).split() == [*map(str, kept)]


def test_a_users_own_suite_and_tests_are_not_confused_with_it(tmp_path):
    for folder in ("suite", "tests"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "tests" / "test_mine.py").write_text(
        "import sys\nimport suite, tests\n\n"
        "def test_mine(request, energy_benchmark):\n"
        "    assert suite.MINE and tests.MINE\n"
        "    assert energy_benchmark(int, '3') == 3\n"
        "    assert request.config.pluginmanager.get_plugin('joulebench').__name__ == 'joulebench.gate.plugin'\n"
        "    taken = [m for m in sys.modules if m.startswith(('suite.', 'tests.')) and m != 'tests.test_mine']\n"
        "    assert not taken\n"
    )
    options = ("-q", "-p", "no:cacheprovider", "--energy-replay", "50", "--energy-form", "quick")
    assert "1 passed" in python(tmp_path, "-m", "pytest", *options)
