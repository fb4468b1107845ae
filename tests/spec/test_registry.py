"""One registry form: short names that ship, entry points, and code of one's own; five kinds of things."""

from __future__ import annotations

import subprocess
import sys

import pytest

from joulebench.errors import InputError
from joulebench.spec.catalog import find_task
from joulebench.spec.registry import CARDS, DATASETS, METERS, STUDIES, WORKLOADS, is_own
from joulebench.spec.task import check_names

KINDS = {r.kind: r for r in (WORKLOADS, STUDIES, DATASETS, METERS, CARDS)}


@pytest.fixture(params=KINDS)
def registry(request):
    return KINDS[request.param]


def test_all_that_ships_can_be_loaded(registry):
    for name in registry.shipped:
        found = registry.load(f"{name}MNIST" if name.endswith(":") else name)
        assert callable(found)
        assert isinstance(found, type) == (registry.form == "Class")


@pytest.mark.parametrize(
    "name", ["nothing:here", "os:nothing", "os.path:sep", "os:sep", "Cnn", "a b", "", "os", "../x:y"]
)
def test_what_is_not_there_or_of_another_form_is_one_line(registry, name):
    with pytest.raises(InputError) as refused:
        registry.load(name, "field")
    assert str(refused.value).startswith("field: ")
    assert "\n" not in str(refused.value)


def test_the_nearest_name_is_told(registry):
    name = next(iter(registry.shipped))
    with pytest.raises(InputError, match=f"did you mean '{name}'"):
        registry.target(f"{name}x")


def test_a_name_is_looked_up_without_importing_it(registry):
    assert registry.target("no_such_module_anywhere:Class") == "no_such_module_anywhere:Class"
    assert is_own("a.b:C")
    assert not is_own("batch")


@pytest.mark.parametrize("raises", ["SystemExit(0)", "KeyError('x')", "GeneratorExit", "SyntaxError('bad')"])
def test_whatever_a_module_does_as_it_is_read_is_one_line(tmp_path, monkeypatch, raises):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bad_module.py").write_text(f"raise {raises}\n")
    with pytest.raises(InputError, match="cannot be imported"):
        CARDS.load("bad_module:card")
    sys.modules.pop("bad_module", None)


def test_what_ships_is_not_looked_for_in_the_current_folder(tmp_path):
    """A library's optional import (plotly's of orjson) would run whatever lies beside a run."""
    (tmp_path / "orjson.py").write_text("open('executed', 'w').close()\nraise ImportError\n")
    code = (
        "import sys; before = list(sys.path); from joulebench.spec.registry import CARDS, STUDIES\n"
        "[registry.load(name) for registry in (CARDS, STUDIES) for name in registry.shipped]\n"
        "import plotly.io\n"
        "assert sys.path == before"
    )
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True)
    assert not (tmp_path / "executed").exists()


def test_the_frontier_is_named_among_what_analyses_may_be():
    task = find_task("digits").model_copy(update={"analyses": ("fronteir",)})
    with pytest.raises(InputError, match=r"analyses: .*did you mean 'frontier'\?.*allowed: frontier, batch"):
        check_names(task)
