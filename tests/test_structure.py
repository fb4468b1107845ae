"""The import graph: its figures are right of a small package, and the rules hold for this one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import structure
from tests.conftest import REPOSITORY


def tiny(folder, **modules):
    """A package `tiny`: each module given by its name, with `__` for a dot, and its code."""
    for name, code in modules.items():
        path = folder.joinpath("tiny", *name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{code}\n")
    for inner in [folder / "tiny", *(p for p in folder.rglob("*") if p.is_dir())]:
        (inner / "__init__.py").touch()
    return structure.read_imports("tiny", folder)


@pytest.fixture
def layered(tmp_path):
    return tiny(
        tmp_path,
        main="import tiny.middle.a\nimport tiny.middle.b",
        middle__a="from tiny import low\nfrom tiny.middle import b",
        middle__b="def later():\n    import tiny.low",
        low="",
        alone="import json",
    )


def test_figures_of_a_package_in_layers(layered, tmp_path):
    rooms = structure.lifted(layered, structure.room)
    assert rooms == {"tiny": set(), "main": {"middle"}, "middle": {"low"}, "low": set(), "alone": set()}
    assert (structure.arrows(layered), structure.arrows(rooms)) == (5, 2)
    assert structure.floors(rooms) == {"main": 3, "middle": 2, "low": 1, "alone": 1, "tiny": 1}
    assert structure.folders(layered) == {"tiny", "tiny.middle"}
    assert structure.only_importers(layered) == {"tiny.middle.a": "tiny.main"}
    assert structure.lines("tiny", tmp_path) == {"main": 2, "middle": 4, "low": 1, "alone": 1, "tiny": 0}
    assert structure.broken(layered, structure.LEAF_LOADS) == []
    assert len(structure.broken(layered, structure.LEAF_LOADS + 1)) == 1


def test_what_a_module_loads_is_counted_of_its_own_package(layered, tmp_path):
    assert structure.loads("tiny.low", tmp_path) == 2  # with the package itself
    assert structure.loads("tiny.main", tmp_path) == 6
    assert structure.loads("tiny.alone", tmp_path) == 2


def test_modules_in_a_circle(tmp_path):
    """Imports for type checkers only, and those within functions, count as all others."""
    imports = tiny(
        tmp_path,
        a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tiny.b",
        b="def later():\n    import tiny.c",
        c="import tiny.a\nimport tiny.d",
        d="",
    )
    assert structure.circles(imports) == [["tiny.a", "tiny.b", "tiny.c"]]
    assert structure.floors(imports) == {"tiny": 1, "tiny.d": 1, "tiny.a": 2, "tiny.b": 2, "tiny.c": 2}
    folders, modules = structure.broken(imports, None)  # they are children of the package too
    assert folders.startswith("folders in a circle: tiny.a, tiny.b, tiny.c\n")
    assert modules.startswith("modules in a circle: tiny.a, tiny.b, tiny.c\n")


def test_folders_in_a_circle_of_which_no_modules_are(tmp_path):
    imports = tiny(
        tmp_path,
        inner__left__a="import tiny.inner.right.b",
        inner__left__d="",
        inner__right__b="import tiny.inner.c",
        inner__c="import tiny.inner.left.d",
    )
    assert structure.circles(imports) == []
    (circle,) = structure.folder_circles(imports)
    assert circle == ["tiny.inner.c", "tiny.inner.left", "tiny.inner.right"]
    assert list(structure.within(imports, circle)) == [
        ("tiny.inner.c", "tiny.inner.left.d"),
        ("tiny.inner.left.a", "tiny.inner.right.b"),
        ("tiny.inner.right.b", "tiny.inner.c"),
    ]


@pytest.mark.parametrize(("low", "code"), [("", 0), ("import tiny.main", 1)])
def test_the_exit_code_says_whether_a_rule_is_broken(tmp_path, low, code):
    tiny(tmp_path, main="import tiny.low", low=low)
    command = [sys.executable, "-m", "tests.structure", "--package", "tiny", "--path", str(tmp_path), "--list"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "     3 modules\n" in done.stdout
    assert "tiny.low <- tiny.main" in done.stdout
    assert ("modules in a circle: tiny.low, tiny.main" in done.stdout) == bool(code)


def test_the_rules_hold():
    path = REPOSITORY / "suite"
    leaf_loads = structure.loads(f"joulebench.{structure.LEAF}", path)
    problems = structure.broken(structure.read_imports("joulebench", path), leaf_loads)
    assert not problems, "\n".join(problems)


def test_a_folder_that_no_rule_would_see_is_named(layered, tmp_path):
    assert structure.unseen("tiny", tmp_path) == []
    (tmp_path / "tiny" / "middle" / "__init__.py").unlink()
    assert structure.unseen("tiny", tmp_path) == ["tiny/middle"]
    assert len(structure.broken(layered, None, structure.unseen("tiny", tmp_path))) == 1
