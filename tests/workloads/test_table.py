"""The workload `table`: rows found by exact values, noise by the trial's seed, complaints in one line."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.host.clock import VirtualClock
from joulebench.reporting.export_csv import trials_csv
from joulebench.results.run import Run
from joulebench.runner import local
from joulebench.spec.catalog import find_task
from joulebench.workloads.base import Context, InfeasibleError
from joulebench.workloads.rows import SHIPPED_TABLES
from joulebench.workloads.table import Table
from tests.factories import make_task, make_trial

ROWS = """width,pool,name,loss,joules,sd
1,true,a,0.5,10,0.1
2,false,a,0.4,20,0.2
2,false,a,0.6,22,0.2
3,True,b c,,30,
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(ROWS)
    return tmp_path


def table(seed: int = 0, **options: Any) -> Table:
    given_options = {"csv": "t.csv", "metrics": ["loss", "joules"], **options}
    return Table(Context("cpu", seed, VirtualClock(), None, given_options))


def outcomes(params: Mapping[str, Any], seed: int = 0, **options: Any) -> dict[str, float]:
    workload = table(seed, **options)
    workload.build(dict(params))
    return workload.outcomes()


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8")


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda t: t == t.strip() and not t.isspace()
)
configurations = st.tuples(
    st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), texts
)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=50, deadline=None)
@given(found=st.dictionaries(configurations, numbers, min_size=1, max_size=8), absent=configurations)
def test_every_row_is_found_by_its_values_and_no_other(tmp_path_factory, found, absent):
    path = tmp_path_factory.mktemp("tables") / "any.csv"
    header = ["count", "rate", "flag", "label", "value"]
    write(path, header, [[n, repr(r), str(f).lower(), t, repr(v)] for (n, r, f, t), v in found.items()])
    for key, value in found.items():
        params = dict(zip(header, key, strict=False))
        workload = table(csv=str(path), metrics=["value"])
        workload.build(params)
        assert workload.outcomes() == workload.noise_free() == {"value": value}
    known = {t for *_, t in found}
    if absent not in found:
        refused = InfeasibleError if absent[3] in known else InputError  # a text in no row is a slip of the pen
        with pytest.raises(refused):
            table(csv=str(path), metrics=["value"]).build(dict(zip(header, absent, strict=False)))


def test_numbers_compare_as_numbers_and_truth_values_as_such(folder):
    Path("t.csv").write_text("a,b,loss,joules\n64.0,TRUE,1,2\n1e2,false,3,4\n")
    assert outcomes({"a": 64, "b": True}) == {"loss": 1.0, "joules": 2.0}
    assert outcomes({"a": 100.0, "b": False}) == {"loss": 3.0, "joules": 4.0}
    with pytest.raises(InfeasibleError, match=r"t\.csv"):
        outcomes({"a": 64, "b": False})


def test_text_that_looks_like_a_number_is_text_to_a_text_parameter(folder):
    Path("t.csv").write_text("a,loss,joules\n064,1,2\n")
    assert outcomes({"a": "064"})["loss"] == 1.0
    assert outcomes({"a": 64})["loss"] == 1.0
    with pytest.raises(InputError, match=r"'64'.*did you mean '064'"):
        outcomes({"a": "64"})


def test_replicates_are_drawn_by_the_seed(folder):
    drawn = [outcomes({"width": 2, "pool": False, "name": "a"}, seed)["loss"] for seed in range(40)]
    assert set(drawn) == {0.4, 0.6}
    assert drawn == [outcomes({"width": 2, "pool": False, "name": "a"}, seed)["loss"] for seed in range(40)]
    workload = table()
    workload.build({"width": 2, "pool": False, "name": "a"})
    assert workload.noise_free() == {"loss": 0.5, "joules": 21.0}


def test_a_row_without_a_metric_is_no_configuration(folder):
    with pytest.raises(InfeasibleError, match="line 5: no 'loss'"):
        outcomes({"width": 3, "pool": True, "name": "b c"})
    assert outcomes({"width": 3, "pool": True, "name": "b c"}, metrics=["joules"]) == {"joules": 30.0}


def test_an_incomplete_replicate_is_never_drawn(folder):
    Path("t.csv").write_text("a,loss,joules\n1,,2\n1,5,6\n")
    assert {outcomes({"a": 1}, seed)["loss"] for seed in range(20)} == {5.0}


def test_columns_may_have_other_names(folder):
    Path("t.csv").write_text("Learning rate,Test loss\n0.1,2.5\n")
    found = outcomes({"lr": 0.1}, metrics={"loss": "Test loss"}, parameters={"lr": "Learning rate"})
    assert found == {"loss": 2.5}


def test_noise_is_gaussian_seeded_and_of_each_metric_alone(folder):
    at = {"width": 1, "pool": True, "name": "a"}
    noisy = [outcomes(at, seed, noise={"loss": "sd", "joules": 2.0}) for seed in range(2000)]
    assert fmean(n["loss"] for n in noisy) == pytest.approx(0.5, abs=4 * 0.1 / 2000**0.5)
    assert stdev(n["loss"] for n in noisy) == pytest.approx(0.1, rel=0.07)
    assert stdev(n["joules"] for n in noisy) == pytest.approx(2.0, rel=0.07)
    z = [((n["loss"] - 0.5) / 0.1, (n["joules"] - 10) / 2) for n in noisy]
    assert abs(fmean(a * b for a, b in z)) < 0.1
    assert outcomes(at, 7, noise={"loss": "sd"})["loss"] == noisy[7]["loss"]
    assert outcomes(at, 7, noise={"loss": "sd"})["joules"] == 10.0
    workload = table(7, noise={"loss": 5.0})
    workload.build(at)
    assert workload.noise_free()["loss"] == 0.5


def test_standard_errors_and_costs_are_numbers_or_columns(folder):
    workload = table(standard_errors={"loss": "sd", "joules": 1.5}, cost_j="joules")
    workload.build({"width": 2, "pool": False, "name": "a"})
    assert workload.standard_errors() == {"loss": 0.2, "joules": 1.5}
    assert workload.outcomes()["trial_cost_j"] == workload.outcomes()["joules"]
    workload = table(standard_errors={"joules": "sd"}, cost_j=7, metrics=["joules"])
    workload.build({"width": 3, "pool": True, "name": "b c"})
    assert workload.standard_errors() == {}  # an empty cell is no standard error of 0
    assert workload.outcomes()["trial_cost_j"] == 7.0


# (options, words the message must hold)
BAD_OPTIONS = [
    ({"csv": 3}, ["options.csv"]),
    ({"csv": "u.csv"}, ["no file 'u.csv'", "(shipped: ", "zeus_v100_shufflenet.csv"]),
    ({"csv": "zeus_v100_shuflenet.csv"}, ["did you mean 'zeus_v100_shufflenet.csv'"]),
    ({"sha256": "0"}, ["options.csv", "options.sha256 = '0'"]),
    ({"metrics": []}, ["options.metrics"]),
    ({"metrics": "loss"}, ["options.metrics", "(got "]),
    ({"metrics": {"loss": 3}}, ["options.metrics", "(got "]),
    ({"metrics": ["los"]}, ["options.metrics", "no column 'los'", "did you mean 'loss'"]),
    ({"metrics": ["name"]}, ["t.csv, line 2, column 'name'", "'a'"]),
    ({"metric": ["loss"]}, ["options.metric:", "did you mean 'metrics'"]),
    ({"noise": 3}, ["options.noise", "(got 3)"]),
    ({"noise": {"los": 1}}, ["options.noise: no metric 'los'", "did you mean 'loss'"]),
    ({"noise": {"loss": -1}}, ["options.noise.loss", "(got -1)"]),
    ({"noise": {"loss": True}}, ["options.noise.loss", "(got True)"]),
    ({"noise": {"loss": "std"}}, ["options.noise", "no column 'std'", "did you mean 'sd'"]),
    ({"standard_errors": {"loss": "name"}}, ["column 'name'", "'a'"]),
    ({"cost_j": "cost"}, ["options.cost_j", "no column 'cost'"]),
    ({"cost_j": -1}, ["options.cost_j", "(got -1)"]),
    ({"cost_j": 1, "metrics": {"trial_cost_j": "loss"}}, ["options.cost_j", "trial_cost_j"]),
    ({"parameters": {"w": "wide"}}, ["options.parameters", "no column 'wide'"]),
]


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS, ids=lambda v: str(v)[:40])
def test_options_are_refused_before_anything_runs(folder, options, words):
    with pytest.raises(InputError) as caught:
        table(**options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


# (the file's bytes, words the message must hold)
BAD_FILES = [
    (b"", ["t.csv"]),
    (b"loss,joules\n", ["t.csv"]),
    (b"loss,joules\n1\n", ["line 2: 1 ", " 2 columns"]),
    (b"loss,joules\n1,2\n\n1,2,3\n", ["line 4: 3 ", " 2 columns"]),
    (b"loss,loss,joules\n1,2,3\n", ["t.csv", "(got loss)"]),
    (b"loss,,joules\n1,2,3\n", ["t.csv", "(got an empty one)"]),
    (b"loss,joules\n1,\xff\n", ["t.csv", "UTF-8"]),
    (b'loss,joules\n1,"2\n', ["t.csv, line 2", "CSV"]),
    (b"loss,joules\n1,nan\n", ["line 2, column 'joules'", "'nan'"]),
    (b"loss,joules\n1,1_000\n", ["column 'joules'", "'1_000'"]),
]


@pytest.mark.parametrize(("content", "words"), BAD_FILES, ids=lambda v: str(v)[:40])
def test_files_are_refused_with_the_place(folder, content, words):
    Path("t.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        table()
    assert all(word in str(caught.value) for word in words), str(caught.value)


# (parameters, words the message must hold)
BAD_PARAMETERS = [
    ({"wdth": 1}, ["parameters.wdth", "no column 'wdth'", "did you mean 'width'"]),
    ({"width": True}, ["line 2, column 'width'", "'1'", "true or false"]),
    ({"name": 3}, ["line 2, column 'name'", "'a'", "a number"]),
    ({"loss": 0.5}, ["line 5, column 'loss'"]),
    ({"name": "aa"}, ["column 'name'", "'aa'", "did you mean 'a'", "it has: a, b c"]),
]


@pytest.mark.parametrize(("params", "words"), BAD_PARAMETERS, ids=lambda v: str(v)[:40])
def test_parameters_of_another_kind_than_their_column_are_refused(folder, params, words):
    with pytest.raises(InputError) as caught:
        table().build(params)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_file_that_changes_is_read_again(folder):
    assert outcomes({"width": 1})["loss"] == 0.5
    Path("t.csv").write_text(ROWS.replace("0.5,10", "0.25,10"))
    assert outcomes({"width": 1})["loss"] == 0.25


def test_a_byte_order_mark_and_spaces_do_not_matter(folder):
    Path("t.csv").write_bytes("\ufeffwidth , loss,joules\r\n 1,2 ,3\r\n".encode())
    assert outcomes({"width": 1}) == {"loss": 2.0, "joules": 3.0}


def test_the_digest_says_which_table_it_was(folder):
    assert table(sha256=hashlib.sha256(ROWS.encode()).hexdigest())


def test_the_shipped_table_is_the_one_its_task_names_and_is_whole():
    task = find_task("table_zeus")
    assert task.options["sha256"] == hashlib.sha256((SHIPPED_TABLES / task.options["csv"]).read_bytes()).hexdigest()
    assert task.space_size == 140
    workload = Table(Context("cpu", 0, VirtualClock(), None, task.options))
    workload.build(task.defaults)
    found = workload.outcomes()
    assert found["time_per_epoch_s"] == 7.613333333333333
    assert found["energy_per_epoch_j"] == pytest.approx(7.613333333333333 * 187.68996594563717)
    assert found["trial_cost_j"] == found["energy_per_epoch_j"]


def test_the_shipped_table_is_what_was_published(shared_data):
    with (shared_data / "zeus_power.csv").open() as file:
        published = [r for r in csv.DictReader(file) if (r["gpu"], r["network"]) == ("v100", "shufflenetv2")]
    with (SHIPPED_TABLES / "zeus_v100_shufflenet.csv").open() as file:
        shipped = list(csv.DictReader(file))

    def row(r: Mapping[str, str], *names: str) -> tuple[str, ...]:
        return tuple(r[n] for n in ("optimizer", "batch_size", *names))

    ours = sorted(
        row(r, "power_limit_w", "time_per_epoch_s", "average_power_w", "energy_per_epoch_j") for r in shipped
    )
    theirs = sorted(
        row(r, "power_limit", "time_per_epoch", "average_power", "energy_per_epoch_j") for r in published
    )
    assert ours == theirs


def searchable(path: Path):
    return make_task(
        {
            "width": {"type": "int", "low": 1, "high": 4, "default": 1},
            "pool": {"type": "choice", "values": [True, False], "default": True},
        },
        {"all": {"method": "grid", "order": "given"}},
        {"loss": {"goal": "minimize", "reference": 1.0}, "joules": {"goal": "minimize", "reference": 99.0}},
        workload="table",
        options={
            "csv": str(path), "metrics": ["loss", "joules"], "standard_errors": {"loss": "sd"}, "cost_j": "joules",
        },
        protocol={"idle_s": 0.0},
    )  # fmt: skip


def test_a_run_takes_the_harness_s_own_path(folder):
    run = local.run(searchable(folder / "t.csv"), out=folder / "runs", replay="65")
    statuses = {(t.params["width"], t.params["pool"]): t.status for t in run.trials()}
    assert [key for key, status in statuses.items() if status == "ok"] == [(1, True), (2, False)]
    assert set(statuses.values()) == {"ok", "infeasible"}
    first = run.trials()[0]
    assert first.metrics == {"loss": 0.5, "joules": 10.0, "trial_cost_j": 10.0}
    assert first.sems == {"loss": 0.1}


def test_a_finished_run_can_be_searched_again_as_a_table(folder):
    run = local.run(searchable(folder / "t.csv"), out=folder / "runs", replay="65")
    again = folder / "again.csv"
    again.write_text(trials_csv(Run.of(run)))
    task = searchable(again)
    options = {**task.options, "standard_errors": {"loss": "loss_se"}, "cost_j": "trial_cost_j"}
    second = local.run(task.model_copy(update={"options": options}), out=folder / "runs", replay="65")
    kept = [(t.params, t.status, t.metrics["loss"], t.sems) for t in run.trials() if t.status == "ok"]
    assert [(t.params, t.status, t.metrics["loss"], t.sems) for t in second.trials() if t.status == "ok"] == kept
    assert [t.status for t in second.trials()] == [t.status for t in run.trials()]


def test_exported_trials_have_joules_standard_errors_and_no_value_for_what_failed():
    parameters = {"width": {"type": "int", "low": 1, "high": 9, "default": 3},
                  "flops": {"type": "fixed", "value": 2}}  # fmt: skip
    task = make_task(parameters, {"d": {"method": "default", "repeats": 1}})
    trials = [
        make_trial(task, {"width": 2}, {"val_accuracy": 0.5}, sems={"val_accuracy": 0.01}),
        make_trial(task, {"width": 4}, {"val_accuracy": 0.5}, trial=1, status="oom"),
    ]
    manifest: Any = None
    text = trials_csv(Run(manifest, task, trials))
    ok, lost = csv.DictReader(io.StringIO(text))
    assert (ok["trial"], ok["status"], ok["width"], ok["param_flops"]) == ("0", "ok", "2", "2")
    assert (ok["val_accuracy"], ok["val_accuracy_se"]) == ("0.5", "0.01")
    assert float(ok["samples_per_j"]) == pytest.approx(100.0, rel=1e-3)
    assert float(ok["trial_cost_j"]) == pytest.approx(50.0)  # five windows of 1000 samples at 0.01 J
    assert (lost["status"], lost["val_accuracy"], lost["samples_per_j"], lost["trial_cost_j"]) == (
        "oom",
        "",
        "",
        "",
    )
