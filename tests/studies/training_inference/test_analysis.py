"""Training against inference: totals and crossovers by hand, the overlay, the report, and the task itself."""

from __future__ import annotations

import csv
import io

import pytest

from joulebench import run
from joulebench.records.model import Costs, EpochRecord
from joulebench.reporting import write_report
from joulebench.results.reference_frontier import read_reference
from joulebench.results.run import Run
from joulebench.spec.catalog import find_task
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, estimate, point
from joulebench.stats.intervals import scaled
from joulebench.studies.training_inference.analysis import training_inference
from joulebench.studies.training_inference.crossover import Bill, cheapest, crossover
from joulebench.studies.training_inference.section import answer, sentences
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
    made = RunBuilder(study_task(**fields))
    for model in MODELS:
        add(made, model)
    return made


def result(made: RunBuilder):
    return training_inference(made.read())


def test_what_a_model_costs():
    found = result(full())
    assert [a.name for a in found.architectures] == ["poor", "large", "middle", "small", "slow"]
    middle = next(a for a in found.architectures if a.name == "middle")
    assert (middle.train.gross.mean, middle.train.gross.low) == (80 * 20, None)
    assert middle.train.net.mean == pytest.approx(50 * 20)
    assert (middle.train.net.low, middle.train.net.n) == (pytest.approx(1000), 4)
    assert middle.inference.gross.mean == pytest.approx(80 / 400)
    assert middle.inference.net.mean == pytest.approx(50 / 400)
    assert (middle.train.units, middle.train.epochs, middle.train.seconds.mean) == ((1000,), (2,), 20)
    assert middle.macs_per_parameter == pytest.approx(4e6 / 2000)


def test_the_cheapest_model_by_volume():
    found = result(full())
    assert found.basis == "net"
    above, near10, near5, near2 = found.choices["net"]
    assert "poor" not in above.candidates  # below the reference
    # net J: small 500 + 0.5 N, middle 1000 + 0.125 N, large 5000 + 0.0625 N, slow 10000 + 1 N
    assert [s.name for s in above.stretches] == ["small", "middle", "large"]
    assert [s.from_units for s in above.stretches] == pytest.approx([0, 500 / 0.375, 4000 / 0.0625])
    assert near10.at_least == pytest.approx(0.80)
    assert near10.candidates == above.candidates
    assert [s.name for s in near5.stretches] == ["large"]
    assert set(near2.candidates) == {"large", "slow"}
    # gross, all of it at the same power: the same volumes
    assert found.choices["gross"][0].stretches[1].from_units == pytest.approx(500 / 0.375)


def test_a_shortfall_below_the_reference_is_no_demand():
    made = RunBuilder(study_task())
    for model, accuracy in (("small", 0.15), ("middle", 0.18)):
        add(made, model, accuracy=accuracy)
    assert [c.shortfall for c in result(made).choices["net"]] == [None, 0.05, 0.02]


def test_intervals_of_volumes():
    each = Estimate(3.0, 5, 0.1, 2.5, 3.5, "windows")
    before, after = Bill("a", point(100), each), Bill("b", point(400), scaled(each, 1 / 3))
    found = crossover(before, after)
    half = (0.5**2 + (0.5 / 3) ** 2) ** 0.5
    assert (found.units, found.low, found.high) == pytest.approx((150, 300 / (2 + half), 300 / (2 - half)))
    assert crossover(after, before) is None
    wide = Bill("a", point(100), Estimate(3.0, 5, 1.0, 0.5, 5.5, "windows"))
    assert crossover(wide, after).high is None
    assert crossover(wide, after).low > 0
    bare = crossover(Bill("a", point(100), point(3)), Bill("b", point(400), point(1)))
    assert (bare.units, bare.low, bare.high) == (150, None, None)
    trained = [estimate(v) for v in ([99, 100, 101], [398, 400, 402])]
    both = crossover(Bill("a", trained[0], each), Bill("b", trained[1], scaled(each, 1 / 3)))
    assert both.low < found.low
    assert both.high > found.high


def test_the_envelope_leaves_out_what_is_never_cheapest():
    def bill(name, once, each):
        return Bill(name, point(once), point(each))

    bills = [bill("a", 0, 10), bill("b", 10, 9), bill("c", 20, 1), bill("d", 21, 1), bill("e", 1000, 0.5)]
    assert [(s.name, round(s.from_units, 3)) for s in cheapest(bills)] == [("a", 0), ("c", 2.222), ("e", 1960)]
    assert cheapest([]) == ()
    assert [s.name for s in cheapest([bill("x", 5, 2), bill("y", 5, 1)])] == ["y"]


def test_models_trained_again_have_intervals_between_runs():
    made = RunBuilder(study_task())
    for seconds in (9.0, 10.0, 11.0):
        add(made, "small", train_s=seconds)
    add(made, "middle")
    small = next(a for a in result(made).architectures if a.name == "small")
    assert (len(small.train.runs), small.train.gross.mean) == (3, pytest.approx(800))
    assert small.train.gross.low < 700


def test_a_training_cut_short_is_left_out_of_volumes():
    made = RunBuilder(study_task())
    for model in MODELS:
        add(made, model, cut=model == "middle")
    found = result(made)
    assert [s.name for s in found.choices["net"][0].stretches] == ["small", "large"]
    text = " ".join(sentences(found, None))
    assert "Time was up before training had ended for middle" in text
    assert found.correlations["parameters", "train_j", "pearson"].n == 4
    assert found.correlations["parameters", "inference_j", "pearson"].n == 5


def test_without_idle_volumes_are_gross():
    made = RunBuilder(study_task())
    for model in MODELS:
        add(made, model, idle=False)
    found = result(made)
    assert (found.basis, set(found.choices)) == ("gross", {"gross"})
    assert found.architectures[0].train.net is None
    assert "Volumes are given gross alone" in " ".join(sentences(found, None))


def test_a_net_energy_of_nothing_gives_no_net_volumes():
    made = RunBuilder(study_task(), watts={"cpu": 10.0, "ram": 20.0})  # the load model does not tell load from idle
    for model in MODELS:
        add(made, model)
    assert set(result(made).choices) == {"gross"}


def test_the_answer_says_when_which_model_is_cheapest():
    text = answer(result(full()))
    assert text.startswith("Over 5 architectures inference takes 8 mJ (poor) to 1.6 J (slow) per sample gross; ")
    assert "of the 2 with val_accuracy ≥ 0.85 (within 0.05 of the best) large costs least" in text
    assert text.endswith("n = 5 (estimated energy).")
    alone = RunBuilder(study_task())
    add(alone, "middle")
    assert answer(result(alone)).startswith("Over 1 architecture inference takes 200 mJ (middle) per sample gross")
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
    text = (folder.path / "report.md").read_text()
    for part in ("Least E\\_tr", "Pearson r below the diagonal", "options.overlay names no run", "follows time by"):
        assert part in text or part.replace("\\", "") in text
    page = (folder.path / "report.html").read_text()
    for chart in ("inference", "training", "volume"):
        assert f'id="chart-training_inference-{chart}"' in page


def test_the_frontier_of_a_search_is_laid_over(tmp_path):
    other = full_run().write(tmp_path / "search", budget="quick")
    task = study_task(options={"overlay": str(other.path)})
    made = RunBuilder(task)
    for model in MODELS:
        add(made, model)
    folder = made.write(tmp_path / "run")
    overlay = read_reference(Run.of(folder), "val_accuracy")
    assert overlay.problem is None
    assert len(overlay.points) >= 2
    cheapest_point = min(overlay.points, key=lambda p: p.j_per_unit.mean)
    assert cheapest_point.j_per_unit.mean == pytest.approx(
        80 / max(t.windows[-3].units for t in other.trials()), rel=0.5
    )
    write_report(folder)
    text = (folder.path / "report.md").read_text()
    assert f"({len(overlay.points)} models, gross, estimated) is in the first figure" in text
    assert "frontier of digits" in (folder.path / "report.html").read_text()


def test_an_overlay_that_is_not_there_is_said(tmp_path):
    made = RunBuilder(study_task(options={"overlay": str(tmp_path / "nowhere")}))
    add(made, "small")
    folder = made.write(tmp_path / "run")
    overlay = read_reference(Run.of(folder), "val_accuracy")
    assert "not a run folder" in overlay.problem
    assert "not a run folder" in " ".join(sentences(result(made), overlay))
    write_report(folder)
    records = Run.of(RunBuilder(study_task()).write(tmp_path / "plain"))
    assert read_reference(records, "val_accuracy") is None
    same = Run.of(RunBuilder(study_task(options={"overlay": str(folder.path)})).write(tmp_path / "third"))
    assert "does not judge by test_accuracy" in read_reference(same, "test_accuracy").problem


def test_overlays_say_what_differs(tmp_path):
    other = full_run().write(tmp_path / "search", hardware={"name": "nvidia_h200", "title": "H200"})
    task = study_task(options={"overlay": str(other.path)})
    made = RunBuilder(task)
    add(made, "small")
    overlay = read_reference(Run.of(made.write(tmp_path / "run")), "val_accuracy")
    assert any(d.startswith("hardware (nvidia_h200 there, generic_cpu here)") for d in overlay.differs)


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
    found = training_inference(Run.of(folder))
    assert {a.train.units for a in found.architectures} == {(48,)}
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
