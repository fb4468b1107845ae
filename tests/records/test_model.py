"""What records say of themselves."""

from __future__ import annotations

import ast

import pytest

from joulebench.records.model import combined


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [
        (["measured"], "measured"),
        (["measured", "measured"], "measured"),
        (["measured", "estimated"], "estimated"),
        (["estimated"], "estimated"),
        (["measured", None], "estimated"),
        ([], "estimated"),
    ],
)
def test_joules_are_measured_only_if_every_part_is(kinds, kind):
    assert combined(kinds) == kind
    assert combined(iter(kinds)) == kind


def test_it_is_decided_in_one_place(request):
    """No other module makes a kind out of several: none asks a set or several values whether they are of a kind."""
    package = request.config.rootpath / "suite" / "joulebench"
    deciding = set()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(_decides(node) for node in ast.walk(tree)):
            deciding.add(path.relative_to(package).as_posix())
    assert deciding == {"records/model.py"}


def _decides(node):
    if isinstance(node, ast.Compare):
        several = [s for s in (node.left, *node.comparators) if isinstance(s, ast.Set | ast.List | ast.Tuple)]
        among = any(isinstance(operator, ast.In | ast.NotIn) for operator in node.ops)
        return any(_is_kind(e) for s in several for e in s.elts) or (among and _is_kind(node.left))
    every = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("all", "any")
    return every and any(_is_kind(part) for part in ast.walk(node))


def _is_kind(node):
    return isinstance(node, ast.Constant) and node.value in ("measured", "estimated")
