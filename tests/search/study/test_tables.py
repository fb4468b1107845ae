"""Tables that searches are compared on: graphs by hand, values and shares of hypervolume by hand."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from joulebench.search.space import Space
from tests.search.study.cells import canonical, living
from tests.search.study.tables import (
    EDGES,
    FILES,
    NAMES,
    Objective,
    Table,
    absent,
    cell,
    cell_values,
    choice,
    digits,
    ecnas,
    mlenergy,
    recipe6,
    table,
    three,
    volumes,
    zeus,
)
from tests.synthetic_search import categorical

# -- graphs ------------------------------------------------------------------------------------------------------


def graph(*edges: str) -> frozenset[tuple[int, int]]:
    """Edges by the digits of their ends: `01` leads from vertex 0 to vertex 1."""
    return frozenset((int(i), int(j)) for i, j in edges)


def test_what_lies_on_no_path_is_removed_and_the_rest_renumbered():
    """1 leads nowhere, 3 is reached from nowhere: 0 → 2 → 4 is left, with the operation of 2."""
    found = living(graph("01", "02", "24", "34"), {1: 7, 2: 8, 3: 9}, 4)
    assert found == (graph("01", "12"), {1: 8}, 2)
    assert living(graph("04"), {1: 7, 2: 8, 3: 9}, 4) == (graph("01"), {}, 1)


def test_without_a_path_nothing_lives():
    assert living(graph("01", "12", "34"), {1: 0, 2: 0, 3: 0}, 4) is None
    assert living(frozenset(), {1: 0}, 2) is None


def test_equal_networks_have_one_form():
    """Two vertices side by side may change places with their operations, but not alone."""
    side = graph("01", "02", "13", "23")
    assert canonical(side, {1: 5, 2: 6}, 3) == canonical(side, {1: 6, 2: 5}, 3)
    # one after the other, their order matters
    chain = graph("01", "12", "23")
    assert canonical(chain, {1: 5, 2: 6}, 3) != canonical(chain, {1: 6, 2: 5}, 3)
    # 0 → 1 → 3 with 2 beside, and the same with the names of 1 and 2 exchanged
    one, other = graph("01", "13", "02", "23", "03"), graph("02", "23", "01", "13", "03")
    assert canonical(one, {1: 5, 2: 6}, 3) == canonical(other, {1: 6, 2: 5}, 3)
    assert canonical(side, {1: 5, 2: 5}, 3) != canonical(chain, {1: 5, 2: 5}, 3)


# -- tables ------------------------------------------------------------------------------------------------------

SMALL = Table(
    "small",
    "made for a test",
    {"a": choice([False, True]), "b": choice([1, 10, 100], ordered=True)},
    {
        "quality": Objective("maximize", 0.0, 0.1),
        "joules": Objective("minimize", math.e**2, 0.02, relative=True, energy=True),
    },
    # b = 1, 10, 100 without a; then with it
    ((1.0, 1.0), None, (2.0, math.e), (1.0, math.e), (2.0, math.e), (0.5, 0.5)),
)


def test_configurations_are_numbered_as_they_are_listed():
    space = Space.of(SMALL.task, SMALL.task.stages["search"])
    assert [SMALL.number(p) for p in space.listed or ()] == list(range(6))
    assert SMALL.params(4) == {"a": True, "b": 10}
    assert SMALL.truth({"a": False, "b": 10}) is None


def test_hypervolume_by_hand():
    """Reference (0, e²); the front is (0.5, 0.5), (1, 1) and (2, e)."""
    whole = 2 * (math.e**2 - math.e) + 1 * (math.e - 1) + 0.5 * 0.5
    assert SMALL.volume(range(6)) == pytest.approx(whole)
    assert SMALL.share([0]) == pytest.approx((math.e**2 - 1) / whole)
    assert SMALL.share([1]) == 0
    # on the logarithm: reference 2, front (0.5, ln 0.5), (1, 0), (2, 1)
    logged = 2 * 1 + 1 * 1 + 0.5 * math.log(2)
    assert SMALL.share([2], log=True) == pytest.approx(2 / logged)


def test_hypervolume_by_trial_never_falls_and_infeasible_ones_add_nothing():
    shares = volumes(SMALL, [1, 3, 1, 0, 0, 2, 5])
    three = 1 * (math.e**2 - math.e)
    whole = SMALL.volume(range(6))
    assert shares[:3] == pytest.approx([0, three / whole, three / whole])
    assert shares[4] == shares[3] == pytest.approx((math.e**2 - 1) / whole)
    assert shares[-1] == pytest.approx(1.0)
    assert (np.diff(shares) >= 0).all()


def test_a_table_that_does_not_fit_its_parameters_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Table("odd", "", {"a": choice([1, 2, 3])}, SMALL.objectives, ((1.0, 1.0),))


def test_noise_is_of_the_trial_and_infeasible_trials_take_theirs():
    """The second trial's noise is the same whether the first ran or not."""
    problem = SMALL.problem(noisy=True)
    values = []
    for first in (0, 1):
        rng = np.random.default_rng(0)
        before = problem.record(SMALL.params(first), rng)
        assert before.status == ("ok" if first == 0 else "infeasible")
        values.append(problem.record(SMALL.params(2), rng).metrics)
    assert values[0] == values[1]
    draws = np.random.default_rng(0).normal(size=(2, 2))
    assert values[0]["quality"] == pytest.approx(2.0 + 0.1 * draws[1, 0])
    assert values[0]["joules"] == pytest.approx(math.e * (1 + 0.02 * draws[1, 1]))


def test_noise_is_told_only_on_request():
    rng = np.random.default_rng(0)
    assert SMALL.problem(noisy=True).record(SMALL.params(2), rng).sems == {}
    told = SMALL.problem(noisy=True, told=True).record(SMALL.params(2), rng)
    assert told.sems == pytest.approx({"quality": 0.1, "joules": 0.02 * math.e})
    exact = SMALL.problem(noisy=False, told=True).record(SMALL.params(2), rng)
    assert (exact.metrics, exact.sems) == ({"quality": 2.0, "joules": math.e}, {"quality": 0.0, "joules": 0.0})


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def served(model: str, gpu: str, gpus: int, sequences: int, joules: float, **other: object) -> dict[str, object]:
    return {
        "task": "chat", "model_id": model, "gpu_model": gpu, "num_gpus": gpus, "max_num_seqs": sequences,
        "p95_itl_ms": 20.0, "energy_per_token_joules": joules, **other,
    }  # fmt: skip


def test_served_models_by_hand(tmp_path):
    """Replicates are averaged; two GPUs are the fewest where a model never had one; the other task is left out."""
    rows = [
        served("a", "H100", 1, 8, 0.2), served("a", "H100", 1, 8, 0.4), served("a", "H100", 2, 16, 0.3),
        served("b", "B200", 2, 8, 0.1), served("b", "B200", 2, 4096, 9.0),
        served("c", "B200", 1, 8, 0.5, task="code"),
    ]  # fmt: skip
    path = write(tmp_path / "llm.csv", rows)
    found = mlenergy(path, "served", ("chat",))
    assert {n: p["values"] for n, p in found.parameters.items()} == {
        "model": ["a", "b"], "gpu": ["B200", "H100"], "gpus": ["fewest", "more"], "max_num_seqs": [8, 16],
    }  # fmt: skip
    ran = {tuple(found.params(n).values()): found.values[n] for n in found.feasible}
    assert ran == {
        ("a", "H100", "fewest", 8): (pytest.approx(0.3), 20.0),
        ("a", "H100", "more", 16): (0.3, 20.0),
        ("b", "B200", "fewest", 8): (0.1, 20.0),
    }
    assert mlenergy(path, "pooled").parameters["model"]["values"] == ["chat: a", "chat: b", "code: c"]


def test_power_limits_by_hand(tmp_path):
    """Ratios to the least of each training; another GPU's rows, and batch sizes off the list, are left out."""
    common = {"gpu": "v100", "dataset": "d", "network": "n", "optimizer": "adam"}
    other = {**common, "network": "m"}
    rows = [
        common | {"batch_size": 8, "power_limit": 100, "energy_per_epoch_j": 50, "time_per_epoch": 4},
        common | {"batch_size": 8, "power_limit": 250, "energy_per_epoch_j": 100, "time_per_epoch": 2},
        common | {"batch_size": 9, "power_limit": 250, "energy_per_epoch_j": 200, "time_per_epoch": 8},
        other | {"batch_size": 16, "power_limit": 250, "energy_per_epoch_j": 7, "time_per_epoch": 7},
        common | {"gpu": "a40", "batch_size": 8, "power_limit": 300, "energy_per_epoch_j": 1, "time_per_epoch": 1},
    ]  # fmt: skip
    found = zeus(write(tmp_path / "zeus.csv", rows))
    assert found.parameters["training"]["values"] == ["m d adam", "n d adam"]
    assert found.parameters["power_limit_w"]["values"] == [100, 250]
    ran = {tuple(found.params(n).values()): found.values[n] for n in found.feasible}
    assert ran == {
        ("n d adam", 8, 100): (1.0, 2.0),
        ("n d adam", 8, 250): (2.0, 1.0),
        ("m d adam", 16, 250): (1.0, 1.0),
    }


def trained(name: str, adj: str, ops: str, accuracy: float, kwh: float) -> dict[str, object]:
    return {"hash": name, "adj": adj, "ops": ops, "val4": accuracy, "e0_kwh": 0.001, "e4_kwh": 0.001 + kwh}


def test_encodings_of_one_graph_have_its_values(tmp_path):
    """The chain through one 3×3 convolution, whichever vertex it is; 160,000 samples over 0.01 kWh = 36 kJ."""
    rows = [trained("x", "b101", "-1,0,-2", 0.5, 0.01), trained("y", "b1", "-1,-2", 0.2, 0.005)]
    again = [trained("x", "b101", "-1,0,-2", a, e) for a, e in ((0.4, 0.01), (0.6, 0.011))]
    found = ecnas(write(tmp_path / "t.csv", rows), write(tmp_path / "r.csv", again))
    assert len(found.values) == 27_648
    empty = {name: p["values"][0] for name, p in found.parameters.items()}
    assert found.truth(empty) is None  # no edge at all
    expected = (0.5, pytest.approx(160_000 / 36_000))
    for vertex in (1, 2, 3):
        edges = {f"edge_0{vertex}": True, f"edge_{vertex}4": True}
        assert found.truth({**empty, **edges, f"op_{vertex}": "conv3x3"}) == expected
        assert found.truth({**empty, **edges, f"op_{vertex}": "conv1x1"}) is None  # not in this table
        dangling = "edge_12" if vertex == 1 else "edge_01"
        assert found.truth({**empty, **edges, dangling: True, f"op_{vertex}": "conv3x3"}) == expected
    assert found.truth({**empty, "edge_04": True})[0] == 0.2
    assert found.objectives["accuracy"].noise == pytest.approx(math.sqrt(0.02))
    assert found.objectives["efficiency"].noise == pytest.approx(math.log(1.1) / math.sqrt(2))


def test_every_allowed_graph_of_the_published_table_was_trained(shared_data):
    """All 27,648 encodings: what does not run has no path, or all ten edges."""
    found = table("ecnas", shared_data)
    for number, values in enumerate(found.values):
        params = found.params(number)
        edges = frozenset((int(n[-2]), int(n[-1])) for n, on in params.items() if n.startswith("edge") and on)
        operations = dict.fromkeys((1, 2, 3), 0)
        assert (values is None) == (living(edges, operations, 4) is None or len(edges) == 10)
    assert len({v for v in found.values if v is not None}) == 2532


@pytest.mark.parametrize("name", FILES)
def test_published_tables_can_be_searched(shared_data, name):
    found = table(name, shared_data)
    assert 0.3 < len(found.feasible) / len(found.values) <= 1
    assert found.share(found.feasible) == pytest.approx(1.0)
    assert found.share(found.feasible, log=True) == pytest.approx(1.0)
    assert found.task.free.keys() == found.parameters.keys()


def test_the_made_up_cell_by_hand():
    dead = dict.fromkeys(EDGES, "none")
    assert cell_values(dead) == (10.0, 1 / 1.5)
    # an operation that leads nowhere is computed for nothing
    assert cell_values({**dead, (0, 1): "conv3x3"}) == (10.0, 1 / 5.0)
    straight = {**dead, (0, 3): "conv1x1"}
    accuracy, efficiency = cell_values(straight)
    assert efficiency == pytest.approx(1 / (1.5 + 0.6 + 1.0))
    assert 70 < accuracy < 94
    assert cell_values({**straight, (0, 1): "skip"}) == (accuracy, pytest.approx(1 / (1.5 + 0.6 + 1.0 + 0.25)))
    # vertices 1 and 2 side by side may change places
    one = {**dead, (0, 1): "conv3x3", (1, 3): "skip", (0, 2): "avgpool", (2, 3): "conv1x1"}
    other = {**dead, (0, 2): "conv3x3", (2, 3): "skip", (0, 1): "avgpool", (1, 3): "conv1x1"}
    assert cell_values(one) == cell_values(other)


def test_the_made_up_cells_are_as_they_are_said_to_be():
    found = cell()
    assert len(found.values) == len(found.feasible) == 15_625
    values = np.array([v for v in found.values if v is not None])
    living = values[values[:, 0] != 10.0]
    assert 0.01 < 1 - len(living) / len(values) < 0.3
    assert ((living[:, 0] > 80) & (living[:, 0] < 95)).mean() > 0.8
    assert living[:, 1].max() < 0.65 * values[:, 1].max()  # the thriftiest of all is dead
    assert len(set(found.values)) < 14_000  # some are one graph


def test_the_other_made_up_tables():
    found, problem = recipe6(), categorical()
    assert len(found.values) == 15_625
    params = found.params(12_345)
    assert found.truth(params) == problem.truth(params)
    network = three()
    assert len(network.values) == 6 * 6 * 3 * 3 * 4 * 5
    assert len(network.objectives) == 3
    values = np.array([v for v in network.values if v is not None])
    assert 0.1 < (values < [2.0, 60.0, 100.0]).all(axis=1).mean() < 0.9


def test_the_measured_grid():
    """A network of one layer has nothing to pool between: both encodings have its values."""
    found = digits()
    assert 100 <= len(found.values) <= 250
    assert len(found.feasible) == len(found.values)
    one = {"width": 8, "depth": 1, "kernel": 3}
    assert found.truth({**one, "pool": True}) == found.truth({**one, "pool": False})
    assert found.share(found.feasible) == pytest.approx(1.0)


def test_what_is_not_there_is_left_out_by_name(tmp_path):
    assert [n for n in NAMES if absent(n, tmp_path)] == list(FILES)
    assert absent("zeus", tmp_path) == f"zeus: left out, {tmp_path / 'zeus_power.csv'} is not there"
    with pytest.raises(ValueError, match="no table 'zeuss'"):
        table("zeuss", tmp_path)
