"""Code of the running program itself: kept in the records, compared on resuming, and never executed from there."""

from __future__ import annotations

import json
import linecache
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import joulebench
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.runner import program_code
from joulebench.runner.local import resume
from joulebench.spec.task import Task
from joulebench.spec.toml import validate
from tests.commands.calling import call
from tests.runner.test_local import TOY, timeless, unfinished

SCRIPT = """
import functools
import helpers_of_a_program

SCALE = 100
TOKEN = "secret of mine"
UNUSED = 1


class Config:
    offset = 0.5


def plain(params):
    return Config.offset + params["width"] / SCALE


@functools.wraps(plain)
def f(params, seed):
    TOKEN
    return {"accuracy": plain(params) + helpers_of_a_program.ZERO, "step_s": 0.01 * params["width"]}
"""


@pytest.fixture(params=["script", "notebook"])
def program(request, tmp_path, monkeypatch):
    """A function that makes a text the running program, as a script's file or as a notebook's cell."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "helpers_of_a_program.py").write_text("ZERO = 0.0\n")
    monkeypatch.delitem(sys.modules, "helpers_of_a_program", raising=False)

    def become(text: str) -> ModuleType:
        module = ModuleType("__main__")
        if request.param == "script":
            file = tmp_path / "my_script.py"
            file.write_text(text)
            linecache.checkcache(str(file))
            linecache.cache.pop(str(file), None)
            module.__file__ = str(file)
        else:
            file = Path(f"/tmp/ipykernel_1/{abs(hash(text))}.py")
            linecache.cache[str(file)] = (len(text), None, text.splitlines(keepends=True), str(file))
        monkeypatch.setitem(sys.modules, "__main__", module)
        exec(compile(text, str(file), "exec", dont_inherit=True), module.__dict__)
        return module

    yield become
    sys.modules.pop("helpers_of_a_program", None)


def _task(function="f"):
    import tomllib

    definition = tomllib.loads(TOY.format(function=function, sobol=3, method="random", search=1))
    definition["options"]["function"] = f"__main__:{function}"
    return validate(Task, definition, "test")


def _run(tmp_path, **more):
    path = joulebench.run(_task(), out=tmp_path / "runs", replay="100", progress=False, **more).path
    return RunFolder(path)


def test_it_resumes_where_it_is_defined_and_proposes_the_same(program, tmp_path):
    program(SCRIPT)
    run = unfinished(_run(tmp_path))
    before = run.trials()
    run.trials_path.write_bytes(b"".join(run.trials_path.read_bytes().splitlines(keepends=True)[:-2]))
    program(SCRIPT.replace("UNUSED = 1", "UNUSED = 2\n\n\n"))  # what it does not use may change, and move it
    joulebench.resume(run.path, progress=False)
    assert timeless(run.trials()) == timeless(before)


def test_what_it_uses_is_kept_but_no_password(program, tmp_path):
    program(SCRIPT)
    run = _run(tmp_path)
    (code,) = run.manifest().own_code
    assert {"f", "plain", "Config", "SCALE", "TOKEN", "helpers_of_a_program"} <= code.source.keys()
    assert "UNUSED" not in code.source
    assert code.source["plain"].startswith("def plain(params):\n")
    assert code.source["SCALE"] == "SCALE = 100"
    assert "secret of mine" not in run.manifest_path.read_text()
    assert "helpers_of_a_program.py" in code.files
    assert len(code.files) == 2
    assert set(code.uncommitted) == set(code.files)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.01 * params", "0.02 * params", "line 21: f (was `return"),
        ("params[\"width\"] / SCALE", "params[\"width\"] / 99", "plain (was `return"),
        ("offset = 0.5", "offset = 0.25", "Config (was `offset = 0.5`, is `offset = 0.25`)"),
        ("SCALE = 100", "SCALE = 10", "SCALE (was `SCALE = 100`, is `SCALE = 10`)"),
        ("secret of mine", "another", "TOKEN"),
        ("    TOKEN\n", "", "f (`TOKEN` is gone)"),
        ("    TOKEN\n", "    TOKEN\n    pass\n", "line 21: f (`pass` is new)"),
        ("def plain", "def f_helper(): ...\n\n\ndef plain", None),
    ],
)  # fmt: skip
def test_other_source_is_refused_in_one_line_that_shows_it(program, tmp_path, old, new, said):
    program(SCRIPT)
    run = unfinished(_run(tmp_path))
    assert old in SCRIPT
    program(SCRIPT.replace(old, new))
    if said is None:
        joulebench.resume(run.path, progress=False)
        return
    with pytest.raises(InputError) as refused:
        joulebench.resume(run.path, progress=False)
    text = str(refused.value)
    assert said in text
    assert "has changed since the run began" in text
    assert "\n" not in text
    assert "secret" not in text


def test_another_module_of_the_program_is_compared_too(program, tmp_path):
    program(SCRIPT)
    run = unfinished(_run(tmp_path))
    (tmp_path / "helpers_of_a_program.py").write_text("ZERO = 1.0\n")
    with pytest.raises(InputError, match=r"helpers_of_a_program\.py has changed"):
        joulebench.resume(run.path, progress=False)


def test_another_program_says_where_to_resume_and_executes_nothing_that_is_kept(
    program, tmp_path, monkeypatch, capsys
):
    program(SCRIPT)
    run = unfinished(_run(tmp_path))
    manifest = json.loads(run.manifest_path.read_text())
    evil = f"open({str(tmp_path / 'executed')!r}, 'w')\n"
    manifest["own_code"][0]["source"] = dict.fromkeys(manifest["own_code"][0]["source"], evil)
    run.manifest_path.write_text(json.dumps(manifest))
    program("x = 1\n")
    for command in ("resume", "run"):
        code, _, err = call(monkeypatch, capsys, command, run.path, "--quiet")
        assert code == 2
        assert err.count("\n") == 1
        assert "never executed" in err
        assert f"joulebench.resume('{run.path}')" in err
    assert call(monkeypatch, capsys, "report", run.path)[0] == 0
    program(SCRIPT)
    with pytest.raises(InputError, match="has changed"):  # records that were tampered with do not match either
        joulebench.resume(run.path, progress=False)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["os.system", "run", "partial", "f.__globals__", "no", ""])
def test_a_record_names_nothing_that_the_program_only_imported(program, tmp_path, name):
    program(f"{SCRIPT}\nimport os\nfrom subprocess import run\npartial = functools.partial(run)\n")
    run = unfinished(_run(tmp_path))
    run.manifest_path.write_text(run.manifest_path.read_text().replace("__main__:f", f"__main__:{name}"))
    with pytest.raises(InputError):
        joulebench.resume(run.path, progress=False)
    assert program_code.defined(f"__main__:{name}") is None


def test_a_run_in_processes_of_their_own_is_refused(program, tmp_path):
    program(SCRIPT)
    with pytest.raises(InputError, match="put it into a module of its own"):
        _run(tmp_path, isolate=True)


DEFINITIONS = """
import dataclasses
import functools
import numpy

ARRAY = numpy.arange(3)
CONFIG = {"rate": 0.1, "kinds": {"a", "b"}}


@dataclasses.dataclass
class Options:
    depth: int = 3


class Outer:
    class Inner:
        def rate(self): return CONFIG["rate"]


class Mixin:
    @property
    def depth(self): return Options().depth


def twice(function):
    @functools.wraps(function)
    def inner(*arguments): return function(*arguments)
    return inner


if True:
    class Net(Mixin):
        @twice
        def build(self): return ARRAY, Outer, double(2)


double = lambda x: 2 * x
borrowed = type("Borrowed", (), {"double": double})
"""


def test_source_is_that_of_all_that_a_class_uses(program):
    program(DEFINITIONS)
    kept = program_code.source_of("__main__:Net")
    assert kept["Net"].lstrip().startswith("class Net(Mixin):")
    assert kept["Options"] == "class Options(object):\n    depth: <class 'int'>\n    depth = 3"
    assert kept["Outer"].startswith("class Outer:\n    class Inner:")
    assert kept["double"] == "double = lambda x: 2 * x\n"
    assert kept["ARRAY"] == "ARRAY = a ndarray"
    assert kept["functools"] == "import functools as functools"
    assert kept["CONFIG"].startswith("CONFIG = dict with digest ")
    assert {"Mixin", "twice", "CONFIG"} <= kept.keys()
    assert "borrowed" not in kept
    assert program_code.difference("__main__:Net", kept) is None
    program(DEFINITIONS.replace('"a", "b"', '"b", "a"').replace("ARRAY = numpy", "\n\nARRAY = numpy"))
    assert program_code.difference("__main__:Net", kept) is None
    program(DEFINITIONS.replace("depth: int = 3", "depth: int = 4"))
    assert "Options (was `depth = 3`, is `depth = 4`)" in program_code.difference("__main__:Net", kept)


HELD = """
import functools


class Schedule:
    def rate(self): return 0.1


def small(): return 1


def wide(): return 2


schedule = Schedule()
MODELS = {"nets": [small]}
made = functools.partial(wide)


class Net:
    def build(self): return schedule.rate(), MODELS["nets"][0](), made()
"""


@pytest.mark.parametrize("name", ["Schedule", "small", "wide"])
def test_source_is_also_that_of_what_a_value_holds(program, name):
    """An object's class and a function in a table are what the program uses: their change is no 'unchanged'."""
    program(HELD)
    kept = program_code.source_of("__main__:Net")
    assert {"schedule", "MODELS", "made", name} <= kept.keys()
    old = {"Schedule": "return 0.1", "small": "return 1", "wide": "return 2"}[name]
    program(HELD.replace(f"{old}\n", f"{old} + 1\n"))
    assert f"{name} (was" in program_code.difference("__main__:Net", kept)


def test_what_was_typed_is_not_said_to_be_unchanged(tmp_path, monkeypatch):
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.chdir(tmp_path)
    exec(compile('def f(params, seed): return {"accuracy": 0.5, "step_s": 0.01}', "<stdin>", "exec"), vars(module))
    run = unfinished(_run(tmp_path))
    (code,) = run.manifest().own_code
    assert (code.source, code.files) == ({}, {})
    said = []
    resume(run.path, observer=lambda event: said.append(event.text))
    assert any("its code was not recorded" in text for text in said)


def test_a_class_within_a_function_is_refused_in_words():
    class Net(joulebench.Workload):
        pass

    with pytest.raises(ValueError, match="'Net' is defined within a function"):
        Task.model_validate({**_task().model_dump(), "workload": Net})


def test_a_published_copy_keeps_no_source(program, tmp_path):
    from joulebench.publishing.copying import _without_paths

    program(SCRIPT)
    manifest = _run(tmp_path).manifest()
    assert manifest.own_code[0].source
    copied = _without_paths(manifest)
    assert not copied.own_code[0].source
    assert copied.run_digest == manifest.run_digest


def test_a_real_script_resumes(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        f"{SCRIPT.replace('helpers_of_a_program', 'math').replace('math.ZERO', '0')}\n"
        'if __name__ == "__main__":\n'
        "    import sys, tomllib, joulebench\n"
        "    if sys.argv[1] == 'run':\n"
        f"        task = tomllib.loads({TOY.format(function='f', sobol=1, method='random', search=1)!r})\n"
        "        task['options']['function'] = '__main__:f'\n"
        "        print(joulebench.run(joulebench.Task(**task), out='runs', replay='100', progress=False).path)\n"
        "    else:\n"
        "        print(len(joulebench.resume(sys.argv[2], progress=False)))\n"
    )

    def python(*words):
        done = subprocess.run(
            [sys.executable, str(script), *words], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        return done.stdout.strip().splitlines()[-1:], done.stderr

    (path,), err = python("run")
    assert "Traceback" not in err
    unfinished(RunFolder(tmp_path / path))
    assert python("resume", path)[0] == ["4"]
    unfinished(RunFolder(tmp_path / path))
    script.write_text(script.read_text().replace("offset = 0.5", "offset = 0.6"))
    out, err = python("resume", path)
    assert out == []
    assert "mine.py, Config (was `offset = 0.5`, is `offset = 0.6`)" in err
