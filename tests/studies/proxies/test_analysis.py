"""Proxies against energy: coefficients from records made by hand, the report, and the tasks themselves."""

from __future__ import annotations

import csv
import io

import pytest

from joulebench import run
from joulebench.presentation.correlations import MASKED
from joulebench.records.model import Costs
from joulebench.reporting import write_report
from joulebench.results.run import Run
from joulebench.spec.catalog import find_task
from joulebench.spec.task import Task
from joulebench.studies.proxies.analysis import WEAK, proxies
from joulebench.studies.proxies.section import WORDS, ProxiesStudy
from tests.run_factory import ENERGY, RunBuilder, make_task

OBJECTIVES = {"j_per_sample": {"goal": "minimize", **ENERGY}}
#: family, parameters, MACs, activations, samples a second. Energy goes with MACs but for a factor between families.
MODELS = (
    ("dense", 4_000, 1_000, 10, 1000), ("dense", 8_000, 2_000, 20, 500), ("dense", 16_000, 4_000, 40, 250),
    ("dense", 32_000, 8_000, 80, 125), ("dense", 64_000, 16_000, 160, 60),
    ("conv", 500, 1_000, 900, 500), ("conv", 400, 2_000, 1_800, 250), ("conv", 300, 4_000, 3_600, 125),
    ("conv", 200, 8_000, 7_200, 60), ("conv", 100, 16_000, 14_400, 30),
)  # fmt: skip


def study_task(families=True) -> Task:
    own = {"family": {"type": "choice", "values": ["conv", "dense"], "default": "dense"}} if families else {}
    only = {"only_if": "family == 'dense'"} if families else {}
    return make_task(
        OBJECTIVES,
        analyses=["proxies"],
        parameters={
            **own,
            "size": {"type": "int", "low": 0, "high": 99, "default": 0},
            "extra": {"type": "choice", "values": ["a", "b"], "default": "a", **only},
        },
        stages={"sizes": {"method": "grid"}},
    )


def add(run_: RunBuilder, index: int, model, families=True, parameters=None, **fields) -> None:
    family, size, macs, activations, units = model
    extra = "b" if index == 2 else "a"
    params = {"size": index, "extra": extra} | ({"family": family} if families else {})
    costs = Costs(parameters=parameters or size, macs=macs)
    metrics = {"activations": activations, "bytes_moved": 8.0 * activations + size}
    run_.add(params, units, metrics, "sizes", costs=costs, **fields)


def full(families=True, parameters=None, **builder) -> RunBuilder:
    made = RunBuilder(study_task(families), **builder)
    for index, model in enumerate(MODELS):
        add(made, index, model, families, parameters, idle=True, wobble=0.0)
    return made


def proxies_of(made: RunBuilder):
    return proxies(made.read())


def section_of(made: RunBuilder):
    read = made.read()
    return ProxiesStudy().section(proxies(read), read)


def test_coefficients_within_families_and_across():
    result = proxies_of(full())
    assert result.families == ("conv", "dense")  # the task's order
    assert result.of("macs", "gross", "pearson", "dense").value > 0.99
    assert result.of("macs", "gross", "spearman", "dense").value == pytest.approx(1)
    assert result.of("parameters", "gross", "spearman", "conv").value == pytest.approx(-1)
    assert abs(result.of("parameters", "gross", "pearson").value) < 0.3
    assert result.of("macs", "gross", "pearson").n == 10
    assert result.of("macs", "gross", "pearson", "dense").n == 5


def test_energy_at_constant_power_is_time():
    result = proxies_of(full())
    assert result.of("runtime", "gross", "pearson").value == pytest.approx(1)
    assert ("runtime", "runtime") not in {(f, t) for _, f, t, _ in result.correlations}
    assert result.of("macs", "runtime", "pearson").value == result.of("macs", "gross", "pearson").value
    assert result.power_w.ratio == pytest.approx(1)
    kinds = {proxies_of(made).kind: section_of(made).sentences[1] for made in (full(), full(measured=True))}
    assert set(kinds) == {"estimated", "measured"}
    assert kinds["estimated"] != kinds["measured"]


def test_net_energy_is_less_idle_power():
    result = proxies_of(full())
    subject = result.subjects[0]
    assert subject.cost.net.mean / subject.cost.gross.mean == pytest.approx(50 / 80)


def test_net_energy_that_is_noise_has_no_coefficients():
    result = proxies_of(full(watts={"cpu": 10.0, "ram": 20.0}))  # no more than idle
    assert result.subjects[0].cost.net.mean == pytest.approx(0)
    assert not any(target == "net" for _, _, target, _ in result.correlations)


def test_without_idle_there_is_no_net():
    made = RunBuilder(study_task())
    for index, model in enumerate(MODELS):
        add(made, index, model)
    result = proxies_of(made)
    assert result.of("macs", "net", "pearson") is None
    assert {s.cost.net for s in result.subjects} == {None}


def test_a_constant_proxy_has_no_coefficient_and_no_figure():
    made = full(families=False, parameters=5_315_850)
    result = proxies_of(made)
    assert result.families == ()
    assert result.of("parameters", "gross", "pearson") is None
    assert result.constant == {"parameters": 5_315_850}
    assert result.energy_j.ratio == pytest.approx(1000 / 30, rel=1e-3)
    assert "33.3 times" in section_of(made).answer
    assert "proxies-parameters" not in [p.id for p in section_of(made).plots]


def test_proxies_are_ranked_by_their_correlation():
    result = proxies_of(full())
    ranked = [name for name, _ in result.ranked]
    assert (ranked[0], ranked[-1]) == ("bytes_moved", "parameters")
    values = [abs(value.value) for _, value in result.ranked]
    assert values == sorted(values, reverse=True)
    answer = section_of(full()).answer
    assert answer.index("bytes moved") < answer.index("parameters") < answer.index("n = 10 (estimated energy)")
    close = RunBuilder(study_task(families=False))
    for index, model in enumerate(MODELS[:5]):
        add(close, index, model, families=False)
    assert all(value.value > WEAK for _, value in proxies_of(close).ranked)
    assert all(WORDS[name] in section_of(close).answer for name, _ in proxies_of(close).ranked)


def test_joules_per_unit_of_a_proxy():
    result = proxies_of(full())
    assert result.joules_per("macs", "dense") == pytest.approx(80 / 250 / 4000)
    assert result.joules_per("macs", "conv") == pytest.approx(80 / 125 / 4000)
    assert result.joules_per("runtime", "conv") == pytest.approx(80)
    spread = {}
    for name in result.static:
        rates = [result.joules_per(name, f) for f in result.families]
        spread[name] = max(rates) / min(rates)
    assert min(spread, key=spread.get) == "bytes_moved"
    assert any(f"bytes moved: {spread['bytes_moved']:.3g} times" in s for s in section_of(full()).sentences)


def test_a_parameter_that_does_not_matter_names_no_configuration():
    result = proxies_of(full())
    assert [s.names for s in result.subjects if s.family == "conv"] == [("family", "size")] * 5
    assert {s.names for s in result.subjects if s.family == "dense"} == {("family", "size", "extra")}


def test_unknown_proxies_are_absent():
    made = RunBuilder(study_task())
    for index, (family, *_, units) in enumerate(MODELS):
        made.add({"size": index, "family": family}, units, {}, "sizes", costs=Costs(), idle=True)
    result = proxies_of(made)
    assert set(result.subjects[0].figures) == {"runtime"}
    assert result.ranked == []
    assert section_of(made).answer
    assert proxies_of(RunBuilder(study_task())) is None


PUBLISHED = {
    "pearson": {"parameters": 0.0, "flops": 0.5, "runtime": 0.79, "utilisation": 0.1},
    "sample": "its search", "source": "a paper",
}  # fmt: skip


def with_published(factor=None) -> RunBuilder:
    """The models without families, with FLOPs of `factor(index)` times their MACs."""
    task = make_task(**study_task(families=False).model_dump(mode="json") | {"published": PUBLISHED})
    made = RunBuilder(task)
    for index, model in enumerate(MODELS):
        add(made, index, model, families=False)
        costs = made.trials[-1].costs
        if factor is not None:
            costs = costs.model_copy(update={"flops": round(costs.macs * factor(index))})
            made.trials[-1] = made.trials[-1].model_copy(update={"costs": costs})
    return made


def test_flops_are_a_proxy_where_they_are_not_proportional_to_macs():
    same, other = proxies_of(with_published(lambda _: 2)), proxies_of(with_published(lambda index: 2 + index))
    assert (same.flops_per_mac, other.flops_per_mac) == (2, None)
    assert ("flops" in same.known, "flops" in other.known) == (False, True)
    assert other.of("flops", "gross", "pearson").value != other.of("macs", "gross", "pearson").value
    assert "flops" not in proxies_of(full()).known  # not counted


def test_published_coefficients_stand_beside_those_here():
    result = proxies_of(with_published(lambda _: 2))
    beside = {b.proxy: b for b in result.beside}
    assert list(beside) == ["parameters", "flops", "utilisation", "runtime"]
    assert beside["flops"].here == result.of("macs", "gross", "pearson")  # the same but for a factor
    here = beside["parameters"].here
    assert (beside["parameters"].within, here.n) == (here.low <= 0.0 <= here.high, 10)
    assert beside["flops"].within is (beside["flops"].here.low <= 0.5 <= beside["flops"].here.high)
    assert (beside["utilisation"].here, beside["utilisation"].within) == (None, None)
    assert proxies_of(full()).beside == ()
    table = next(t for t in section_of(with_published(lambda _: 2)).tables if "published" in t.caption)
    assert [row[1].text for row in table.rows] == ["0.00", "0.50", "0.10", "0.79"]


def test_utilisation_is_a_proxy_where_it_was_recorded():
    made = with_published()
    for index, trial in enumerate(made.trials):
        load = {"cpu_utilisation": 0.1 * index, "gpu:0_memory_utilisation": 0.5}
        windows = tuple(w.model_copy(update={"conditions": load}) for w in trial.windows)
        made.trials[index] = trial.model_copy(update={"windows": windows})
    result = proxies_of(made)
    shares = {s.params["size"]: s.figures["utilisation"] for s in result.subjects}
    assert shares == pytest.approx({index: 0.1 * index for index in range(10)})
    assert result.of("utilisation", "gross", "spearman").n == 10
    assert "utilisation" not in result.static
    assert "utilisation" not in proxies_of(full()).known


def test_trials_without_a_value_are_left_out_and_counted():
    made = full()
    made.fail({"size": 50}, "oom", "out of memory")
    assert (proxies_of(made).left_out, proxies_of(made).trials) == (1, 11)


def test_its_report_and_csv(tmp_path):
    folder = full().write(tmp_path / "run")
    write_report(folder)
    rows = list(csv.DictReader(io.StringIO((folder.path / "proxies.csv").read_text())))
    assert len(rows) == 10
    by_size = {int(row["param_size"]): row for row in rows}
    assert float(by_size[9]["j_per_sample_gross"]) == pytest.approx(80 / 30, rel=1e-5)
    assert (float(by_size[9]["macs"]), by_size[9]["kind"]) == (16000, "estimated")
    text = (folder.path / "report.md").read_text()
    assert MASKED in text
    assert all(table.caption.partition(" (")[0] in text for table in section_of(full()).tables)
    page = (folder.path / "report.html").read_text()
    for name in proxies_of(full()).known:
        assert f'id="chart-proxies-{name}"' in page
    first = (folder.path / "proxies.png").read_bytes()
    write_report(folder)
    assert (folder.path / "proxies.png").read_bytes() == first


SMALL = {
    "protocol": {
        "warmup_s": 0.01, "max_warmup_s": 0.05, "window_s": 0.01, "repeats": 2, "max_repeats": 20, "idle_s": 0.0,
        "target_rel_ci": 1.0,
    },
}  # fmt: skip


def tiny(name: str, parameters=None, points=None) -> Task:
    """A task of the catalogue in its quick budget, with windows of 10 ms and fewer or narrower models."""
    data = find_task(name).with_budget("quick").model_dump(mode="json") | SMALL
    data["parameters"] |= parameters or {}
    if points:
        stage = next(iter(data["stages"]))
        data["stages"][stage] = {"method": "points", "points": points}
    return Task.model_validate(data)


def test_the_study_of_depth_runs(tmp_path):
    task = tiny("proxies_depth", {"width": {"type": "fixed", "value": 64}})
    folder = run(task, out=tmp_path, replay="100")
    assert sorted(t.params["depth"] for t in folder.trials()) == list(range(1, 9))
    result = proxies(Run.of(folder))
    assert result.range_of("macs").high == 784 * 64 + 7 * 64 * 64 + 640
    assert result.of("parameters", "gross", "pearson").n == 8


def test_the_study_of_stride_runs(tmp_path):
    points = [{"stride": 5}, {"stride": 2}, {"stride": 7}]
    task = tiny("proxies_stride", {"batch_size": {"type": "fixed", "value": 4}}, points)
    folder = run(task, out=tmp_path, replay="100")
    assert [t.status for t in folder.trials()] == ["ok"] * 3
    assert {t.costs.parameters for t in folder.trials()} == {5_315_850}
    assert proxies(Run.of(folder)).constant["parameters"] == 5_315_850


def test_the_study_of_families_runs(tmp_path):
    families = ("dense", "recurrent", "convolutional", "pooled", "separable", "attention")
    points = [{"family": f, "width": 32, "depth": 1, "cell": "gru"} for f in families]
    folder = run(tiny("proxies_families", points=points), out=tmp_path, replay="100")
    records = folder.trials()
    assert [(t.status, t.error) for t in records] == [("ok", None)] * 6
    assert {t.params["family"]: t.params["cell"] for t in records} == dict.fromkeys(families, "lstm") | {
        "recurrent": "gru"
    }
    assert all(t.costs.macs and t.metrics["bytes_moved"] > 0 for t in records)
    assert not any(set(t.costs.unsupported_ops) - {"aten::mean"} for t in records)
    write_report(folder)


@pytest.mark.parametrize("budget", ["quick", "standard", None])
def test_no_study_runs_its_sizes_in_order(budget):
    """A drift of the machine would be taken for an effect."""
    for name, key in (("proxies_depth", "depth"), ("proxies_stride", "stride")):
        task = find_task(name).with_budget(budget)
        stage = next(iter(task.stages.values()))
        values = [p[key] for p in stage.points] if stage.points else list(task.parameters[key].values)
        assert values not in (sorted(values), sorted(values, reverse=True))
        assert len(values) == len(set(values))


def test_the_full_studies_are_ecopts():
    depth, stride = (find_task(n).with_budget("paper") for n in ("proxies_depth", "proxies_stride"))
    assert sorted(depth.parameters["depth"].values) == list(range(1, 31))
    assert (depth.defaults["width"], depth.defaults["batch_size"], depth.dataset.shape) == (7840, 100, (1, 28, 28))
    points = next(iter(stride.stages.values())).points
    assert sorted(p["stride"] for p in points) == [2, 3, 4, 5, 6, 7]
    fixed = {"width": 256, "depth": 10, "kernel": 3, "pool": False, "batch_size": 1000, "epochs": 0}
    assert stride.defaults | fixed == stride.defaults
