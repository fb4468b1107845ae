"""What a program measured as a record: the numbers are those that it printed, and the commands take it."""

from __future__ import annotations

import csv
import multiprocessing
import time

import pytest

import joulebench
from joulebench.errors import InputError
from joulebench.inline import running
from joulebench.inline.trainer import LightningEvents
from joulebench.records.folder import RunFolder
from joulebench.records.model import Fault, FaultKind
from tests.commands.calling import call

WATTS = "50"


@pytest.fixture(autouse=True)
def _fresh():
    yield
    running.stop()


def test_a_block_is_a_run_that_commands_take(tmp_path, monkeypatch, capsys):
    with joulebench.measure(units=4, unit="image", replay=WATTS, allow_busy=True, name="infer") as block:
        time.sleep(0.02)
    path = block.record(tmp_path)
    results = joulebench.load(path)
    assert [t.params for t in results] == [{"block": "infer"}]
    assert results[0]["j_per_image"].mean == pytest.approx(block.joules)
    assert results.run.manifest.replay == WATTS
    assert results.run.findings is not None
    code, said, _ = call(monkeypatch, capsys, "report", path)
    assert (code, "per image" in said) == (0, True)
    page = (path / "report.md").read_text()
    assert "REPLAYED" in page
    assert "python PROGRAM" in page
    code, card, _ = call(monkeypatch, capsys, "card", path)
    assert (code, "pre-training" in card) == (0, False)
    with block:
        time.sleep(0.02)
    again = block.record(tmp_path)
    assert again != path
    code, said, _ = call(monkeypatch, capsys, "compare", path, again, "--out", tmp_path / "c")
    assert (code, "comparison.html" in said) == (0, True)


def test_nothing_is_run_from_it(tmp_path, monkeypatch, capsys):
    with joulebench.measure(replay=WATTS) as block:
        pass
    path = block.record(tmp_path)
    code, _, said = call(monkeypatch, capsys, "run", path, "--out", tmp_path, "--allow-busy")
    assert (code, "run that program again" in said) == (2, True)
    assert "complete already" in "".join(call(monkeypatch, capsys, "resume", path)[1:])


def test_calls_of_a_function_are_trials(tmp_path):
    @joulebench.measure(replay=WATTS, allow_busy=True)
    def work():
        time.sleep(0.01)

    for _ in range(3):
        work()
    results = joulebench.load(work.measured.record(tmp_path))
    assert len(results) == 3
    mean = sum(t["j_per_call"].mean for t in results) / 3
    assert mean == pytest.approx(work.measured.joules, rel=1e-6)


def test_a_comparison_keeps_its_rounds_its_ratios_and_its_quality(tmp_path):
    result = joulebench.compare(
        {"a": lambda: time.sleep(0.001), "b": lambda: time.sleep(0.002)},
        rounds=6, window_s=0.02, replay=WATTS, allow_busy=True, quality={"a": 0.5, "b": 0.75},
    )  # fmt: skip
    path = result.record(tmp_path)
    results = joulebench.load(path)
    trials = list(results)
    assert all({t.params["block"] for t in trials[n : n + 2]} == {"a", "b"} for n in range(0, len(trials), 2))
    assert {t.params["block"]: t.record.metrics["quality"] for t in trials} == {"a": 0.5, "b": 0.75}
    results.report()
    with (path / "variants.csv").open() as file:
        (of_b,) = [row for row in csv.DictReader(file) if row["block"] == "b"]
    ratio = result["b"].energy_ratio
    assert float(of_b["energy_ratio"]) == pytest.approx(ratio.mean, rel=1e-3)
    assert float(of_b["energy_ratio_low"]) == pytest.approx(ratio.low, rel=1e-3)


def test_a_window_that_does_not_count_does_not_count_in_the_record(tmp_path):
    measured = joulebench.measure(
        lambda: time.sleep(0.001), repeats=3, window_s=0.02, replay=WATTS, allow_busy=True
    )
    fault = Fault(kind=FaultKind.SAMPLING_GAP, text="a gap")
    first, *rest = measured.windows
    object.__setattr__(measured, "windows", (first.model_copy(update={"fault": fault}), *rest))
    results = joulebench.load(measured.record(tmp_path))
    assert [t.status for t in results] == ["invalid", *["ok"] * len(rest)]
    assert results[0].record.error == "a gap"


def test_a_training_is_one_trial(tmp_path, monkeypatch, capsys):
    callback = LightningEvents("tuning", None, WATTS, True)
    with pytest.raises(InputError, match="nothing was trained"):
        callback.record(tmp_path)

    class Trainer:
        local_rank = 0

    callback.on_train_start(Trainer())
    for _ in range(2):
        callback.on_train_epoch_start()
        time.sleep(0.02)
        callback.on_validation_start()
        time.sleep(0.02)
        callback.on_train_batch_start()
        time.sleep(0.02)
        callback.on_train_epoch_end()
    callback.on_train_end()
    path = callback.record(tmp_path)
    results = joulebench.load(path)
    assert results[0]["j_per_epoch"].mean == pytest.approx(sum(e.mean for e in callback.epochs) / 2)
    assert results.run.ledger.total_j == pytest.approx(callback.training.mean)
    assert call(monkeypatch, capsys, "report", path)[0] == 0


def test_nothing_measured_is_refused(tmp_path):
    block = joulebench.measure(replay=WATTS)
    with pytest.raises(InputError, match="nothing was measured"):
        block.record(tmp_path)
    with pytest.raises(ZeroDivisionError), block:
        _ = 1 / 0
    with pytest.raises(InputError, match="nothing was measured"):
        block.record(tmp_path)
    assert "nothing came to its end" in str(block)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x" * 300, "\x1b[31m|<b>", "наме", "/etc/../passwd"])
@pytest.mark.parametrize("unit", ["Bild(er)/s", "é", "x" * 100])
def test_any_name_and_unit_is_recorded_and_reported(tmp_path, name, unit):
    with joulebench.measure(replay=WATTS, name=name, unit=unit) as block:
        pass
    results = joulebench.load(block.record(tmp_path / "runs"))
    assert results[0].params == {"block": name}
    assert "\x1b" not in results.report().read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]


def _measured_elsewhere(queue):
    queue.put(
        joulebench.measure(lambda: time.sleep(0.001), repeats=2, window_s=0.01, replay=WATTS, allow_busy=True)
    )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_result_of_a_worker_process_arrives_and_is_recorded(tmp_path, method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=_measured_elsewhere, args=(queue,))
    worker.start()
    measured = queue.get(timeout=60)
    worker.join()
    assert measured.joules > 0
    assert RunFolder.open(measured.record(tmp_path)).trials()[0].windows
