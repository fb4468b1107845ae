"""The gate's study on the replay meter, and the document that holds its tables."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from joulebench.gate.decision import Outcome
from joulebench.gate.values import Metric, value
from tests.conftest import REPOSITORY
from tests.gate.power.replay import Machine, Noise
from tests.gate.power.study import CHANGED, main, put, run_paired, run_stored, share, tally

ENERGY = Metric("energy", ("cpu",), "estimated")
GATE = (REPOSITORY / "docs" / "gate.md").read_text(encoding="utf-8")


def test_processes_are_as_noisy_as_the_study_says():
    machine = Machine(Noise(0.02, drift=0.0, correlation=0.0, outliers=False), 1)
    done = [machine.process("s", n, False, 0.0, {CHANGED: 1.05}) for n in range(300)]
    values = np.array([[value(m, ENERGY) for m in r.measurements] for r in done])
    noise = values.std(axis=0)
    assert noise == pytest.approx(0.02, rel=0.2)
    assert values[:, 0].mean() - values[:, 1].mean() == pytest.approx(math.log(1.05), abs=0.005)


def test_gates_of_unchanged_commits_stay_quiet_and_ten_percent_is_found():
    same = tally([run_paired(Noise(0.03), 20, 1.0, seed) for seed in range(10)], 1.0)
    more = tally([run_paired(Noise(0.02), 20, 1.10, seed) for seed in range(5)], 1.10)
    assert (same.gates, same.false_alarms, same.intervals) == (10, 0, 40)
    assert (more.detected, more.false_alarms) == (5, 0)


def test_a_day_that_lies_off_is_no_regression_where_days_differ():
    """Days differ by 5 %: whatever today's level is, a baseline that has seen such days calls nothing."""
    gates = [run_stored(Noise(0.02, drift=0.01, session=0.05), 5, 1.0, seed) for seed in range(8)]
    assert not [v for g in gates for v in g if v.outcome is Outcome.REGRESSION]


def test_shares_by_hand():
    assert share(0, 200) == "0/200 = 0 % [0, 1.83]"


def test_the_document_takes_tables_and_keeps_the_rest(tmp_path):
    path = tmp_path / "gate.md"
    path.write_text("a\n<!-- paired: begin; x -->\nold\n<!-- paired: end -->\nb\n")
    assert put(path.read_text(), {"paired": "new"}) == path.read_text().replace("old", "new")
    with pytest.raises(ValueError, match="no marks for stored"):
        put(path.read_text(), {"stored": "new"})
    main(["--gates", "0", "--out", str(tmp_path / "none"), "--document", str(path)])
    assert "old" in path.read_text()


def test_the_published_table_meets_what_the_gate_promises():
    """At most 1 % false alarms in every row; at 2 % noise and 20 pairs +5 % in 95 % of gates, +10 % always."""
    rows = re.search(r"<!-- paired: begin.*?-->\n(.*?)<!-- paired: end", GATE, re.S)[1].splitlines()[2:]
    found = {}
    for row in rows:
        label, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        found[label] = [tuple(map(int, c.split(" = ")[0].split("/"))) for c in cells[:3] if c != "not run"]
    for (false, gates), *_ in found.values():
        assert gates >= 200
        assert false <= 0.01 * gates
    _, five, ten = found["2 %, 20"]
    assert five[0] >= 0.95 * five[1]
    assert ten[0] == ten[1]


def test_its_options_and_those_of_the_workflow_exist():
    package = REPOSITORY / "suite" / "joulebench"
    files = ("commands/gate.py", "commands/options.py", "gate/plugin.py")
    source = "".join((package / name).read_text() for name in files)
    known = set(re.findall(r'"(--[a-z-]+)"', source)) | {
        f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): Annotated", source, re.M)
    }
    workflow = (REPOSITORY / ".github" / "workflows" / "energy.yml").read_text()
    used = re.findall(r"(?<![\w-])--(?:[a-z]+-?)+", workflow + GATE)
    others = {"--benchmark-enable", "--benchmark-json", "--benchmark-disable", "--user", "--real"}
    assert set(used) <= known | others
