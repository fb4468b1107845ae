"""Named tables that search methods are compared on: every configuration's true values, known beforehand.

A table is a finite space, numbered as `itertools.product` lists it (the last parameter counts fastest), and a value
of every objective for each combination; None where it does not run or was not measured, which every method is told
as a trial that failed. Published measurements are read from files that are not part of the repository; `cell`,
`recipe6` and `three` are made up, and their formulas are here.
"""

from __future__ import annotations

import csv
import itertools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from statistics import fmean, variance
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from joulebench.results.frontier import hypervolume
from joulebench.spec.parameters import Params, Value
from joulebench.spec.task import Task
from tests.factories import make_task
from tests.search.study.cells import canonical, living, used
from tests.synthetic_search import STAGES, Problem, categorical

DIGITS = Path(__file__).with_name("digits.csv")
JOULES_PER_KWH = 3.6e6
Values = tuple[float, ...]
Goal = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """An objective of a table.

    Attributes:
        reference: where hypervolume begins.
        noise: standard deviation between runs of one configuration: a share of the value where `relative`.
        energy: whether hypervolume is also asked for on its logarithm.
        log_reference: where the logarithm's hypervolume begins, if `reference` is not positive.
    """

    goal: Goal
    reference: float
    noise: float
    relative: bool = False
    energy: bool = False
    log_reference: float | None = None


@dataclass(frozen=True)
class Table:
    """A search space and the true values of all its configurations.

    Attributes:
        parameters: as a task file gives them: choices only.
        values: by number of the configuration; None where it is infeasible.
    """

    name: str
    source: str
    parameters: Mapping[str, Mapping[str, Any]]
    objectives: Mapping[str, Objective]
    values: tuple[Values | None, ...]

    def __post_init__(self) -> None:
        if math.prod(len(p["values"]) for p in self.parameters.values()) != len(self.values):
            raise ValueError(f"table {self.name}: {len(self.values)} values do not fit its parameters")

    @cached_property
    def task(self) -> Task:
        metrics = {n: {"goal": o.goal, "reference": o.reference} for n, o in self.objectives.items()}
        return make_task(self.parameters, STAGES, metrics, name=self.name)

    def problem(self, noisy: bool, told: bool = False) -> Problem:
        """The table as a problem of a search.

        Args:
            told: state the noise as standard errors, 0 where there is none; otherwise nothing is said of it.
        """
        noise: tuple[float, ...] = tuple(o.noise if noisy else 0.0 for o in self.objectives.values())
        relative = tuple(o.relative for o in self.objectives.values())
        return Problem(self.task, self.truth, noise if noisy or told else (), told, relative)

    def truth(self, params: Params) -> Values | None:
        return self.values[self.number(params)]

    def number(self, params: Params) -> int:
        """Number of a configuration."""
        number = 0
        for name, places in self._places.items():
            number = number * len(places) + places[type(params[name]), params[name]]
        return number

    def params(self, number: int) -> Params:
        """Configuration of a number."""
        found: Params = {}
        for name, parameter in reversed(list(self.parameters.items())):
            number, place = divmod(number, len(parameter["values"]))
            found[name] = parameter["values"][place]
        return {name: found[name] for name in self.parameters}

    @cached_property
    def _places(self) -> dict[str, dict[tuple[type, Value], int]]:
        return {n: {(type(v), v): i for i, v in enumerate(p["values"])} for n, p in self.parameters.items()}

    @property
    def feasible(self) -> list[int]:
        """Numbers of the configurations that run."""
        return [n for n, v in enumerate(self.values) if v is not None]

    def volume(self, numbers: Sequence[int], log: bool = False) -> float:
        """Hypervolume of configurations at their true values; `log`: with the logarithm of energy."""
        values = [v for n in numbers if (v := self.values[n]) is not None]
        points = np.reshape(np.asarray(values, dtype=float), (-1, len(self.objectives)))
        references = [o.reference for o in self.objectives.values()]
        if log:
            for i, objective in enumerate(self.objectives.values()):
                if objective.energy:
                    points[:, i] = np.log(points[:, i])
                    reference = objective.reference if objective.log_reference is None else objective.log_reference
                    references[i] = math.log(reference)
        return hypervolume(points, references, [o.goal for o in self.objectives.values()])

    def share(self, numbers: Sequence[int], log: bool = False) -> float:
        """`volume` as a share of the whole table's."""
        return self.volume(numbers, log) / (self._whole_log if log else self._whole)

    @cached_property
    def _whole(self) -> float:
        return self.volume(self.feasible)

    @cached_property
    def _whole_log(self) -> float:
        return self.volume(self.feasible, log=True)

    @property
    def has_log(self) -> bool:
        return any(o.energy for o in self.objectives.values())


def choice(values: Sequence[Value], ordered: bool = False) -> dict[str, Any]:
    return {"type": "choice", "values": list(values), "ordered": ordered, "default": values[0]}


def _listed(parameters: Mapping[str, Mapping[str, Any]]) -> itertools.product[Any]:
    return itertools.product(*(p["values"] for p in parameters.values()))


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file.

    Raises:
        ValueError: it has no such columns, or no rows.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or (missing := sorted(set(columns) - rows[0].keys())):
        raise ValueError(f"{path}: " + (f"lacks {', '.join(missing)}" if rows else "no rows"))
    return rows


def _averaged(measured: Sequence[tuple[tuple[Value, ...], Values]]) -> dict[tuple[Value, ...], Values]:
    """Means of replicates by key."""
    groups: dict[tuple[Value, ...], list[Values]] = {}
    for key, values in measured:
        groups.setdefault(key, []).append(values)
    return {key: tuple(map(fmean, zip(*group, strict=True))) for key, group in groups.items()}


# -- published measurements --------------------------------------------------------------------------------------

SEQUENCES = (8, 16, 32, 64, 96, 128, 192, 256)  # what most models were served with


def mlenergy(path: Path, name: str, tasks: Sequence[str] = ()) -> Table:
    """Language models served on H100 and B200 (ML.ENERGY leaderboard): J/token against p95 inter-token latency.

    A model was measured with one or two numbers of each GPU, so `gpus` says whether it is the fewest or more: with
    the numbers themselves four in five combinations would not exist. Pooled, a model is one of a task: their names
    differ by task nearly always. `max_num_seqs` are those up to 256, which most models were served with.

    Args:
        tasks: those to take; none: all, pooled.
    """
    columns = ("task", "model_id", "gpu_model", "num_gpus", "max_num_seqs", "p95_itl_ms", "energy_per_token_joules")
    rows = [r for r in _rows(path, columns) if not tasks or r["task"] in tasks]
    rows = [r for r in rows if int(r["max_num_seqs"]) in SEQUENCES]

    def model(row: Mapping[str, str]) -> str:
        return row["model_id"] if len(tasks) == 1 else f"{row['task']}: {row['model_id']}"

    numbers: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        numbers.setdefault((model(row), row["gpu_model"]), set()).add(int(row["num_gpus"]))
    measured = []
    for row in rows:
        served, gpu = model(row), row["gpu_model"]
        gpus = "fewest" if int(row["num_gpus"]) == min(numbers[served, gpu]) else "more"
        key: tuple[Value, ...] = (served, gpu, gpus, int(row["max_num_seqs"]))
        measured.append((key, (float(row["energy_per_token_joules"]), float(row["p95_itl_ms"]))))
    parameters = {
        "model": choice(sorted({model(r) for r in rows})),
        "gpu": choice(sorted({r["gpu_model"] for r in rows})),
        "gpus": choice(["fewest", "more"]),
        "max_num_seqs": choice(sorted({int(r["max_num_seqs"]) for r in rows}), ordered=True),
    }
    found = _averaged(measured)
    return Table(
        name,
        "ML.ENERGY leaderboard, measured on H100 and B200" + (f": {', '.join(tasks)}" if tasks else ", all tasks"),
        parameters,
        {
            "energy_per_token": Objective("minimize", 0.5, 0.02, relative=True, energy=True),
            "latency_p95_ms": Objective("minimize", 100.0, 0.03, relative=True),
        },
        tuple(found.get(key) for key in _listed(parameters)),
    )


BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)


def zeus(path: Path) -> Table:
    """Seven trainings on a V100 by batch size and power limit (Zeus, NSDI '23; Apache-2.0).

    Joules and seconds of an epoch over the least that was measured of the same training: in joules and seconds
    themselves one network takes a thousandth of the others, and is all of the front.
    """
    columns = ("gpu", "dataset", "network", "batch_size", "optimizer", "power_limit", "time_per_epoch")
    rows = [r for r in _rows(path, (*columns, "energy_per_epoch_j")) if r["gpu"] == "v100"]

    def training(row: Mapping[str, str]) -> str:
        return " ".join((row["network"], row["dataset"], row["optimizer"]))

    def least(column: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for row in rows:
            found[training(row)] = min(float(row[column]), found.get(training(row), math.inf))
        return found

    joules, seconds = least("energy_per_epoch_j"), least("time_per_epoch")
    measured = []
    for row in rows:
        own = training(row)
        key: tuple[Value, ...] = (own, int(row["batch_size"]), int(row["power_limit"]))
        ratios = float(row["energy_per_epoch_j"]) / joules[own], float(row["time_per_epoch"]) / seconds[own]
        measured.append((key, ratios))
    parameters = {
        "training": choice(sorted(joules)),
        "batch_size": choice(BATCHES, ordered=True),
        "power_limit_w": choice(sorted({int(r["power_limit"]) for r in rows}), ordered=True),
    }
    found = _averaged(measured)
    return Table(
        "zeus",
        "Zeus, V100: energy and time of an epoch, over the least of that training",
        parameters,
        {
            "energy_ratio": Objective("minimize", 1.5, 0.02, relative=True, energy=True),
            "time_ratio": Objective("minimize", 1.5, 0.01, relative=True),
        },
        tuple(found.get(key) for key in _listed(parameters)),
    )


EC_NAS_SAMPLES = 4 * 40_000  # epochs × training images of NAS-Bench-101
EC_NAS_VERTICES, EC_NAS_EDGES = 5, 9


def ecnas(path: Path, replicates: Path) -> Table:
    """Cells of NAS-Bench-101 with at most five vertices, trained four epochs (EC-NAS-Bench, MIT), as flat choices.

    Ten edges and three operations: 27,648 encodings of 2,532 graphs, each trained once. An encoding stands for what
    is left of it without vertices that no path from input to output crosses; one without such a path, or with more
    edges than NAS-Bench-101 allows, does not run. The noise is that between the trainings of one graph in
    `replicates`.
    """
    measured: dict[Any, Values] = {}
    for row in _rows(path, ("adj", "ops", "val4", "e0_kwh", "e4_kwh")):
        measured[canonical(*_graph(row))] = _trained(row)
    accuracy_sd, energy_rsd = _between_runs(_rows(replicates, ("hash", "val4", "e0_kwh", "e4_kwh")))
    pairs = list(itertools.combinations(range(EC_NAS_VERTICES), 2))
    parameters = {f"edge_{i}{j}": choice([False, True]) for i, j in pairs}
    inner = range(1, EC_NAS_VERTICES - 1)
    parameters |= {f"op_{i}": choice(["conv3x3", "conv1x1", "maxpool3x3"]) for i in inner}
    operations = parameters["op_1"]["values"]

    def value(encoded: tuple[Any, ...]) -> Values | None:
        bits, names = encoded[: len(pairs)], encoded[len(pairs) :]
        edges = frozenset(pair for pair, bit in zip(pairs, bits, strict=True) if bit)
        graph = living(edges, {i: operations.index(op) for i, op in zip(inner, names, strict=True)}, 4)
        if graph is None or len(graph[0]) > EC_NAS_EDGES:
            return None
        return measured.get(canonical(*graph))

    return Table(
        "ecnas",
        "EC-NAS-Bench: accuracy and samples per joule of four epochs on CIFAR-10",
        parameters,
        {
            "accuracy": Objective("maximize", 0.1, accuracy_sd),
            "efficiency": Objective(
                "maximize",
                0.0,
                energy_rsd,
                relative=True,
                energy=True,
                log_reference=min(v[1] for v in measured.values()),
            ),
        },
        tuple(map(value, _listed(parameters))),
    )


def _graph(row: Mapping[str, str]) -> tuple[frozenset[tuple[int, int]], dict[int, int], int]:
    """Edges, operations of inner vertices and the last vertex of a row."""
    operations = [int(op) for op in row["ops"].split(",")]
    bits = row["adj"].removeprefix("b")
    pairs = itertools.combinations(range(len(operations)), 2)
    edges = frozenset(pair for pair, bit in zip(pairs, bits, strict=True) if bit == "1")
    return edges, dict(enumerate(operations[1:-1], start=1)), len(operations) - 1


def _trained(row: Mapping[str, str]) -> Values:
    joules = JOULES_PER_KWH * (float(row["e4_kwh"]) - float(row["e0_kwh"]))
    return float(row["val4"]), EC_NAS_SAMPLES / joules


def _between_runs(rows: Sequence[Mapping[str, str]]) -> tuple[float, float]:
    """Pooled standard deviations of trainings of one graph: of accuracy, and of efficiency as a share of it."""
    groups: dict[str, list[Values]] = {}
    for row in rows:
        groups.setdefault(row["hash"], []).append(_trained(row))
    again = [g for g in groups.values() if len(g) > 1]
    accuracy = fmean(variance([a for a, _ in g]) for g in again)
    energy = fmean(variance([math.log(e) for _, e in g]) for g in again)
    return math.sqrt(accuracy), math.sqrt(energy)


# -- measured here -----------------------------------------------------------------------------------------------


def digits(path: Path = DIGITS) -> Table:
    """A grid of the shipped task `digits`, each configuration trained and measured once (`digits_grid.py`)."""
    columns = ("width", "depth", "kernel", "pool", "val_accuracy", "samples_per_j")
    rows = _rows(path, columns)
    parameters = {
        name: choice(sorted({int(r[name]) for r in rows}), ordered=True) for name in ("width", "depth", "kernel")
    } | {"pool": choice([False, True])}
    found = {
        (int(r["width"]), int(r["depth"]), int(r["kernel"]), r["pool"] == "true"): (
            float(r["val_accuracy"]),
            float(r["samples_per_j"]),
        )
        for r in rows
    }
    found |= {(w, d, k, not p): v for (w, d, k, p), v in found.items() if d == 1}  # nothing to pool between
    return Table(
        "digits_grid",
        "the task digits on two virtual CPU cores: validation accuracy and samples per joule (estimated)",
        parameters,
        {
            "accuracy": Objective("maximize", 0.1, 0.01),
            "efficiency": Objective(
                "maximize", 0.0, 0.02, relative=True, energy=True, log_reference=min(v[1] for v in found.values())
            ),
        },
        tuple(found.get(key) for key in _listed(parameters)),
    )


# -- made up -----------------------------------------------------------------------------------------------------


def recipe6() -> Table:
    """Six unordered choices of five values, with effects of each and of neighbouring pairs; made up."""
    problem = categorical()
    parameters = {n: choice(p.values) for n, p in problem.task.free.items() if p.type == "choice"}
    values = (problem.truth(dict(zip(parameters, encoded, strict=True))) for encoded in _listed(parameters))
    objectives = {n: Objective("minimize", 0.0, 0.25) for n in problem.task.objectives}
    source = "made up: six unordered choices, effects of each and of pairs"
    return Table("recipe6", source, parameters, objectives, tuple(values))


EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool")
_JOULES = {"skip": 0.25, "conv1x1": 1.0, "conv3x3": 3.5, "avgpool": 0.5}  # per thousand samples
_STRENGTH = {"skip": 0.1, "conv1x1": 0.9, "conv3x3": 1.6, "avgpool": 0.35}
_FIXED_J, _LIVING_J = 1.5, 0.6


def cell() -> Table:
    """A made-up twin of a cell search space of the kind of NAS-Bench-201; nothing of that is copied.

    Six edges of a graph of four vertices, each with one of five operations. Accuracy depends on what lies on a path
    from input to output: a cell without one guesses (10 %), others reach 66 to 94 %, saturating with their work.
    Whatever is not "none" is computed, on a path or not, and takes its joules; so few cells are thrifty, and the
    thriftiest are of no use. Two cells that are the same graph have the same values.
    """
    parameters = {f"edge_{i}{j}": choice(OPERATIONS) for i, j in EDGES}
    return Table(
        "cell",
        "made up: a cell of six operations, the useless the thriftiest",
        parameters,
        {
            "accuracy": Objective("maximize", 0.0, 0.3),
            "efficiency": Objective(
                "maximize",
                0.0,
                0.02,
                relative=True,
                energy=True,
                log_reference=1 / (_FIXED_J + _LIVING_J + 6 * _JOULES["conv3x3"]),
            ),
        },
        tuple(cell_values(dict(zip(EDGES, encoded, strict=True))) for encoded in _listed(parameters)),
    )


def cell_values(operations: Mapping[tuple[int, int], str]) -> Values:
    """Accuracy in per cent and thousands of samples per joule of a cell of `cell`."""
    present = frozenset(edge for edge, operation in operations.items() if operation != "none")
    vertices, joules = used(present, 3), math.fsum([_FIXED_J, *sorted(_JOULES[operations[e]] for e in present)])
    if not vertices:
        return 10.0, 1 / joules
    own = {(i, j): operations[i, j] for i, j in present if i in vertices and j in vertices}
    depth = _deepest(own)
    strength = math.fsum(sorted(_STRENGTH[op] for op in own.values())) * (1 + 0.25 * max(0, depth - 1))
    pools = sum(op == "avgpool" for op in own.values())
    residual = depth > 1 and _skips_through(own)
    accuracy = 66 + 27.2 * (1 - math.exp(-strength / 1.7)) - 0.6 * max(0, pools - 1) + 0.8 * residual
    return accuracy + _texture(_cell_key(own)), 1 / (joules + _LIVING_J)


@cache
def _texture(key: tuple[tuple[tuple[int, int], str], ...]) -> float:
    """What no formula foresees: of each graph, drawn once."""
    return float(np.random.default_rng(zlib.crc32(repr(key).encode())).normal(0, 0.35))


Cell = Mapping[tuple[int, int], str]


def _deepest(cell: Cell) -> int:
    """The most convolutions on one path."""
    longest = {0: 0}
    for i, j in sorted(cell):
        step = longest.get(i, 0) + cell[i, j].startswith("conv")
        longest[j] = max(longest.get(j, 0), step)
    return longest[3]


def _skips_through(cell: Cell) -> bool:
    reached = {0}
    for i, j in sorted(cell):
        if i in reached and cell[i, j] == "skip":
            reached.add(j)
    return 3 in reached


def _cell_key(cell: Cell) -> tuple[tuple[tuple[int, int], str], ...]:
    """Canonical form of a living cell: vertices 1 and 2 may change places where none feeds the other."""
    swap = {0: 0, 1: 2, 2: 1, 3: 3}
    forms = [tuple(sorted(cell.items()))]
    if (1, 2) not in cell:
        forms.append(tuple(sorted(((swap[i], swap[j]), op) for (i, j), op in cell.items())))
    return min(forms)


def three() -> Table:
    """Three objectives of a made-up network: accuracy against joules and milliseconds.

    What is quick is not what is thrifty: low precision saves joules and gains little time, batches gain time
    until memory is the limit, and large ones cost accuracy.
    """
    parameters = {
        "width": choice([8, 16, 32, 64, 128, 256], ordered=True),
        "depth": choice([1, 2, 3, 4, 6, 8], ordered=True),
        "kernel": choice([1, 3, 5], ordered=True),
        "precision": choice(["fp32", "fp16", "int8"]),
        "activation": choice(["relu", "gelu", "tanh", "silu"]),
        "batch": choice([1, 4, 16, 64, 256], ordered=True),
    }
    better = {"fp32": 0.0, "fp16": -0.002, "int8": -0.025, "relu": 0.0, "gelu": 0.012, "tanh": -0.02, "silu": 0.01}
    joules = {"fp32": 1.0, "fp16": 0.55, "int8": 0.3, "relu": 1.0, "gelu": 1.08, "tanh": 1.06, "silu": 1.05}
    speed = {"fp32": 1.0, "fp16": 0.75, "int8": 0.7, "relu": 1.0, "gelu": 1.15, "tanh": 1.1, "silu": 1.08}

    def value(encoded: tuple[Any, ...]) -> Values:
        width, depth, kernel, precision, activation, batch = encoded
        macs = depth * width**2 * kernel**2 / 1e4
        view = 1 - math.exp(-kernel * depth / 6)
        accuracy = 0.1 + 0.83 * view * (1 - math.exp(-((macs / 4) ** 0.45)))
        accuracy += (
            better[precision] + better[activation] * math.sqrt(depth / 4) - 0.03 * (math.log(batch, 256) ** 3)
        )
        work = macs * joules[precision] * joules[activation]
        joules_per_sample = 0.4 + work + 2.5 / batch + 0.05 * depth
        latency_ms = 0.5 * depth + (macs * speed[precision] * speed[activation]) * batch**0.8 / 6 + 0.02 * batch
        return accuracy, joules_per_sample, latency_ms

    return Table(
        "three",
        "made up: accuracy, joules and latency of a network",
        parameters,
        {
            "accuracy": Objective("maximize", 0.1, 0.01),
            "energy": Objective("minimize", 60.0, 0.02, relative=True, energy=True),
            "latency_ms": Objective("minimize", 100.0, 0.03, relative=True),
        },
        tuple(map(value, _listed(parameters))),
    )


# -- all of them -------------------------------------------------------------------------------------------------

CHAT = ("lm-arena-chat",)
#: From files: the names of those it needs, below the folder of the data.
FILES: dict[str, tuple[tuple[str, ...], Callable[..., Table]]] = {
    "mlenergy_chat": (("mlenergy_llm.csv",), lambda path: mlenergy(path, "mlenergy_chat", CHAT)),
    "mlenergy_pooled": (("mlenergy_llm.csv",), lambda path: mlenergy(path, "mlenergy_pooled")),
    "zeus": (("zeus_power.csv",), zeus),
    "ecnas": (("ecnas_5v_measured.csv", "ecnas_4v_measured.csv"), ecnas),
}
OWN: dict[str, Callable[[], Table]] = {"digits_grid": digits, "recipe6": recipe6, "cell": cell, "three": three}
NAMES = (*FILES, *OWN)


def absent(name: str, data: Path) -> str | None:
    """Why a table is left out: the first file that it needs and that is not there; None if it can be made."""
    needed = [data / file for file in FILES[name][0]] if name in FILES else [DIGITS] * (name == "digits_grid")
    missing = next((path for path in needed if not path.is_file()), None)
    return f"{name}: left out, {missing} is not there" if missing else None


@cache
def table(name: str, data: Path) -> Table:
    """A table by name; `data` is the folder of the published ones.

    Raises:
        FileNotFoundError: a file of it is not there.
        ValueError: no such table, or a file that is not what it should be.
    """
    if name in FILES:
        files, make = FILES[name]
        return make(*(data / file for file in files))
    if name not in OWN:
        raise ValueError(f"no table '{name}' (there are {', '.join(NAMES)})")
    return OWN[name]()


def volumes(table: Table, numbers: Sequence[int], log: bool = False) -> NDArray[np.float64]:
    """Share of the table's hypervolume after each of the configurations tried, in order."""
    shares, kept = np.zeros(len(numbers)), list[int]()
    for place, number in enumerate(numbers):
        if table.values[number] is not None and number not in kept:
            kept.append(number)
            shares[place] = table.share(kept, log)
        elif place:
            shares[place] = shares[place - 1]
    return shares
