"""Options and fixtures that every test may use."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from pydantic import BaseModel

from joulebench.records.model import Record
from tests.run_factory import BUILT

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

# Tests run beside each other: what they measure counts all the same, here and in processes that they start.
os.environ["JOULEBENCH_ALLOW_BUSY"] = "1"
# A shell starts what is to run in the background without Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same commit passes or fails the same way everywhere; `--hypothesis-profile default` looks for new examples.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--update-prose", action="store_true", help="write tests/prose anew: tests/test_prose.py")
    parser.addoption(
        "--keep-runs", type=Path, metavar="DIR", help="keep every run that a test builds: tests/golden.py"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks judge speed or energy, so only `nox -s bench` and `-s regression` run them: they enable what the
    project disables."""
    enabled = config.getoption("benchmark_enable", default=False)
    return True if collection_path.name in ("benchmarks", "regression") and not enabled else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; run with --slow"))


@pytest.fixture(scope="session", autouse=True)
def _copies_are_valid() -> Iterator[None]:
    """Refuse a copy of a record with a value that its field does not take: pydantic itself does not look."""

    def checked(self: Record, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Record:
        copy = BaseModel.model_copy(self, update=update, deep=deep)
        type(self).model_validate(dict(copy))
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record, "model_copy", checked)
        yield


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget folders that a test adds to the import path: a task file's is searched for tables and code."""
    monkeypatch.setattr(sys, "path", sys.path.copy())


@pytest.fixture(autouse=True)
def _keep_runs(request: pytest.FixtureRequest) -> Iterator[None]:
    BUILT.clear()
    yield
    folder = request.config.getoption("--keep-runs")
    for number, run in enumerate(BUILT if folder else ()):
        test = re.sub(r"[^\w.-]+", "_", request.node.nodeid.rpartition("/")[2])
        run.write(folder / test[:120] / str(number))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that the project does not ship; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("shared measurement data are not beside this checkout")
    return SHARED_DATA
