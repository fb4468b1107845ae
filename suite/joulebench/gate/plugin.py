"""Pytest plugin with the fixture `energy_benchmark`, which measures time and energy of a callable.

    def test_inference(energy_benchmark):
        energy_benchmark(model, batch, units=len(batch), unit="sample")

pytest-benchmark gets the time as usual; its JSON has the joules in `extra_info`. Heavy modules are imported only
when the fixture is used.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from joulebench.gate.fixture import EnergyBenchmark
    from joulebench.measurement.instrument import Instrument

_INSTRUMENT = pytest.StashKey["Instrument"]()
_RESULTS = pytest.StashKey[list[tuple[str, dict[str, Any]]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("joulebench", "energy benchmarks")
    group.addoption(
        "--energy-form",
        choices=("quick", "standard"),
        help="Length of windows; default: standard with an accelerator.",
    )
    group.addoption("--energy-hardware", metavar="PROFILE", help="Hardware profile; default: this host's.")
    group.addoption("--energy-replay", metavar="SPEC", help="Dry run: joules from a power trace or constant watts.")
    group.addoption("--energy-session", metavar="ID", help="Run only energy benchmarks, as part of this session.")
    group.addoption("--energy-pair", type=int, metavar="N", help="Number of the pair this process belongs to.")
    group.addoption("--energy-rerun", action="store_true", help="This process is a rerun.")
    group.addoption("--energy-turns", metavar="ASKED,GIVEN", help="Pipes: ask for turns to measure, get them.")
    group.addoption("--energy-only", action="append", metavar="NAME", help="Run only the benchmark of this name.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect all but energy benchmarks in the gate's sessions, where processes take turns in the same order."""
    only = config.getoption("energy_only")
    if config.getoption("energy_session") is None and not only:
        return
    kept = [
        i for i in items if "energy_benchmark" in getattr(i, "fixturenames", ()) and (not only or i.nodeid in only)
    ]
    config.hook.pytest_deselected(items=[i for i in items if i not in kept])
    items[:] = sorted(kept, key=lambda item: item.nodeid) if config.getoption("energy_turns") else kept


@pytest.fixture(scope="session")
def _energy_instrument(pytestconfig: pytest.Config) -> Iterator[Instrument]:
    from joulebench.errors import InputError
    from joulebench.measurement.instrument import Instrument

    option = pytestconfig.getoption
    try:
        instrument = Instrument.start(option("energy_hardware"), option("energy_replay"))
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    pytestconfig.stash[_INSTRUMENT] = instrument
    yield instrument
    instrument.stop()


def pytest_configure(config: pytest.Config) -> None:
    """Disable garbage collection during imports and at exit while other processes wait: it saves a second each."""
    if config.getoption("energy_turns") is not None:
        gc.disable()
        config.add_cleanup(gc.freeze)


def _wait_for_turn(pipes: str, name: str, wanted: int) -> None:
    """Ask the gate for `wanted` turns to measure the benchmark `name`, and wait for the next one."""
    asked, given = map(int, pipes.split(","))
    if not gc.isenabled():
        gc.enable()
        gc.collect()  # now, in parallel with the other process, not during a turn
    try:
        os.write(asked, json.dumps([name, wanted]).encode() + b"\n")
        ended = not os.read(given, 1)
    except BrokenPipeError:
        ended = True
    if ended:
        pytest.exit("the gate that started this process has ended", returncode=1)


@pytest.fixture
def energy_benchmark(request: pytest.FixtureRequest) -> Iterator[EnergyBenchmark | Callable[..., Any]]:
    """Measure time and energy of a callable; see `joulebench.gate.fixture.EnergyBenchmark`.

    With `--benchmark-disable` (or `--benchmark-skip`) it is called once and nothing is measured.
    """
    from joulebench.gate.fixture import DisabledBenchmark, EnergyBenchmark, Recording
    from joulebench.gate.model import FORMS, form_of

    recording = Recording()
    # pytest-benchmark takes a timer from its marker; other options of the test's marker are kept
    own = request.node.get_closest_marker("benchmark")
    options = {**(own.kwargs if own else {}), "timer": recording.timer}
    request.node.add_marker(pytest.mark.benchmark(**options), append=False)
    try:
        benchmark = request.getfixturevalue("benchmark")
    except pytest.FixtureLookupError:
        raise pytest.UsageError("energy_benchmark needs pytest-benchmark: pip install 'joulebench[gate]'") from None
    if not benchmark.enabled:
        yield DisabledBenchmark(benchmark)
        return
    instrument = request.getfixturevalue("_energy_instrument")
    name, pipes = request.node.nodeid, request.config.getoption("energy_turns")
    turn = None if pipes is None else partial(_wait_for_turn, pipes, name)
    protocol = FORMS[request.config.getoption("energy_form") or form_of(instrument.profile)]
    yield EnergyBenchmark(benchmark, instrument, protocol, recording, name, turn)
    if (facts := benchmark.extra_info.get("energy")) is not None:
        request.config.stash.setdefault(_RESULTS, []).append((name, facts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the joules of what was measured."""
    if results := config.stash.get(_RESULTS, []):
        from joulebench.gate.terminal import energy_table

        terminalreporter.section("energy")
        for line in energy_table(results):
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add the machine and session to pytest-benchmark's JSON."""
    instrument = config.stash.get(_INSTRUMENT, None)
    if instrument is None:
        return
    from joulebench.gate.fixture import head

    facts = head(
        instrument,
        session=config.getoption("energy_session"),
        pair=config.getoption("energy_pair"),
        rerun=config.getoption("energy_rerun"),
    )
    commit = output_json.get("commit_info") or {}
    output_json["joulebench"] = {**facts, "commit": commit.get("id") if isinstance(commit, dict) else None}
