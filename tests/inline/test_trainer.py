"""Joules of a training and its epochs: Hugging Face's events in the order of its Trainer, Lightning's by name."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import joulebench
from joulebench.errors import InputError
from joulebench.inline import running
from joulebench.inline.trainer import LightningEvents
from joulebench.records.folder import RunFolder
from joulebench.records.model import Fault, FaultKind

WATTS = 50.0
EPOCH_S, BETWEEN_S = 0.05, 0.1
STEP_S, EVALUATION_S = 0.01, 0.1


@pytest.fixture(autouse=True)
def _fresh():
    yield
    running.stop()


def _told(callback):
    """The events of Hugging Face's trainer, through its own handler."""
    from transformers import TrainerControl, TrainerState
    from transformers.trainer_callback import CallbackHandler

    handler = CallbackHandler([callback], None, None, None, None)
    state, control = TrainerState(), TrainerControl()
    return functools.partial(handler.call_event, args=SimpleNamespace(), state=state, control=control)


def _train(tell, epochs=2, fails=False):
    tell("on_train_begin")
    for _ in range(epochs):
        tell("on_epoch_begin")
        time.sleep(EPOCH_S)
        if fails:
            raise RuntimeError("out of memory")
        tell("on_epoch_end")
        time.sleep(BETWEEN_S)  # where it evaluates
    tell("on_train_end")


def _check(callback):
    assert len(callback.epochs) == 2
    for energy, seconds in zip(callback.epochs, callback.seconds, strict=True):
        assert energy.mean == pytest.approx(WATTS * seconds, rel=5e-3)
        assert seconds >= EPOCH_S
    whole = callback.rows()[-1]
    assert (whole["epoch"], whole["kind"]) == ("training", "estimated")
    assert whole["s"] >= sum(callback.seconds) + 2 * BETWEEN_S
    assert callback.training.mean == whole["j"] == pytest.approx(WATTS * whole["s"], rel=5e-3)
    assert callback.faults == ()
    assert "training" in str(callback)


def _free():
    with joulebench.measure(replay=str(WATTS)) as m:
        time.sleep(0.02)
    assert m.joules > 0


def test_epochs_and_training_take_watts_times_seconds():
    callback = joulebench.trainer_callback(replay=str(WATTS))
    _train(_told(callback))
    _check(callback)
    _free()


def test_the_same_callback_measures_the_last_training():
    callback = joulebench.trainer_callback(replay=str(WATTS))
    _train(_told(callback), epochs=1)
    _train(_told(callback))
    _check(callback)


def test_a_training_that_raised_lets_the_next_block_begin():
    callback = joulebench.trainer_callback(replay=str(WATTS))
    with pytest.raises(RuntimeError) as kept:  # its traceback holds the frames of the training
        _train(_told(callback), fails=True)
    assert kept.tb is not None
    _free()
    assert callback.training is None
    assert callback.epochs == ()
    _train(_told(callback))
    _check(callback)


@pytest.mark.parametrize("phase", ["train", "other"])
def test_an_epoch_that_does_not_count_is_not_left_out_of_the_training(phase):
    callback = joulebench.trainer_callback(replay=str(WATTS))
    _train(_told(callback))
    whole = callback.training.mean
    number = next(n for n, w in enumerate(callback._windows) if w.phase == phase)  # the first
    short = callback._windows[number]
    fault = Fault(kind=FaultKind.COUNTER_STUCK, text="the counter stood still")
    callback._windows[number] = short.model_copy(update={"fault": fault})
    if phase == "train":
        assert callback.training is None
        assert callback.faults == ("the counter stood still",)
        assert [e is None for e in callback.epochs] == [True, False]
    else:  # what lies between two epochs, too short for any counter
        assert callback.training.mean == pytest.approx(whole - sum(r.energy_j for r in short.readings))
        assert callback.faults == ()


def test_no_block_begins_within_a_training():
    tell = _told(joulebench.trainer_callback(replay=str(WATTS)))
    tell("on_train_begin")
    with pytest.raises(InputError, match=r"another block is being measured \(training\)"):
        _free()
    tell("on_train_end")
    _free()


def test_lightnings_hooks():
    callback = LightningEvents("training", None, str(WATTS), False)
    hooks = {"on_train_begin": "on_train_start", "on_train_end": "on_train_end",
             "on_epoch_begin": "on_train_epoch_start", "on_epoch_end": "on_train_epoch_end"}  # fmt: skip

    def tell(event):
        getattr(callback, hooks[event])(SimpleNamespace(local_rank=0), None)

    _train(tell)
    _check(callback)
    tell("on_train_begin")
    with pytest.raises(InputError, match="another block"):
        _free()
    callback.on_exception(None, None, RuntimeError())
    _free()
    assert callback.training is None


def test_evaluation_within_an_epoch_is_none_of_it():
    callback = LightningEvents("training", None, str(WATTS), False)
    callback.on_validation_start()  # a trainer that only validates
    callback.on_train_start(SimpleNamespace(local_rank=0))
    for _ in range(3):
        callback.on_train_epoch_start()
        for _ in range(2):
            for _ in range(2):
                callback.on_train_batch_start()
                time.sleep(STEP_S)
            callback.on_validation_start()
            time.sleep(EVALUATION_S)
        callback.on_train_epoch_end()
    callback.on_train_end()
    _check_evaluated_within(callback)


@pytest.mark.filterwarnings("ignore")
def test_a_real_lightning():
    lightning = pytest.importorskip("lightning.pytorch")
    torch = pytest.importorskip("torch")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
            self.fails = False

        def training_step(self, batch, number):
            if self.fails:
                raise RuntimeError("out of memory")
            time.sleep(STEP_S)
            return self.layer(batch).mean()

        def validation_step(self, batch, number):
            time.sleep(EVALUATION_S)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters())

    callback = joulebench.lightning_callback(replay=str(WATTS))
    model, data = Model(), torch.utils.data.DataLoader(torch.ones(4, 2))

    def train():
        lightning.Trainer(
            max_epochs=3, callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, val_check_interval=2, limit_val_batches=1,
        ).fit(model, data, data)  # fmt: skip

    train()
    _check_evaluated_within(callback)
    model.fails = True
    with pytest.raises(RuntimeError, match="out of memory"):
        train()
    _free()
    assert (callback.training, callback.epochs) == (None, ())


def _check_evaluated_within(callback):
    """Three epochs of four steps, each with two evaluations that are not of it."""
    assert len(callback.epochs) == 3
    for energy, seconds in zip(callback.epochs, callback.seconds, strict=True):
        assert energy.mean == pytest.approx(WATTS * seconds, rel=5e-3)
        assert seconds >= 4 * STEP_S
    whole = callback.rows()[-1]
    assert whole["j"] == pytest.approx(WATTS * whole["s"], rel=5e-3)
    assert whole["s"] >= sum(callback.seconds) + 3 * 2 * EVALUATION_S


def test_a_real_trainer(tmp_path):
    pytest.importorskip("accelerate")
    torch = pytest.importorskip("torch")
    from transformers import Trainer, TrainingArguments

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)
            self.fails = False

        def forward(self, x, labels):
            with pytest.raises(InputError, match="another block"):
                _free()
            if self.fails:
                raise RuntimeError("out of memory")
            time.sleep(STEP_S if self.training else EVALUATION_S)
            return {"loss": ((self.layer(x) - labels) ** 2).mean()}

    data = [{"x": torch.ones(2), "labels": torch.ones(1)} for _ in range(4)]
    callback = joulebench.trainer_callback(replay=str(WATTS))
    args = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=3, report_to=[], use_cpu=True, save_strategy="no",
        per_device_train_batch_size=1, eval_strategy="steps", eval_steps=2,
    )  # fmt: skip
    model = Model()
    trainer = Trainer(model=model, args=args, train_dataset=data, eval_dataset=data[:1], callbacks=[callback])
    trainer.train()
    _check_evaluated_within(callback)
    model.fails = True
    with pytest.raises(RuntimeError):
        trainer.train()
    _free()
    model.fails = False
    for steps, epochs in ((6, 1), (8, 2), (3, 0)):  # of 4 an epoch
        args.max_steps = steps
        trainer.train()
        assert len(callback.epochs) == epochs, steps
        assert callback.training.mean > WATTS * steps * STEP_S
        (trial,) = RunFolder.open(callback.record(tmp_path / "runs" / str(steps))).trials()
        train = [w for w in trial.windows if w.phase == "train"]
        assert sum(w.units for w in train) == epochs
        assert sum(w.duration_s for w in train) == pytest.approx(sum(callback.seconds))
        assert (trial.status, trial.error) == (("ok", None) if epochs else ("invalid", "no epoch was finished"))


def test_without_transformers_it_says_which_extra_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"trainer_callback: this needs the extra \[llm\]: pip install"):
        joulebench.trainer_callback()


def test_nothing_is_imported_unless_used():
    code = "import sys, joulebench.inline.trainer; assert not {'transformers', 'lightning'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
