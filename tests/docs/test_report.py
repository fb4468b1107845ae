"""docs/report.md is true: its codes and its schema are those of the package."""

from __future__ import annotations

import re

from joulebench.records.model import SCHEMA as RECORDS_SCHEMA
from joulebench.reporting.export_json import SCHEMA
from joulebench.results.findings import Code
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "report.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_it_lists_every_code_once() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", section("Codes of findings and banners"), flags=re.M)
    assert sorted(listed) == sorted(Code)


def test_it_states_the_present_schema() -> None:
    assert {int(n) for n in re.findall(r"\b(?:It is|also) (\d)", " ".join(section("Schema").split()))} == {
        SCHEMA,
        RECORDS_SCHEMA,
    }
