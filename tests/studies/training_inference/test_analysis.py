"""Training against inference: totals and crossovers checked by hand, the overlay, the report, and the task."""

from __future__ import annotations

import csv
import io
import math

import pytest

from joulebench import run
from joulebench.records.folder import RunFolder
from joulebench.records.model import Costs, EpochRecord
from joulebench.reporting import write_report
from joulebench.results.reference_frontier import read_reference
from joulebench.results.run import Run
from joulebench.spec.catalog import find_task
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, estimate, point
from joulebench.stats.intervals import scaled
from joulebench.studies.training_inference.analysis import training_inference
from joulebench.studies.training_inference.crossover import LinearCost, crossover, lower_envelope
from joulebench.studies.training_inference.section import TrainingInferenceStudy
from tests.run_factory import ENERGY, RunBuilder, full_run, make_task

OBJECTIVES = {
    "val_accuracy": {"goal": "maximize", "reference": 0.1},
    "j_per_sample": {"goal": "minimize", **ENERGY},
}
#: model, accuracy, seconds of training, samples a second: 80 W gross, 50 W net of an idle 30 W.
MODELS = {
    "small": (0.80, 10.0, 100),
    "middle": (0.84, 20.0, 400),
    "large": (0.90, 100.0, 800),
    "poor": (0.09, 1.0, 10_000),
    "slow": (0.89, 200.0, 50),
}


def study_task(**fields) -> Task:
    return make_task(
        OBJECTIVES,
        analyses=["training_inference"],
        parameters={"model": {"type": "choice", "values": list(MODELS), "default": "small"}},
        stages={"models": {"method": "grid"}},
        **fields,
    )


def add(run_: RunBuilder, model: str, idle=True, train_s=None, cut=False, accuracy=None, wobble=0.01) -> None:
    reached, seconds, units = MODELS[model]
    windows = [run_.window("train", (train_s or seconds) / 2, 500) for _ in range(2)]
    if idle:
        windows += [run_.window("idle", 0.5) for _ in range(4)]
    for repeat in range(5):
        windows.append(run_.window("inference", 1.0, units, scale=1 + wobble * (repeat - 2) / 2))
    epochs = tuple(EpochRecord(index=i, units=500) for i in range(2))
    number = list(MODELS).index(model)
    run_.add(
        {"model": model}, units, {"val_accuracy": accuracy or reached}, "models", windows=tuple(windows),
        epochs=epochs, costs=Costs(parameters=1000 * (number + 1), macs=10**6 * (5 - number)),
        stopped_by="time" if cut else "epochs",
    )  # fmt: skip


def full(**fields) -> RunBuilder:
    run_ = RunBuilder(study_task(**fields))
    for model in MODELS:
        add(run_, model)
    return run_


def result(run_: RunBuilder):
    return training_inference(run_.read())


def test_utilisation_and_its_share_per_watt_are_correlated_where_recorded():
    made = full()
    for index, trial in enumerate(made.trials):
        recorded = {"cpu_utilisation": 0.2 + 0.1 * index}
        windows = tuple(w.model_copy(update={"conditions": recorded}) for w in trial.windows)
        made.trials[index] = trial.model_copy(update={"windows": windows})
    costs = result(made)
    by_name = {a.name: a.quantities for a in costs.architectures}
    assert by_name["large"]["utilisation"] == pytest.approx(0.4)
    assert by_name["large"]["utilisation_per_w"] == pytest.approx(0.4 / 80)
    assert costs.correlations["utilisation", "utilisation_per_w", "pearson"].value == pytest.approx(1)
    assert "utilisation" in TrainingInferenceStudy().section(costs, made.read()).rows[0]
    assert "utilisation" not in TrainingInferenceStudy().section(result(full()), full().read()).rows[0]


def test_energies_of_a_model():
    costs = result(full())
    assert [a.name for a in costs.architectures] == ["poor", "large", "middle", "small", "slow"]
    middle = next(a for a in costs.architectures if a.name == "middle")
    assert (middle.train.gross.mean, middle.train.gross.low) == (80 * 20, None)
    assert middle.train.net.mean == pytest.approx(50 * 20)
    assert (middle.train.net.low, middle.train.net.n) == (pytest.approx(1000), 4)
    assert middle.inference.gross.mean == pytest.approx(80 / 400)
    assert middle.inference.net.mean == pytest.approx(50 / 400)
    assert (middle.train.units, middle.train.epochs, middle.train.seconds.mean) == ((1000,), (2,), 20)
    assert middle.macs_per_parameter == pytest.approx(4e6 / 2000)


def test_the_cheapest_model_by_volume():
    costs = result(full())
    assert costs.basis == "net"
    above, near10, near5, near2 = costs.choices["net"]
    assert "poor" not in above.candidates  # below the reference
    # net J: small 500 + 0.5 N, middle 1000 + 0.125 N, large 5000 + 0.0625 N, slow 10000 + 1 N
    assert [s.name for s in above.segments] == ["small", "middle", "large"]
    assert [s.from_units for s in above.segments] == pytest.approx([0, 500 / 0.375, 4000 / 0.0625])
    assert near10.at_least == pytest.approx(0.80)
    assert near10.candidates == above.candidates
    assert [s.name for s in near5.segments] == ["large"]
    assert set(near2.candidates) == {"large", "slow"}
    # gross, all of it at the same power: the same volumes
    assert costs.choices["gross"][0].segments[1].from_units == pytest.approx(500 / 0.375)


def test_a_shortfall_below_the_reference_is_no_demand():
    run_ = RunBuilder(study_task())
    for model, accuracy in (("small", 0.15), ("middle", 0.18)):
        add(run_, model, accuracy=accuracy)
    assert [c.shortfall for c in result(run_).choices["net"]] == [None, 0.05, 0.02]


def test_intervals_of_volumes():
    each = Estimate(3.0, 5, 0.1, 2.5, 3.5, "windows", math.inf)
    before, after = LinearCost("a", point(100), each), LinearCost("b", point(400), scaled(each, 1 / 3))
    costs = crossover(before, after)
    half = (0.5**2 + (0.5 / 3) ** 2) ** 0.5
    assert (costs.units, costs.low, costs.high) == pytest.approx((150, 300 / (2 + half), 300 / (2 - half)))
    assert crossover(after, before) is None
    wide = LinearCost("a", point(100), Estimate(3.0, 5, 1.0, 0.5, 5.5, "windows"))
    assert crossover(wide, after).high is None
    assert crossover(wide, after).low > 0
    bare = crossover(LinearCost("a", point(100), point(3)), LinearCost("b", point(400), point(1)))
    assert (bare.units, bare.low, bare.high) == (150, None, None)
    trained = [estimate(v) for v in ([99, 100, 101], [398, 400, 402])]
    both = crossover(LinearCost("a", trained[0], each), LinearCost("b", trained[1], scaled(each, 1 / 3)))
    assert both.low < costs.low
    assert both.high > costs.high


def test_the_envelope_leaves_out_what_is_never_lower_envelope():
    def cost(name, fixed, per_unit):
        return LinearCost(name, point(fixed), point(per_unit))

    costs = [cost("a", 0, 10), cost("b", 10, 9), cost("c", 20, 1), cost("d", 21, 1), cost("e", 1000, 0.5)]
    envelope = lower_envelope(costs)
    assert [(s.name, round(s.from_units, 3)) for s in envelope] == [
        ("a", 0),
        ("c", 2.222),
        ("e", 1960),
    ]
    assert lower_envelope([]) == ()
    assert [s.name for s in lower_envelope([cost("x", 5, 2), cost("y", 5, 1)])] == ["y"]


def test_models_trained_again_have_intervals_between_runs():
    run_ = RunBuilder(study_task())
    for seconds in (9.0, 10.0, 11.0):
        add(run_, "small", train_s=seconds)
    add(run_, "middle")
    small = next(a for a in result(run_).architectures if a.name == "small")
    assert (len(small.train.runs), small.train.gross.mean) == (3, pytest.approx(800))
    assert small.train.gross.low < 700


def test_a_training_cut_short_is_left_out_of_volumes():
    run_ = RunBuilder(study_task())
    for model in MODELS:
        add(run_, model, cut=model == "middle")
    costs = result(run_)
    assert [s.name for s in costs.choices["net"][0].segments] == ["small", "large"]
    assert costs.correlations["parameters", "train_j", "pearson"].n == 4
    assert costs.correlations["parameters", "inference_j", "pearson"].n == 5


def test_without_idle_volumes_are_gross():
    run_ = RunBuilder(study_task())
    for model in MODELS:
        add(run_, model, idle=False)
    costs = result(run_)
    assert (costs.basis, set(costs.choices)) == ("gross", {"gross"})
    assert costs.architectures[0].train.net is None


def test_a_net_energy_of_nothing_gives_no_net_volumes():
    run_ = RunBuilder(study_task(), watts={"cpu": 10.0, "ram": 20.0})  # the load model does not tell load from idle
    for model in MODELS:
        add(run_, model)
    assert set(result(run_).choices) == {"gross"}


def test_a_single_architecture_has_a_section_and_an_empty_run_no_result():
    alone = RunBuilder(study_task())
    add(alone, "middle")
    section = TrainingInferenceStudy().section(result(alone), alone.read())
    assert [row["architecture"] for row in section.rows] == ["middle"]
    assert result(RunBuilder(study_task())) is None


def test_its_report_and_csv(tmp_path):
    folder = full().write(tmp_path / "run")
    write_report(folder)
    rows = {
        r["architecture"]: r
        for r in csv.DictReader(io.StringIO((folder.path / "training_inference.csv").read_text()))
    }
    assert float(rows["large"]["train_j_net"]) == pytest.approx(5000)
    assert float(rows["large"]["j_per_sample_net"]) == pytest.approx(0.0625)
    assert rows["large"]["kind"] == "estimated"
    page = (folder.path / "report.html").read_text()
    for chart in ("inference", "training", "volume"):
        assert f'id="chart-training_inference-{chart}"' in page


def test_flops_of_training_by_model(tmp_path):
    """1000 samples trained, as many MFLOP each as the model's number."""
    built = full()
    for number, trial in enumerate(built.trials, 1):
        costs = trial.costs.model_copy(update={"phase_flops": {"train": number * 1e6}})
        built.trials[number - 1] = trial.model_copy(update={"costs": costs})
    found = result(built)
    numbers = {name: 1e9 * (i + 1) for i, name in enumerate(MODELS)}
    assert {a.name: a.quantities["train_flops"] for a in found.architectures} == numbers
    assert ("train_flops", "train_j", "spearman") in found.correlations
    folder = built.write(tmp_path / "run")
    write_report(folder)
    rows = csv.DictReader(io.StringIO((folder.path / "training_inference.csv").read_text()))
    assert {r["architecture"]: float(r["train_flops"]) for r in rows} == numbers
    assert "FLOPs of training" in (folder.path / "report.md").read_text()
    assert "train_flops" not in result(full()).architectures[0].quantities


def test_the_frontier_of_a_search_is_laid_over(tmp_path):
    other = full_run().write(tmp_path / "search", budget="quick")
    run_ = RunBuilder(study_task())
    for model in MODELS:
        add(run_, model)
    folder = run_.write(tmp_path / "run")
    other.path.rename(folder.path / "overlay")
    overlay = read_reference(Run.of(folder), "val_accuracy")
    assert overlay.problem is None
    assert len(overlay.points) >= 2
    cheapest_point = min(overlay.points, key=lambda p: p.j_per_unit.mean)
    most = max(t.windows[-3].units for t in RunFolder.open(folder.path / "overlay").trials())
    assert cheapest_point.j_per_unit.mean == pytest.approx(80 / most, rel=0.5)
    write_report(folder)
    assert "frontier of digits" in (folder.path / "report.html").read_text()


def test_a_folder_that_a_record_names_is_not_read(tmp_path):
    run_ = RunBuilder(study_task(options={"overlay": str(full_run().write(tmp_path / "search").path)}))
    add(run_, "small")
    folder = run_.write(tmp_path / "run")
    assert read_reference(Run.of(folder), "val_accuracy") is None
    run_.write(folder.path / "overlay")
    assert "does not judge by test_accuracy" in read_reference(Run.of(folder), "test_accuracy").problem


def test_overlays_say_what_differs(tmp_path):
    run_ = RunBuilder(study_task())
    add(run_, "small")
    folder = run_.write(tmp_path / "run")
    full_run().write(folder.path / "overlay", hardware={"name": "nvidia_h200", "title": "H200"})
    overlay = read_reference(Run.of(folder), "val_accuracy")
    assert any(str(d).startswith("hardware (nvidia_h200 there, generic_cpu here)") for d in overlay.differs)
    assert "does not judge by test_accuracy" in read_reference(Run.of(folder), "test_accuracy").problem


def test_the_task_runs(tmp_path):
    data = find_task("training_inference").with_budget("quick").model_dump(mode="json")
    data["dataset"] = {"name": "synthetic", "shape": [3, 32, 32], "n": 80, "classes": 10, "validation": 16,
                       "augment": ["crop", "flip"]}  # fmt: skip
    data["protocol"] |= {"warmup_s": 0.01, "max_warmup_s": 0.05, "window_s": 0.01, "repeats": 2, "max_repeats": 20,
                         "idle_s": 0.0, "target_rel_ci": 1.0}  # fmt: skip
    data["parameters"]["batch_size"]["value"] = 16
    data["stages"]["architectures"]["points"] = [{"model": "mobilenet"}, {"model": "lenet5_unpadded"}]
    folder = run(Task.model_validate(data), out=tmp_path, replay="100")
    records = folder.trials()
    assert [(t.status, t.error) for t in records] == [("ok", None)] * 2
    costs = training_inference(Run.of(folder))
    assert {a.train.units for a in costs.architectures} == {(48,)}
    write_report(folder)


def test_the_full_study_is_the_papers():
    task = find_task("training_inference").with_budget("paper")
    points = [p["model"] for p in task.stages["architectures"].points]
    assert len(points) == len(set(points)) == 14
    fixed = {"batch_size": 128, "optimizer": "sgd", "learning_rate": 0.001, "momentum": 0.9, "weight_decay": 0.0005,
             "schedule": "cosine", "schedule_epochs": 200, "epochs": 200}  # fmt: skip
    assert task.defaults | fixed == task.defaults
    assert task.dataset.augment == ("crop", "flip")
    assert task.protocol.idle_every == 1
