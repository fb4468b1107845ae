"""docs/licences.md lists every direct dependency with the licence that its own metadata states."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "licences.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([\w-]+) \| ([^|]+) \| (?:always|extra)", PAGE, flags=re.M))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: A family of licences by the words for it in metadata, of which each package has one form or another.
FAMILIES = {
    "MIT": "mit",
    "BSD": "bsd",
    "Apache": "apache",
    "LGPL": "lgpl",
    "Matplotlib": "matplotlib|python software",
}


def direct() -> set[str]:
    given = [*PROJECT["dependencies"], *(d for extra in PROJECT["optional-dependencies"].values() for d in extra)]
    return {re.match(r"[\w.-]+", d)[0] for d in given} - {"joulebench"}


def test_every_direct_dependency_is_listed():
    assert set(ROWS) == direct()


def _licence(text: str) -> str:
    """The family of a licence by a sentence of its text."""
    return "BSD" if "Redistributions in binary form must reproduce" in text else ""


@pytest.mark.parametrize("package", sorted(ROWS))
def test_a_licence_is_that_of_the_installed_package(package):
    try:
        told = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed here")
    fields = [told.get("License-Expression"), told.get("License"), *(told.get_all("Classifier") or [])]
    if not any(fields):  # torchao's metadata name a file alone
        fields = [_licence(metadata.distribution(package).read_text("licenses/LICENSE") or "")]
    stated = " ".join(f for f in fields if f)
    words = next(words for family, words in FAMILIES.items() if ROWS[package].startswith(family))
    assert re.search(words, stated, flags=re.IGNORECASE), stated[:200]
