"""A run in a local MLflow store: everything of it, once, and without a network."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from joulebench.errors import InputError
from joulebench.records.model import EpochRecord, ScoreRecord
from joulebench.reporting.mlflow_export import CONTENT_TAG, TRIAL_TAG, export_mlflow
from tests.card_subjects import GRID
from tests.commands.calling import call
from tests.run_factory import RunBuilder, full_run, lines, make_task

mlflow = pytest.importorskip("mlflow", reason="the optional extra joulebench[mlflow] is not installed")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Any attempt to leave this machine fails the test, rather than being retried and swallowed."""
    tried = []

    def refuse(self, address, *rest):
        tried.append(address)
        raise OSError(f"no network in tests: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    assert tried == []


def runs(uri, task="digits_nas"):
    """The parent, and its trials by number."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(f"joulebench/{task}")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [r for r in found if r.data.tags["joulebench.role"] == "study"]
    trials = [r for r in found if r.data.tags["joulebench.role"] == "trial"]
    assert all(r.data.tags["mlflow.parentRunId"] == parent.info.run_id for r in trials)
    by_number = {int(r.data.tags[TRIAL_TAG]): r for r in trials}
    assert len(by_number) == len(trials)
    return client, parent, by_number


def artefact(client, run, name):
    return Path(client.download_artifacts(run.info.run_id, name)).read_bytes()


def test_a_run_in_a_database_once(tmp_path):
    folder = full_run().write(tmp_path / "run", hardware=GRID)
    (folder.path / "report.md").write_text("# report")
    uri = f"sqlite:///{tmp_path / 'store' / 'm.db'}"
    (tmp_path / "store").mkdir()
    assert str(export_mlflow(folder, uri)).endswith("14 trials written, 0 replaced, 0 already there")
    assert str(export_mlflow(folder, uri)).endswith("0 trials written, 0 replaced, 14 already there")
    client, parent, trials = runs(uri)
    assert sorted(trials) == list(range(14))
    assert artefact(client, trials[2], "trial.json") == folder.trials_path.read_bytes().splitlines(True)[2]
    assert artefact(client, parent, "report.md") == b"# report"
    assert (tmp_path / "store" / "mlartifacts").is_dir()
    assert len(client.get_metric_history(trials[2].info.run_id, "val_accuracy")) == 1
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.fixture
def store(tmp_path):
    return (tmp_path / "store").as_uri()


def test_metrics_parameters_and_tags_of_a_trial(tmp_path, store):
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, "default", idle=True)
    run.scores.append(ScoreRecord(trial=0, split="test", metrics={"accuracy": 0.88}))
    run.span("end")
    export_mlflow(run.write(tmp_path / "run", hardware=GRID), store)
    _, parent, trials = runs(store)
    metrics, tags = trials[0].data.metrics, trials[0].data.tags
    assert metrics["val_accuracy"] == 0.9
    assert metrics["test_accuracy"] == 0.88
    assert metrics["samples_per_j"] == pytest.approx(100.0)
    assert metrics["samples_per_j_low"] < 100.0 < metrics["samples_per_j_high"]
    assert metrics["inference_j_per_sample_gross"] == pytest.approx(0.01)
    assert metrics["inference_j_per_sample_net"] == pytest.approx(0.00625)
    assert metrics["train_energy_j"] == pytest.approx(240.0)
    # joules of every window: idle takes 10 W on the CPU, all else 60 W
    windows = run.trials[0].windows
    idle_s = sum(w.duration_s for w in windows if w.phase == "idle")
    rest_s = sum(w.duration_s for w in windows if w.phase != "idle")
    assert metrics["energy_j_cpu"] == pytest.approx(10 * idle_s + 60 * rest_s)
    assert metrics["energy_j_ram"] == pytest.approx(20 * (idle_s + rest_s))
    assert metrics["parameters"] == 24_000
    assert trials[0].data.params == {"width": "8", "pool": "True", "batch_size": "64"}
    assert (tags["joulebench.kind.cpu"], tags["joulebench.source.cpu"]) == ("estimated", "cpu_load_model")
    assert (tags["joulebench.status"], tags["joulebench.origin"], tags["joulebench.stage"]) == (
        "ok", "default", "default",
    )  # fmt: skip
    assert (tags["joulebench.version"], tags["joulebench.hardware"]) == ("0.1.0", "generic_cpu")
    assert tags["joulebench.digest"] == run.task.digest
    assert trials[0].info.start_time == 1767323045000
    assert trials[0].info.end_time - trials[0].info.start_time == round(1000 * (idle_s + rest_s))
    assert parent.info.status == "FINISHED"
    assert parent.data.params["protocol.window_s"] == "1"
    total_j = parent.data.metrics["energy_j"]
    assert parent.data.metrics["carbon_g"] == pytest.approx(total_j / 3.6e6 * 1.5 * 100)


def test_metrics_by_epoch_have_its_number_as_step_and_the_trial_s_own_come_last(tmp_path, store):
    run = RunBuilder(make_task())
    epochs = tuple(
        EpochRecord(index=i, units=100, metrics={"val_accuracy": a, "train_loss": 1.0 - a})
        for i, a in enumerate((0.5, 0.8, 0.7))
    )
    windows = (*(run.window("train", 2.0, 100) for _ in epochs), *run._measured(8000, 0.0, False))
    run.add({}, 8000, {"val_accuracy": 0.8}, "default", epochs=epochs, windows=windows)
    folder = run.write(tmp_path / "run")
    for _ in range(2):
        export_mlflow(folder, store)
    client, _, trials = runs(store)
    run_id, began = trials[0].info.run_id, trials[0].info.start_time
    history = client.get_metric_history(run_id, "val_accuracy")
    assert [(m.step, m.value) for m in history] == [(0, 0.5), (1, 0.8), (2, 0.7), (3, 0.8)]
    assert [m.timestamp - began for m in history[:3]] == [2000, 4000, 6000]
    assert trials[0].data.metrics["val_accuracy"] == 0.8
    assert [m.step for m in client.get_metric_history(run_id, "train_loss")] == [0, 1, 2]


def test_a_trial_that_gains_a_score_stays_the_run_it_was(tmp_path, store):
    run = full_run()
    folder = run.write(tmp_path / "run")
    export_mlflow(folder, store)
    before = runs(store)[2][7].info.run_id
    for accuracy in (0.5, 0.4):
        scored = ScoreRecord(trial=7, split="test", metrics={"accuracy": accuracy})
        lines(folder.scores_path, [*run.scores, scored])
        assert export_mlflow(folder, store).replaced == 1
        after = runs(store)[2][7]
        assert (after.info.run_id, after.data.metrics["test_accuracy"]) == (before, accuracy)


def test_failed_trials_end_as_failed_with_their_reason(tmp_path, store):
    export_mlflow(full_run().write(tmp_path / "run"), store)
    _, parent, trials = runs(store)
    oom = trials[5]
    assert oom.info.status == "FAILED"
    assert oom.data.tags["joulebench.status"] == "oom"
    assert "out of memory" in oom.data.tags["joulebench.error"]
    assert "samples_per_j" not in oom.data.metrics
    assert {t.info.status for n, t in trials.items() if n not in (5, 12)} == {"FINISHED"}
    assert parent.data.metrics["trials_oom"] == 2.0
    assert "carbon_g" not in parent.data.metrics  # no grid was given


def test_what_changed_since_is_replaced_and_nothing_else(tmp_path, store):
    run = full_run()
    folder = run.write(tmp_path / "run")
    export_mlflow(folder, store)
    lines(folder.scores_path, [*run.scores, ScoreRecord(trial=7, split="test", metrics={"accuracy": 0.5})])
    client, _, trials = runs(store)
    client.delete_tag(trials[3].info.run_id, CONTENT_TAG)  # as if that export had been cut short
    done = export_mlflow(folder, store)
    assert (done.written, done.replaced, done.unchanged) == (0, 2, 12)
    _, _, trials = runs(store)
    assert trials[7].data.metrics["test_accuracy"] == 0.5
    assert sorted(trials) == list(range(14))


def test_a_run_that_goes_on_adds_its_trials_to_the_same_parent(tmp_path, store):
    run = full_run()
    folder = run.write(tmp_path / "run")
    lines(folder.trials_path, run.trials[:4])
    lines(folder.ledger_path, run.entries[:1])
    export_mlflow(folder, store)
    _, before, _ = runs(store)
    assert before.info.status == "KILLED"
    lines(folder.trials_path, run.trials)
    lines(folder.ledger_path, run.entries)
    done = export_mlflow(folder, store)
    assert done.written + done.replaced + done.unchanged == 14
    assert done.written == 10
    _, after, trials = runs(store)
    assert after.info.run_id == before.info.run_id
    assert after.info.status == "FINISHED"
    assert after.data.metrics["energy_j"] > before.data.metrics["energy_j"]
    assert len(trials) == 14


def test_a_torn_last_line_is_no_trial(tmp_path, store):
    folder = full_run().write(tmp_path / "run")
    with folder.trials_path.open("ab") as file:
        file.write(b'{"trial": 14, "sess')
    export_mlflow(folder, store)
    assert len(runs(store)[2]) == 14


def test_hostile_names_and_numbers_are_renamed_and_told(tmp_path, store):
    run = RunBuilder(make_task())
    text = "<b>../../x</b>\n'\"`\x00" * 400
    metrics = {"val_accuracy": 0.9, "../../etc/x": 1.0, "a b": 2.0, "a_b": 3.0}
    run.add({}, 8000, metrics, error=text)
    run.add({"width": 9}, 8000, {"val_accuracy": float("nan"), "loss": float("inf")}, error=text)
    export_mlflow(run.write(tmp_path / "run", replay=text), store)
    _, _, trials = runs(store)
    found, strange = trials[0].data, trials[1].data
    assert "val_accuracy" not in strange.metrics
    assert strange.tags["joulebench.not_finite"] == "val_accuracy, loss"
    assert strange.tags["joulebench.error"] == "not as recorded: val_accuracy = nan is no value"
    assert (found.metrics["a_b"], found.metrics["a_b_2"]) == (2.0, 3.0)
    assert sorted(v for n, v in found.metrics.items() if "etc" in n) == [1.0]
    assert len(found.tags["joulebench.error"]) == 5000
    assert not (tmp_path / "etc").exists()


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    folder = full_run(trials=2).write(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, _, err = call(monkeypatch, capsys, "export", folder.path, "--mlflow", "sqlite:///m.db")
    assert code == 2
    assert err == "joulebench: --mlflow: this needs the extra [mlflow]: pip install 'joulebench[mlflow]'\n"


def test_a_store_that_cannot_be_used_is_refused_in_one_line(tmp_path):
    folder = full_run(trials=2).write(tmp_path / "run")
    (tmp_path / "file").write_text("no folder")
    for uri in ("nothing://here", "nothing://me:secret@here", f"sqlite:///{tmp_path / 'file' / 'm.db'}"):
        with pytest.raises(InputError, match=r"^--mlflow: ") as caught:
            export_mlflow(folder, uri)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_the_command_says_what_it_did(tmp_path, monkeypatch, capsys):
    folder = full_run(trials=2).write(tmp_path / "run")
    code, out, _ = call(monkeypatch, capsys, "export", folder.path, "--mlflow", tmp_path / "files")
    assert code == 0
    assert out.strip() == "mlflow: experiment joulebench/digits_nas: 4 trials written, 0 replaced, 0 already there"
