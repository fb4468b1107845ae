"""What records say of themselves."""

from __future__ import annotations

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
    """No other module compares kinds to decide it."""
    package = request.config.rootpath / "suite" / "joulebench"
    spelled = [p for p in package.rglob("*.py") if '== {"measured"}' in p.read_text(encoding="utf-8")]
    assert [p.relative_to(package).as_posix() for p in spelled] == ["records/model.py"]
