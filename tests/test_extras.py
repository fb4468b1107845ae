"""The core of the installation: each command does without packages of extras, or says in one line what it needs."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from joulebench import extras
from joulebench.errors import InputError
from joulebench.host import cuda_driver, device
from joulebench.records.folder import RunFolder
from joulebench.runner.local import resumed_plan
from joulebench.spec.hardware import detect_host
from joulebench.spec.registry import WORKLOADS, import_object
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "suite" / "joulebench"
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
#: The latest published runs of digits, on two machines.
DIGITS, ELSEWHERE = (
    max((REPOSITORY / "reports" / "digits" / profile).iterdir())
    for profile in ("cloud_xeon_vm", "cloud_xeon_vm_1thread")
)
#: Modules of the distributions whose names are others.
MODULES = {"lm-eval": "lm_eval", "sentence-transformers": "sentence_transformers",
    "ax-platform": "ax", "huggingface-hub": "huggingface_hub", "mlflow-skinny": "mlflow", "nvidia-ml-py": "pynvml",
    "pillow": "PIL", "pytest-benchmark": "pytest_benchmark", "scikit-learn": "sklearn",
}  # fmt: skip
#: What comes with another: gpytorch with botorch, markupsafe with jinja2, pandas, for a data frame, with nothing.
BESIDE = {"gpytorch", "markupsafe", "pandas"}
#: Those of the extras, and some that come with them.
ABSENT = {
    *(module for modules in extras.EXTRAS.values() for module in modules),
    "plotly",
    "pandas",
    "linear_operator",
}

#: A Python in which `ABSENT` cannot be found, whose first argument is the command line's first word.
BARE = f"""
import sys
from importlib.abc import MetaPathFinder
class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(ABSENT - {"pandas"})!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
COMMAND = BARE + "from joulebench.commands.main import main; main()"


def bare(folder: Path, *words: str, code: str = COMMAND) -> tuple[int, str, str]:
    """Exit code, output and errors of a command in the core alone."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [kept.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env={**kept, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def names(distributions: list[str]) -> set[str]:
    given = (re.match(r"[\w.-]+", text)[0] for text in distributions)
    return {MODULES.get(name, name) for name in given}


def test_each_extra_has_the_modules_that_pyproject_installs_for_it() -> None:
    optional = dict(PROJECT["optional-dependencies"])
    (everything,) = optional.pop("all")
    assert set(re.search(r"\[(.*)\]", everything)[1].split(",")) == set(optional) - {"zeus"}
    assert set(extras.EXTRAS) == set(optional)
    for extra, modules in extras.EXTRAS.items():
        assert set(modules) - BESIDE <= names(optional[extra]), extra


def test_import_linter_forbids_the_modules_of_every_extra() -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (forbidden,) = (set(c["forbidden_modules"]) for c in contracts if c["name"].startswith("the core knows no"))
    assert {module for modules in extras.EXTRAS.values() for module in modules} <= forbidden


def test_every_import_is_of_the_core_of_an_extra_or_of_python() -> None:
    known = {*names(PROJECT["dependencies"]), *ABSENT, *BESIDE, "joulebench", *sys.stdlib_module_names}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found = {(node.module or "").partition(".")[0]}
            else:
                continue
            assert found <= known, path


def test_the_core_is_named_by_what_it_needs() -> None:
    heavy = {module for modules in extras.EXTRAS.values() for module in modules}
    assert not heavy & names(PROJECT["dependencies"])


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A published run, copied to where it may be written."""
    folder = tmp_path_factory.mktemp("core")
    shutil.copytree(DIGITS, folder / "run")
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--help"], "measure"),
        (["--version"], "joulebench"),
        (["tasks"], "transformer_batch"),
        (["hardware"], "Hardware profile"),
        (["check"], "digits.toml: ok"),
        (["report", "run"], "report.html"),
        (["card", "run"], "co2_eq_emissions|energy"),
        (["card", "run", "--format", "boamps", "--set", "infrastructure.infraType=other"], "algorithm"),
        (["card", "run", "--format", "sci", "--grid-intensity", "300"], "SCI|sci"),
        (["card", "run", "--format", "eu"], "energy"),
        (["export", "run", "--out", "run.csv"], "^$"),
        (["verify", str(DIGITS)], "ok"),
        (["compare", str(DIGITS), str(ELSEWHERE), "--out", "compared"], "comparison"),
    ],
    ids=lambda value: " ".join(value[:3])[:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_each_command_that_reads_does_without_extras(published, words, said) -> None:
    code, out, err = bare(published, *words)
    assert (code, err if "Traceback" in err else "") == (0, ""), out + err
    assert re.search(said, out)


def test_a_program_is_measured_and_its_record_says_what_is_there(tmp_path) -> None:
    code, out, err = bare(
        tmp_path, "measure", "--replay", "65", "--repeats", "3", "--idle", "0", "--", "sleep", "0.1"
    )
    assert code == 0, err
    joules = float(re.search(r"sleep 0.1: ([\d.]+) J per run", out)[1])
    assert 6.4 <= joules < 65  # 0.1 s at 65 W, and less than a second on a machine that is busy
    (manifest,) = tmp_path.glob("runs/measure/*/*/manifest.json")
    environment = json.loads(manifest.read_text(encoding="utf-8"))["environment"]
    assert environment["packages"]["numpy"]
    assert "torch" not in environment  # its settings: it was not loaded


def test_blocks_and_functions_are_measured(tmp_path) -> None:
    code = BARE + (
        "import joulebench\n"
        "with joulebench.measure(replay='65') as block: sum(range(10**6))\n"
        "print(block.joules > 0)\n"
        "print(joulebench.compare({'a': lambda: sum(range(10**4)), 'b': lambda: sum(range(10**5))}, replay='65'))"
    )
    ended, out, err = bare(tmp_path, code=code)
    assert ended == 0, err
    assert out.startswith("True\n")
    assert "more" in out


@pytest.mark.parametrize(
    ("words", "unloaded"),
    [
        (["--help"], {"torch", "numpy", "scipy", "pandas", "matplotlib", "codecarbon", "huggingface_hub"}),
        (["tasks"], {"torch", "scipy", "pandas", "matplotlib", "codecarbon", "huggingface_hub"}),
        (["measure", "--replay", "65", "--repeats", "1", "--idle", "0", "--", "true"], ABSENT | {"matplotlib"}),
        (["report", str(DIGITS)], ABSENT - {"pytest", "pytest_benchmark"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_is_installed_and_not_needed_is_not_loaded(tmp_path, words, unloaded) -> None:
    shutil.copytree(DIGITS, tmp_path / "run")
    code = (
        "import atexit, sys; from joulebench.commands.main import main\n"
        f"atexit.register(lambda: print('loaded', *sorted(set({sorted(unloaded)!r}) & sys.modules.keys())))\n"
        "main()"
    )
    ended, out, err = bare(tmp_path, *("run" if word == str(DIGITS) else word for word in words), code=code)
    assert ended == 0, err
    assert out.splitlines()[-1] == "loaded"


def test_a_table_is_searched_by_methods_that_need_no_model(tmp_path) -> None:
    code, out, err = bare(tmp_path, "run", "power_cap", "--budget", "quick", "--quiet")
    assert code == 0, err
    assert "report:" in out


OWN = """
name = "own"
title = "T"
workload = "own_model:Own"
[parameters.width]
type = "fixed"
value = 1
[objectives.j_per_sample]
goal = "minimize"
phase = "inference"
domains = ["cpu"]
basis = "gross"
[stages.default]
method = "default"
repeats = 2
"""
EARLY = "import torch\nfrom joulebench import Workload\nclass Own(Workload): pass\n"
LATE = """
from joulebench import Phase, Workload
class Own(Workload):
    needs_data = False
    def build(self, params):
        import torch
    def phases(self):
        return {"inference": Phase(lambda: None, 1)}
"""


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["run", "digits", "--budget", "quick"], "digits: this needs the extras [vision,search]"),
        (["run", "transformer_size", "--budget", "quick"], "this needs the extra"),
        (["run", "search_quality"], "search_quality: this needs the extra [search]"),
        (["check", str(REPOSITORY / "tasks" / "cifar10.toml")], "this needs the extra [vision]"),
        (["export", str(DIGITS), "--mlflow", "sqlite:///x.db"], "pip install 'joulebench[mlflow]'"),
        (["run", "power_cap", "--ray", "auto"], "joulebench[ray]"),
        (["gate", "--against", "HEAD"], "this needs the extra [gate]"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)  # fmt: skip
def test_what_needs_an_extra_says_so_in_one_line(tmp_path, words, needed) -> None:
    code, out, err = bare(tmp_path if words[0] != "gate" else REPOSITORY, *words)
    assert (code, err.count("\n")) == (2, 1), out + err
    assert needed in err
    assert "joulebench[" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("model", [EARLY, LATE], ids=["as it is read", "as it is built"])
def test_so_does_a_task_of_the_users_own_that_needs_torch(tmp_path, model) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    (tmp_path / "own_model.py").write_text(model)
    code, out, err = bare(tmp_path, "run", "own.toml", "--replay", "65")
    assert code == 2, out + err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert "this needs the extra [vision]: pip install 'joulebench[vision]' (there is no module 'torch')" in last


def test_a_run_is_resumed_only_where_its_extras_are(monkeypatch) -> None:
    folder = RunFolder.open(DIGITS)
    assert resumed_plan(folder, detect_host(), None, False, False).task == folder.task()
    monkeypatch.setattr(extras, "installed", lambda module: module != "botorch")
    with pytest.raises(extras.MissingExtraError, match=rf"{DIGITS.name}: this needs the extra \[search\]"):
        resumed_plan(folder, detect_host(), None, False, False)


def test_python_gets_the_same_line(tmp_path) -> None:
    code = BARE + "import joulebench\ntry: joulebench.run('digits')\nexcept joulebench.InputError as e: print(e)"
    assert "this needs the extras [vision,search]: pip install" in bare(tmp_path, code=code)[1]


def test_a_module_of_no_extra_keeps_its_own_message(tmp_path, monkeypatch) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="no module 'no_such_package'"):
        import_object("needs_more:Model", "workload")


def test_a_folder_of_its_name_is_no_package(tmp_path, monkeypatch) -> None:
    """ONNX files often lie in a folder `onnx`; Python would import it, empty, as a package without code."""
    (tmp_path / "folder_of_models").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("folder_of_models") is not None
    assert not extras.installed("folder_of_models")
    (tmp_path / "folder_of_models" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert extras.installed("folder_of_models")


def test_a_broken_package_that_is_there_is_not_called_absent() -> None:
    assert extras.missing(ModuleNotFoundError("No module named 'torch.x'", name="torch.x")) is None
    assert extras.missing(ModuleNotFoundError("No module named 'nothing'", name="nothing")) is None
    assert extras.missing(ValueError("torch")) is None


def test_every_workload_that_loads_torch_has_an_extra() -> None:
    for name, target in WORKLOADS.shipped.items():
        code = f"{BARE}import importlib; importlib.import_module({target.partition(':')[0]!r})"
        loads = bare(REPOSITORY, code=code)[0] != 0
        assert not loads or WORKLOADS.needs(name), name


class Driver:
    """NVIDIA's driver with two GPUs, in CUDA's order."""

    UUIDS = (bytes(range(16)), bytes(range(16, 32)))

    def __init__(self, refuses: str = "", count: int = 2) -> None:
        self.refuses, self.count = refuses, count

    def __getattr__(self, function: str):
        def call(*arguments) -> int:
            if function == self.refuses:
                return 100
            if function == "cuDeviceGetCount":
                arguments[0]._obj.value = self.count
            elif function == "cuDeviceGet":
                arguments[0]._obj.value = arguments[1]
            elif function == "cuDeviceGetUuid_v2":
                arguments[0][:] = self.UUIDS[arguments[1].value]
            elif function == "cuDeviceGetName":
                arguments[0].value = f"NVIDIA Card {arguments[2].value} MIG 1g.5gb".encode()
            return 0

        return call


class Nvml:
    """NVML that numbers the same GPUs the other way round."""

    class NVMLError(Exception):
        pass

    ORDER = ("GPU-10111213-1415-1617-1819-1a1b1c1d1e1f", "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f")

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlShutdown(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        if uuid not in self.ORDER:
            raise self.NVMLError("not found")
        return self.ORDER.index(uuid)

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return self.ORDER[handle]

    def nvmlDeviceGetIndex(self, handle: int) -> int:  # noqa: N802
        return handle


@pytest.fixture
def without_torch(monkeypatch) -> None:
    monkeypatch.setattr(device, "installed", lambda module: module != "torch")
    monkeypatch.setattr("ctypes.CDLL", lambda _: Driver())


@pytest.mark.usefixtures("without_torch")
def test_without_torch_the_driver_tells_which_gpu_a_program_uses() -> None:
    assert device.choose_device("gpu") == "cuda:0"
    assert device.gpu_name("cuda:1") == "NVIDIA Card 1"
    assert device.nvml_indices("cuda:0", Nvml()) == [1]
    assert device.physical_gpus("cuda:1", Nvml()) == ((Nvml.ORDER[0],), Nvml.ORDER)
    device.synchronizer("cuda:0")()  # nothing of this process's to wait for
    assert device.failure("cuda:0") is None


def test_a_driver_that_is_not_there_or_refuses_is_one_line(monkeypatch) -> None:
    def gone(_: str) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", gone)
    with pytest.raises(InputError, match="NVIDIA's driver is not there"):
        cuda_driver.gpus()
    with pytest.raises(InputError, match=r"cuInit of NVIDIA's driver fails \(CUDA error 100\)"):
        cuda_driver.gpus(Driver("cuInit"))
    monkeypatch.setattr(device, "installed", lambda _: False)
    monkeypatch.setattr("ctypes.CDLL", lambda _: Driver(count=0))
    with pytest.raises(InputError, match="CUDA sees none"):
        device.choose_device("gpu")
